package history

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sojourn-go/sojourn"
)

// A world is a recorder of the applications shop and forum, whose clock the test
// owns.
type world struct {
	*Recorder
	t      *testing.T
	health Health

	mu  sync.Mutex // guards now while goroutines run
	now time.Time
}

func begin(t *testing.T) *world {
	w := &world{t: t, now: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)}
	w.Recorder = New(Options{Now: w.clock, Health: func() Health { return w.health }})
	w.Configure([]string{"shop", "forum"})
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// pass lets seconds pass, and records each.
func (w *world) pass(n int) {
	for range n {
		w.mu.Lock()
		w.now = w.now.Add(time.Second)
		w.mu.Unlock()
		w.Tick()
	}
}

func (w *world) event(kind sojourn.EventKind, change func(*sojourn.Event)) {
	e := sojourn.Event{Kind: kind, App: "shop", Time: w.now}
	if change != nil {
		change(&e)
	}
	w.Observe(e)
}

func (w *world) want(what string, got, want any) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// Each kind of event is counted in its series, in the second and in the minute
// in which it came, and of its own application.
func TestSeries(t *testing.T) {
	w := begin(t)
	w.pass(10)
	w.event(sojourn.EventCreated, nil)
	w.event(sojourn.EventCreated, func(e *sojourn.Event) { e.Subject = "anna" })
	w.event(sojourn.EventEndedAll, nil)
	for _, reason := range []sojourn.Reason{sojourn.ReasonLogout, sojourn.ReasonRevoked, sojourn.ReasonIdle, sojourn.ReasonAbsolute, sojourn.ReasonEvicted, sojourn.ReasonTheft} {
		w.event(sojourn.EventEnded, func(e *sojourn.Event) { e.Reason = reason })
	}
	for _, refusal := range []sojourn.Refusal{sojourn.RefusedMalformed, sojourn.RefusedUnknown, sojourn.RefusedEnded, sojourn.RefusedFormer, sojourn.RefusedAmbiguous, sojourn.RefusedNoKey, sojourn.RefusedUnproven, sojourn.RefusedBound} {
		w.event(sojourn.EventRefused, func(e *sojourn.Event) { e.Refusal = refusal })
	}
	w.event(sojourn.EventThrottled, nil)
	w.Barred("shop", "limit", "anna", sojourn.Client{})
	w.Barred("shop", "barrier", "anna", sojourn.Client{})
	w.event(sojourn.EventCreated, func(e *sojourn.Event) { e.App = "nobody's" })
	w.pass(1)

	check := func(f Figures, at int) {
		t.Helper()
		for i, p := range f.Points {
			want := uint32(0)
			if i == at {
				want = 1
			}
			for _, series := range [][]uint32{p.Created[:], p.Ended[:], p.Refused[:], p.Barred[:]} {
				for j, n := range series {
					if n != want {
						t.Fatalf("point %d, number %d is %d, want %d: %+v", i, j, n, want, p)
					}
				}
			}
		}
	}
	check(w.Read("shop", Live), seconds-1)
	check(w.Read("forum", Live), -1)
	check(w.Read("nobody's", Live), -1)
	w.want("minutes before the first has ended", w.Read("shop", Hour).Points[minutes-1].Recorded, false)
	w.pass(50)
	check(w.Read("shop", Live), seconds-1-50)
	check(w.Read("shop", Hour), minutes-1)
	w.want("the end", w.Read("shop", Live).Until, w.now)
	w.pass(59 * 60)
	check(w.Read("shop", Hour), 0)
	w.pass(60)
	check(w.Read("shop", Hour), -1)
}

