package sojourn_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// unknownToken returns a well-formed token of no session. Each has a different
// ID.
func unknownToken(n int) string { return fmt.Sprintf("%020d%044d", n, n) }

// reads returns how often the store was read since the last call.
func (w *web) reads() (n int) {
	for _, name := range w.calls.reset() {
		if name == "Get" {
			n++
		}
	}
	return n
}

// Guesses are events up to the limit. Then one event says that there are more,
// and from then on the engine looks up few tokens a second. The guesser is a
// visitor all the time. Nobody else is affected: a live token works from that
// address too.
func TestThrottleGuessing(t *testing.T) {
	w := newWeb(t, nil, options(trustLoopback))
	from := func(ip string) *surfer { return w.surfer("X-Forwarded-For", ip) }
	alice := from("203.0.113.7").login("alice")
	guess := func(i int) *reply {
		return w.surfer("X-Forwarded-For", "203.0.113.7", "Cookie", "__Host-session="+unknownToken(i)).get("/who")
	}
	w.reads()
	for i := range 1000 {
		w.want("guess", guess(i).wantStatus(t, 200).body, "nobody")
	}
	w.want("reads", w.reads(), 110)
	w.want("refusals", len(w.happened(sojourn.EventRefused)), 100)
	throttled := w.happened(sojourn.EventThrottled)
	if len(throttled) != 1 || throttled[0].Client.IP.String() != "203.0.113.7" {
		t.Errorf("throttled: %+v", throttled)
	}
	for i := range 9 {
		w.pass(time.Second)
		w.reads()
		for j := range 100 {
			guess(1000 + 100*i + j)
		}
		w.want("reads in a second", w.reads(), 10)
	}
	w.want("a live token from there", alice.who(), "alice")
	w.want("no token from there", from("203.0.113.7").who(), "nobody")
	w.want("a dead token from elsewhere", w.surfer("X-Forwarded-For", "203.0.113.8", "Cookie", "__Host-session=x").who(), "nobody")
	from("203.0.113.7").login("bob")

	w.pass(time.Minute)
	w.reads()
	guess(5000)
	w.want("reads a minute later", w.reads(), 1)
}

// The engine looks up a throttled token before it writes, so that nothing lands
// in the wrong session. It also does so before a sign-out, so that the session
// ends.
func TestThrottleUndecided(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = 3 }))
	other, err := sojourn.New(w.store, sojourn.Options{Now: w.time}) // a node that has seen what w hasn't
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(ctx)
	fresh := func() *jar { // logs in on the other node
		s := other.Begin(ctx, sojourn.Request{Client: home})
		if err := errors.Join(s.Login("ann"), s.Commit(ctx)); err != nil {
			t.Fatal(err)
		}
		return &jar{session: s.Token()}
	}
	exhaust := func() {
		for i := range 50 {
			w.want("a guess", w.look(&jar{session: unknownToken(i)}), "")
		}
	}
	exhaust()

	j := fresh()
	s := w.begin(j)
	w.want("undecided", s.RefusalReason(), sojourn.RefusedThrottled)
	w.want("subject", s.Subject(), "")
	w.visit(j, func(s *sojourn.Session) error {
		w.want("undecided", s.Subject(), "")
		return color.Set(s, "red")
	})
	w.want("visitor's cookie", j.visitor, "")
	w.want("decided by the write", w.look(j), "ann")
	v, _ := color.Get(w.begin(j))
	w.want("color", v, "red")

	j = fresh()
	id := func() sojourn.ID {
		s := other.Begin(ctx, sojourn.Request{Session: []string{j.session}, Client: home})
		return s.ID()
	}
	before := id()
	w.login(j, "ann")
	w.want("a login goes on in the same session", id(), before)

	j = fresh()
	old := *j
	w.visit(j, (*sojourn.Session).Logout)
	w.want("a sign-out ends the session", other.Begin(ctx, sojourn.Request{Session: []string{old.session}}).Subject(), "")

	// Sign-outs with unknown tokens have a budget too. Beyond it, they return
	// an error.
	refused := 0
	for i := range 50 {
		s := w.begin(&jar{session: unknownToken(1000 + i)})
		if err := s.Logout(); errors.Is(err, sojourn.ErrThrottled) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused < 30 || refused > 45 {
		t.Errorf("%d of 50 sign-outs with unknown tokens were refused", refused)
	}
}

// A planted cookie doesn't win because the visitor's own cookie isn't looked
// up: the engine chooses only if it has looked up both.
func TestThrottleUndecidedBeside(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = 3 }))
	other, err := sojourn.New(w.store, sojourn.Options{Now: w.time})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(ctx)
	s := other.Begin(ctx, sojourn.Request{Client: home})
	if err := errors.Join(s.Login("ann"), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	own, planted := s.Token(), w.loggedIn("mallory").session
	for i := range 50 {
		w.look(&jar{session: unknownToken(i)})
	}
	for _, cookies := range [][]string{{own, planted}, {planted, own}} {
		s := w.Begin(ctx, sojourn.Request{Session: cookies, Client: home})
		w.want("subject", s.Subject(), "")
		w.want("refused", s.RefusalReason(), sojourn.RefusedThrottled)
	}
	s = w.Begin(ctx, sojourn.Request{Session: []string{own, planted}, Client: home})
	if err := errors.Join(color.Set(s, "red"), s.Commit(ctx)); err != nil {
		t.Fatal(err)
	}
	w.want("written as", s.Subject(), "")
	w.want("a live token alone", w.look(&jar{session: planted}), "mallory")
}

