package sojourn_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

const day = 24 * time.Hour

func sealKey(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

// sealed seals sessions of a world: with keys 1, 2 and so on, of which the first
// argument seals.
func sealed(who sojourn.SealFor, keys ...byte) func(*world, *sojourn.Options) {
	return options(func(o *sojourn.Options) {
		o.Sealed = &sojourn.Sealing{For: who, NotBefore: never}
		for _, k := range keys {
			o.Sealed.Keys = append(o.Sealed.Keys, sealKey(k))
		}
	})
}

func never(context.Context, string) (time.Time, error) { return time.Time{}, nil }

// storeless takes the world's store away.
func storeless(w *world, _ *sojourn.Options) { w.store = nil }

// sealedVisitors and sealedEveryone are the two ways of sealing.
var (
	sealedVisitors = sealed(sojourn.SealVisitors, 1)
	sealedEveryone = func(w *world, o *sojourn.Options) { sealed(sojourn.SealEveryone, 1)(w, o); storeless(w, o) }
)

func setColor(s *sojourn.Session) error { return color.Set(s, "red") }

// A visitor's session lives in the cookie alone, from the first change through
// reads, changes and touches to the logout.
func TestSealedVisitorNeedsNoStore(t *testing.T) {
	w := newWorld(t, watched, sealedVisitors)
	j := new(jar)
	w.visit(j, setColor)
	if !strings.HasPrefix(j.visitor, "E") || j.session != "" {
		t.Fatalf("cookies: %+v", j)
	}
	s := w.begin(j)
	id := s.ID()
	if got, err := color.Get(s); got != "red" || err != nil {
		t.Fatalf("color: %q, %v", got, err)
	}
	w.answer(j, s)
	for i := range 30 {
		w.pass(day)
		w.visit(j, func(s *sojourn.Session) error { return count.Update(s, increment) })
		s := w.begin(j)
		if n, err := count.Get(s); n != i+1 || err != nil {
			t.Fatalf("count: %d, %v", n, err)
		}
		w.want("the ID", s.ID(), id)
	}
	w.visit(j, func(s *sojourn.Session) error { return s.Logout() })
	w.want("the cookie", j.visitor, "")
	equal(t, "calls of the store", w.calls.made(), nil)
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonLogout})
	w.want("creations", len(w.happened(sojourn.EventCreated)), 1)
}

// A login moves the visitor's values into a stored session.
func TestSealedVisitorLogsIn(t *testing.T) {
	w := newWorld(t, sealedVisitors)
	j := new(jar)
	w.visit(j, setColor)
	visitor := w.id(j)
	w.login(j, "ann")
	w.want("the visitor's cookie", j.visitor, "")
	w.want("the token's length", len(j.session), 64)
	s := w.begin(j)
	got, err := color.Get(s)
	if got != "red" || err != nil || s.Subject() != "ann" || s.ID() == visitor {
		t.Errorf("color %q, %v; subject %q, ID %v", got, err, s.Subject(), s.ID())
	}
	if n, _, err := w.Count(ctx); n != 1 || err != nil {
		t.Errorf("stored sessions: %d, %v", n, err)
	}
	w.visit(j, func(s *sojourn.Session) error { return s.Regenerate("color") })
	w.want("the session's cookie", j.session, "")
	if got, err := color.Get(w.begin(j)); got != "red" || err != nil {
		t.Errorf("color after Regenerate: %q, %v", got, err)
	}
	if n, _, err := w.Count(ctx); n != 0 || err != nil {
		t.Errorf("stored sessions after Regenerate: %d, %v", n, err)
	}
}

