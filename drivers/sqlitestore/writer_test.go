package sqlitestore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"testing"

	"zombiezen.com/go/sqlite"

	"github.com/sojourn-go/sojourn/store"
)

// hold keeps the writer in a transaction until the returned function is called.
func hold(t *testing.T, s *Store) (release func()) {
	entered, leave, left := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		left <- s.write(context.Background(), func(*tx) error {
			select {
			case <-entered: // it runs again, alone
			default:
				close(entered)
				<-leave
			}
			return nil
		})
	}()
	<-entered
	return func() {
		close(leave)
		if err := <-left; err != nil {
			t.Error(err)
		}
	}
}

// begun starts a call, and returns when the call is in the queue.
func begun(s *Store, call func() error) <-chan error {
	before := len(s.writer.queue)
	result := make(chan error, 1)
	go func() { result <- call() }()
	for len(s.writer.queue) == before {
		select {
		case err := <-result: // it failed at once
			result <- err
			return result
		default:
		}
	}
	return result
}

// A write that fails, because its session can't be read or written, doesn't
// affect the others of its transaction.
func TestOneFailsAlone(t *testing.T) {
	s := open(t)
	defer s.Close()
	bad, good := session(1, "ada", present), session(2, "ada", present)
	create(t, s, bad)
	create(t, s, good)
	if err := s.write(t.Context(), func(tx *tx) error {
		_, err := tx.w.conn.exec("UPDATE sessions SET former_secrets = 'no JSON' WHERE id = ?", bad.ID[:])
		return err
	}); err != nil {
		t.Fatal(err)
	}
	release := hold(t, s)
	var calls []<-chan error
	for _, call := range []func() error{
		func() error { return s.Touch(context.Background(), "shop", good.ID, present+1, present+1, good.Client) },
		func() error {
			return s.Confirm(context.Background(), "shop", bad.ID, bad.Secret.Hash, store.Confirmation{FirstSeenAt: 1})
		},
		func() error {
			_, err := s.Create(context.Background(), "shop", session(3, "ada", present), store.CreateOptions{Now: present, Arrived: present})
			return err
		},
		func() error {
			_, err := s.Create(context.Background(), "shop", session(2, "ada", present), store.CreateOptions{Now: present, Arrived: present})
			return err
		},
	} {
		calls = append(calls, begun(s, call))
	}
	release()
	if err := <-calls[0]; err != nil {
		t.Error(err)
	}
	if err := <-calls[1]; err == nil || isRefusal(err) {
		t.Errorf("the unreadable session: %v", err)
	}
	if err := <-calls[2]; err != nil {
		t.Error(err)
	}
	if err := <-calls[3]; !errors.Is(err, store.ErrExists) {
		t.Errorf("a refusal: %v", err)
	}
	good.Revision, good.LastSeenAt = 1, present+1
	if err := stateOf(s, good); err != nil {
		t.Error(err)
	}
	if n, err := s.Count(t.Context(), "shop"); err != nil || n.Sessions != 3 {
		t.Errorf("%+v, %v", n, err)
	}
	// An unreadable session can be ended.
	if ended, err := s.End(t.Context(), "shop", bad.ID, store.ReasonLogout, present+1); err != nil || len(ended) != 1 {
		t.Errorf("%v, %v", ended, err)
	}
	if err := stateOf(s, bad); !errors.Is(err, store.ErrEnded) {
		t.Error(err)
	}
}

// A call that gives up before the writer has begun has changed nothing. Later,
// its outcome is unknown.
func TestGivingUp(t *testing.T) {
	s := open(t)
	defer s.Close()
	early, late := session(1, "", present), session(2, "", present)
	add := func(ctx context.Context, rec *store.Record) func() error {
		return func() error {
			_, err := s.Create(ctx, "shop", rec, store.CreateOptions{Now: present, Arrived: present})
			return err
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	release := hold(t, s)
	call := begun(s, add(ctx, early))
	cancel()
	if err := <-call; !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUncertain) {
		t.Errorf("before: %v", err)
	}
	release()
	if err := stateOf(s, early); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it was created: %v", err)
	}

	ctx, cancel = context.WithCancel(t.Context())
	entered, leave := make(chan struct{}), make(chan struct{})
	result := make(chan error)
	go func() {
		result <- s.write(ctx, func(*tx) error {
			close(entered)
			<-leave
			return nil
		})
	}()
	<-entered
	cancel()
	if err := <-result; !errors.Is(err, store.ErrUncertain) || !errors.Is(err, context.Canceled) {
		t.Errorf("while it runs: %v", err)
	}
	close(leave)
	if err := add(t.Context(), late)(); err != nil {
		t.Error(err)
	}
}