// What the process slept through is a gap, and never an old figure. A clock that
// goes back stops the recording for that long.
func TestGaps(t *testing.T) {
	w := begin(t)
	recorded := func(span Span) (n int) {
		for _, p := range w.Read("shop", span).Points {
			if p.Recorded {
				n++
			}
		}
		return n
	}
	w.pass(3)
	w.want("seconds of a new process", recorded(Live), 3)
	w.pass(1000)
	w.want("seconds", recorded(Live), seconds)
	w.now = w.now.Add(100 * time.Second)
	w.pass(1)
	w.want("seconds after a sleep", recorded(Live), seconds-100)
	w.now = w.now.Add(2 * time.Hour)
	w.pass(1)
	w.want("seconds after a long sleep", recorded(Live), 1)
	w.want("minutes after a long sleep", recorded(Hour), 1)
	w.now = w.now.Add(-30 * time.Second)
	w.pass(30)
	w.want("seconds after the clock went back", recorded(Live), 1)
	w.pass(1)
	w.want("seconds when it is past that", recorded(Live), 2)
	w.Configure([]string{"shop", "new"})
	w.pass(1)
	w.want("seconds that an application keeps over a reload", recorded(Live), 3)
	n := 0
	for _, p := range w.Read("new", Live).Points {
		if p.Recorded {
			n++
		}
	}
	w.want("seconds of a new application", n, 1)
}

// Percentiles are right within a tenth, in seconds and in minutes.
func TestPercentiles(t *testing.T) {
	for _, typical := range []time.Duration{200, time.Microsecond, 37 * time.Microsecond, 999 * time.Microsecond, 80 * time.Millisecond, 9 * time.Second} {
		w := begin(t)
		for i := range 1000 {
			took := typical
			if i >= 985 {
				took = 20 * typical
			}
			w.Checked("shop", took)
			w.Called("get", took, true)
		}
		w.pass(60)
		f, m := w.Read("shop", Live), w.Read("shop", Hour)
		for _, c := range []Calls{f.Points[seconds-60].Checks, m.Points[minutes-1].Checks, f.Node[seconds-60].Store, m.Node[minutes-1].Store} {
			w.want("calls", c.N, uint32(1000))
			slow := min(20*typical, middle(buckets-1))
			if off := float64(c.P50)/float64(typical) - 1; off < -.13 || off > .13 {
				t.Errorf("p50 of %v is %v", typical, c.P50)
			}
			if off := float64(c.P99)/float64(slow) - 1; off < -.13 || off > .13 {
				t.Errorf("p99 of %v is %v", slow, c.P99)
			}
		}
		w.want("calls of the next second", f.Points[seconds-1].Checks, Calls{})
	}
	for _, d := range []time.Duration{-1, 0, 1, 1 << 62} {
		if b := bucketOf(d); b < 0 || b >= buckets {
			t.Errorf("%d is in bucket %d", d, b)
		}
	}
}

// The node's store and cache are followed, too.
func TestNode(t *testing.T) {
	w := begin(t)
	w.health = Health{Cache: true, Live: true, Hits: 100, Misses: 10}
	w.pass(1)
	w.health = Health{Cache: true, Hits: 130, Misses: 11, Warnings: []string{"the feed is down"}}
	w.Called("get", time.Millisecond, false)
	w.pass(1)
	f := w.Read("shop", Live)
	p := f.Node[seconds-1]
	p.Store = Calls{}
	w.want("the last second", p, NodePoint{Recorded: true, Errors: 1, Hits: 30, Misses: 1, Warnings: 1})
	w.want("the feed before", f.Node[seconds-2].Live, true)
	w.want("the health", f.Health.Warnings[0], "the feed is down")
}

// Live sessions are counted now and then. A count that fails leaves a gap. A
// slow count is made less often.
func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counted atomic.Int32
		var slow atomic.Bool
		r := New(Options{Health: func() Health { return Health{} }, Count: func(_ context.Context, app string) (int64, int64, error) {
			counted.Add(1)
			if slow.Load() {
				time.Sleep(time.Second)
				return 0, 0, errors.New("broken")
			}
			return 7, 5, nil
		}})
		r.Configure([]string{"shop"})
		stop := r.Start(t.Context())
		last := func() (int64, int64) {
			points := r.Read("shop", Live).Points
			return points[seconds-1].LoggedIn, points[seconds-1].Anonymous
		}
		time.Sleep(5*time.Second + time.Millisecond)
		if users, others := last(); users != 5 || others != 2 {
			t.Errorf("%d and %d, want 5 and 2", users, others)
		}
		slow.Store(true)
		time.Sleep(10 * time.Second)
		if users, others := last(); users != -1 || others != -1 {
			t.Errorf("%d and %d, want -1 and -1", users, others)
		}
		before := counted.Load()
		time.Sleep(100 * time.Second)
		if n := counted.Load() - before; n > 2 {
			t.Errorf("%d counts of a second in 100 seconds, want at most 2", n)
		}
		stop()
	})
}

