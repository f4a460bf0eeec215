package sqlitestore

import (
	"context"
	sqldriver "database/sql/driver"
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
	maxGroup    = 256 // writes in one transaction: what the last one waits for, and what one fault concerns
)

// A writer is the one goroutine that writes to the file. It takes all writes that wait, up to maxGroup, into one
// transaction, which it commits with one sync, and then acknowledges them all. While it syncs the next ones
// gather: nobody waits for a timer.
type writer struct {
	open  func(context.Context) (*conn, error)
	conn  *conn
	queue chan *write
	room  room

	reserve *reserve
	left    atomic.Int64 // the room's, as of the last measure

	unmeasured, unchecked int // writes since the room was measured, and since the length of the log was looked at
	feed                  driver.Feed

	apps      map[string]app // as of the open transaction
	published atomic.Pointer[map[string]app]
	counts    counts
	joined    int64 // who joins a subject gets a higher place: those below it may be ending (EndSubject)
}

// An app is an application as the file knows it.
type app struct {
	num  int64
	mark store.Time // what was created at or before it has ended
}

// never is a watermark before every time.
const never = store.Time(-1 << 63)

// A write is one call that waits for its transaction.
type write struct {
	do    func(*tx) error
	ends  bool // it ends sessions, or changes nothing: it may use the reserve
	err   error
	done  chan struct{}
	state atomic.Int32
}

const (
	waiting = iota
	running
	abandoned
)

// begin reports whether the write is still wanted, and has its caller wait for the outcome.
func (w *write) begin() bool {
	return w.state.CompareAndSwap(waiting, running) || w.state.Load() == running
}

// write runs do in a transaction and returns when that is on the disk. do may run more than once. It must not
// change anything before it has decided to succeed, unless the error that it then returns is no refusal of the contract: then the
// transaction is rolled back. What do sets may be read only if write returns nil.
func (s *Store) write(ctx context.Context, do func(*tx) error) error {
	return s.enqueue(ctx, &write{do: do})
}

// writeEnd is write for what ends sessions, and may use the room that is kept
// for that.
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

// run writes until the queue is closed.
func (w *writer) run() {
	group := make([]*write, 0, maxGroup)
	for first := range w.queue {
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

// fewWrites are too few to look after each what it has done to the file: with sessions of the usual size they take some hundred pages.
const fewWrites = 32

const (
	// logPages is the length of the log from which on it is brought into the file: a longer one makes that rarer, and the
	// writes that meet it wait longer.
	logPages = 1000

	// longLog is the length from which on the writer waits for readers, so that the log can begin anew: readers that overlap one another
	// would have it grow for ever.
	longLog = 8 * logPages

	// logLimit is the length, in bytes, to which the log is cut when it starts
	// over.
	logLimit = 2 * logPages * frameBytes

	patience = "PRAGMA busy_timeout = 50" // milliseconds
)

var usualPatience = fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds())

// checkpoint brings the log into the file if it is long enough, between two transactions: the writes of the last one are
// acknowledged already. If it fails nothing is lost, and the next one tries again.
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
		return // or a reader that takes long, such as a backup, holds the log
	}
	_, _ = w.conn.first(patience)
	_, _ = w.conn.first("PRAGMA wal_checkpoint(RESTART)")
	_, _ = w.conn.first(usualPatience)
	w.coverData()
}

// repeat carries out a write in a transaction of its own, after the one that it
// shared has failed. If the disk is full, it makes room first: it writes the
// log into the file, so that the log can start over, and removes the spare file
// for writes that end sessions.
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

// takeReleased brings the log into the file, and takes what the spare file has
// left before others do.
func (w *writer) takeReleased() {
	if w.conn == nil {
		return
	}
	w.reserve.coverLog()
	w.coverData()
	_, _ = w.conn.first("PRAGMA wal_checkpoint(PASSIVE)")
	w.coverData()
}

// coverData takes back at once what a checkpoint may have cut off.
func (w *writer) coverData() {
	w.reserve.dataStale = true
	if pages, err := w.conn.integer("PRAGMA page_count"); err == nil {
		_ = w.reserve.coverData(pages * pageSize)
	}
}

// endsOnly reports whether the room that is left is for what ends sessions.
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

// transact carries out writes in one transaction, and sets their errors. If it may gather more it goes on while there
// are any: those of the callers that the last group has set free arrive while the first of them are carried out. It returns
// the writes of the transaction, and whether nothing has happened and a transaction for each may do better: when one of them
// fails for another reason than the contract's, it should fail alone.
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
		// What was written of the log may be found complete after a crash, or not. A full disk has room for no complete log.
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

