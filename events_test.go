package sojourn_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// logged returns what an application's log holds of the events so far. It
// replaces the sessions' IDs by numbers in their order.
func (w *web) logged() string {
	w.Helper()
	w.flush()
	var log bytes.Buffer
	h := slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}})
	write := sojourn.LogEvents(slog.New(h))
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		write(e)
	}
	return anonymize(log.String())
}

func anonymize(text string) string {
	ids := map[string]string{}
	return regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`).ReplaceAllStringFunc(text, func(id string) string {
		if ids[id] == "" {
			ids[id] = fmt.Sprintf("session-%d", len(ids)+1)
		}
		return ids[id]
	})
}

// The log shows the life of sessions: who, when, where and why, in UTC. The
// expected log is testdata/events.golden; SOJOURN_GOLDEN=write rewrites it.
func TestEventsGolden(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		if err := s.Login(r.FormValue("user"), sojourn.AMR("pwd", "otp"), sojourn.Level(2), sojourn.Remember()); err != nil {
			t.Error(err)
		}
	}, options(trustLoopback), options(func(o *sojourn.Options) {
		o.MaxSessions = 2
		o.MaxBadTokens = 2
		local := time.FixedZone("local", 2*3600) // the clock has another time zone
		now := o.Now
		o.Now = func() time.Time { return now().In(local) }
	}))
	browser := func(ip string) *surfer { return w.surfer("X-Forwarded-For", ip, "User-Agent", "Browser/1") }

	alice := browser("192.0.2.1")
	alice.post("/count")
	w.pass(time.Minute)
	alice.login("alice")
	old := alice.fork()
	w.pass(20 * time.Minute)
	alice.who() // rotates
	w.pass(20 * time.Minute)
	alice.headers[1] = "198.51.100.1"
	alice.who()
	w.pass(2 * time.Minute)
	alice.post("/elevate")
	w.pass(2 * time.Minute)
	old.who() // a secret of an earlier epoch
	w.pass(time.Minute)
	alice.post("/logout")
	old.who() // a secret of an ended session

	// The third login of one user evicts the first.
	bobs := []*surfer{browser("192.0.2.2"), browser("192.0.2.3"), browser("192.0.2.4")}
	for _, b := range bobs {
		w.pass(time.Second)
		b.post("/in?user=bob").wantStatus(t, 200)
	}
	w.pass(time.Second)
	w.EndSubject(t.Context(), "bob", sojourn.ID{})

	// Theft: somebody uses a copy of the cookie after its successor was
	// confirmed and the grace is over.
	w.pass(time.Second)
	carol := browser("192.0.2.5").login("carol")
	victim := carol.fork()
	victim.headers = []string{"X-Forwarded-For", "192.0.2.6", "User-Agent", "Browser/1"}
	for range 3 {
		w.pass(16 * time.Minute)
		carol.who()
	}
	w.pass(16 * time.Minute)
	victim.who()

	// Sessions end at the idle and at the absolute deadline.
	dave := browser("192.0.2.7").login("dave")
	w.pass(25 * time.Hour)
	dave.who()
	visitor := browser("192.0.2.8")
	visitor.post("/count")
	for range 8 {
		w.pass(12 * 24 * time.Hour)
		visitor.post("/count")
	}

	// Somebody guesses tokens.
	for i := range 5 {
		browser("192.0.2.9").get("/who", "Cookie", fmt.Sprintf("__Host-session=malformed-%d", i))
	}
	browser("192.0.2.10").get("/who", "Cookie", "__Host-session="+strings.Repeat("A", 64))
	browser("192.0.2.11").get("/who", "Cookie", "__Host-session=a; __Host-session=b")
	w.EndAll(t.Context())

	got := w.logged()
	path := filepath.Join("testdata", "events.golden")
	if os.Getenv("SOJOURN_GOLDEN") == "write" {
		os.MkdirAll("testdata", 0o755)
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		var g, x string
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			x = wantLines[i]
		}
		if g != x {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, g, x)
		}
	}
	// The golden file must show all of this, also after it was rewritten.
	for _, kind := range []string{"created", "authenticated", "elevated", "rotated", "ended", "ended_all", "refused", "throttled", "client_changed"} {
		if !strings.Contains(got, `"session `+kind+`"`) {
			t.Errorf("no %s", kind)
		}
	}
	for _, reason := range []string{"logout", "revoked", "idle", "absolute", "evicted", "theft"} {
		if !strings.Contains(got, `"reason":"`+reason+`"`) {
			t.Errorf("no end by %s", reason)
		}
	}
	for _, refusal := range []string{"malformed", "unknown", "ended", "former", "ambiguous"} {
		if !strings.Contains(got, `"refusal":"`+refusal+`"`) {
			t.Errorf("no refusal for %s", refusal)
		}
	}
	for i, line := range gotLines[:len(gotLines)-1] {
		for key := range strings.SplitSeq(line, `,"`) {
			if key, _, _ := strings.Cut(strings.Trim(key, `{"`), `"`); strings.Count(line, `"`+key+`":`) != 1 {
				t.Errorf("line %d has %q twice: %s", i+1, key, line)
			}
		}
		if !strings.Contains(line, `"at":"2026-`) || !strings.HasSuffix(line, `Z"}`) {
			t.Errorf("line %d is not in UTC: %s", i+1, line)
		}
	}
}