// A browser sends its dead token in many parallel requests, and it counts once.
func TestThrottleCountsParallelRequestsOnce(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = 1000 }))
	const tokens, requests = 500, 16
	for n := range tokens {
		var ready, done sync.WaitGroup
		start := make(chan struct{})
		for range requests {
			ready.Add(1)
			done.Go(func() {
				s := w.begin(&jar{session: unknownToken(n)})
				ready.Done()
				<-start
				s.Subject()
			})
		}
		ready.Wait()
		close(start)
		done.Wait()
	}
	w.want("refusals", len(w.happened(sojourn.EventRefused)), tokens)
}

// A client that sends garbage displaces nothing that is remembered about
// others.
func TestThrottleMemoryOutlastsGarbage(t *testing.T) {
	w := newWeb(t, nil, options(trustLoopback))
	back := w.surfer("X-Forwarded-For", "203.0.113.8", "Cookie", "__Host-session="+unknownToken(1))
	back.who()
	w.pass(time.Second)
	garbage := sojourn.Client{IP: netip.MustParseAddr("203.0.113.7")}
	for i := range 100_000 {
		w.Begin(ctx, sojourn.Request{Session: []string{fmt.Sprint(i)}, Client: garbage}).Subject()
	}
	w.want("throttled", len(w.happened(sojourn.EventThrottled)), 1)
	w.reads()
	for range 20 {
		w.want("the returning browser", back.who(), "nobody")
	}
	w.want("reads", w.reads(), 0)
}

// Several cookies don't circumvent the limit. A request reads the store at most
// once for each distinct token, and never for tokens known to be dead.
func TestThrottleCountsCrowds(t *testing.T) {
	w := newWeb(t, nil, options(func(o *sojourn.Options) { o.MaxBadTokens = 3 }))
	var cookies []string
	for i := range 8 {
		cookies = append(cookies, "__Host-session="+unknownToken(i), "__Host-visitor="+unknownToken(i))
	}
	b := w.surfer("Cookie", strings.Join(cookies, "; "))
	w.reads()
	w.want("a crowd", b.who(), "nobody")
	if n := w.reads(); n > 8 {
		t.Errorf("%d reads for eight tokens", n)
	}
	w.want("throttled", len(w.happened(sojourn.EventThrottled)), 1)
	for range 20 {
		w.want("a crowd", b.who(), "nobody")
	}
	w.want("reads of the same crowd", w.reads(), 0)
}

// A returning browser is never throttled. A request with a dead token is a
// visitor's, however often it is sent, and can sign in and out.
func TestThrottleSparesWhoComesBack(t *testing.T) {
	w := newWeb(t, nil, options(func(o *sojourn.Options) { o.MaxBadTokens = 3 }))
	ended, former, forgotten := w.surfer().login("alice"), w.surfer().login("bob"), w.surfer("Cookie", "__Host-session="+unknownToken(1))
	ended.fork().post("/logout")
	former.fork().login("bob")
	w.reads()
	for range 101 {
		w.want("ended", ended.who(), "nobody")
		w.want("reason", ended.get("/ended").body, string(sojourn.ReasonLogout))
		w.want("forgotten", forgotten.who(), "nobody")
		forgotten.post("/logout").wantStatus(t, http.StatusSeeOther)
	}
	w.want("reads", w.reads(), 2)
	for range 20 {
		w.want("former", former.who(), "nobody")
	}
	w.want("throttled", len(w.happened(sojourn.EventThrottled)), 0)
	w.want("refusals", len(w.happened(sojourn.EventRefused)), 3)
	forgotten.post("/login?user=carol").wantStatus(t, http.StatusSeeOther)
	w.want("ended, again", ended.login("alice").who(), "alice")

	// A token whose session the store has restored works again soon.
	w.pass(time.Minute)
	w.reads()
	for range 10 {
		w.surfer("Cookie", "__Host-session="+unknownToken(1)).who()
	}
	if n := w.reads(); n != 1 && !cached { // the cache remembers absent sessions for a second
		t.Errorf("%d reads a minute later", n)
	}
	w.want("refusals", len(w.happened(sojourn.EventRefused)), 3)
}

// What is remembered doesn't hide a theft: a former secret is judged before it
// counts as dead.
func TestThrottleKeepsTheft(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = 1 }))
	j := w.loggedIn("ann")
	w.confirm(j)
	old := *j
	w.visit(j, (*sojourn.Session).Rotate)
	w.pass(time.Minute)
	w.want("within the grace", w.look(&old), "ann")
	w.look(j)
	w.confirm(j)
	w.pass(11 * time.Minute)
	for i := range 100 {
		w.look(&jar{session: unknownToken(i)})
	}
	w.want("after the grace", w.look(&old), "")
	equal(t, "endings", w.endings(), []sojourn.Reason{sojourn.ReasonTheft})
}

