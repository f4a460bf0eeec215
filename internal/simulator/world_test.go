package simulator

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// What the rules of rotation assume about browsers and proxies.
const (
	answerBound = 25 * time.Second // an answer arrives within this time of its sending, or never
	jarBound    = 30 * time.Second // a browser has written a cookie to disk by this time after it came
)

// A Report says what happened in one world, or in many worlds together.
type Report struct {
	Seed    uint64
	Days    float64        // browser-days
	Counts  map[string]int // by event, scenario and cause
	Failure string         // the first violation; "": none
	Trace   []string       // what led to the failure, if asked for
}

// Add adds the counts of another report.
func (r *Report) Add(o *Report) {
	if r.Counts == nil {
		r.Counts = make(map[string]int)
	}
	r.Days += o.Days
	for k, n := range o.Counts {
		r.Counts[k] += n
	}
}

// weather describes a world's network, proxies and machines. Fields without a
// unit are probabilities.
type weather struct {
	loss        float64 // an answer is lost
	slow        float64 // an answer takes up to answerBound
	upload      float64 // a view includes an upload, which a proxy delivers up to the grace later
	late        float64 // a handler reads the session late
	early       float64 // a handler commits early and answers minutes later
	crash       float64 // the browser crashes, for each new secret received
	suspend     float64 // the browser is suspended, for each period of activity
	writeBehind time.Duration
	race        float64 // another node's commit comes first
	clock       float64 // the user sets the clock, for each period of activity
}

type world struct {
	seed   uint64
	rng    *rand.Rand
	clock  atomic.Int64 // milliseconds; the engine's goroutines read it too
	end    store.Time
	events eventHeap
	seq    int

	policy   sojourn.Policy
	weather  weather
	bound    *sojourn.Binding // nil: sessions aren't bound
	store    *laggingStore
	nodes    []*sojourn.Engine
	stopped  []*sojourn.Engine // those that a restart replaced
	max      int               // sessions for each subject
	browsers []*browser

	sessions   map[sojourn.ID]*session
	tokens     map[string]*token
	order      []*session
	barriers   []barrier
	challenges map[string]*challenge
	told       store.Time // the last event about a missing proof
	requests   int
	commits    int        // counts the commits
	racers     []*request // requests between load and commit
	racing     bool
	committing *sojourn.Engine // the node that commits
	reason     sojourn.Reason  // the reason of an end that the simulator itself causes

	mu       sync.Mutex
	observed []sojourn.Event

	counts  map[string]int
	failure string
	tracing bool
	trace   []string
}

// Run simulates the world of a seed. With trace, the report of a failure says
// what led to it.
func Run(seed uint64, trace bool) *Report {
	w := newWorld(seed, trace)
	w.run()
	w.finish()
	r := &Report{Seed: seed, Counts: w.counts, Failure: w.failure, Trace: w.trace}
	r.Days = float64(len(w.browsers)) * w.end.Sub(start).Hours() / 24
	return r
}

var (
	start = store.TimeOf(time.Date(2026, 1, 5, 7, 0, 0, 0, time.UTC))
	bg    = context.Background()
)

func newWorld(seed uint64, trace bool) *world {
	w := &world{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0x736f6a6f75726e)), tracing: trace,
		sessions: make(map[sojourn.ID]*session), tokens: make(map[string]*token), counts: make(map[string]int),
		challenges: make(map[string]*challenge),
	}
	w.clock.Store(int64(start))
	browsers := 1 + w.rng.IntN(3)
	switch size := w.rng.Float64(); {
	case size < 0.6: // many short worlds find more than few long ones
		w.end = start.Add(w.between(4*time.Hour, 8*time.Hour))
		browsers = min(browsers, 2)
	case size < 0.95:
		w.end = start.Add(24 * time.Hour)
	default:
		w.end = start.Add(72 * time.Hour)
	}
	w.policy = w.somePolicy()
	w.weather = weather{
		loss: pick(w, 0, 0, 0.01, 0.05, 0.2, 0.5), slow: pick(w, 0, 0.02, 0.1, 0.5, 1),
		upload: pick(w, 0, 0.02, 0.1), late: pick(w, 0, 0.02, 0.1), early: pick(w, 0, 0, 0.05),
		crash: pick(w, 0, 0.02, 0.1, 0.3), suspend: pick(w, 0, 0.1, 0.3),
		writeBehind: pick(w, 0, 50*time.Millisecond, time.Second), race: pick(w, 0, 0.1, 0.5),
		clock: pick(w, 0, 0, 0.1),
	}
	if w.chance(0.6) {
		w.bind()
	}
	w.max = pick(w, -1, -1, -1, 2, 3)
	w.store = newLaggingStore(w)
	nodes := 1
	if w.weather.race > 0 {
		nodes = 2
	}
	for range nodes {
		w.nodes = append(w.nodes, w.newNode())
	}
	w.after(w.about(12*time.Hour), w.restart)
	users := 1 + w.rng.IntN(2)
	for range browsers {
		w.addBrowser(fmt.Sprintf("user-%d", w.rng.IntN(users)))
	}
	if w.chance(0.5) {
		w.addThieves()
	}
	if w.chance(0.3) {
		w.addVandal()
	}
	return w
}

func (w *world) newNode() *sojourn.Engine {
	node, err := sojourn.New(w.store, sojourn.Options{
		Policy: w.policy, MaxSessions: w.max, MaxBadTokens: -1, Bound: w.bound,
		Now:     func() time.Time { return w.now().Time() },
		OnEvent: (w.observe),
	})
	if err != nil {
		panic(err)
	}
	return node
}

