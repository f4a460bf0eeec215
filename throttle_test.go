package sojourn_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

func trustLoopback(o *sojourn.Options) {
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Guessing is noticed: each bad token up to the limit is an event, then one event says that there are more, and the guesser gets 429. Who
// presents a good token, or none, is served all the same, from that address too.
func TestThrottleGuessing(t *testing.T) {
	w := newWeb(t, nil, options(trustLoopback))
	b := w.surfer("X-Forwarded-For", "203.0.113.7").login("alice")
	guess := func(i int) *reply {
		token := fmt.Sprintf("%064d", i)
		if i%2 == 1 {
			token = "malformed"
		}
		return w.surfer("X-Forwarded-For", "203.0.113.7", "Cookie", "__Host-session="+token).get("/who")
	}
	for i := range 1000 {
		a := guess(i)
		if i < 100 {
			w.want("guess", a.wantStatus(t, 200).body, "nobody")
			continue
		}
		a.withheld(t, http.StatusTooManyRequests)
		if a.Header.Get("Retry-After") == "" || !strings.Contains(a.body, "cookies") {
			t.Errorf("what should a person do? %v %q", a.Header, a.body)
		}
	}
	w.want("refusals", len(w.happened(sojourn.EventRefused)), 100)
	throttled := w.happened(sojourn.EventThrottled)
	if len(throttled) != 1 || throttled[0].Client.IP.String() != "203.0.113.7" {
		t.Errorf("throttled: %+v", throttled)
	}
	w.want("a good token from there", b.who(), "alice")
	w.want("no token from there", w.surfer("X-Forwarded-For", "203.0.113.7").who(), "nobody")
	w.want("a bad token from elsewhere", w.surfer("X-Forwarded-For", "203.0.113.8", "Cookie", "__Host-session=x").who(), "nobody")
	w.surfer("X-Forwarded-For", "203.0.113.7").login("bob")

	w.pass(time.Minute)
	guess(0).wantStatus(t, 200)
}

// Nor do several cookies of one name get around it.
func TestThrottleCountsCrowds(t *testing.T) {
	w := newWeb(t, nil, options(func(o *sojourn.Options) { o.MaxBadTokens = 3 }))
	for _, cookie := range []string{"__Host-session=x; __Host-session=x", "__Host-session=x; __Host-session=y"} {
		w.pass(time.Minute)
		b := w.surfer("Cookie", cookie)
		for range 3 {
			w.want(cookie, b.who(), "nobody")
		}
		b.get("/who").wantStatus(t, http.StatusTooManyRequests)
	}
}

// A handler that doesn't ask for the session isn't disturbed.
func TestThrottleIsLazy(t *testing.T) {
	w := newWeb(t, func(http.ResponseWriter, *http.Request, *sojourn.Session) {}, options(func(o *sojourn.Options) { o.MaxBadTokens = 1 }))
	b := w.surfer("Cookie", "__Host-session=x")
	for range 5 {
		b.get("/who")
	}
	b.get("/who").wantStatus(t, http.StatusTooManyRequests)
	b.get("/").wantStatus(t, 200)
}

// Ended sessions and former secrets are no guesses: a browser that comes back is never throttled for them.
func TestThrottleCountsGuessesOnly(t *testing.T) {
	w := newWeb(t, nil, options(func(o *sojourn.Options) { o.MaxBadTokens = 3 }))
	ended, former := w.surfer().login("alice"), w.surfer().login("bob")
	ended.fork().post("/logout")
	former.fork().login("bob")
	for range 20 {
		w.want("ended", ended.who(), "nobody")
		w.want("former", former.who(), "nobody")
	}
	w.want("throttled", len(w.happened(sojourn.EventThrottled)), 0)
}

// One guesser of IPv6 has a /64.
func TestThrottleNetworks(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = 10 }))
	try := func(ip string) error {
		return w.Begin(t.Context(), sojourn.Request{Session: []string{"x"}, Client: sojourn.Client{IP: netip.MustParseAddr(ip)}}).Load(t.Context())
	}
	for i := range 10 {
		if err := try(fmt.Sprintf("2001:db8::%x", i)); err != nil {
			t.Fatal(err)
		}
	}
	for ip, want := range map[string]error{
		"2001:db8::ffff:1": sojourn.ErrThrottled, "2001:db8:0:1::1": nil, "203.0.113.1": nil,
	} {
		if err := try(ip); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", ip, err, want)
		}
	}
	for range 10 {
		try("203.0.113.9")
	}
	if err := try("::ffff:203.0.113.9"); !errors.Is(err, sojourn.ErrThrottled) {
		t.Errorf("an IPv4 address in IPv6: %v", err)
	}
}

// No limit, and requests without an address (a Unix socket), are not counted.
func TestThrottleOff(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = -1 }))
	for range 500 {
		w.want("who", w.look(&jar{session: "x"}), "")
	}
	w = newWorld(t)
	for range 500 {
		if err := w.Begin(t.Context(), sojourn.Request{Session: []string{"x"}}).Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A flood of addresses takes no memory: the table is of fixed size.
func TestThrottleIsBounded(t *testing.T) {
	w := newWorld(t)
	before := testing.AllocsPerRun(1, func() {})
	n := testing.AllocsPerRun(5000, func() {
		w.now = w.now.Add(time.Microsecond)
		s := w.Begin(t.Context(), sojourn.Request{Session: []string{"x"}, Client: sojourn.Client{IP: netip.AddrFrom4([4]byte{byte(w.now.UnixMicro() >> 16), byte(w.now.UnixMicro() >> 8), byte(w.now.UnixMicro()), 1})}})
		s.Load(t.Context())
	})
	if n-before > 10 {
		t.Errorf("%v allocations for a guess", n)
	}
}