// needles returns all spellings in which a token could leak.
func needles(token string) map[string]string {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != 48 {
		panic("not a token")
	}
	list := map[string]string{"the token": token}
	secret := raw[16:]
	hash := sha256.Sum256(secret)
	half := sha256.Sum256(secret[:16])
	for what, b := range map[string][]byte{
		"the secret": secret, "its first half": secret[:16], "its second half": secret[16:], "its hash": hash[:], "its half's hash": half[:],
	} {
		list[what+", raw"] = string(b)
		list[what+", hex"] = hex.EncodeToString(b)
		list[what+", HEX"] = strings.ToUpper(hex.EncodeToString(b))
		list[what+", base64"] = base64.RawStdEncoding.EncodeToString(b)
		list[what+", base64url"] = base64.RawURLEncoding.EncodeToString(b)
		list[what+", %v"] = fmt.Sprintf("%d", b)
		list[what+", %#v"] = strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}")
		list[what+", %q"] = fmt.Sprintf("%q", b)
	}
	// Base64 of the whole token differs from base64 of its parts, because it is
	// shifted by one byte at the 17th.
	list["the token's end"] = token[24:]
	list["the token's end, a part"] = token[44:]
	return list
}

// No token, secret, half of a secret or hash of one leaks into a log at debug
// level, an event, an error, a page, or a header other than Set-Cookie. The
// scenario includes everything that can go wrong.
func TestCanary(t *testing.T) {
	logs := new(logbook)
	old := slog.Default()
	defer slog.SetDefault(old)
	debug := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	slog.SetDefault(debug)

	seen := new(logbook) // everything that anybody receives, except Set-Cookie
	fault := errors.New("disk on fire")
	errs := func(err error) {
		if err != nil {
			fmt.Fprintf(seen, "%v %+v %#v\n", err, err, err)
		}
	}
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		// This page prints all that it can reach.
		fmt.Fprintf(rw, "%v %+v %#v\n", s.Info(), s.Info(), s.Info())
		fmt.Fprintf(rw, "%s %v %v %v\n", s.ID(), s.Subject(), s.Info().AMR, s.EndReason())
		if r.URL.Path == "/panic" {
			panic(fmt.Sprintf("%+v", s.Info()))
		}
		errs(color.Set(s, "late"))
		errs(s.Login("late"))
	}, options(trustLoopback), options(func(o *sojourn.Options) {
		record := o.OnEvent
		logged := sojourn.LogEvents(debug)
		o.OnEvent = func(e sojourn.Event) { record(e); logged(e); fmt.Fprintf(seen, "%v %+v %#v\n", e, e, e) }
		o.ClientChanged = func(was, is sojourn.Client) sojourn.Reaction {
			fmt.Fprintf(seen, "%+v %+v\n", was, is)
			return sojourn.ReactionStepUp
		}
		o.MaxBadTokens = 3
	}))
	var tokens []string
	note := func(a *reply, err error) {
		if errs(err); err != nil || a == nil {
			return
		}
		for _, c := range a.cookies {
			if c.MaxAge >= 0 {
				tokens = append(tokens, c.Value)
			}
		}
		h := a.Header.Clone()
		h.Del("Set-Cookie")
		fmt.Fprintf(seen, "%s %v\n%s\n", a.Status, h, a.body)
	}
	everything := func(b *surfer) {
		for _, path := range []string{"/who", "/ended", "/count", "/", "/nosuch?token=x"} {
			note(b.try("GET", path, ""))
		}
	}
	b := w.surfer("X-Forwarded-For", "192.0.2.1", "User-Agent", "Browser/1")
	note(b.try("POST", "/count", ""))
	everything(b)
	for i, path := range []string{"/login?user=alice", "/elevate", "/count", "/login?user=bob", "/login?user=alice"} {
		thief := b.fork()
		note(b.try("POST", path, ""))
		everything(b)
		everything(thief)
		for range 3 {
			w.pass(16 * time.Minute)
			everything(b)
		}
		b.headers[1] = fmt.Sprintf("192.0.2.%d", 10+i)
		note(b.try("POST", "/panic", ""))
		for _, name := range []string{"Get", "Update", "End", "Create", "Touch", "Confirm"} {
			for _, mode := range []error{fault, store.ErrUncertain, store.ErrConflict, store.ErrFull, store.ErrEnded, store.ErrNotFound} {
				w.calls.fail(always(mode, name), nil)
				note(b.fork().try("POST", "/count", ""))
				everything(b.fork())
				w.flush()
			}
		}
		w.calls.fail(nil, nil)
	}
	victim := b.fork()
	for range 3 {
		w.pass(16 * time.Minute)
		everything(b)
	}
	w.pass(16 * time.Minute)
	everything(victim) // theft
	note(b.try("POST", "/logout", ""))
	for range 6 {
		note(w.surfer().try("GET", "/who", "", "Cookie", "__Host-session="+tokens[0]+"x"))
		note(w.surfer().try("GET", "/who", "", "Cookie", "__Host-session="+strings.ToLower(tokens[len(tokens)-1])))
	}
	list, _, err := w.List(t.Context(), "", "", 100)
	errs(err)
	fmt.Fprintf(seen, "%+v\n", list)
	w.flush()

	if len(tokens) < 8 {
		t.Fatalf("the scenario issued %d tokens", len(tokens))
	}
	if n := len(w.happened(sojourn.EventRotated)); n == 0 {
		t.Error("the scenario rotates no secret")
	}
	if got := w.endings(); len(got) == 0 {
		t.Error("the scenario ends no session")
	}
	texts := map[string]string{"a log": logs.String(), "net/http's log": w.log.String(), "an event, error, page or header": seen.String()}
	for _, token := range tokens {
		for what, needle := range needles(token) {
			for where, text := range texts {
				if i := strings.Index(text, needle); i >= 0 {
					t.Errorf("%s is in %s: …%.200q", what, where, text[max(0, i-100):])
				}
			}
		}
	}
	for where, text := range texts {
		if len(text) < 300 {
			t.Errorf("%s is almost empty: %q", where, text)
		}
	}
}