// restart replaces a node. Requests under way end on the former one.
func (w *world) restart() {
	w.count("node: restarted")
	i := w.rng.IntN(len(w.nodes))
	w.stopped = append(w.stopped, w.nodes[i])
	w.nodes[i] = w.newNode()
	w.after(w.about(12*time.Hour), w.restart)
}

// somePolicy chooses limits: the defaults, NIST's, or short ones whose
// deadlines fall within a day.
func (w *world) somePolicy() sojourn.Policy {
	p := sojourn.DefaultPolicy()
	switch w.rng.IntN(8) {
	case 0:
		p = sojourn.AAL2()
	case 1:
		p = sojourn.AAL3()
	case 2, 3:
		p.Anonymous = sojourn.Lifetime{Idle: 3 * time.Hour, Absolute: 5 * time.Hour}
		p.Login = sojourn.Lifetime{Idle: 2 * time.Hour, Absolute: 3 * time.Hour}
		p.Remembered = sojourn.Lifetime{Idle: 3 * time.Hour, Absolute: 5 * time.Hour}
	}
	p.Grace = pick(w, 10*time.Minute, 10*time.Minute, 2*time.Minute, 30*time.Minute)
	if w.chance(0.2) {
		p.RotateEvery = 5 * time.Minute
	}
	return p
}

func (w *world) run() {
	for len(w.events) > 0 && w.failure == "" {
		e := heap.Pop(&w.events).(event)
		if e.at > w.end {
			break
		}
		w.clock.Store(int64(e.at))
		e.do()
	}
}

// finish requests every session that should live, with the token that should be
// good.
func (w *world) finish() {
	for _, s := range w.order {
		if w.failure != "" || s.ended() || s.stolen {
			continue
		}
		r := &request{w: w, node: w.nodes[0], kind: read, client: s.client, auditing: true}
		r.sent, r.arrived = w.now(), w.now()
		if s.subject == "" {
			r.jar.visitor = s.current.text
		} else {
			r.jar.session = s.current.text
			r.proofs = s.goodProofs()
		}
		r.load()
	}
	for _, node := range append(w.nodes, w.stopped...) {
		if err := node.Close(bg); err != nil {
			w.fail("close: %v", err)
		}
	}
	_ = w.store.Close()
}

func (w *world) now() store.Time { return store.Time(w.clock.Load()) }

// at runs f at a time, after earlier calls for the same time.
func (w *world) at(t store.Time, f func()) {
	w.seq++
	heap.Push(&w.events, event{max(t, w.now()), w.seq, f})
}

func (w *world) after(d time.Duration, f func()) { w.at(w.now().Add(d), f) }

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// between returns a duration from a to b.
func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rng.Int64N(int64(max(b-a, 0))+1))
}

// about returns an exponentially distributed duration, at most ten times its
// mean.
func (w *world) about(mean time.Duration) time.Duration {
	return time.Duration(min(w.rng.ExpFloat64(), 10) * float64(mean))
}

func pick[T any](w *world, list ...T) T { return list[w.rng.IntN(len(list))] }

func (w *world) count(what string) { w.counts[what]++ }

// fail records the first violation. The run stops there.
func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf(format, args...)
		w.log("FAILURE: %s", w.failure)
	}
}

func (w *world) log(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, w.now().Time().Format("02 15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

func (w *world) observe(e sojourn.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observed = append(w.observed, e)
}

// settle waits for what the engine does behind a request, and records the
// events. So a run depends only on its seed.
func (w *world) settle(node *sojourn.Engine) {
	if err := node.Flush(bg); err != nil {
		w.fail("flush: %v", err)
	}
	w.store.schedule()
	w.mu.Lock()
	list := w.observed
	w.observed = nil
	w.mu.Unlock()
	for i := range list {
		w.noticed(&list[i])
	}
}

func (w *world) someNode() *sojourn.Engine { return w.nodes[w.rng.IntN(len(w.nodes))] }

// address returns the client of the n-th machine.
func address(n int, agent string) sojourn.Client {
	return sojourn.Client{IP: netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), UserAgent: agent}
}

type event struct {
	at  store.Time
	seq int
	do  func()
}

type eventHeap []event

func (h eventHeap) Len() int      { return len(h) }
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h eventHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].at, h[j].at), cmp.Compare(h[i].seq, h[j].seq)) < 0
}

func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return e
}

// A laggingStore delays touches and confirmations as the weather says, and lets
// another node's commit overtake an Update. It hides the store's change feed.
// The simulator sweeps by itself.
type laggingStore struct {
	store.Store
	w    *world
	mu   sync.Mutex
	lags []func() // guarded by mu
}

func newLaggingStore(w *world) *laggingStore {
	l := &laggingStore{w: w}
	l.Store = driver.Intercept(struct{ store.Store }{memstore.New()}, l.call)
	return l
}

func (l *laggingStore) call(ctx context.Context, c driver.Call) driver.Result {
	switch c.Op {
	case driver.Touch, driver.Confirm:
		if l.w.weather.writeBehind == 0 {
			break
		}
		late := c
		l.lag(func() {
			late.Now = l.w.now()
			late.Do(bg)
		})
		return driver.Result{}
	case driver.Update:
		l.w.overtake(c.ID)
	case driver.Sweep:
		return driver.Result{Done: true}
	}
	return c.Do(ctx)
}

func (l *laggingStore) lag(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lags = append(l.lags, f)
}

// schedule gives the delayed writes to the simulator's clock.
func (l *laggingStore) schedule() {
	l.mu.Lock()
	list := slices.Clone(l.lags)
	l.lags = l.lags[:0]
	l.mu.Unlock()
	for _, f := range list {
		l.w.after(l.w.between(0, l.w.weather.writeBehind), f)
	}
}
