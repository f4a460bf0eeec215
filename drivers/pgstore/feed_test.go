package pgstore

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sojourn-go/sojourn/internal/servertest"
	"github.com/sojourn-go/sojourn/store"
)

// A watcher receives a feed, with a time limit.
type watcher struct {
	testing.TB
	changes <-chan store.Change
}

func watchOf(t testing.TB, s *Store) *watcher {
	t.Helper()
	changes, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &watcher{t, changes}
}

// until returns the changes up to the first one of a kind, inclusively.
func (w *watcher) until(kind store.ChangeKind) (before []store.Change, last store.Change) {
	w.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case c, ok := <-w.changes:
			if !ok {
				w.Fatal("the feed is closed")
			}
			if c.Kind == kind {
				return before, c
			}
			before = append(before, c)
		case <-timeout:
			w.Fatalf("no change of the kind %d; before: %+v", kind, before)
		}
	}
}

// beat sends heartbeats until one comes back, and returns the changes that came before it.
func (w *watcher) beat(s *Store, n uint64) (before []store.Change) {
	w.Helper()
	timeout := time.After(30 * time.Second)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		_ = s.Beat(w.Context(), n) // a heartbeat may fail or get lost
		for waiting := true; waiting; {
			select {
			case c := <-w.changes:
				switch {
				case c.Kind != store.Beat:
					before = append(before, c)
				case c.Revision == n:
					return before
				} // an earlier one, which was slow
			case <-again.C:
				waiting = false
			case <-timeout:
				w.Fatalf("no heartbeat comes back; before: %+v", before)
			}
		}
	}
}

func (w *watcher) Context() context.Context { return w.TB.(*testing.T).Context() }

func createOne(t testing.TB, s *Store) *store.Record {
	t.Helper()
	now := store.TimeOf(time.Now())
	rec := newSession("alice", now)
	if _, err := s.Create(t.Context(), "shop", rec, store.CreateOptions{Arrived: now, Now: now}); err != nil {
		t.Fatal(err)
	}
	return rec
}