// Without a store, a user logs in, elevates, changes values and logs out.
func TestSealedEveryoneNeedsNoStore(t *testing.T) {
	w := newWorld(t, sealedEveryone)
	j := new(jar)
	w.visit(j, setColor)
	id := w.id(j)
	w.login(j, "ann", sojourn.AMR("pwd"), sojourn.Remember())
	w.want("the visitor's cookie", j.visitor, "")
	s := w.begin(j)
	w.want("the ID", s.ID(), id)
	w.want("subject", s.Subject(), "ann")
	w.want("fresh", s.Fresh(time.Minute), true)
	if got, _ := color.Get(s); got != "red" {
		t.Errorf("color: %q", got)
	}
	w.pass(10 * time.Minute)
	w.visit(j, func(s *sojourn.Session) error { return s.Elevate(2, "otp") })
	info := w.begin(j).Info()
	w.want("level", info.Level, 2)
	equal(t, "AMR", info.AMR, []string{"pwd", "otp"})
	w.want("remembered", info.Remembered, true)
	w.want("created", info.CreatedAt, epoch)
	w.want("authenticated", info.AuthenticatedAt, epoch.Add(10*time.Minute))
	w.want("expires", info.ExpiresAt, epoch.Add(90*day))
	w.login(j, "ben")
	s = w.begin(j)
	if got, _ := color.Get(s); got != "" || s.Subject() != "ben" || s.ID() == id {
		t.Errorf("another user: subject %q, color %q", s.Subject(), got)
	}
	w.visit(j, func(s *sojourn.Session) error { return s.Logout() })
	w.want("the cookie", j.session, "")
	w.want("subject", w.look(j), "")
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonLogout, sojourn.ReasonLogout})
}

// A cookie that isn't exactly what this engine sealed is no session: cut at every
// length, with any bit flipped, in another place, of another application or name,
// or 64 KiB long. No read of a store comes of it, and the request goes on.
func TestSealedCookiesThatDontOpen(t *testing.T) {
	w := newWorld(t, sealedEveryone)
	j := w.loggedIn("ann")
	v := new(jar)
	w.visit(v, setColor)
	raw, err := base64.RawURLEncoding.DecodeString(j.session)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]string{
		"64 KiB":               "E" + strings.Repeat("A", 64<<10),
		"longer than a cookie": j.session + strings.Repeat("A", 4096),
		"a visitor's":          v.visitor,
		"with a blank":         j.session[:70] + " " + j.session[71:],
		"padded":               j.session + "=",
	}
	for n := range len(j.session) {
		bad[fmt.Sprint("cut at ", n)] = j.session[:n]
	}
	for i := range 8 * len(raw) {
		b := bytes.Clone(raw)
		b[i/8] ^= 1 << (i % 8)
		bad[fmt.Sprint("bit ", i)] = base64.RawURLEncoding.EncodeToString(b)
	}
	if spare := 4*((len(raw)+2)/3) - len(j.session); spare > 0 { // the last character has bits of no byte
		last := j.session[len(j.session)-1]
		bad["not canonical"] = j.session[:len(j.session)-1] + string(last+1)
	}
	for name, other := range map[string]func(*sojourn.Options){
		"of another application": func(o *sojourn.Options) { o.App = "other" },
		"of another name":        func(o *sojourn.Options) { o.Cookie.Name = "__Host-other" },
		"of another key":         func(o *sojourn.Options) { o.Sealed.Keys = [][]byte{sealKey(9)} },
	} {
		o := newWorld(t, sealedEveryone, options(other))
		s := o.begin(new(jar))
		if err := s.Login("ann"); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		bad[name] = s.Token()
	}
	for name, text := range bad {
		s := w.begin(&jar{session: text})
		if s.Subject() != "" || !s.ID().IsZero() || s.RefusalReason() == "" && text != "" {
			t.Errorf("%s: subject %q, refusal %q", name, s.Subject(), s.RefusalReason())
		}
		s = w.begin(&jar{visitor: text})
		if text != v.visitor && !s.ID().IsZero() {
			t.Errorf("%s: a visitor's session: %v", name, s.ID())
		}
	}
	w.want("a login as a visitor's", w.begin(&jar{visitor: j.session}).ID(), sojourn.ID{})
	w.want("ann", w.look(j), "ann")
	w.want("another key", w.begin(&jar{session: bad["of another key"]}).RefusalReason(), sojourn.RefusedNoKey)
}