// The writer begins no transaction for a call that has given up. It would wait
// for another program that writes, and so would Close.
func TestGivenUpBeforeTheTransaction(t *testing.T) {
	opened := 0
	w := &writer{queue: make(chan *write, 2), open: func(context.Context) (*conn, error) {
		opened++
		return nil, errors.New("no file")
	}}
	gaveUp, waits := &write{done: make(chan struct{})}, &write{done: make(chan struct{})}
	gaveUp.state.Store(abandoned)
	w.queue <- gaveUp
	w.queue <- waits
	close(w.queue)
	w.run()
	if opened != 1 || waits.err == nil {
		t.Errorf("%d transactions, %v", opened, waits.err)
	}
}

// Close waits for calls that have begun. None is lost, and none hangs.
func TestCloseUnderWrites(t *testing.T) {
	s := open(t)
	results := make(chan error)
	const writers = 64
	for i := range writers {
		go func() {
			for n := 0; ; n++ {
				_, err := s.Create(context.Background(), "shop", session(i*1_000_000+n, "", present), store.CreateOptions{Now: present, Arrived: present})
				if err != nil {
					results <- err
					return
				}
			}
		}()
	}
	var rec store.Record
	for s.Get(t.Context(), "shop", session(0, "", present).ID, true, &rec) != nil {
	}
	closeStore(t, s)
	for range writers {
		if err := <-results; !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	}
	if err := Check(t.Context(), s.Path(), nil); err != nil {
		t.Error(err)
	}
}

// Close waits for reads that have begun, so that none keeps the file open.
// Reads that wait for a connection fail.
func TestCloseUnderReads(t *testing.T) {
	s := open(t)
	create(t, s, session(1, "", present))
	reading, leave := make(chan struct{}), make(chan struct{})
	results := make(chan error)
	for range readers {
		go func() {
			results <- s.read(context.Background(), func(c *conn) error {
				reading <- struct{}{}
				<-leave
				_, err := c.integer("SELECT count(*) FROM sessions")
				return err
			})
		}()
		<-reading
	}
	const waiting = 8
	begun := make(chan struct{})
	for range waiting {
		go func() {
			begun <- struct{}{}
			results <- s.read(context.Background(), func(*conn) error { return nil })
		}()
		<-begun
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	for !s.closed.Load() {
	}
	close(leave)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	for range readers + waiting {
		if err := <-results; err != nil && !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	}
	if _, err := os.Stat(s.Path() + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the log is still there, so somebody has the file open: %v", err)
	}
}

// endless are the statements that turn a table of sessions into one whose rows
// never end.
func endless(createView, createdAt string) string {
	return createView + " sessions AS WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) " +
		"SELECT 1 AS app, " + createdAt + " AS created_at, NULL AS subject, NULL AS end_reason FROM n"
}

// A call doesn't wait for the count of a large file when its context ends, and
// neither does Close.
func TestLongCount(t *testing.T) {
	s := open(t)
	create(t, s, session(1, "", present))
	counting := make(chan struct{})
	var once sync.Once
	for range readers {
		c := <-s.readers
		err := c.CreateFunction("counting", &sqlite.FunctionImpl{NArgs: 1, AllowIndirect: true, Scalar: func(sqlite.Context, []sqlite.Value) (sqlite.Value, error) {
			once.Do(func() { close(counting) })
			return sqlite.IntegerValue(1), nil
		}})
		for _, change := range []string{"PRAGMA query_only(0)", endless("CREATE TEMP VIEW", "counting(x)")} {
			if err == nil {
				_, err = c.exec(change)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		s.readers <- c
	}
	if err := s.EndAll(t.Context(), "shop", present-1); err != nil { // so that the count looks at created_at
		t.Fatal(err)
	}
	result := make(chan error)
	count := func(ctx context.Context) {
		_, err := s.Count(ctx, "shop")
		result <- err
	}
	ctx, cancel := context.WithCancel(t.Context())
	go count(ctx) // counts
	<-counting
	go count(ctx) // waits for the first
	cancel()
	for range 2 {
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
	go count(context.Background())
	closeStore(t, s)
	if err := <-result; !errors.Is(err, store.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// Every Close returns when the store is closed: then another may open it.
func TestSecondClose(t *testing.T) {
	s := open(t)
	many(t, s, 500, "ada")
	first := make(chan error)
	go func() { first <- s.Close() }()
	for !s.closed.Load() {
	}
	closeStore(t, s)
	openAt(t, s.Path())
	if err := <-first; err != nil {
		t.Error(err)
	}
}
