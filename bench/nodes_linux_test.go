package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// recent are the samples for servers, which have a clock of their own.
var recent = samples{store.TimeOf(time.Now()).Add(-2 * time.Minute)}

// fillers keep a server busy.
const fillers = 64

// crowds are how many goroutines call at once.
func crowds() []int { return []int{1, 16, 128}[sized(0, 1):sized(3, 2)] }

// BenchmarkNodesRequest measures requests through the middleware on Redis and
// PostgreSQL, by so many visitors at once, beside other libraries on the same
// server. The names of the cases begin with the server's.
func BenchmarkNodesRequest(b *testing.B) {
	unlimited := sojourn.Options{MaxSessions: -1} // all visitors are logged in as one user
	for _, be := range backends(b) {
		// Sojourn with the cache, beside two nodes that serve nothing, and without it.
		sites := lazily(b, append([]peer{
			{"sojourn-cached", func() site {
				return sojournSite(be.openNodes(b, "requests", 3)[0].cache, unlimited)
			}},
			{"sojourn", func() site { return sojournSite(be.open("requests"), unlimited) }},
		}, be.peers...)...)
		for _, c := range []requestCase{
			{name: "read-subject", setup: []op{login}, op: readSubject},
			{name: "read-string", setup: []op{create}, op: readTheme},
			{name: "change-string", setup: []op{create}, op: change, check: readChanged},
			{name: "login", op: loginAny},
			{name: "visit-and-login", setup: []op{create}, op: loginAny, fresh: true},
		} {
			c.atOnceOn(b, be.name+"-", crowds(), sites)
		}
		limited := lazily(b, peer{"sojourn", func() site {
			return sojournSite(be.openNodes(b, "limited", 3)[0].cache, sojourn.Options{MaxSessions: fewSessions})
		}})
		requestCase{name: "login-at-the-limit", op: loginFew}.atOnceOn(b, be.name+"-", crowds(), limited)
	}
}

// BenchmarkNodes measures single calls: of a store on three nodes, and raw, of the
// same client without a store. An update is a compare-and-set of a revision that
// the caller knows. The updates of sojourn-heard are heard by three nodes.
func BenchmarkNodes(b *testing.B) {
	n := sized(inUse, 512)
	for _, be := range backends(b) {
		nodes := be.openNodes(b, "heard", 3)
		quiet := be.open("quiet")
		b.Cleanup(func() { quiet.Close() })
		recent.fill(quiet, 0, n, fillers)
		recent.fill(nodes[0].store, 0, n, fillers)
		for _, node := range nodes {
			spread(0, n, fillers, func(_ *hand, i int) error { return warmUp(node, recent.id(i)) })
		}
		known, knownHeard := make([]store.Record, n), make([]store.Record, n)
		revisions := make([]int, n) // of the raw values
		spread(0, n, 16, func(_ *hand, i int) error {
			err := errors.Join(recent.get(quiet, &known[i], i, true), recent.get(nodes[0].store, &knownHeard[i], i, true))
			revisions[i] = 1
			return errors.Join(err, be.set(b.Context(), i, 0))
		})
		b.Run("case="+be.name+"-get-from-memory/peer=sojourn-cached", func(b *testing.B) {
			benchmarkGet(b, recent, n, false, nodes[0].cache, nodes[1].cache, nodes[2].cache)
		})
		b.Run("case="+be.name+"-get-from-memory/peer=sojourn-memstore", func(b *testing.B) {
			memory := memstore.New()
			defer memory.Close()
			recent.fill(memory, 0, n, 2)
			benchmarkGet(b, recent, n, false, memory)
		})
		if be.getCached != nil {
			b.Run("case="+be.name+"-get-from-memory/peer=client-cache", func(b *testing.B) {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						check(be.getCached(b.Context(), rand.IntN(n)))
					}
				})
			})
		}
		for _, goroutines := range crowds() {
			run := func(op, peer string, do call) {
				b.Run(fmt.Sprintf("case=%s-%s-by-%d/peer=%s", be.name, op, goroutines, peer), func(b *testing.B) {
					atOnce(b, goroutines, do)
				})
			}
			run("get", "sojourn", func(h *hand, _ int) error { return recent.get(quiet, &h.rec, rand.IntN(n), true) })
			run("get", "raw", func(*hand, int) error { return be.get(b.Context(), rand.IntN(n)) })
			run("update", "sojourn", updateOwn(quiet, known))
			run("update", "sojourn-heard", updateOwn(nodes[0].store, knownHeard))
			run("update", "raw", func(h *hand, _ int) error {
				i := h.own(n)
				revisions[i]++
				return be.set(b.Context(), i, revisions[i]-1)
			})
		}
	}
}

