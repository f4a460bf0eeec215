package pgstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// A cutter is a proxy that ends a connection at a chosen moment.
type cutter struct {
	listener net.Listener
	server   string
	marker   []byte       // a text in the requests to cut
	mode     atomic.Int32 // reset by a cut
}

const (
	pass        = iota
	cutRequests // the request is lost
	cutAnswers  // the request arrives, its answer is lost
	cutTails    // the end of the answer is lost, and the connection stays
)

func newCutter(t testing.TB, server, marker string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, server: server, marker: []byte(marker)}
	var running sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { c.serve(client) })
		}
	})
	return c
}

// serve forwards bytes in both directions.
func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	var deaf, blunt atomic.Bool // the server's answers are lost, or their ends
	requests := make(chan struct{})
	go func() {
		defer close(requests)
		defer server.Close()
		_ = each(client, func(b []byte) error {
			if c.mode.Load() != pass && bytes.Contains(b, c.marker) {
				switch c.mode.Swap(pass) {
				case cutRequests:
					return io.EOF
				case cutAnswers:
					deaf.Store(true)
				case cutTails:
					blunt.Store(true)
				}
			}
			_, err := server.Write(b)
			return err
		})
	}()
	_ = each(server, func(b []byte) error {
		if deaf.Load() {
			return io.EOF
		}
		if blunt.Load() {
			b = bytes.TrimSuffix(b, []byte{'Z', 0, 0, 0, 5, 'I'}) // ReadyForQuery
		}
		_, err := client.Write(b)
		return err
	})
	client.Close()
	<-requests
}

