package pgstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// TestI10Failover: a standby with an empty table of changes takes over. The
// feed has a gap before any heartbeat comes back, and then misses nothing.
func TestI10Failover(t *testing.T) {
	t.Parallel()
	p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{})
	standby := p.Standby(t, servertest.StandbyOptions{Synchronous: true}) // before there is a schema, so that it gets the schema from the log
	both := strings.Replace(p.URL(), p.Addr(), p.Addr()+","+standby.Addr(), 1)
	// A standby is never read, even if the URL asks for one, because it lags.
	wantError(t, standby.URL()+"&target_session_attrs=any", Options{}, ErrReadOnly, "standby")
	standbyFirst := strings.Replace(p.URL(), p.Addr(), standby.Addr()+","+p.Addr(), 1)
	nodes := []*Store{mustOpen(t, both, Options{}), mustOpen(t, standbyFirst+"&target_session_attrs=prefer-standby", Options{})}
	watches := []*watcher{watchOf(t, nodes[0]), watchOf(t, nodes[1])}
	rec := createOne(t, nodes[0])
	for i, w := range watches {
		w.beat(nodes[i], 1)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the store answers", func() bool { return nodes[0].Get(t.Context(), "shop", rec.ID, true, rec) == nil })
	if n := query(t, standby.URL(), "SELECT count(*)::text FROM sojourn.changes"); n != "0" {
		t.Errorf("%s changes have outlived the failover", n)
	}
	now := store.TimeOf(time.Now())
	if _, err := nodes[0].End(t.Context(), "shop", rec.ID, store.ReasonLogout, now); err != nil {
		t.Fatal(err)
	}
	for i, w := range watches {
		w.until(store.Gap)
		w.beat(nodes[i], 2)
	}
	next := createOne(t, nodes[1])
	if _, err := nodes[1].End(t.Context(), "shop", next.ID, store.ReasonLogout, now); err != nil {
		t.Fatal(err)
	}
	for _, w := range watches {
		w.until(store.Gone)
	}
}

// TestI6CanceledWait: an end waits for the synchronous standby, and an
// administrator cancels the wait. The server reports success, but a failover
// may undo the end.
func TestI6CanceledWait(t *testing.T) {
	t.Parallel()
	p := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{})
	standby := p.Standby(t, servertest.StandbyOptions{Synchronous: true})
	s := mustOpen(t, p.URL(), Options{Timeout: time.Minute, MaxConns: 1})
	rec := createOne(t, s)
	if err := standby.Pause(); err != nil {
		t.Fatal(err)
	}
	now := store.TimeOf(time.Now())
	ends := map[string]func() error{
		"End": func() error {
			_, err := s.End(t.Context(), "shop", rec.ID, store.ReasonLogout, now)
			return err
		},
		"EndSubject": func() error {
			_, err := s.EndSubject(t.Context(), "shop", "alice", store.ID{}, store.ReasonLogout, now)
			return err
		},
		"EndAll": func() error { return s.EndAll(t.Context(), "shop", now) },
	}
	for name, end := range ends {
		for range 2 { // a repeated end waits, too
			done := make(chan error, 1)
			go func() { done <- end() }()
			wait(t, name+" waits for the standby", func() bool {
				return len(done) > 0 ||
					query(t, p.URL(), "SELECT count(pg_cancel_backend(pid))::text FROM pg_stat_activity WHERE wait_event = 'SyncRep'") != "0"
			})
			if err := <-done; !errors.Is(err, store.ErrUncertain) {
				t.Errorf("%s, which no standby has: %v", name, err)
			}
		}
	}
	if err := standby.Continue(); err != nil {
		t.Fatal(err)
	}
	for name, end := range ends {
		if err := end(); err != nil {
			t.Errorf("%s, which the standby has: %v", name, err)
		}
	}
}