// own gives each of 128 hands sessions of its own, in turn.
func (h *hand) own(n int) int {
	h.turn++
	return h.w*(n/128) + h.turn%(n/128)
}

// updateOwn changes sessions whose revisions are known.
func updateOwn(st store.Store, known []store.Record) call {
	return func(h *hand, _ int) error {
		i := h.own(len(known))
		return recent.change(st, &known[i], i)
	}
}

// warmUp reads a session until it comes from the node's memory.
func warmUp(n *node, id store.ID) error {
	var rec store.Record
	for start := time.Now(); time.Since(start) < patience; time.Sleep(time.Millisecond) {
		if err := n.cache.Get(context.Background(), app, id, false, &rec); err != nil || rec.Cached {
			return err
		}
	}
	return fmt.Errorf("session %v isn't read from memory", id)
}

// BenchmarkNodesEnd ends a session on one of three nodes that all serve it from
// memory. seen is the time from the acknowledgement until each other node, which
// is asked every tenth of a millisecond or so, refuses the session. ns/op is the
// time of the whole, with the session's creation.
func BenchmarkNodesEnd(b *testing.B) {
	for _, be := range backends(b) {
		b.Run("case="+be.name+"-end/peer=sojourn", func(b *testing.B) {
			nodes := be.openNodes(b, "ends", 3)
			var rec store.Record
			var ack, seen latencies
			for i := 0; b.Loop(); i++ {
				from := nodes[i%len(nodes)]
				err := recent.create(from.cache, &rec, i)
				for _, n := range nodes {
					err = errors.Join(err, warmUp(n, rec.ID))
				}
				check(err)
				start := time.Now()
				ended, err := from.cache.End(b.Context(), app, rec.ID, store.ReasonLogout, store.TimeOf(start))
				if err != nil || len(ended) != 1 {
					b.Fatal(len(ended), err)
				}
				acknowledged := time.Now()
				ack = append(ack, acknowledged.Sub(start))
				refused := make(chan time.Duration)
				for _, n := range nodes {
					if n != from {
						go func() { refused <- untilRefused(b, n, rec.ID, acknowledged) }()
					}
				}
				seen = append(seen, <-refused, <-refused)
			}
			ack.report(b.ReportMetric, "ack-", 50, 99)
			seen.report(b.ReportMetric, "seen-", 50, 99, 100)
		})
	}
}

// untilRefused asks a node for a session until it says that the session has
// ended. It returns how long after the end it asked for that answer.
func untilRefused(b *testing.B, n *node, id store.ID, ended time.Time) time.Duration {
	var rec store.Record
	pause := unix.NsecToTimespec(int64(50 * time.Microsecond)) // time.Sleep may take a millisecond
	for {
		err := n.cache.Get(context.Background(), app, id, false, &rec)
		since := time.Since(ended)
		if errors.Is(err, store.ErrEnded) {
			return since
		}
		if err != nil || since > patience {
			b.Error("session still good after", since, err)
			return since
		}
		_ = unix.Nanosleep(&pause, nil)
	}
}

// BenchmarkNodesLimit logs one user in 64 times at once, over three nodes, with
// a limit of three sessions. exact-% says how often exactly three are left.
func BenchmarkNodesLimit(b *testing.B) {
	for _, be := range backends(b) {
		b.Run("case="+be.name+"-64-logins/peer=sojourn", func(b *testing.B) {
			engines := be.openEngines(b, "limit", sojourn.Options{MaxSessions: fewSessions})
			exact := 0.0
			for race := 0; b.Loop(); race++ {
				logInOften(engines, userID(race), 64)
				live, _, err := engines[0].List(b.Context(), userID(race), "", 1000)
				check(err)
				exact += one(len(live) == fewSessions)
			}
			b.ReportMetric(100*exact/float64(b.N), "exact-%")
		})
	}
}

