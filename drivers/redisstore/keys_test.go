package redisstore

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// A cluster's nodes, which have ranges of slots, share the buckets evenly.
func TestTags(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i, tag := range tags {
		if slot := slotOf(tag); slot/slotWindow != i {
			t.Errorf("the slot of bucket %d is %d", i, slot)
		}
		if seen[tag] {
			t.Errorf("two buckets have the tag %s", tag)
		}
		seen[tag] = true
	}
	if slot := slotOf("123456789"); slot != 0x31C3 { // the specification's own example
		t.Errorf("slotOf = %#x", slot)
	}
}

func FuzzEscape(f *testing.F) {
	for _, text := range []string{"", "shop", "a b", "{}:%", "\x00\xff", "%41", "a/b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		escaped := escape(text)
		if got, err := url.PathUnescape(escaped); err != nil || got != text {
			t.Errorf("PathUnescape(%q) = %q, %v, want %q", escaped, got, err, text)
		}
		if strings.ContainsAny(escaped, "{}:/ \x00\"") {
			t.Errorf("escape(%q) = %q", text, escaped)
		}
	})
}

// Every key expires at some time, except those whose docs say otherwise, and
// none expires before its time: after any calls, at any times of the callers'
// clocks. Where the clocks agree to within some hours, an index outlasts its
// content.
func TestI7EveryKeyHasALife(t *testing.T) {
	t.Parallel()
	for name, wild := range map[string]bool{"clocks that jump": true, "clocks that agree": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			walkThroughLives(t, wild)
		})
	}
}

func walkThroughLives(t *testing.T, wild bool) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	r := servertest.Redis(t, servertest.RedisOptions{})
	s := openAt(t, r.URL(), Options{})
	var recs []*store.Record
	now := t0
	for i := range 3000 {
		now += store.Time(rnd.IntN(1000))
		switch r := rnd.IntN(200); { // far ahead and long ago, so that deadlines are past or in the distant future
		case r == 0:
			now += store.Time(rnd.IntN(1000)) * hour
		case r == 1 && wild:
			now = store.Time(rnd.IntN(1000)) * hour
		case r == 2 && wild:
			now = t0
		}
		subject := []string{"", "ada", "bob", "e\x00v\xff"}[rnd.IntN(4)]
		if len(recs) == 0 || rnd.IntN(3) == 0 {
			rec := sessionAt(subject, now)
			rec.ID[15] %= 4 // of the buckets
			rec.Idle = []time.Duration{0, time.Millisecond, time.Hour, 1e4 * time.Hour}[rnd.IntN(4)]
			rec.ExpiresAt = now + []store.Time{-1e12, 0, 1, hour, 1e13}[rnd.IntN(5)]
			opt := created(rec)
			opt.Limit.Max = rnd.IntN(4)
			if rnd.IntN(3) == 0 {
				opt.Key = strconv.Itoa(rnd.IntN(10))
			}
			_, _ = s.Create(t.Context(), app, rec, opt)
			recs = append(recs, rec)
			continue
		}
		rec := recs[rnd.IntN(len(recs))]
		switch rnd.IntN(7) {
		case 0, 1, 2:
			var got store.Record
			if s.Get(t.Context(), app, rec.ID, true, &got) == nil {
				got.Subject = subject
				got.LastSeenAt += store.Time(rnd.IntN(5)-2) * hour
				got.ExpiresAt += store.Time(rnd.IntN(5)-2) * hour
				_, _ = s.Update(t.Context(), app, &got, store.UpdateOptions{Login: rnd.IntN(2) == 0, Limit: store.Limit{Max: rnd.IntN(4)}, Arrived: now, Now: now - store.Time(rnd.IntN(3))*hour})
			}
		case 3:
			_ = s.Touch(t.Context(), app, rec.ID, now+store.Time(rnd.IntN(5)-2)*hour, now-hour, store.Client{UserAgent: "x"})
		case 4:
			_, _ = s.End(t.Context(), app, rec.ID, store.ReasonLogout, now)
		case 5:
			if subject != "" && rnd.IntN(5) == 0 {
				_, _ = s.EndSubject(t.Context(), app, subject, rec.ID, store.ReasonRevoked, now)
			}
			_ = s.Confirm(t.Context(), app, rec.ID, rec.Secret.Hash, store.Confirmation{FirstSeenAt: now})
		case 6:
			if rnd.IntN(20) == 0 {
				_ = s.EndAll(t.Context(), app, now-100*hour)
			}
			_, _, _ = s.Sweep(t.Context(), app, now, 100)
		}
		if i%50 == 0 {
			checkLives(t, r, s, !wild)
		}
	}
	checkLives(t, r, s, !wild)
}

