package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync/atomic"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

const (
	queueLength = 1024
	maxGroup    = 256 // writes in one transaction; the first one waits for all, and one fault affects all
)

// A writer writes to the file, on one goroutine. It puts all waiting writes, up
// to maxGroup, into one transaction, commits it with one sync, and then
// acknowledges them all. The next writes gather during the sync, without a
// timer. The writer's goroutine owns all fields that aren't atomic or locked.
type writer struct {
	open  func(context.Context) (*conn, error)
	conn  *conn
	queue chan *write
	room  room

	reserve *reserve
	left    atomic.Int64 // room.left as of the last measure

	unmeasured, unchecked int // writes since the room was measured, and since the log's length was checked
	feed                  driver.Feed

	apps      map[string]app // as of the open transaction
	published atomic.Pointer[map[string]app]
	counts    counts
	joined    int64 // a session that joins a subject gets a higher place: EndSubject may be ending those below
}

// A write is one call that waits for its transaction.
type write struct {
	do    func(*tx) error
	ends  bool // the write ends sessions, or changes nothing: it may use the reserve
	err   error
	done  chan struct{}
	state atomic.Int32
}

const (
	waiting = iota
	running
	abandoned
)

// begin reports whether the write's caller still waits. From then on the caller
// waits for the outcome.
func (w *write) begin() bool {
	return w.state.CompareAndSwap(waiting, running) || w.state.Load() == running
}

// write runs do in a transaction and returns when that is on the disk. do may
// run more than once. If it returns one of the refusals, it must not have
// changed anything; any other error rolls the transaction back. Variables that
// do sets may be read only if write returns nil.
func (s *Store) write(ctx context.Context, do func(*tx) error) error {
	return s.enqueue(ctx, &write{do: do})
}

// writeEnd is write for a call that ends sessions. It may use the reserve.
func (s *Store) writeEnd(ctx context.Context, do func(*tx) error) error {
	return s.enqueue(ctx, &write{do: do, ends: true})
}

func (s *Store) enqueue(ctx context.Context, w *write) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	w.done = make(chan struct{})
	s.closing.RLock()
	if s.closed.Load() {
		s.closing.RUnlock()
		return store.ErrClosed
	}
	select {
	case s.writer.queue <- w:
		s.closing.RUnlock()
	case <-ctx.Done():
		s.closing.RUnlock()
		return ctx.Err()
	}
	select {
	case <-w.done:
		return s.explain(w.err)
	case <-ctx.Done():
	}
	if w.state.CompareAndSwap(waiting, abandoned) {
		return ctx.Err()
	}
	select {
	case <-w.done:
		return s.explain(w.err)
	default:
		return fmt.Errorf("%w: %w", store.ErrUncertain, ctx.Err())
	}
}

// run carries out writes until the queue is closed.
func (w *writer) run() {
	group := make([]*write, 0, maxGroup)
	for first := range w.queue {
		if first.state.Load() == abandoned {
			continue // a transaction may wait long for another program's
		}
		var again bool
		group, again = w.transact(append(group[:0], first), true)
		if again {
			for i := range group {
				w.repeat(group[i : i+1 : i+1])
			}
		}
		for _, one := range group {
			close(one.done)
		}
		w.unmeasured += len(group)
		w.unchecked += len(group)
		clear(group)
		w.checkpoint()
	}
}

const (
	// fewWrites is the number of writes after which the writer checks the room
	// and the length of the log. With sessions of the usual size they take some
	// hundred pages.
	fewWrites = 32

	// logPages is the length of the log from which on a checkpoint moves it into
	// the file. With a longer log, checkpoints are rarer and delay writes longer.
	logPages = 1000

	// longLog is the length from which on the writer waits for readers, so that
	// the log can start over. Otherwise overlapping reads let it grow for ever.
	longLog = 8 * logPages

	// logLimit is the length, in bytes, to which SQLite cuts the log when it
	// starts over.
	logLimit = 2 * logPages * frameBytes

	patience = "PRAGMA busy_timeout = 50" // milliseconds
)