// BenchmarkNodesEndSubject ends all 1,000 sessions of a user.
func BenchmarkNodesEndSubject(b *testing.B) {
	n := sized(1000, 50)
	for _, be := range backends(b) {
		b.Run(fmt.Sprintf("case=%s-end-%d-sessions/peer=sojourn", be.name, n), func(b *testing.B) {
			engines := be.openEngines(b, "subject", sojourn.Options{MaxSessions: -1})
			st := be.open("subject")
			defer st.Close()
			for b.Loop() {
				b.StopTimer()
				time.Sleep(2 * time.Millisecond) // the last barrier refuses logins of the same millisecond
				logInOften(engines, subject, n)
				time.Sleep(2 * time.Millisecond) // logins of the same millisecond would count as under way
				b.StartTimer()
				ended, err := st.EndSubject(b.Context(), app, subject, store.ID{}, store.ReasonRevoked, store.TimeOf(time.Now()))
				check(errors.Join(err, lacks(ended, n)))
			}
		})
	}
}

// logInOften logs a user in n times, 64 at once.
func logInOften(engines []*sojourn.Engine, subject string, n int) {
	spread(0, n, fillers, func(_ *hand, i int) error {
		s := engines[i%len(engines)].Begin(context.Background(), sojourn.Request{Client: clientOf(i)})
		return errors.Join(s.Login(subject), s.Commit(context.Background()))
	})
}

// costOps are the life of a session: each is done once for each session.
var costOps = []struct {
	name string
	do   func(st store.Store, rec *store.Record, i int) error
}{
	{"create", func(st store.Store, rec *store.Record, i int) error {
		recent.record(rec, i)
		rec.Subject, rec.AMR, rec.Level, rec.AuthenticatedAt, rec.Epoch = "", "", 0, 0, 0
		_, err := st.Create(context.Background(), app, rec, store.CreateOptions{Arrived: rec.CreatedAt, Now: rec.CreatedAt})
		return err
	}},
	{"read", func(st store.Store, _ *store.Record, i int) error {
		var rec store.Record
		return recent.get(st, &rec, i, true)
	}},
	{"update", recent.change},
	{"update-heard-by-12", recent.change},
	{"touch", func(st store.Store, rec *store.Record, i int) error {
		return st.Touch(context.Background(), app, rec.ID, rec.CreatedAt.Add(time.Minute), rec.CreatedAt, clientOf(i))
	}},
	{"login", func(st store.Store, rec *store.Record, i int) error {
		rec.Subject, rec.AMR, rec.Level, rec.AuthenticatedAt = userID(i), "pwd", 1, rec.CreatedAt
		rec.Epochs, rec.Epoch = append(rec.Epochs, rec.EpochHash.Print()), rec.Epoch+1
		noise(rec.Secret.Hash[:], i, 5)
		noise(rec.EpochHash[:], i, 6)
		opt := store.UpdateOptions{Login: true, Limit: store.Limit{Max: 100}, Arrived: rec.CreatedAt, Now: rec.CreatedAt}
		_, err := st.Update(context.Background(), app, rec, opt)
		return err
	}},
	{"rotate", func(st store.Store, rec *store.Record, i int) error {
		rec.Good = append(rec.Good, rec.Secret)
		rec.Secret = store.Secret{IssuedAt: rec.CreatedAt}
		noise(rec.Secret.Hash[:], i, 7)
		_, err := st.Update(context.Background(), app, rec, store.UpdateOptions{Arrived: rec.CreatedAt, Now: rec.CreatedAt})
		return err
	}},
	{"confirm", func(st store.Store, rec *store.Record, _ int) error {
		c := store.Confirmation{FirstSeenAt: rec.CreatedAt, ConfirmedAt: rec.CreatedAt, Until: rec.CreatedAt.Add(10 * time.Minute)}
		return st.Confirm(context.Background(), app, rec.ID, rec.Secret.Hash, c)
	}},
	// A sweep meets every session, of which none has expired. On Redis it compares
	// each with its subject's index, as it does once an hour.
	{"sweep", nil},
	{"end", func(st store.Store, rec *store.Record, _ int) error {
		ended, err := st.End(context.Background(), app, rec.ID, store.ReasonLogout, rec.CreatedAt)
		return errors.Join(err, lacks(ended, 1))
	}},
}

func lacks[T any](list []T, want int) error {
	if len(list) != want {
		return fmt.Errorf("got %d sessions, want %d", len(list), want)
	}
	return nil
}

