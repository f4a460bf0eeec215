package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// costOps are the life of a session, in this order: each operation once for each
// of the sessions.
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
// heartbeats of a node in a second. docs/scale.md plans with them. Run it with
// -benchtime 1x.
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
	figures{
		"cpu-ns": (after.cpu - before.cpu) / n * 1e9,
		"in-B":   (after.in - before.in) / n,
		"out-B":  (after.out - before.out) / n,
		"log-B":  (after.log - before.log) / n,
	}.report(b)
}

// BenchmarkMany measures a store with few sessions and with a million: calls by 16
// goroutines, pages of lists, the bytes that the server keeps for a session
// (memory of Redis, disk of PostgreSQL after VACUUM), and reads during a sweep.
func BenchmarkMany(b *testing.B) {
	few, many := sized(10_000, 512), sized(1_000_000, 1024)
	for _, be := range backends(b) {
		before := be.kept("many")
		st := be.open("many")
		b.Cleanup(func() { st.Close() })
		m := &manySessions{be: be, st: st}
		for _, n := range []int{few, many} {
			m.fill(b, n)
			m.calls(b, fmt.Sprintf("%s-of-%d-", be.name, n))
		}
		b.Run("case="+be.name+"-kept/peer=sojourn", func(b *testing.B) {
			after := be.kept("many")
			figures{"B/session": (after - before) / float64(m.n.Load())}.report(b)
		})
		runSweeps(b, be.name+"-read", "sojourn", func() sweepTarget {
			var rec store.Record
			return sweepTarget{
				n:     int(m.n.Load()),
				read:  func(i int) error { return recent.get(st, &rec, i, true) },
				sweep: func() (int, error) { return sweepAll(st, recent.start.Add(2*shortIdle)) },
			}
		})
	}
}

// manySessions are the sessions of a store: all samples below n.
type manySessions struct {
	be *backend
	st sharedStore
	n  atomic.Int64
}

func (m *manySessions) fill(b *testing.B, to int) {
	st := m.be.hurry("many")
	recent.fill(st, int(m.n.Load()), to, fillers)
	check(st.Close())
	m.n.Store(int64(to))
}

func (m *manySessions) calls(b *testing.B, prefix string) {
	ctx := context.Background()
	n := int(m.n.Load())
	now := recent.created(n)
	cursor := ""
	for _, c := range []struct {
		name       string
		goroutines int
		do         call
	}{
		{"update", 16, updateAny(recent, m.st, n)},
		{"read", 16, func(h *hand, _ int) error { return recent.get(m.st, &h.rec, rand.IntN(n), true) }},
		{"create", 16, func(h *hand, _ int) error { return recent.create(m.st, &h.rec, int(m.n.Add(1))-1) }},
		{"list-100", 1, func(*hand, int) (err error) {
			_, cursor, err = m.st.List(ctx, app, store.ListOptions{Cursor: cursor, Limit: 100, Now: now})
			return err
		}},
		{"list-of-a-user", 1, func(*hand, int) error {
			recs, _, err := m.st.List(ctx, app, store.ListOptions{Subject: userID(rand.IntN(n)), Limit: 100, Now: now})
			return errors.Join(err, lacks(recs, 1))
		}},
		{"count", 1, func(*hand, int) error {
			c, err := m.st.Count(ctx, app)
			if err == nil && c.Sessions != m.n.Load() {
				err = fmt.Errorf("it counts %d sessions of %d", c.Sessions, m.n.Load())
			}
			return err
		}},
	} {
		b.Run("case="+prefix+c.name+"/peer=sojourn", func(b *testing.B) { atOnce(b, c.goroutines, c.do) })
	}
}