var usualPatience = fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds())

// checkpoint moves the log into the file if it is long enough. It runs between
// two transactions, after the writes of the last one were acknowledged. If it
// fails nothing is lost, and the next one tries again.
func (w *writer) checkpoint() {
	if w.conn == nil || w.unchecked < fewWrites {
		return
	}
	w.unchecked = 0
	v, err := w.conn.first("PRAGMA wal_checkpoint(NOOP)")
	if err != nil || toInt(v[1])-toInt(v[2]) < logPages {
		return
	}
	v, err = w.conn.first("PRAGMA wal_checkpoint(PASSIVE)")
	w.coverData()
	if err != nil || toInt(v[1]) < longLog || toInt(v[1])-toInt(v[2]) >= logPages {
		return // the log is short, or a long reader such as a backup holds it
	}
	_, _ = w.conn.first(patience)
	_, _ = w.conn.first("PRAGMA wal_checkpoint(RESTART)")
	_, _ = w.conn.first(usualPatience)
	w.coverData()
}

// repeat carries out a write in a transaction of its own, after the shared
// transaction has failed. If the disk is full, it makes room first: it moves the
// log into the file, so that the log can start over. For a write that ends
// sessions it also removes the spare file.
func (w *writer) repeat(one []*write) {
	full := lacksRoom(one[0].err)
	for n := 0; n == 0 || full; n++ {
		if full {
			if n > 1 || n == 1 && !(one[0].ends && w.reserve.release()) {
				return
			}
			w.takeReleased()
		}
		w.transact(one, false)
		full = lacksRoom(one[0].err)
	}
}

// takeReleased moves the log into the file, and takes the room of the removed
// spare file before other programs do.
func (w *writer) takeReleased() {
	if w.conn == nil {
		return
	}
	w.reserve.coverLog()
	w.coverData()
	_, _ = w.conn.first("PRAGMA wal_checkpoint(PASSIVE)")
	w.coverData()
}

// coverData allocates again the blocks that a checkpoint may have cut off.
func (w *writer) coverData() {
	w.reserve.dataStale = true
	if pages, err := w.conn.integer("PRAGMA page_count"); err == nil {
		_ = w.reserve.coverData(pages * pageSize)
	}
}

// endsOnly reports whether the room that is left is only for writes that end
// sessions.
func (w *writer) endsOnly() bool {
	w.reserve.refill()
	short := w.reserve.short()
	if w.reserve.coverLog() && !short {
		return false
	}
	v, err := w.conn.first("PRAGMA wal_checkpoint(PASSIVE)")
	w.coverData()
	if err != nil || short || w.reserve.logLeft(toInt(v[1])) {
		return err != nil || short
	}
	// The log can start over unless a reader holds it.
	_, _ = w.conn.first("PRAGMA busy_timeout = 0")
	v, err = w.conn.first("PRAGMA wal_checkpoint(RESTART)")
	busy := err != nil || toInt(v[0]) != 0
	_, _ = w.conn.first(usualPatience)
	return busy
}

// transact carries out a group of writes in one transaction, and sets their
// errors. If gather is set it adds waiting writes: the callers of the last group
// send their next writes while the first of these are carried out. It returns
// the group, and whether nothing was written and a transaction for each write
// may succeed: a write that fails without a refusal should fail alone.
func (w *writer) transact(group []*write, gather bool) (_ []*write, again bool) {
	t := &tx{w: w}
	err := w.begin(t)
	for i := 0; i < len(group) && err == nil; i++ {
		if one := group[i]; one.begin() {
			if one.err = t.do(one); one.err != nil && !isRefusal(one.err) {
				err = one.err
			}
		}
		if gather && i == len(group)-1 && len(group) < maxGroup {
			if next := w.next(); next != nil {
				group = append(group, next)
			}
		}
	}
	uncertain := false
	if err == nil {
		err = t.cover()
	}
	if err == nil {
		if _, err = w.conn.exec("COMMIT"); err == nil {
			w.publish(t)
			return group, false
		}
		// A crash may find the transaction complete in the log. On a full disk
		// the log can't be complete.
		uncertain = !isFull(err)
	}
	w.rollback()
	err = refusalOf(err)
	if uncertain {
		err = fmt.Errorf("%w: %w", store.ErrUncertain, err)
	}
	for _, one := range group {
		one.err = err
	}
	return group, !uncertain && (len(group) > 1 || lacksRoom(err))
}