// BenchmarkCost counts what a server spends on an operation: CPU, bytes received
// and sent on its connections (of Redis), and bytes logged to disk; and on the
// heartbeats of a node in a second. docs/scale.md plans with them.
func BenchmarkCost(b *testing.B) {
	const listeners = 12
	n := sized(5000, 100)
	for _, be := range backends(b) {
		st := be.open("costs")
		b.Cleanup(func() { st.Close() })
		recs := make([]store.Record, n)
		for _, op := range costOps {
			if op.name == "update-heard-by-12" {
				be.openNodes(b, "costs", listeners)
				b.Run("case="+be.name+"-node-second/peer=sojourn", func(b *testing.B) {
					d := time.Duration(sized(3000, 100)) * time.Millisecond
					be.count(b, listeners*d.Seconds(), func() error { time.Sleep(d); return nil })
				})
			}
			b.Run("case="+be.name+"-"+op.name+"/peer=sojourn", func(b *testing.B) {
				be.count(b, float64(n), func() error {
					if op.do == nil {
						_, err := sweepAll(st, recent.start)
						return err
					}
					spread(0, n, 16, func(_ *hand, i int) error { return op.do(st, &recs[i], i) })
					return nil
				})
			})
		}
	}
}

// count reports what the server spends while do makes n operations.
func (be *backend) count(b *testing.B, n float64, do func() error) {
	before := be.spent()
	check(do())
	after := be.spent()
	for unit := range after {
		after[unit] = (after[unit] - before[unit]) / n
	}
	after.report(b)
}

// BenchmarkMany measures a store with few sessions and with a million: calls by 16
// goroutines, pages of lists, the bytes that the server keeps for a session
// (memory of Redis, disk of PostgreSQL after VACUUM), and reads during a sweep.
func BenchmarkMany(b *testing.B) {
	for _, be := range backends(b) {
		before := be.kept("many")
		st := be.open("many")
		b.Cleanup(func() { st.Close() })
		var total atomic.Int64 // sessions; the samples below it
		for _, n := range []int{sized(10_000, 512), sized(1_000_000, 1024)} {
			filling := be.hurry("many")
			recent.fill(filling, int(total.Load()), n, fillers)
			check(filling.Close())
			total.Store(int64(n))
			benchmarkCalls(b, fmt.Sprintf("%s-of-%d-", be.name, n), st, &total)
		}
		b.Run("case="+be.name+"-kept/peer=sojourn", func(b *testing.B) {
			figures{"B/session": (be.kept("many") - before) / float64(total.Load())}.report(b)
		})
		runSweeps(b, be.name+"-read", "sojourn", func() sweepTarget {
			var rec store.Record
			return sweepTarget{
				n:     int(total.Load()),
				read:  func(i int) error { return recent.get(st, &rec, i, true) },
				sweep: func() (int, error) { return sweepAll(st, recent.start.Add(2*shortIdle)) },
			}
		})
	}
}

// benchmarkCalls calls a store with so many samples, and adds those it creates.
func benchmarkCalls(b *testing.B, prefix string, st store.Store, total *atomic.Int64) {
	n := int(total.Load())
	now := recent.created(n)
	cursor := ""
	for _, c := range []struct {
		name       string
		goroutines int
		do         call
	}{
		{"update", 16, updateAny(recent, st, n)},
		{"read", 16, func(h *hand, _ int) error { return recent.get(st, &h.rec, rand.IntN(n), true) }},
		{"create", 16, func(h *hand, _ int) error { return recent.create(st, &h.rec, int(total.Add(1))-1) }},
		{"list-100", 1, func(*hand, int) (err error) {
			_, cursor, err = st.List(b.Context(), app, store.ListOptions{Cursor: cursor, Limit: 100, Now: now})
			return err
		}},
		{"list-of-a-user", 1, func(*hand, int) error {
			opt := store.ListOptions{Subject: userID(rand.IntN(n)), Limit: 100, Now: now}
			recs, _, err := st.List(b.Context(), app, opt)
			return errors.Join(err, lacks(recs, 1))
		}},
		{"count", 1, func(*hand, int) error {
			c, err := st.Count(b.Context(), app)
			if err == nil && c.Sessions != total.Load() {
				err = fmt.Errorf("it counts %d sessions of %d", c.Sessions, total.Load())
			}
			return err
		}},
	} {
		b.Run("case="+prefix+c.name+"/peer=sojourn", func(b *testing.B) { atOnce(b, c.goroutines, c.do) })
	}
}