// next returns a write that waits, or nil.
func (w *writer) next() *write {
	for range 2 {
		select {
		case one := <-w.queue:
			return one
		default:
			runtime.Gosched() // who was just answered may be about to write again
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
		// It may be the log that fills the disk. Any write, such as this one,
		// cuts it when it starts over.
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
	if !w.room.has(anonymous) && w.unmeasured > 0 { // there may be by now
		if err := w.measure(); err != nil {
			return false, err
		}
	}
	return w.room.has(anonymous), nil
}

// rollback forgets the transaction. A connection that can't is given up.
func (w *writer) rollback() {
	w.apps = nil
	if w.conn == nil {
		return
	}
	if _, err := w.conn.exec("ROLLBACK"); err != nil && !isIdle(err) {
		w.conn.close() //nolint:errcheck // it has failed already
		w.conn = nil
	}
}

// publish makes known what a transaction has changed, before its writes are acknowledged.
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
	err := w.conn.query(func(v []sqldriver.Value) error {
		a := app{num: toInt(v[0]), mark: never}
		if v[2] != nil {
			a.mark = toTime(v[2])
		}
		apps[toString(v[1])] = a
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

// refusals are the errors with which a write ends and leaves the others of its group alone.
var refusals = []error{
	store.ErrNotFound, store.ErrEnded, store.ErrExists, store.ErrConflict, store.ErrLimit, store.ErrBarrier,
	store.ErrFull, store.ErrRepeated, store.ErrKeyReused,
}

func isRefusal(err error) bool {
	for _, r := range refusals {
		if err == r { //nolint:errorlint // one that wraps a failure of SQLite is none
			return true
		}
	}
	return false
}

// refusalOf names SQLite's error in the contract's words, where there is one.
func refusalOf(err error) error {
	switch {
	case lacksRoom(err):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case isBusy(err):
		return fmt.Errorf("sqlitestore: another program has been writing to the file for %v: %w", busyTimeout, err)
	}
	return err
}

// explain says what to do about a damaged file.
func (s *Store) explain(err error) error {
	if isDamaged(err) && !errors.Is(err, ErrCorrupt) {
		return describe(s.path, err)
	}
	return err
}

// A tx is a transaction in the writer's goroutine.
type tx struct {
	w           *writer
	changes     []store.Change
	counts      map[int64]store.Count
	recount     []int64 // applications whose sessions EndAll has ended
	appsChanged bool
	endsOnly    bool // there is room for nothing else
	grows       bool // it has carried out what isn't an end
}

func (t *tx) do(one *write) error {
	if t.endsOnly && !one.ends {
		return store.ErrFull
	}
	t.grows = t.grows || !one.ends
	return one.do(t)
}

// cover makes sure, before the commit, that the file has room for what the log
// will write into it. Writes that end sessions go on without.
func (t *tx) cover() error {
	pages, err := t.w.conn.integer("PRAGMA page_count")
	if err != nil {
		return err
	}
	if err := t.w.reserve.coverData(pages * pageSize); t.grows {
		return err
	}
	return nil
}

// app returns an application; false if the file has none of this name.
func (t *tx) app(name string) (app, bool) {
	a, ok := t.w.apps[name]
	return a, ok
}

// needApp returns an application, which it enters if need be.
func (t *tx) needApp(name string) (app, error) {
	if a, ok := t.w.apps[name]; ok {
		return a, nil
	}
	a := app{mark: never}
	var err error
	if _, err = t.w.conn.exec("INSERT INTO apps (name) VALUES (?)", name); err != nil {
		return a, err
	}
	if a.num, err = t.w.conn.integer("SELECT num FROM apps WHERE name = ?", name); err != nil {
		return a, err
	}
	t.setApp(name, a)
	return a, nil
}

func (t *tx) setApp(name string, a app) {
	t.w.apps[name] = a
	t.appsChanged = true
}

// count notes that sessions came (or went, if negative).
func (t *tx) count(num, sessions, loggedIn int64) {
	if t.counts == nil {
		t.counts = map[int64]store.Count{}
	}
	n := t.counts[num]
	t.counts[num] = store.Count{Sessions: n.Sessions + sessions, LoggedIn: n.LoggedIn + loggedIn}
}

func (t *tx) changed(app string, id store.ID, revision uint64) {
	t.changes = append(t.changes, store.Change{Kind: store.Changed, App: app, ID: id, Revision: revision})
}

// find reads a session into r, or returns ErrNotFound.
func (t *tx) find(name string, id store.ID, r *row) (app, error) {
	a, ok := t.app(name)
	if !ok {
		return a, store.ErrNotFound
	}
	v, err := t.w.conn.first(selectRow, a.num, id[:])
	switch {
	case err != nil:
		return a, err
	case v == nil:
		return a, store.ErrNotFound
	}
	r.scan(v)
	return a, nil
}

// save writes a row over the one of its ID.
func (t *tx) save(r *row, indexed bool) error {
	args := r.append(make([]any, 0, len(recordColumns)+len(indexColumns)+2))
	query := updateData
	if indexed {
		args = r.appendIndexed(args)
		query = updateRow
	}
	_, err := t.w.conn.exec(query, append(args, r.app, r.ID[:])...)
	return err
}

// end ends a session that is live or expired. Who calls it reports what it returns.
func (t *tx) end(name string, r *row, reason store.Reason, at store.Time) (store.Ended, error) {
	e := store.Ended{App: name, ID: r.ID, Subject: r.Subject, Reason: reason, At: at}
	r.bury(reason, at)
	if err := t.save(r, true); err != nil {
		return e, err
	}
	t.count(r.app, -1, -flag(e.Subject != ""))
	t.changes = append(t.changes, store.Change{Kind: store.Gone, App: name, ID: r.ID})
	return e, nil
}

// ended reports whether a session has ended, by itself or with all of its application.
func (a app) ended(r *row) bool { return r.End != "" || r.CreatedAt <= a.mark }

// live reports whether a session is live at now.
func (a app) live(r *row, now store.Time) bool { return !a.ended(r) && now < deadline(&r.Record) }