func checkLives(t *testing.T, r *servertest.RedisServer, s *Store, agree bool) {
	t.Helper()
	keys, err := r.Do("KEYS", "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys.([]any) {
		key := k.(string)
		ms, err := r.Do("PTTL", key)
		if err != nil {
			t.Fatal(err)
		}
		forGood := strings.HasPrefix(key, s.prefix+":mark:")
		if ms := ms.(int64); !forGood && ms <= 0 || forGood && ms != -1 {
			t.Fatalf("the TTL of %s is %d ms", key, ms)
		}
		if kind := strings.Split(key, ":")[1]; kind != "block" && !forGood && ms.(int64) < int64(hour-1000) {
			t.Fatalf("the TTL of %s is %d ms: it goes before its time", key, ms)
		}
		if strings.Contains(key, ":feed:") || strings.Contains(key, ":pulse:") {
			t.Fatalf("%s has stayed", key)
		}
	}
	for bucket := 0; agree && bucket < 4; bucket++ {
		p := s.place(app, bucket)
		for _, index := range []string{p.in(), p.anon(), p.due()} {
			ids, err := r.Do("ZRANGE", index, "0", "-1")
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range ids.([]any) {
				of, _ := r.Do("PTTL", p.prefix+":s"+p.tail+":"+id.(string))
				its, _ := r.Do("PTTL", index)
				if its.(int64)+1000 < of.(int64) {
					t.Fatalf("%s goes in %d ms, session %s in %d", index, its, id, of)
				}
			}
		}
	}
}

// A person can read a session with redis-cli.
func TestReadable(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("redis-cli"); err != nil {
		servertest.Check(t, fmt.Errorf("needs redis-cli: %w", servertest.ErrMissing))
	}
	r := shared(t, single)
	s := open(t, Options{})
	rec := session("ada@example.org")
	rec.Client.UserAgent = `Brow"ser/1.0 ü`
	create(t, s, rec)
	cli := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "redis-cli", append([]string{"-p", strconv.Itoa(r.Port()), "--raw"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("redis-cli: %v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	text := cli("GET", s.placeOf(app, rec.ID).session(rec.ID))
	var got struct {
		V         int   `json:"v"`
		Revision  int   `json:"revision"`
		CreatedAt int64 `json:"created_at"`
		Subject   string
		Client    struct {
			UserAgent string `json:"user_agent"`
		}
		Values map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if got.V != 1 || got.Revision != 1 || got.CreatedAt != int64(t0) || got.Subject != "ada@example.org" || got.Client.UserAgent != rec.Client.UserAgent ||
		string(got.Values["cart"]) != `{"sku":1}` {
		t.Errorf("redis-cli shows %s", text)
	}
	if list := cli("ZRANGE", s.prefix+":subject:{shop/ada@example.org}", "0", "-1"); !strings.HasPrefix(list, rec.ID.String()+" ") {
		t.Errorf("the subject's index is %q", list)
	}
	if _, err := s.End(t.Context(), app, rec.ID, store.ReasonLogout, t0+5); err != nil {
		t.Fatal(err)
	}
	text = cli("GET", s.placeOf(app, rec.ID).session(rec.ID))
	if !json.Valid([]byte(text)) || !strings.Contains(text, `"end":"logout"`) || regexp.MustCompile(`ada|sku|Brow`).MatchString(text) {
		t.Errorf("the tombstone is %s", text)
	}
}

// decode refuses a damaged or foreign text, or reads what it says. It does not
// fail in another way.
func FuzzDecode(f *testing.F) {
	rec := session("ada")
	rec.Good = []store.Secret{{IssuedAt: 1}, {Login: true}}
	rec.Spent = []store.Spent{{Until: 3}}
	rec.Epochs = []store.Fingerprint{{1}}
	for _, r := range []*store.Record{rec, session(""), session("\xff\x00\"\\"), {Values: store.Values(nil).AppendSet(nil, "\xff", []byte("1"))}} {
		e := encode(r)
		f.Add(e.full(r.CreatedAt, "1-a"), encodeSeen(7, store.Client{UserAgent: "x"}))
	}
	f.Add(`{"v":2}`, "")
	f.Add(`{"v":1,"end":"logout","end_at":5,"revision":1,"created_at":0`, `{`)
	f.Fuzz(func(t *testing.T, text, seen string) {
		var got, again store.Record
		if err := decode(store.ID{1}, text, seen, &got); err != nil || got.End != "" {
			return
		}
		if err := got.Values.Check(); err != nil {
			t.Fatal(err)
		}
		e := encode(&got)
		if err := decode(store.ID{1}, e.full(got.CreatedAt, ""), "", &again); err != nil {
			t.Fatalf("%s: %v", e.rest, err)
		}
		again.Revision = got.Revision
		if !again.Equal(&got) {
			t.Errorf("%+v became %+v", got, again)
		}
	})
}

// Reading into a record that was used before allocates only its strings.
func TestDecodeAllocates(t *testing.T) {
	rec := session("ada")
	rec.Good, rec.Spent = make([]store.Secret, 3), make([]store.Spent, 5)
	e := encode(rec)
	text, seen := e.full(rec.CreatedAt, "1-a"), encodeSeen(7, store.Client{UserAgent: "x"})
	var got store.Record
	if n := testing.AllocsPerRun(100, func() {
		if err := decode(rec.ID, text, seen, &got); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("decode allocates %v times", n)
	}
}