// beginTx begins a transaction on a connection of its own.
func beginTx(t testing.TB) pgx.Tx {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), shared(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// TestI10LateCommits: a transaction begins early and commits late, after later
// transactions were reported.
func TestI10LateCommits(t *testing.T) {
	s := openNew(t)
	w := watchOf(t, s)
	first, second := createOne(t, s), createOne(t, s)
	w.until(store.Changed)
	w.until(store.Changed)
	var txs []pgx.Tx
	for _, rec := range []*store.Record{first, second} { // this numbers their changes and their transactions
		tx := beginTx(t)
		if _, err := tx.Exec(t.Context(), s.sql.end, "shop", uuid(rec.ID), "logout", int64(1)); err != nil {
			t.Fatal(err)
		}
		txs = append(txs, tx)
	}
	for i := range 3 {
		if before := w.beat(s, uint64(i)); len(before) > 0 {
			t.Fatalf("reported %+v, which is not committed", before)
		}
		createOne(t, s)
		w.until(store.Changed)
	}
	if err := txs[1].Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if before := w.beat(s, 10); len(before) != 1 || before[0] != (store.Change{Kind: store.Gone, App: "shop", ID: second.ID}) {
		t.Fatalf("reported %+v, want the end of the second session", before)
	}
	if err := txs[0].Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if before := w.beat(s, 11); len(before) != 1 || before[0] != (store.Change{Kind: store.Gone, App: "shop", ID: first.ID}) {
		t.Fatalf("reported %+v, want the end of the first session", before)
	}
}

// TestI10LostNotifications: without notifications, a heartbeat brings the
// changes.
func TestI10LostNotifications(t *testing.T) {
	url := shared(t).URL()
	s, err := open(t.Context(), url, Options{Schema: schemaOf(t, url)}, func(s *Store, _ *pgx.ConnConfig) { s.sql.notify = "SELECT $1::text" })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := watchOf(t, s)
	for i := range uint64(20) {
		rec := createOne(t, s)
		if before := w.beat(s, i); len(before) != 1 || before[0].ID != rec.ID {
			t.Fatalf("reported %+v before the heartbeat", before)
		}
	}
}

// TestI10FeedConnectionCut ends only the feed's connection, while changes are
// made.
func TestI10FeedConnectionCut(t *testing.T) {
	url := shared(t).URL()
	schema := schemaOf(t, url)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	name := "feed of " + schema
	s := mustOpen(t, url, Options{Schema: schema, FeedURL: config.ConnString() + "&application_name=" + strings.ReplaceAll(name, " ", "%20")})
	w := watchOf(t, s)
	w.beat(s, 1)
	for i := range uint64(3) {
		query(t, url, "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE application_name = $1", name)
		createOne(t, s)
		w.until(store.Gap)
		w.beat(s, 2+i)
		rec := createOne(t, s) // the feed continues
		if _, c := w.until(store.Changed); c.ID != rec.ID {
			t.Fatalf("reported %+v", c)
		}
	}
	if got := s.Stats(); got.Gaps != 3 || !got.FeedLive {
		t.Errorf("%+v", got)
	}
}

// TestI10SleepingNode: a node reads after others have pruned changes that it
// hasn't seen.
func TestI10SleepingNode(t *testing.T) {
	s := openNew(t)
	p, err := s.openPoller(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close(context.Background())
	poll := func() (got []store.Change, complete bool) {
		t.Helper()
		complete, err := p.poll(t.Context(), func(c store.Change) { got = append(got, c) })
		if err != nil {
			t.Fatal(err)
		}
		return got, complete
	}
	createOne(t, s)
	p.asOf = p.asOf.Add(time.Second - patience) // almost too old
	if got, complete := poll(); len(got) != 1 || !complete {
		t.Fatalf("%+v, complete: %v", got, complete)
	}
	createOne(t, s)
	p.asOf = p.asOf.Add(-patience)
	if _, complete := poll(); complete {
		t.Error("a poll after too long counts as complete")
	}
	p.asOf = p.asOf.Add(time.Minute) // the server's clock was set back
	if _, complete := poll(); complete {
		t.Error("a poll from before the last one counts as complete")
	}
	if got, complete := poll(); len(got) != 0 || !complete {
		t.Fatalf("%+v, complete: %v", got, complete)
	}
	p.started++ // another server has replaced this one
	if _, err := p.poll(t.Context(), func(store.Change) {}); err == nil {
		t.Error("a poll of another server counts")
	}
}

// TestI10SlowPoll: the server delays a poll after it has taken the snapshot. The
// poll's time is that of the snapshot, so that the next one notices if changes
// were pruned meanwhile.
func TestI10SlowPoll(t *testing.T) {
	s := openNew(t)
	createOne(t, s)
	url := shared(t).URL()
	p, err := s.openPoller(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close(context.Background())
	if _, err := p.conn.Exec(t.Context(), "SET application_name = 'slow poll'"); err != nil {
		t.Fatal(err)
	}
	changes := 0
	poll := func() error {
		_, err := p.poll(t.Context(), func(store.Change) { changes++ })
		return err
	}
	if err := poll(); err != nil {
		t.Fatal(err)
	}
	tx := beginTx(t)
	// The poll's plan is made, so only its execution locks the index.
	if _, err := tx.Exec(t.Context(), in(s.opt.Schema, "ALTER INDEX sojourn.apps_pkey SET TABLESPACE pg_default")); err != nil {
		t.Fatal(err)
	}
	polled := make(chan error, 1)
	go func() { polled <- poll() }()
	wait(t, "the poll waits for the index", func() bool {
		return query(t, url, "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'slow poll' AND wait_event_type = 'Lock'") == "1"
	})
	execute(t, url, in(s.opt.Schema, "INSERT INTO sojourn.changes (app, kind) SELECT 1, 3"))
	later := query(t, url, "SELECT "+microseconds("clock_timestamp()")+"::text")
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-polled; err != nil {
		t.Fatal(err)
	}
	if asOf := strconv.FormatInt(p.asOf.UnixMicro(), 10); changes != 0 || asOf >= later {
		t.Errorf("the poll has %d changes and counts as of %s, want none and before %s", changes, asOf, later)
	}
	if err := poll(); err != nil || changes != 1 {
		t.Errorf("the next poll has %d changes: %v", changes, err)
	}
}

func TestPrune(t *testing.T) {
	s := openNew(t)
	url := shared(t).URL()
	left := func() string {
		t.Helper()
		return query(t, url, in(s.opt.Schema, "SELECT count(*)::text FROM sojourn.changes"))
	}
	for range 3 {
		createOne(t, s)
	}
	seen, err := s.prune(t.Context(), nil)
	if err != nil || left() != "3" || len(seen) != 1 {
		t.Fatalf("pruned at once: %v, %d horizons, %s changes are left", err, len(seen), left())
	}
	createOne(t, s)
	seen[0].at -= (retention - time.Second).Microseconds()
	if seen, err = s.prune(t.Context(), seen); err != nil || left() != "4" || len(seen) != 2 {
		t.Fatalf("pruned early: %v, %d horizons, %s changes are left", err, len(seen), left())
	}
	seen[0].at -= 2 * time.Second.Microseconds()
	if seen, err = s.prune(t.Context(), seen); err != nil || left() != "1" || len(seen) != 2 {
		t.Fatalf("not pruned: %v, %d horizons, %s changes are left", err, len(seen), left())
	}
	// Changes that a dump has brought from another server, with higher
	// transaction numbers, are not reported, and are removed.
	w := watchOf(t, s)
	execute(t, url, in(s.opt.Schema, "INSERT INTO sojourn.changes (xid, app, kind) SELECT '9000000000000000000', num, 3 FROM sojourn.apps"))
	if before := w.beat(s, 1); len(before) != 0 {
		t.Errorf("reported %+v", before)
	}
	if _, err = s.prune(t.Context(), nil); err != nil || left() != "1" {
		t.Errorf("not pruned: %v, %s changes are left", err, left())
	}
}

// TestFeedThroughPgBouncer: without a direct connection the feed works, is
// late, and warns.
func TestFeedThroughPgBouncer(t *testing.T) {
	url := shared(t).URL()
	b, err := bouncer()
	servertest.Check(t, err)
	var r recorder
	s := mustOpen(t, b.URL(), Options{Schema: schemaOf(t, url), Logger: r.log()})
	w := watchOf(t, s)
	if got := r.String(); !strings.Contains(got, "FeedURL") || !strings.Contains(got, "pooler") {
		t.Errorf("the log says %q", got)
	}
	for i := range uint64(20) {
		rec := createOne(t, s)
		if before := w.beat(s, i); len(before) != 1 || before[0].ID != rec.ID {
			t.Fatalf("reported %+v before the heartbeat", before)
		}
		rec = createOne(t, s)
		if _, c := w.until(store.Changed); c.ID != rec.ID {
			t.Fatalf("reported %+v", c)
		}
	}
}

// TestI10FeedOfAnotherServer connects the feed to another server than the
// store's, as after a failover that only one connection has noticed. No
// heartbeat may come back from there.
func TestI10FeedOfAnotherServer(t *testing.T) {
	url := shared(t).URL()
	other := servertest.PostgreSQL(t, servertest.PostgreSQLOptions{Config: []string{"fsync = off"}})
	var r recorder
	schema := schemaOf(t, url)
	mustOpen(t, other.URL(), Options{Schema: schema}) // creates the tables there
	s := mustOpen(t, url, Options{Schema: schema, FeedURL: other.URL(), Logger: r.log()})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	changes, err := s.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for n := uint64(1); !strings.Contains(r.String(), "another server"); n++ {
		if time.Now().After(deadline) {
			t.Fatalf("the log says %q", r.String())
		}
		if err := s.Beat(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	for c := range changes {
		if c.Kind == store.Beat {
			t.Fatal("a heartbeat came back from the other server")
		}
	}
}

// TestI10RenumberedApplications: a restored dump gives an application the number
// of another, while the feed's connection lives.
func TestI10RenumberedApplications(t *testing.T) {
	s := openNew(t)
	w := watchOf(t, s)
	rec := createOne(t, s)
	w.until(store.Changed)
	now := store.TimeOf(time.Now())
	if _, err := s.Create(t.Context(), "blog", newSession("bob", now), store.CreateOptions{Arrived: now, Now: now}); err != nil {
		t.Fatal(err)
	}
	w.until(store.Changed)
	apps := `"` + s.opt.Schema + `".apps`
	execute(t, shared(t).URL(),
		"UPDATE "+apps+" SET name = 'other' WHERE name = 'shop'",
		"UPDATE "+apps+" SET name = 'shop' WHERE name = 'blog'",
		"UPDATE "+apps+" SET name = 'blog' WHERE name = 'other'")
	if _, err := s.End(t.Context(), "blog", rec.ID, store.ReasonLogout, 1); err != nil {
		t.Fatal(err)
	}
	if before := w.beat(s, 1); len(before) != 1 || before[0] != (store.Change{Kind: store.Gone, App: "blog", ID: rec.ID}) {
		t.Fatalf("reported %+v, want the end of the session, which is the application blog's now", before)
	}
}

// BenchmarkFeed measures the time from the start of an end on one node until
// another node hears of it.
func BenchmarkFeed(b *testing.B) {
	url := shared(b).URL()
	schema := schemaOf(b, url)
	here, there := mustOpen(b, url, Options{Schema: schema}), mustOpen(b, url, Options{Schema: schema})
	changes, err := there.Watch(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	var took, ended []time.Duration
	for b.Loop() {
		rec := createOne(b, here)
		began := time.Now()
		if _, err := here.End(b.Context(), "shop", rec.ID, store.ReasonLogout, 1); err != nil {
			b.Fatal(err)
		}
		acknowledged := time.Now()
		for c := range changes {
			if c.Kind == store.Gone {
				break
			}
		}
		took, ended = append(took, time.Since(acknowledged)), append(ended, acknowledged.Sub(began))
	}
	slices.Sort(took)
	slices.Sort(ended)
	at := func(list []time.Duration, share float64) float64 {
		return float64(list[int(share*float64(len(list)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(at(ended, 0.5), "end-p50-ms")
	b.ReportMetric(at(took, 0.5), "heard-p50-ms")
	b.ReportMetric(at(took, 0.99), "heard-p99-ms")
	b.ReportMetric(at(took, 1), "heard-max-ms")
}