// The engine judges the deadlines inside, whatever the browser does with the
// cookie, and a clock that steps back does no harm.
func TestSealedDeadlines(t *testing.T) {
	for name, mode := range map[string]func(*world, *sojourn.Options){"visitors": sealedVisitors, "everyone": sealedEveryone} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, mode)
			w.pass(time.Hour)
			j := new(jar)
			w.visit(j, setColor)
			id := w.id(j)
			old := *j
			w.pass(-time.Hour)
			w.want("an hour back", w.id(j), id)
			w.pass(time.Hour)
			for range 100 { // always active
				w.pass(day)
				w.look(j)
			}
			w.want("past the absolute limit", w.id(j), sojourn.ID{})
			s := w.begin(&old)
			w.want("a replay past the idle limit", s.ID(), sojourn.ID{})
			w.want("reason", s.EndReason(), sojourn.ReasonIdle)
			w.want("reason", w.begin(j).EndReason(), sojourn.ReasonAbsolute)
			w.pass(-98 * day)
			w.want("back in its life", w.id(&old), id)
		})
	}
}

// Activity sets the cookie again at most once in a twentieth of the idle limit. A
// response that changes nothing, or that may be cached, sets none.
func TestSealedTouches(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		switch r.URL.Path {
		case "/passive":
			s.Passive()
		case "/public":
			rw.Header().Set("Cache-Control", "public, max-age=60")
		case "/same":
			if err := setColor(s); err != nil {
				t.Error(err)
			}
		}
		got, err := color.Get(s)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprint(rw, got)
	}, sealedVisitors)
	b := w.surfer()
	w.want("the first change", len(b.get("/same").cookies), 1)
	w.want("no change", len(b.get("/same").cookies), 0)
	w.want("a read", len(b.get("/").cookies), 0)
	w.pass(day)
	w.want("passive", len(b.get("/passive").cookies), 0)
	w.want("for a cache", len(b.get("/public").cookies), 0)
	w.want("a touch", len(b.get("/").cookies), 1)
	touches := 0
	for range 13 * 24 * 2 {
		w.pass(30 * time.Minute)
		a := b.get("/")
		touches += len(a.cookies)
		if a.body != "red" {
			t.Fatalf("the value is %q", a.body)
		}
		for _, c := range a.cookies {
			if cc := a.Header.Get("Cache-Control"); cc != "no-store" || c.MaxAge <= 0 || c.MaxAge > int((90*day).Seconds()) {
				t.Errorf("Cache-Control %q, Max-Age %d", cc, c.MaxAge)
			}
		}
	}
	for range 20 { // a request that sets what is there already is activity, too
		w.pass(day)
		w.want("the same value again", b.get("/same").body, "red")
	}
	if touches < 15 || touches > 20 {
		t.Errorf("%d touches in 13 days, the idle limit is 14", touches)
	}
	equal(t, "calls of the store", w.calls.made(), nil)
}

