package redisstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// The usual update does what the general update would have done, and changes
// nothing if it says "unusual". Both run random updates, each on a copy of all
// keys.
func TestUsualUpdateIsAnUpdate(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := chance{rand.New(rand.NewPCG(seed, 0))}
	url := servertest.Redis(t, servertest.RedisOptions{}).URL()
	usual, full := openAt(t, url, Options{Prefix: "usual"}), openAt(t, url, Options{Prefix: "full"})
	rounds := 1000
	if testing.Short() {
		rounds = 200
	}
	counts := map[string]int{}
	for round := range rounds {
		redis(t, usual, "FLUSHALL")
		rec := c.record()
		create(t, usual, rec)
		c.happenTo(t, usual, rec)
		next := c.next(rec)
		now := t0 + of(c, 0, 1, 5000, 5000, 5000, 59_999, 60_000, 60_001, hour-1, hour, hour+5000, 24*hour)
		for _, key := range keysOf(t, usual) {
			redis(t, usual, "COPY", usual.prefix+key, full.prefix+key)
		}
		opt := store.UpdateOptions{Arrived: now, Now: now}
		try := func(s *Store) *update { return &update{s: s, app: app, rec: next, opt: &opt, e: encode(next)} }

		before := contents(t, usual)
		done, err := try(usual).usual(t.Context())
		after := contents(t, usual)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		a, err := try(full).write(t.Context(), ticket{})
		if !done {
			if errors.Is(err, ErrForeign) {
				err = ErrForeign
			}
			counts[fmt.Sprintf("unusual: %s, %v", a.text(0), err)]++
			if diff := before.differs(after); diff != "" {
				t.Errorf("round %d: the update that is called unusual changed %s", round, diff)
			}
			continue
		}
		counts["usual"]++
		if err != nil || a.text(0) != "ok" {
			t.Errorf("round %d: the other update comes to %q, %v", round, a.text(0), err)
		}
		if diff := after.differs(contents(t, full)); diff != "" {
			t.Errorf("round %d: the updates differ in %s", round, diff)
		}
		var got, want store.Record
		err, wanted := usual.Get(t.Context(), app, rec.ID, true, &got), full.Get(t.Context(), app, rec.ID, true, &want)
		if (err == nil) != (wanted == nil) || !got.Equal(&want) {
			t.Errorf("round %d: Get returns %+v, %v, and after the other update %+v, %v", round, got, err, want, wanted)
		}
	}
	t.Log(counts)
	if n := counts["usual"]; n < rounds/20 || n > rounds*19/20 {
		t.Errorf("of %d updates %d were usual: that tests little", rounds, n)
	}
}

// A chance makes random sessions with texts that look like other fields.
type chance struct{ *rand.Rand }

func of[T any](c chance, list ...T) T { return list[c.IntN(len(list))] }

func (c chance) oneIn(n int) bool { return c.IntN(n) == 0 }

func (c chance) subject() string {
	return of(c, "", "", "ada", "bob", "\xff\x00", `q",",\`, `,"subject":"ada","authenticated_at":`, strings.Repeat("x", 255), "a:b{c}")
}

func (c chance) client() store.Client {
	return store.Client{
		IP:        of(c, netip.Addr{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr(`fe80::1%eth0"x`)),
		UserAgent: of(c, "", "ua", `x"},"last_client":{"ip"`, `,"subject":"ada","authenticated_at":`, "\xff\xfe", `a,"client":b`, `,"values":`),
	}
}

func (c chance) values() store.Values {
	return store.Values(nil).AppendSet(nil, of(c, "cart", `,"subject":"`),
		[]byte(of(c, `{"sku":1}`, `",\"subject\":\"ada\",\"authenticated_at\":"`, `"`+strings.Repeat("y", 5000)+`"`)))
}

