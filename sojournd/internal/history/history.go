// Package history keeps figures of this node's last hour, and what went wrong in
// its last day, in bounded memory: about 50 KB for an application.
//
//	h := history.New(history.Options{Count: count, Health: health})
//	h.Configure([]string{"shop", "forum"}) // at the start, and again at each reload
//	defer h.Start(ctx)()
//	…
//	h.Observe(event)            // from sojourn.Options.OnEvent
//	h.Checked("shop", took)     // after each check of a proxy
//	h.Called("get", took, ok)   // after each call of the store
//	figures := h.Read("shop", history.Live)
//
// Everything is lost with the process. Other nodes have figures of their own.
package history

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn"
)

// The series of an application, by name. Their order is that of a Point's
// arrays.
var (
	Created = [...]string{"logged_in", "anonymous"}
	Ended   = [...]string{"logout", "revoked", "idle", "absolute", "evicted", "theft", "all"}
	Refused = [...]string{"malformed", "unknown", "ended", "former", "ambiguous", "no_key", "unproven", "bound", "throttled"}
	Barred  = [...]string{"limit", "barrier"}
)

const (
	seconds = 5 * 60 // points of a second that are kept
	minutes = 60     // points of a minute that are kept

	// countEvery is how often live sessions are counted. Some stores read all
	// sessions for that, so counting also takes at most a fiftieth of the time.
	countEvery   = 10 * time.Second
	countPause   = 50
	countTimeout = 5 * time.Second
)

// A Span says how far back figures go.
type Span int

const (
	Live Span = iota // five minutes: a point is a second
	Hour             // an hour: a point is a minute
)

// Step is the time of one point.
func (s Span) Step() time.Duration {
	if s == Hour {
		return time.Minute
	}
	return time.Second
}

// A Point holds what an application did in one step of time.
type Point struct {
	Recorded            bool  // false: the process didn't run, or stood still
	LoggedIn, Anonymous int64 // live sessions at the end; -1 if not known
	Created             [len(Created)]uint32
	Ended               [len(Ended)]uint32
	Refused             [len(Refused)]uint32
	Barred              [len(Barred)]uint32 // logins that the store refused
	Checks              Calls
}

// A NodePoint holds what the node did in one step of time.
type NodePoint struct {
	Recorded     bool
	Store        Calls  // without reads from memory
	Errors       uint32 // calls that the store didn't answer
	Hits, Misses uint32 // of the cache
	Live         bool   // the cache's change feed works; true if there is no cache
	Warnings     uint8  // of the store
}

// Calls are a number of calls with the median and the 99th percentile of their
// times, to within 10 %.
type Calls struct {
	N        uint32
	P50, P99 time.Duration
}

// Health is what a node knows about its store and its cache at one moment.
type Health struct {
	Cache        bool   // there is a cache
	Live         bool   // the cache's change feed works
	Hits, Misses uint64 // since the start
	Warnings     []string
}