// next returns a waiting write, or nil.
func (w *writer) next() *write {
	for range 2 {
		select {
		case one := <-w.queue:
			return one
		default:
			runtime.Gosched() // a caller that was just answered may write again
		}
	}
	return nil
}

func (w *writer) begin(t *tx) (err error) {
	if w.conn == nil {
		if w.conn, err = w.open(context.Background()); err != nil {
			return err
		}
	}
	if w.apps == nil {
		if err := w.loadApps(); err != nil {
			return err
		}
	}
	t.endsOnly = w.endsOnly()
	if _, err := w.conn.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if t.endsOnly && w.reserve.logSize > logLimit {
		// Perhaps the log fills the disk. Any write, such as this one, cuts the
		// log when it starts over.
		if _, err := w.conn.exec(fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
			return err
		}
	}
	if w.unmeasured < fewWrites {
		return nil
	}
	return w.measure()
}

func (w *writer) measure() error {
	w.unmeasured = 0
	err := w.room.measure(w.conn)
	w.left.Store(w.room.left)
	return err
}

// hasRoom reports whether there is room for a new session.
func (w *writer) hasRoom(anonymous bool) (bool, error) {
	if !w.room.has(anonymous) && w.unmeasured > 0 { // the last measure may be out of date
		if err := w.measure(); err != nil {
			return false, err
		}
	}
	return w.room.has(anonymous), nil
}

// rollback forgets the transaction. It closes a connection that can't roll back.
func (w *writer) rollback() {
	w.apps = nil
	if w.conn == nil {
		return
	}
	if w.conn.rollback() != nil {
		w.conn.Close() //nolint:errcheck // it has failed already
		w.conn = nil
	}
}

// publish reports the changes of a transaction, before its writes are
// acknowledged.
func (w *writer) publish(t *tx) {
	if t.appsChanged {
		apps := maps.Clone(w.apps)
		w.published.Store(&apps)
	}
	w.counts.add(t.counts, t.recount)
	for _, c := range t.changes {
		w.feed.Publish(c)
	}
}

func (w *writer) loadApps() error {
	apps := map[string]app{}
	err := w.conn.query(func(v *stmt) error {
		a := app{name: v.text(1), num: v.int(0), mark: never}
		if !v.ColumnIsNull(2) {
			a.mark = v.time(2)
		}
		apps[a.name] = a
		return nil
	}, "SELECT num, name, ended_all_at FROM apps")
	if err != nil {
		return err
	}
	w.apps = apps
	published := maps.Clone(apps)
	w.published.Store(&published)
	return nil
}

// refusals are the errors of a write that leave the other writes of its group
// valid.
var refusals = []error{
	store.ErrNotFound, store.ErrEnded, store.ErrExists, store.ErrConflict, store.ErrLimit, store.ErrBarrier,
	store.ErrFull, store.ErrRepeated, store.ErrKeyReused,
}

func isRefusal(err error) bool {
	for _, r := range refusals {
		if err == r { //nolint:errorlint // an error that wraps SQLite's is no refusal
			return true
		}
	}
	return false
}

// refusalOf translates SQLite's error into the contract's, if there is one.
func refusalOf(err error) error {
	switch {
	case lacksRoom(err):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case isBusy(err):
		return fmt.Errorf("sqlitestore: another program has been writing to the file for %v: %w", busyTimeout, err)
	}
	return err
}

// explain adds to the error of a damaged file what to do.
func (s *Store) explain(err error) error {
	if isDamaged(err) && !errors.Is(err, ErrCorrupt) {
		return describe(s.path, err)
	}
	return err
}