func (c chance) record() *store.Record {
	rec := session(c.subject())
	rec.Idle = of(c, time.Hour, time.Hour, time.Hour, time.Minute, 0, 30*24*time.Hour, 20*time.Second)
	rec.ExpiresAt = t0 + of(c, 24*hour, 24*hour, 24*hour, 60_000, 1, 1<<55)
	rec.Client, rec.AMR, rec.Values = c.client(), of(c, "", "pwd", `"\`, `,"ticket":"9"`), c.values()
	if rec.LastClient = rec.Client; c.oneIn(2) {
		rec.LastClient = c.client()
	}
	if c.oneIn(4) {
		rec.Good = []store.Secret{{IssuedAt: 5, Until: 7}}
	}
	return rec
}

// happenTo changes a new session in ways that may precede an update.
func (c chance) happenTo(t *testing.T, s *Store, rec *store.Record) {
	t.Helper()
	p := s.placeOf(app, rec.ID)
	if c.oneIn(2) {
		at := t0 + of[store.Time](c, 1, 5000, 50_000)
		_ = s.Touch(t.Context(), app, rec.ID, at, at, c.client()) // some have expired
	}
	if c.oneIn(10) {
		redis(t, s, "SET", p.seen(rec.ID), of(c, "xx", `{"last_seen_at":x`, ""), "PX", "99999999")
	}
	if c.oneIn(6) {
		redis(t, s, "SET", p.mark(), of(c, itoa(t0-1), itoa(t0), itoa(t0+1), "xx", "nan"))
	}
	if c.oneIn(10) {
		if _, err := s.End(t.Context(), app, rec.ID, store.ReasonLogout, t0+1); err != nil && !errors.Is(err, ErrForeign) {
			t.Fatal(err)
		}
	}
}

// next returns a record for an update.
func (c chance) next(rec *store.Record) *store.Record {
	next := session0(rec)
	if c.oneIn(12) {
		next.Revision++
	}
	if c.oneIn(12) {
		next.CreatedAt++
	}
	if c.oneIn(12) {
		next.Idle = of(c, time.Hour, time.Minute, 0)
	}
	if c.oneIn(12) {
		next.ExpiresAt += of[store.Time](c, -1, 1, hour)
	}
	if c.oneIn(8) {
		next.Subject = c.subject()
	}
	next.LastSeenAt = t0 + of[store.Time](c, -1, 0, 1, 4999, 5000, 5001, 50_000, 50_000, 50_000, -2*t0)
	next.LastClient, next.AMR, next.Values = c.client(), of(c, "", "x", `,"subject":"`), c.values()
	return next
}

// keysOf returns the names of a store's keys, without the prefix.
func keysOf(t *testing.T, s *Store) (names []string) {
	t.Helper()
	for _, key := range redis(t, s, "KEYS", s.prefix+":*").([]any) {
		names = append(names, strings.TrimPrefix(key.(string), s.prefix))
	}
	return names
}

// A content is the content of a key and its time to live in milliseconds.
type content struct {
	value string
	ttl   int64
}

// A keyspace is all keys of a store, without the prefix.
type keyspace map[string]content

func contents(t *testing.T, s *Store) keyspace {
	t.Helper()
	all := keyspace{}
	for _, name := range keysOf(t, s) {
		key := s.prefix + name
		read := map[any][]string{
			"string": {"GET", key}, "zset": {"ZRANGE", key, "0", "-1", "WITHSCORES"}, "set": {"SMEMBERS", key},
		}[redis(t, s, "TYPE", key)]
		all[name] = content{fmt.Sprint(redis(t, s, read...)), redis(t, s, "PTTL", key).(int64)}
	}
	return all
}

// differs describes the first difference, or returns "". Times to live may
// differ by the delays of a busy machine.
func (a keyspace) differs(b keyspace) string {
	for name := range b {
		if _, ok := a[name]; !ok {
			return name + ", which is there only once"
		}
	}
	for name, x := range a {
		y, ok := b[name]
		if apart := x.ttl - y.ttl; !ok || x.value != y.value || max(apart, -apart) > 30_000 {
			return fmt.Sprintf("%s: %+v and %+v", name, x, y)
		}
	}
	return ""
}