// 500 browsers behind one address come back after three days, while somebody
// there guesses tokens. The tests of forward-auth have one with the same name.
func TestThrottleFiveHundredBrowsers(t *testing.T) {
	browsers, assets := 500, 150
	if testing.Short() {
		browsers, assets = 150, 20
	}
	w := newWorld(t, watched)
	jars := make([]*jar, browsers)
	for i := range jars {
		jars[i] = w.loggedIn(fmt.Sprintf("user-%d", i))
	}
	w.pass(3 * 24 * time.Hour)
	for done := false; !done; {
		_, done, _ = w.store.Sweep(ctx, "default", store.TimeOf(w.time()), 1000)
	}
	w.pass(2 * time.Hour)
	for done := false; !done; {
		_, done, _ = w.store.Sweep(ctx, "default", store.TimeOf(w.time()), 1000)
	}

	guesses, reads, second := 0, 0, w.time()
	before := len(w.happened(sojourn.EventThrottled))
	for i, j := range jars {
		w.flush()
		w.mu.Lock()
		w.now = w.now.Add(2 * time.Minute / time.Duration(browsers))
		w.mu.Unlock()
		w.calls.reset()
		for range 20 {
			guesses++
			w.want("a guess", w.look(&jar{session: unknownToken(guesses)}), "")
		}
		for _, name := range w.calls.reset() {
			if name == "Get" {
				reads++
			}
		}
		for range assets {
			w.want("who", w.look(j), "")
		}
		w.login(j, fmt.Sprintf("user-%d", i))
		w.want("who", w.look(j), fmt.Sprintf("user-%d", i))
		w.visit(j, (*sojourn.Session).Logout)
		w.want("who", w.look(j), "")
		if t.Failed() {
			return
		}
	}
	seconds := int(w.time().Sub(second).Seconds())
	if limit := 3*100 + 10*(seconds+1); reads > limit {
		t.Errorf("%d guesses cost %d reads in %d s, want at most %d", guesses, reads, seconds, limit)
	}
	if n := len(w.happened(sojourn.EventThrottled)) - before; n == 0 || n > 3 {
		t.Errorf("%d events of throttling, want 1 to 3", n)
	}
}

// An IPv6 guesser controls a /64.
func TestThrottleNetworks(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = 10 }))
	n := 0
	try := func(ip string) sojourn.Refusal {
		n++
		return w.Begin(t.Context(), sojourn.Request{Session: []string{unknownToken(n)}, Client: sojourn.Client{IP: netip.MustParseAddr(ip)}}).RefusalReason()
	}
	for i := range 20 { // ten of the minute, ten of the second
		w.want("a guess", try(fmt.Sprintf("2001:db8::%x", i)), sojourn.RefusedUnknown)
	}
	for ip, want := range map[string]sojourn.Refusal{
		"2001:db8::ffff:1": sojourn.RefusedThrottled, "2001:db8:0:1::1": sojourn.RefusedUnknown, "203.0.113.1": sojourn.RefusedUnknown,
	} {
		w.want(ip, try(ip), want)
	}
	for range 20 {
		try("203.0.113.9")
	}
	w.want("an IPv4 address in IPv6", try("::ffff:203.0.113.9"), sojourn.RefusedThrottled)
}

// Without a limit, nothing is counted. Neither are requests without an address
// (a Unix socket).
func TestThrottleOff(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = -1 }))
	for i := range 500 {
		w.want("refused", w.begin(&jar{session: unknownToken(i)}).RefusalReason(), sojourn.RefusedUnknown)
	}
	w = newWorld(t)
	for i := range 500 {
		w.want("refused", w.Begin(t.Context(), sojourn.Request{Session: []string{unknownToken(i)}}).RefusalReason(), sojourn.RefusedUnknown)
	}
}

// A flood of addresses and tokens takes no memory: the tables have a fixed
// size.
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

// A visitor whose session cookie is bad has the visitor's session, also at an
// address that sends guesses.
func TestThrottleSparesTheVisitor(t *testing.T) {
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = 3 }))
	j := new(jar)
	w.visit(j, func(s *sojourn.Session) error { return color.Set(s, "red") })
	for i := range 100 {
		j.session = unknownToken(i)
		v, err := color.Get(w.begin(j))
		w.want("value", v, "red")
		w.want("error", err, nil)
	}
	w.want("throttled", len(w.happened(sojourn.EventThrottled)), 1)
}

// A limit of 2^32, which is to mean none, throttles nobody.
func TestThrottleOfAHugeLimit(t *testing.T) {
	limit := uint64(1) << 32
	w := newWorld(t, options(func(o *sojourn.Options) { o.MaxBadTokens = int(limit) }))
	for i := range 50 {
		s := w.begin(&jar{session: strings.Repeat(string(rune('A'+i%26)), 62) + "A" + string(rune('A'+i/26))})
		if s.Subject(); s.RefusalReason() == sojourn.RefusedThrottled {
			t.Fatalf("throttled after %d bad tokens", i)
		}
	}
}
