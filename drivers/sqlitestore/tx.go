package sqlitestore

import "github.com/sojourn-go/sojourn/store"

// An app is an application in the file.
type app struct {
	name string
	num  int64
	mark store.Time // sessions that were created at or before it have ended
}

// never is a watermark that has ended no session.
const never = store.Time(-1 << 63)

// A tx is a transaction of the writer. Its methods run on the writer's
// goroutine.
type tx struct {
	w           *writer
	changes     []store.Change
	counts      map[int64]store.Count
	recount     []int64 // applications whose sessions EndAll has ended
	appsChanged bool
	endsOnly    bool // there is room only for writes that end sessions
	grows       bool // it contains a write that doesn't end sessions
}

func (t *tx) do(one *write) error {
	if t.endsOnly && !one.ends {
		return store.ErrFull
	}
	t.grows = t.grows || !one.ends
	return one.do(t)
}

// cover makes sure, before the commit, that the file has room for what the log
// will write into it. Writes that end sessions don't need it.
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

// needApp returns an application, and creates it if the file has none of this
// name.
func (t *tx) needApp(name string) (app, error) {
	if a, ok := t.w.apps[name]; ok {
		return a, nil
	}
	a := app{name: name, mark: never}
	_, err := t.w.conn.exec("INSERT INTO apps (name) VALUES (?)", name)
	if err != nil {
		return a, err
	}
	if a.num, err = t.w.conn.integer("SELECT num FROM apps WHERE name = ?", name); err != nil {
		return a, err
	}
	t.setApp(a)
	return a, nil
}

func (t *tx) setApp(a app) {
	t.w.apps[a.name] = a
	t.appsChanged = true
}

// count records how many sessions the transaction adds to an application, or
// removes if negative.
func (t *tx) count(num, sessions, loggedIn int64) {
	if t.counts == nil {
		t.counts = map[int64]store.Count{}
	}
	t.counts[num] = plus(t.counts[num], store.Count{Sessions: sessions, LoggedIn: loggedIn})
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
	return a, t.w.conn.session(a.num, id, r)
}

// save replaces the row of a session; its indexed columns only if indexed is
// set.
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

// end ends a session that is live or expired, and returns what to report about
// it.
func (t *tx) end(a app, r *row, reason store.Reason, at store.Time) (store.Ended, error) {
	e := store.Ended{App: a.name, ID: r.ID, Subject: r.Subject, Reason: reason, At: at}
	r.bury(reason, at)
	if err := t.save(r, true); err != nil {
		return e, err
	}
	t.count(r.app, -1, -flag(e.Subject != ""))
	t.changes = append(t.changes, store.Change{Kind: store.Gone, App: a.name, ID: r.ID})
	return e, nil
}

// ended reports whether a session has ended, by itself or by EndAll.
func (a app) ended(r *row) bool { return r.End != "" || r.CreatedAt <= a.mark }

// live reports whether a session is live at now.
func (a app) live(r *row, now store.Time) bool { return !a.ended(r) && now < deadline(&r.Record) }