// What clients send can't forge a log line or an attribute, in either of slog's
// formats.
func TestLogInjection(t *testing.T) {
	const evil = "x\" reason=logout msg=forged\r\n{\"msg\":\"forged\"}\x1b[2J\u2028\u0085time=2026-01-01 level=INFO msg=forged\x00,"
	for format, handler := range map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"json": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		t.Run(format, func(t *testing.T) {
			log := new(logbook)
			w := newWorld(t, options(func(o *sojourn.Options) { o.OnEvent = sojourn.LogEvents(slog.New(handler(log))) }))
			// Without net/http, nothing has cleaned the texts.
			r := sojourn.Request{Session: []string{evil}, Client: sojourn.Client{IP: netip.MustParseAddr("192.0.2.1"), UserAgent: evil}}
			s := w.Begin(t.Context(), r)
			if err := s.Login("alice\" msg=forged", sojourn.AMR("pwd=\"forged\"")); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.flush()
			lines := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
			if len(lines) != 3 { // refused, created, authenticated
				t.Errorf("%d lines:\n%s", len(lines), log)
			}
			for _, line := range lines {
				// The forged text occurs only within quotes.
				bare := regexp.MustCompile(`"(\\.|[^"\\])*"`).ReplaceAllString(line, `""`)
				if strings.Contains(bare, "forged") {
					t.Errorf("forged: %s", line)
				}
				if i := strings.IndexFunc(line, func(r rune) bool { return r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 }); i >= 0 {
					t.Errorf("a control character: %q", line)
				}
			}
		})
	}
}

// A slow or stuck observer delays no request. What it misses is counted.
func TestObserverNeverDelays(t *testing.T) {
	stuck, reached := make(chan struct{}), make(chan struct{}, 1)
	var lost int
	w := newWorld(t, options(func(o *sojourn.Options) {
		o.MaxBadTokens = -1
		o.OnEvent = (func(e sojourn.Event) {
			select {
			case reached <- struct{}{}:
			default:
			}
			<-stuck
			lost += e.Lost
		})
	}))
	w.look(&jar{session: "x"})
	<-reached
	const n = 5000
	for i := range n {
		w.look(&jar{session: strconv.Itoa(i)})
	}
	close(stuck)
	w.flush()
	w.look(&jar{session: "y"})
	w.flush()
	w.want("lost events", lost, n-4096)
}