func each(from io.Reader, fn func([]byte) error) error {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if err := fn(b[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// through returns a store whose connections go through a proxy, which cuts
// calls for the application "cut". A timeout of 0 is the default.
func through(t testing.TB, timeout time.Duration) (*cutter, *Store) {
	t.Helper()
	url := shared(t).URL()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(config.Host, itoa(int(config.Port)))
	c := newCutter(t, address, "cut")
	return c, mustOpen(t, strings.Replace(url, address, c.listener.Addr().String(), 1), Options{Schema: schemaOf(t, url), FeedURL: url, Timeout: timeout})
}

// TestI6Uncertain loses the connection in the middle of each kind of write. The
// error says that the outcome is unknown, and nothing is sent again.
func TestI6Uncertain(t *testing.T) {
	c, s := through(t, 0)
	ctx, now := t.Context(), store.TimeOf(time.Now())
	for _, write := range []struct {
		name string
		call func(rec *store.Record) error
	}{
		{"Create", func(rec *store.Record) error {
			rec.ID[15]++
			_, err := s.Create(ctx, "cut", rec, store.CreateOptions{Arrived: now, Now: now})
			return err
		}},
		{"Update", func(rec *store.Record) error {
			_, err := s.Update(ctx, "cut", rec, store.UpdateOptions{Arrived: now, Now: now})
			return err
		}},
		{"login", func(rec *store.Record) error {
			_, err := s.Update(ctx, "cut", rec, store.UpdateOptions{Login: true, Arrived: now, Now: now, Limit: store.Limit{Max: 100}})
			return err
		}},
		{"Touch", func(rec *store.Record) error { return s.Touch(ctx, "cut", rec.ID, now+5, now, rec.Client) }},
		{"End", func(rec *store.Record) error {
			_, err := s.End(ctx, "cut", rec.ID, store.ReasonLogout, now)
			return err
		}},
		{"EndSubject", func(rec *store.Record) error {
			_, err := s.EndSubject(ctx, "cut", "alice", store.ID{}, store.ReasonLogout, now-5)
			return err
		}},
		{"EndAll", func(rec *store.Record) error { return s.EndAll(ctx, "cut", now) }},
	} {
		for _, mode := range []int32{cutRequests, cutAnswers} {
			if write.name == "EndAll" {
				now += 1000 // after the earlier watermark
			}
			rec := newSession("alice", now)
			if _, err := s.Create(ctx, "cut", rec, store.CreateOptions{Arrived: now, Now: now}); err != nil {
				t.Fatal(err)
			}
			state := func() string {
				return query(t, shared(t).URL(), in(s.opt.Schema, "SELECT concat(count(*), ' sessions, ', sum(revision), ' revisions, last seen ', max(last_seen_at)) FROM sojourn.sessions WHERE end_reason IS NULL")) +
					query(t, shared(t).URL(), in(s.opt.Schema, "SELECT coalesce(ended_all_at::text, '') FROM sojourn.apps"))
			}
			before := state()
			c.mode.Store(mode)
			err := write.call(rec)
			if c.mode.Load() != pass {
				t.Fatalf("%s: nothing was cut", write.name)
			}
			if !errors.Is(err, store.ErrUncertain) {
				t.Errorf("%s, mode %d: %v", write.name, mode, err)
			}
			// The server may still be working on it.
			if mode == cutRequests {
				if after := state(); after != before {
					t.Errorf("%s was not delivered, but changed something: %s, before %s", write.name, after, before)
				}
				continue
			}
			wait(t, write.name+" is done", func() bool { return state() != before })
			if write.name == "Update" || write.name == "login" {
				var got store.Record
				if err := s.Get(ctx, "cut", rec.ID, true, &got); err != nil || got.Revision != 2 {
					t.Errorf("%s was done %d times: %v", write.name, got.Revision-1, err)
				}
			}
		}
	}
}

// empty closes all idle connections, and reports whether there were no others.
func (p *pool) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		p.drop(c)
	}
	p.idle = nil
	return p.total == 0
}

// TestWarm: the statements of a new connection are prepared.
func TestWarm(t *testing.T) {
	s := openNew(t)
	_, err := s.use(t.Context(), func(c *call) error {
		var n int
		if err := c.conn.QueryRow(c.ctx, "SELECT count(*) FROM pg_prepared_statements").Scan(&n); err != nil {
			return err
		}
		if n < 8 {
			t.Errorf("%d statements are prepared", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestUnsentIsCertain: if the server can't be reached any more, no write is
// uncertain.
func TestUnsentIsCertain(t *testing.T) {
	c, s := through(t, 0)
	rec := createOne(t, s)
	c.listener.Close()
	wait(t, "all connections are closed", s.pool.empty)
	_, err := s.End(t.Context(), "shop", rec.ID, store.ReasonLogout, 1)
	if err == nil || errors.Is(err, store.ErrUncertain) {
		t.Errorf("End: %v", err)
	}
	if err := s.Get(t.Context(), "shop", rec.ID, true, rec); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
}

// TestClosedConnections ends all idle connections at the server, as a restart
// does. Reads and writes continue without an error.
func TestClosedConnections(t *testing.T) {
	url := shared(t).URL()
	schema := schemaOf(t, url)
	s := mustOpen(t, url+"&application_name="+schema, Options{Schema: schema, FeedURL: url, MaxConns: 4})
	for range 5 {
		rec := createOne(t, s)
		if n := query(t, url, "SELECT pg_terminate_backend(pid, 5000)::text FROM pg_stat_activity WHERE application_name = $1 AND state = 'idle'", schema); n == "" {
			t.Fatal("there was no connection to end")
		}
		if _, err := s.Update(t.Context(), "shop", rec, store.UpdateOptions{Arrived: rec.CreatedAt, Now: rec.CreatedAt}); err != nil {
			t.Fatalf("Update: %v", err)
		}
		query(t, url, "SELECT pg_terminate_backend(pid, 5000)::text FROM pg_stat_activity WHERE application_name = $1 AND state = 'idle'", schema)
		if err := s.Get(t.Context(), "shop", rec.ID, true, rec); err != nil {
			t.Fatalf("Get: %v", err)
		}
	}
}

// TestI6Restart kills the server while sessions are created and ended.
// Acknowledged writes are there afterwards, and service resumes by itself.
func TestI6Restart(t *testing.T) {
	t.Parallel()
	p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{})
	s := mustOpen(t, p.URL(), Options{})
	w := watchOf(t, s)
	w.beat(s, 1)
	ctx := t.Context()
	for round := range 2 {
		var mu sync.Mutex
		var live, ended, unclear []store.ID
		var writers sync.WaitGroup
		var enough, stop atomic.Bool
		for range 4 {
			writers.Go(func() {
				for n := 0; !stop.Load(); n++ {
					now := store.TimeOf(time.Now())
					rec := newSession("", now)
					_, err := s.Create(ctx, "shop", rec, store.CreateOptions{Arrived: now, Now: now})
					if err != nil {
						continue // its outcome is unknown
					}
					note := &live
					if n%2 == 0 {
						note = &ended
						if _, err := s.End(ctx, "shop", rec.ID, store.ReasonLogout, now); errors.Is(err, store.ErrUncertain) {
							note = &unclear
						} else if err != nil {
							note = &live
						}
					}
					mu.Lock()
					*note = append(*note, rec.ID)
					enough.Store(len(live) > 100)
					mu.Unlock()
				}
			})
		}
		wait(t, "100 sessions", enough.Load)
		var err error
		if round == 0 {
			err = p.StopImmediately()
		} else {
			err = p.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		stop.Store(true)
		writers.Wait()
		wait(t, "the store answers", func() bool {
			_, err := s.Count(ctx, "shop")
			return err == nil
		})
		var rec store.Record
		for _, id := range live {
			if err := s.Get(ctx, "shop", id, true, &rec); err != nil {
				t.Fatalf("an acknowledged session: %v", err)
			}
		}
		for _, id := range ended {
			if err := s.Get(ctx, "shop", id, true, &rec); !errors.Is(err, store.ErrEnded) {
				t.Fatalf("an acknowledged end: %v", err)
			}
		}
		for _, id := range unclear {
			if err := s.Get(ctx, "shop", id, true, &rec); err != nil && !errors.Is(err, store.ErrEnded) {
				t.Fatalf("an end whose outcome was unknown: %v", err)
			}
		}
		t.Logf("%d live, %d ended, %d unclear", len(live), len(ended), len(unclear))
		w.until(store.Gap)
		w.beat(s, uint64(2+round))
	}
}

func wait(t testing.TB, what string, fn func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !fn(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within half a minute", what)
		}
	}
}

// TestSweepShared: three nodes sweep at the same time, and one of them ends
// each session.
func TestSweepShared(t *testing.T) {
	url := shared(t).URL()
	schema := schemaOf(t, url)
	now := store.TimeOf(time.Now())
	var nodes []*Store
	for range 3 {
		nodes = append(nodes, mustOpen(t, url, Options{Schema: schema, MaxConns: 2}))
	}
	const n = 2000
	fill(t, nodes[0], n, now)
	var mu sync.Mutex
	by := map[store.ID]int{}
	shares := make([]int, len(nodes))
	var sweepers sync.WaitGroup
	for i, s := range nodes {
		sweepers.Go(func() {
			for {
				list, done, err := s.Sweep(context.Background(), "shop", now+3600000+n, 256)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, e := range list {
					by[e.ID]++
					shares[i]++
				}
				mu.Unlock()
				if done {
					return
				}
			}
		})
	}
	sweepers.Wait()
	for id, times := range by {
		if times != 1 {
			t.Errorf("session %v was ended %d times", id, times)
		}
	}
	if len(by) != n {
		t.Errorf("%d sessions were ended, want %d", len(by), n)
	}
	t.Logf("ended by each: %v", shares)
}

// TestEndsWithItsContext: a call that misses only the end of its answer waits
// no longer than its context.
func TestEndsWithItsContext(t *testing.T) {
	c, s := through(t, 0)
	now := store.TimeOf(time.Now())
	rec := newSession("ada", now)
	if _, err := s.Create(t.Context(), "cut", rec, store.CreateOptions{Arrived: now, Now: now}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	c.mode.Store(cutTails)
	err := make(chan error, 1)
	go func() {
		var got store.Record
		err <- s.Get(ctx, "cut", rec.ID, true, &got)
	}()
	select {
	case err := <-err:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the call waits without end")
	}
}

// TestEndsWithTheTimeout: a call whose context has no end waits no longer than
// the timeout for a server that is silent.
func TestEndsWithTheTimeout(t *testing.T) {
	now := store.TimeOf(time.Now())
	for name, call := range map[string]func(context.Context, *Store, *store.Record) error{
		"Get": func(ctx context.Context, s *Store, rec *store.Record) error {
			return s.Get(ctx, "cut", rec.ID, true, rec)
		},
		"List": func(ctx context.Context, s *Store, _ *store.Record) error {
			_, _, err := s.List(ctx, "cut", store.ListOptions{Limit: 1, Now: now})
			return err
		},
		"Barrier": func(ctx context.Context, s *Store, rec *store.Record) error {
			_, err := s.Barrier(ctx, "cut", rec.Subject)
			return err
		},
		"Update": func(ctx context.Context, s *Store, rec *store.Record) error {
			_, err := s.Update(ctx, "cut", rec, store.UpdateOptions{Arrived: now, Now: now})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, s := through(t, 500*time.Millisecond)
			rec := newSession("ada", now)
			wait(t, "the session is there", func() bool { // a slow machine may need several attempts
				_, err := s.Create(t.Context(), "cut", rec, store.CreateOptions{Arrived: now, Now: now})
				return err == nil || errors.Is(err, store.ErrExists)
			})
			c.mode.Store(cutTails)
			answer := make(chan error, 1)
			go func() { answer <- call(t.Context(), s, rec) }()
			select {
			case err := <-answer:
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the error is %v", err)
				}
			case <-time.After(30 * time.Second):
				t.Error("the call waits without end")
			}
		})
	}
}

// TestClosedInBetween: a call that has passed its first check before the store
// is closed, such as the second page of a list, is refused at once.
func TestClosedInBetween(t *testing.T) {
	s := openNew(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if sent, err := s.use(ctx, func(*call) error { return nil }); sent || !errors.Is(err, errPoolClosed) {
		t.Errorf("sent: %v, the error is %v", sent, err)
	}
}