// Incidents are told apart by what they are about, grouped while they go on, and
// forgotten after a day. Many of one kind push out none of another.
func TestIncidents(t *testing.T) {
	w := begin(t)
	at := func(ip string) sojourn.Client { return sojourn.Client{IP: netip.MustParseAddr(ip)} }
	theft := func(n byte) {
		w.event(sojourn.EventEnded, func(e *sojourn.Event) {
			e.Reason, e.Session, e.Subject, e.Client = sojourn.ReasonTheft, sojourn.ID{15: n}, "anna", at("192.0.2.1")
		})
	}
	theft(1)
	theft(2)
	for i := range 400 { // each of the last hundred addresses twice
		w.event(sojourn.EventThrottled, func(e *sojourn.Event) { e.Client = at("192.0.2." + strconv.Itoa(i/2)) })
		w.pass(1)
	}
	w.Barred("shop", "limit", "anna", sojourn.Client{})
	w.Barred("shop", "limit", "anna", at("192.0.2.9"))
	w.Barred("shop", "barrier", "bert", sojourn.Client{})
	w.Barred("forum", "limit", "carl", sojourn.Client{})
	w.Called("get", time.Second, false)
	n := map[Kind]int{}
	for _, in := range w.Incidents("shop") {
		n[in.Kind]++
		if in.Kind == Limit && (in.Count != 2 || in.Subject != "anna" || in.Client != at("192.0.2.9") || in.Last != w.now) {
			t.Errorf("the limit's incident is %+v", in)
		}
		if in.Kind == Guessing && in.Count < 2 {
			t.Errorf("%v was not grouped: %+v", in.Client.IP, in)
		}
	}
	w.want("thefts", n[Theft], 2)
	w.want("addresses", n[Guessing], most)
	w.want("limits", n[Limit], 1)
	w.want("store", n[Store], 0)
	w.want("of the other application", len(w.Incidents("forum")), 1)
	w.want("of the node", len(w.Incidents("")), 1)
	w.want("the newest", w.Incidents("shop")[0].Kind, Limit)

	w.now = w.now.Add(2 * time.Hour)
	w.Barred("shop", "limit", "anna", sojourn.Client{})
	first := w.Incidents("shop")[0]
	w.want("a later time is a new incident", first.Count == 1 && first.First.Equal(w.now), true)
	w.now = w.now.Add(23 * time.Hour)
	w.want("after a day", len(w.Incidents("shop")), 1)
	w.Configure([]string{"forum"})
	w.want("of an application that is gone", len(w.Incidents("shop")), 0)
}

// Counting, recording and reading go together.
func TestParallel(t *testing.T) {
	w := begin(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 1000 {
				w.Checked("shop", time.Duration(i)*time.Microsecond)
				w.Called("get", time.Millisecond, i%10 > 0)
				w.Observe(sojourn.Event{Kind: sojourn.EventCreated, App: "shop"})
				if i%100 == 0 {
					w.Read("shop", Live)
					w.Incidents("")
				}
			}
		})
	}
	w.pass(30)
	all.Wait()
	w.pass(1)
	checks, created := uint32(0), uint32(0)
	for _, p := range w.Read("shop", Live).Points {
		checks += p.Checks.N
		created += p.Created[1]
	}
	w.want("checks", checks, uint32(4000))
	w.want("created", created, uint32(4000))
}

func BenchmarkChecked(b *testing.B) {
	r := New(Options{})
	r.Configure([]string{"shop"})
	for b.Loop() {
		r.Checked("shop", 12*time.Microsecond)
	}
}