// Options configure a Recorder.
type Options struct {
	// Count counts the live sessions of an application, and those of users.
	Count func(ctx context.Context, app string) (sessions, loggedIn int64, err error)

	// Health is called once a second.
	Health func() Health

	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// A Recorder keeps the figures of one node. Its methods may be called
// concurrently.
type Recorder struct {
	opt   Options
	began time.Time
	apps  atomic.Pointer[map[string]*app]
	node  node
	took  atomic.Int64 // nanoseconds: the last Count

	mu     sync.Mutex // guards all below, and the rings of apps and node
	at     int        // seconds since began: of the newest point; -1 before the first
	latest time.Time  // the clock at the newest point
	health Health

	incidents incidents
}

type app struct {
	created [len(Created)]atomic.Uint32
	ended   [len(Ended)]atomic.Uint32
	refused [len(Refused)]atomic.Uint32
	barred  [len(Barred)]atomic.Uint32
	checks  histogram

	loggedIn, anonymous atomic.Int64 // -1: not known

	seconds, minutes recording[Point] // Recorder.mu guards them
}

type node struct {
	store  histogram
	errors atomic.Uint32

	seconds, minutes recording[NodePoint] // Recorder.mu guards them
	errorsWas        [2]uint32            // at the end of the last second, of the last minute
	hitsWas          [2]uint64
	missesWas        [2]uint64
}

// New returns a recorder without applications.
func New(o Options) *Recorder {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Recorder{opt: o, began: o.Now(), at: -1}
	r.apps.Store(&map[string]*app{})
	r.node.seconds.points = make([]NodePoint, seconds)
	r.node.minutes.points = make([]NodePoint, minutes)
	r.incidents.byApp = map[string]*[kinds][]Incident{}
	return r
}

// Configure sets the applications. One that existed before keeps its figures.
func (r *Recorder) Configure(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, next := *r.apps.Load(), map[string]*app{}
	for _, name := range names {
		a := old[name]
		if a == nil {
			a = &app{}
			a.loggedIn.Store(-1)
			a.anonymous.Store(-1)
			a.seconds.points = make([]Point, seconds)
			a.minutes.points = make([]Point, minutes)
		}
		next[name] = a
	}
	r.apps.Store(&next)
	r.incidents.keep(names)
}

func (r *Recorder) app(name string) *app { return (*r.apps.Load())[name] }

// Observe counts an event.
func (r *Recorder) Observe(e sojourn.Event) {
	a := r.app(e.App)
	if a == nil {
		return
	}
	switch e.Kind {
	case sojourn.EventCreated:
		kind := 0
		if e.Subject == "" {
			kind = 1
		}
		a.created[kind].Add(1)
	case sojourn.EventEnded:
		add(a.ended[:], Ended[:], string(e.Reason))
	case sojourn.EventEndedAll:
		add(a.ended[:], Ended[:], "all")
	case sojourn.EventRefused:
		add(a.refused[:], Refused[:], string(e.Refusal))
	case sojourn.EventThrottled:
		add(a.refused[:], Refused[:], "throttled")
	}
	switch {
	case e.Kind == sojourn.EventEnded && e.Reason == sojourn.ReasonTheft:
		r.incidents.add(Theft, e.App, Incident{Session: e.Session.String(), Subject: e.Subject, Client: e.Client, Last: e.Time})
	case e.Kind == sojourn.EventThrottled:
		r.incidents.add(Guessing, e.App, Incident{Client: e.Client, Last: e.Time})
	}
}

func add(counters []atomic.Uint32, names []string, name string) {
	if i := slices.Index(names, name); i >= 0 {
		counters[i].Add(1)
	}
}

// Checked counts a check of a proxy.
func (r *Recorder) Checked(name string, took time.Duration) {
	if a := r.app(name); a != nil {
		a.checks.add(took)
	}
}

// Barred counts a login that the store refused, for one of the reasons Barred.
func (r *Recorder) Barred(name, reason, subject string, client sojourn.Client) {
	a := r.app(name)
	if a == nil {
		return
	}
	add(a.barred[:], Barred[:], reason)
	if reason == "limit" {
		r.incidents.add(Limit, name, Incident{Subject: subject, Client: client, Last: r.opt.Now()})
	}
}

// Called counts a call of the store. It is not ok if the store did not answer.
func (r *Recorder) Called(call string, took time.Duration, ok bool) {
	r.node.store.add(took)
	if !ok {
		r.node.errors.Add(1)
		r.incidents.add(Store, "", Incident{Call: call, Last: r.opt.Now()})
	}
}

// Start records until ctx is done, or until stop is called, which waits for the
// end of a count.
func (r *Recorder) Start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			r.Count(ctx)
			select {
			case <-time.After(r.pause()):
			case <-ctx.Done():
				return
			}
		}
	})
	running.Go(func() {
		every := time.NewTicker(time.Second)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				r.Tick()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); running.Wait() }
}

// Count counts the live sessions of each application. Start calls it now and
// then.
func (r *Recorder) Count(ctx context.Context) {
	began := time.Now()
	for name, a := range *r.apps.Load() {
		within, cancel := context.WithTimeout(ctx, countTimeout)
		all, users, err := r.opt.Count(within, name)
		cancel()
		if err != nil {
			all, users = -2, -1
		}
		a.loggedIn.Store(users)
		a.anonymous.Store(all - users)
	}
	r.took.Store(int64(time.Since(began)))
}