// A session that doesn't fit into a cookie is refused at the change, by its key,
// and what was there stays. Every session that fits has a small enough cookie,
// also when it is as old as can be.
func TestSealedSize(t *testing.T) {
	for name, mode := range map[string]func(*world, *sojourn.Options){"visitors": sealedVisitors, "everyone": sealedEveryone} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, mode)
			largest := 0
			for n := 2; n < 3100; n += 1 + n/7 {
				j := new(jar)
				check := func(s *sojourn.Session, json int) {
					w.Helper()
					w.answer(j, s)
					for _, line := range s.SetCookies() {
						if len(line) > 4096 {
							t.Errorf("a cookie of %d bytes", len(line))
						}
					}
					if got := len(s.Token()); float64(got) > 1.4*float64(json)+100 {
						t.Errorf("a cookie of %d bytes for JSON of %d", got, json)
					}
				}
				s := w.begin(j)
				err := color.Set(s, strings.Repeat("x", n))
				if errors.Is(err, sojourn.ErrTooLarge) {
					if !strings.Contains(err.Error(), `"color"`) {
						t.Errorf("the error doesn't name the key: %v", err)
					}
					if err := count.Set(s, 7); err != nil {
						t.Error(err)
					}
					check(s, len(`{"count":7}`))
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				largest = n
				json := len(`{"color":""}`) + n
				check(s, json)
				w.pass(13 * day)
				s = w.begin(j)
				w.want("a touch", s.ID().IsZero(), false)
				check(s, json)
			}
			if largest < 2500 {
				t.Errorf("the largest value has %d bytes", largest)
			}
		})
	}
	w := newWorld(t, sealedEveryone)
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, strings.Repeat("x", 2880)) })
	s := w.begin(j)
	if err := s.Login(strings.Repeat("u", 255), sojourn.AMR(strings.Repeat("m", 255))); !errors.Is(err, sojourn.ErrTooLarge) {
		t.Errorf("login: %v", err)
	}
	w.want("subject", s.Subject(), "")
	if err := color.Delete(s); err != nil {
		t.Error(err)
	}
	if err := s.Login(strings.Repeat("u", 255), sojourn.AMR(strings.Repeat("m", 255))); err != nil {
		t.Errorf("login after a deletion: %v", err)
	}
	w.answer(j, s)
	w.want("subject", len(w.look(j)), 255)
	if err := w.begin(j).ReplaceValues(map[string]json.RawMessage{"a": json.RawMessage(`"` + strings.Repeat("x", 2900) + `"`)}); !errors.Is(err, sojourn.ErrTooLarge) {
		t.Errorf("replace: %v", err)
	}
}

// The error reaches the handler at the change, so its answer can say so.
func TestSealedTooLargeBeforeTheAnswer(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		if err := color.Set(s, strings.Repeat("x", 4000)); err != nil {
			sojourn.Error(rw, r, err)
			return
		}
		fmt.Fprint(rw, handlerText)
	}, sealedVisitors)
	a := w.surfer().get("/").wantStatus(t, http.StatusRequestEntityTooLarge)
	w.want("cookies", len(a.cookies), 0)
}

// The first key seals, all open. A cookie of an older key is sealed anew at the
// next write or touch, not at a read. Without its key it is no session.
func TestSealedKeysRotate(t *testing.T) {
	old := newWorld(t, sealed(sojourn.SealVisitors, 1))
	both := newWorld(t, sealed(sojourn.SealVisitors, 2, 1))
	only := newWorld(t, sealed(sojourn.SealVisitors, 2))
	j := new(jar)
	old.visit(j, setColor)
	first := *j
	both.look(j)
	both.want("after a read", *j, first)
	only.want("without the key", only.begin(&first).RefusalReason(), sojourn.RefusedNoKey)
	only.want("without the key", only.id(&first), sojourn.ID{})
	for range 200 {
		only.id(&first)
	}
	equal(t, "endings", only.endings(), nil)
	refused := only.happened(sojourn.EventRefused)
	if len(refused) != 1 || refused[0].Refusal != sojourn.RefusedNoKey {
		t.Errorf("events: %+v", refused)
	}
	only.want("guesses", len(only.happened(sojourn.EventThrottled)), 0)

	touched := first
	both.pass(day)
	only.pass(day)
	both.look(&touched)
	if got, _ := color.Get(only.begin(&touched)); got != "red" {
		t.Errorf("after a touch: %q", got)
	}
	both.visit(j, func(s *sojourn.Session) error { return count.Set(s, 1) })
	if got, _ := color.Get(only.begin(j)); got != "red" {
		t.Errorf("after a write: %q", got)
	}
}

func TestSealedOptions(t *testing.T) {
	good := sealKey(1)
	for name, c := range map[string]struct {
		sealing sojourn.Sealing
		change  func(*sojourn.Options)
		noStore bool
		want    string // in the error; empty: none
	}{
		"visitors":              {sealing: sojourn.Sealing{Keys: [][]byte{good}}},
		"no keys":               {want: "Keys"},
		"a short key":           {sealing: sojourn.Sealing{Keys: [][]byte{good, good[1:]}}, want: "key 2 has 31 bytes"},
		"a long key":            {sealing: sojourn.Sealing{Keys: [][]byte{append(good, 1)}}, want: "33 bytes"},
		"a zero key":            {sealing: sojourn.Sealing{Keys: [][]byte{make([]byte, 32)}}, want: "zero"},
		"a key twice":           {sealing: sojourn.Sealing{Keys: [][]byte{good, sealKey(2), good}}, want: "keys 1 and 3 are the same"},
		"visitors, no store":    {sealing: sojourn.Sealing{Keys: [][]byte{good}}, noStore: true, want: "needs a store"},
		"nobody, no store":      {sealing: sojourn.Sealing{Keys: [][]byte{good}, For: sojourn.SealNobody}, noStore: true, want: "needs a store"},
		"everyone":              {sealing: sojourn.Sealing{Keys: [][]byte{good}, For: sojourn.SealEveryone, NotBefore: never}, noStore: true},
		"everyone, with store":  {sealing: sojourn.Sealing{Keys: [][]byte{good}, For: sojourn.SealEveryone, NotBefore: never}},
		"everyone, no way out":  {sealing: sojourn.Sealing{Keys: [][]byte{good}, For: sojourn.SealEveryone}, noStore: true, want: "NotBefore"},
		"for whom?":             {sealing: sojourn.Sealing{Keys: [][]byte{good}, For: 7}, want: "For is 7"},
		"everyone, with limits": {sealing: sojourn.Sealing{Keys: [][]byte{good}, For: sojourn.SealEveryone, NotBefore: never}, change: func(o *sojourn.Options) { o.MaxSessions = 5 }, want: "MaxSessions"},
		"everyone adopts": {sealing: sojourn.Sealing{Keys: [][]byte{good}, For: sojourn.SealEveryone, NotBefore: never}, noStore: true,
			change: func(o *sojourn.Options) { o.Adopt = &sojourn.Adoption{} }, want: "Adopt needs a store"},
	} {
		var st store.Store
		if !c.noStore {
			st = memstore.New()
		}
		opt := sojourn.Options{Sealed: &c.sealing}
		if c.change != nil {
			c.change(&opt)
		}
		e, err := sojourn.New(st, opt)
		if err == nil {
			e.Close(ctx)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Watermarks end sealed sessions: a subject's, and all. If the application can't
// say, nobody is logged in by mistake: 503.
func TestSealedWatermarks(t *testing.T) {
	var mark time.Time
	var failure error
	notBefore := func(_ context.Context, subject string) (time.Time, error) {
		if subject != "ann" {
			return time.Time{}, nil
		}
		return mark, failure
	}
	w := newWorld(t, sealedEveryone, options(func(o *sojourn.Options) { o.Sealed.NotBefore = notBefore }))
	ann, ben, visitor := w.loggedIn("ann"), w.loggedIn("ben"), new(jar)
	w.visit(visitor, setColor)
	failure = errors.New("the users' table is down")
	if err := w.begin(ann).Load(ctx); !errors.Is(err, sojourn.ErrUnavailable) || !errors.Is(err, failure) {
		t.Errorf("load: %v", err)
	}
	failure = nil
	w.want("a visitor", w.id(visitor).IsZero(), false)
	w.want("before", w.look(ann), "ann")
	w.pass(time.Second)
	mark = w.time()
	s := w.begin(ann)
	w.want("after", s.Subject(), "")
	w.want("reason", s.EndReason(), sojourn.ReasonRevoked)
	w.want("another user", w.look(ben), "ben")
	w.login(ann, "ann") // at the time of the mark
	w.want("a new login", w.look(ann), "ann")
	w.pass(time.Second)
	mark = w.time()
	late := w.begin(ann)
	if err := late.Load(ctx); err != nil {
		t.Fatal(err)
	}

	all := newWorld(t, sealedEveryone, options(func(o *sojourn.Options) { o.Sealed.AllNotBefore = epoch.Add(time.Minute) }))
	all.pass(2 * time.Minute)
	for name, j := range map[string]*jar{"a user": ben, "a visitor": visitor} {
		s := all.begin(j)
		all.want(name, s.ID(), sojourn.ID{})
		all.want(name, s.EndReason(), sojourn.ReasonRevoked)
	}
	all.want("a login since", all.look(all.loggedIn("ben")), "ben")
}

// What needs a store says so, and names the call.
func TestSealedUnsupported(t *testing.T) {
	for name, mode := range map[string]func(*world, *sojourn.Options){
		"without a store": sealedEveryone,
		"with a store":    sealed(sojourn.SealEveryone, 1),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, mode)
			id := w.id(w.loggedIn("ann"))
			_, _, list := w.List(ctx, "ann", "", 10)
			_, _, snapshots := w.ListSnapshots(ctx, "ann", "", 10)
			_, ended := w.ListEnded(ctx, "ann", 10)
			_, _, counted := w.Count(ctx)
			_, get := w.Get(ctx, id)
			_, touch := w.Touch(ctx, id)
			_, set := w.SetValues(ctx, id, 0, nil)
			_, replace := w.ReplaceValues(ctx, id, 0, nil)
			_, subject := w.EndSubject(ctx, "ann", sojourn.ID{})
			_, barrier := w.Barrier(ctx, "ann")
			for call, err := range map[string]error{
				"List": list, "List ": snapshots, "ListEnded": ended, "Count": counted, "Get": get, "Touch": touch, "SetValues": set, "ReplaceValues": replace,
				"End": w.End(ctx, id), "EndOwn": w.EndOwn(ctx, "ann", id), "EndSubject": subject, "EndAll": w.EndAll(ctx), "Barrier": barrier,
				"Request.Key": w.Begin(ctx, sojourn.Request{Key: "k"}).Load(ctx),
			} {
				if !errors.Is(err, sojourn.ErrUnsupported) || !strings.Contains(err.Error(), call) || sojourn.StatusCode(err) != http.StatusNotImplemented {
					t.Errorf("%s: %v", call, err)
				}
			}
			w.want("a token of a store", w.begin(&jar{session: strings.Repeat("A", 64)}).RefusalReason(), sojourn.RefusedUnknown)
			if err := w.Flush(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// A request that reads a value of a sealed session allocates at most six times.
func TestSealedAllocations(t *testing.T) {
	if raceEnabled() {
		t.Skip("sync.Pool drops values under the race detector")
	}
	w := newWorld(t, sealedVisitors)
	j := new(jar)
	w.visit(j, setColor)
	h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if got, err := color.Get(sojourn.From(r.Context())); got != "red" || err != nil {
			t.Errorf("color: %q, %v", got, err)
		}
	}))
	r := httptest.NewRequest("GET", "http://localhost/", nil)
	r.RemoteAddr = home.IP.String() + ":1"
	r.Header.Set("Cookie", "__Host-visitor="+j.visitor)
	rw := &discard{header: http.Header{}}
	least := 1000.0
	for range 5 { // other tests may allocate at the same time
		least = min(least, testing.AllocsPerRun(100, func() { clear(rw.header); h.ServeHTTP(rw, r) }))
	}
	if least > 6 {
		t.Errorf("%v allocations to read a value", least)
	}
}