// pause is the time until the next count.
func (r *Recorder) pause() time.Duration {
	return max(countEvery, countPause*time.Duration(r.took.Load()))
}

// Tick ends a second, and perhaps a minute. Start calls it each second.
func (r *Recorder) Tick() {
	health := r.opt.Health()
	now := r.opt.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	at := int(now.Sub(r.began) / time.Second)
	if at <= r.at {
		return
	}
	minute := r.at >= 0 && at/60 > r.at/60
	for _, a := range *r.apps.Load() {
		a.seconds.put(at, a.point(&a.seconds.was, &a.checks.second))
		if minute {
			a.minutes.put(at/60-1, a.point(&a.minutes.was, &a.checks.minute))
		}
	}
	n := &r.node
	n.seconds.put(at, n.point(0, &n.store.second, health))
	if minute {
		n.minutes.put(at/60-1, n.point(1, &n.store.minute, health))
	}
	r.at, r.latest, r.health = at, now, health
}

// point returns what happened since was, which it sets to the present counts.
func (a *app) point(was *Point, checks *counts) Point {
	p := Point{Recorded: true, LoggedIn: a.loggedIn.Load(), Anonymous: a.anonymous.Load(), Checks: a.checks.since(checks)}
	since(p.Created[:], was.Created[:], a.created[:])
	since(p.Ended[:], was.Ended[:], a.ended[:])
	since(p.Refused[:], was.Refused[:], a.refused[:])
	since(p.Barred[:], was.Barred[:], a.barred[:])
	return p
}

func since(out, was []uint32, counters []atomic.Uint32) {
	for i := range counters {
		n := counters[i].Load()
		out[i], was[i] = n-was[i], n
	}
}

func (n *node) point(span int, store *counts, h Health) NodePoint {
	errors := n.errors.Load()
	p := NodePoint{
		Recorded: true, Store: n.store.since(store), Errors: errors - n.errorsWas[span],
		Hits: uint32(h.Hits - n.hitsWas[span]), Misses: uint32(h.Misses - n.missesWas[span]),
		Live: h.Live || !h.Cache, Warnings: uint8(min(len(h.Warnings), 255)),
	}
	n.errorsWas[span], n.hitsWas[span], n.missesWas[span] = errors, h.Hits, h.Misses
	return p
}

// A recording keeps the newest points. Those between two that were put are not
// recorded.
type recording[P any] struct {
	points []P
	next   int // the step after the newest
	was    P   // the counts at the end of the newest
}

func (r *recording[P]) put(step int, p P) {
	var none P
	for ; r.next < step; r.next++ {
		if r.next < step-len(r.points) {
			r.next = step - len(r.points)
		}
		r.points[r.next%len(r.points)] = none
	}
	r.points[step%len(r.points)] = p
	r.next = step + 1
}

// read returns the points before the step end, the oldest first.
func (r *recording[P]) read(end int) []P {
	list := make([]P, len(r.points))
	for i := range list {
		if step := end - len(list) + i; step >= 0 && step < r.next && step >= r.next-len(r.points) {
			list[i] = r.points[step%len(r.points)]
		}
	}
	return list
}

// Figures are those of a span. A new process has fewer recorded points.
type Figures struct {
	Until  time.Time // the end of the newest point
	Step   time.Duration
	Points []Point // of the application, the oldest first
	Node   []NodePoint
	Health Health // at the newest point
}

// Read returns the figures of an application and of its node. If there is no
// such application, no point of it is recorded.
func (r *Recorder) Read(name string, span Span) Figures {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := Figures{Until: r.latest, Step: span.Step(), Health: r.health}
	a := r.app(name)
	if a == nil {
		a = &app{}
		a.seconds.points, a.minutes.points = make([]Point, seconds), make([]Point, minutes)
	}
	if span == Hour {
		f.Points, f.Node = a.minutes.read((r.at+1)/60), r.node.minutes.read((r.at+1)/60)
		return f
	}
	f.Points, f.Node = a.seconds.read(r.at+1), r.node.seconds.read(r.at+1)
	return f
}
