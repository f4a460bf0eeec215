package driver

import (
	"context"

	"github.com/sojourn-go/sojourn/store"
)

// An Op is a method of [store.Store], [store.Searcher], [store.Watcher] or
// [store.Feeder].
type Op uint8

const (
	Create Op = iota
	Get
	Update
	Touch
	Confirm
	End
	EndSubject
	EndAll
	List
	Count
	Sweep
	Close
	Watch
	Beat
	Search
	Barrier
)

var opNames = [...]string{"Create", "Get", "Update", "Touch", "Confirm", "End", "EndSubject", "EndAll", "List", "Count", "Sweep", "Close", "Watch", "Beat", "Search", "Barrier"}

// String returns the name of the method.
func (o Op) String() string { return opNames[o] }

// A Call is a call of a store's method with its arguments. The fields of other
// methods are zero.
type Call struct {
	Op           Op
	App          string
	ID           store.ID             // EndSubject: the session to keep
	Strict       bool                 // Get
	Record       *store.Record        // Create, Get, Update
	Create       *store.CreateOptions // Create
	Update       *store.UpdateOptions // Update
	List         *store.ListOptions   // List
	Search       *store.SearchOptions // Search
	At           store.Time           // Touch, End, EndSubject, EndAll
	Now          store.Time           // Touch, Sweep
	Client       *store.Client        // Touch
	Secret       *store.Hash          // Confirm
	Confirmation *store.Confirmation  // Confirm
	Subject      string               // EndSubject, Barrier
	Reason       store.Reason         // End, EndSubject
	Max          int                  // Sweep
	Beat         uint64               // Beat

	store store.Store
}

// A Result holds what a call returns. The fields of other methods are zero.
type Result struct {
	Ended   []store.Ended // Create, Update, End, EndSubject, Sweep
	Records []store.Record
	Found   store.SearchPage // Search
	Cursor  string
	Count   store.Count
	Barrier store.Time
	Done    bool // Sweep
	Changes <-chan store.Change
	Err     error
}

// Do makes the call on the store that Intercept got.
func (c *Call) Do(ctx context.Context) Result { return c.On(ctx, c.store) }

// On makes the call on another store.
func (c *Call) On(ctx context.Context, s store.Store) (r Result) {
	switch c.Op {
	case Create:
		r.Ended, r.Err = s.Create(ctx, c.App, c.Record, *c.Create)
	case Get:
		r.Err = s.Get(ctx, c.App, c.ID, c.Strict, c.Record)
	case Update:
		r.Ended, r.Err = s.Update(ctx, c.App, c.Record, *c.Update)
	case Touch:
		r.Err = s.Touch(ctx, c.App, c.ID, c.At, c.Now, *c.Client)
	case Confirm:
		r.Err = s.Confirm(ctx, c.App, c.ID, *c.Secret, *c.Confirmation)
	case End:
		r.Ended, r.Err = s.End(ctx, c.App, c.ID, c.Reason, c.At)
	case EndSubject:
		r.Ended, r.Err = s.EndSubject(ctx, c.App, c.Subject, c.ID, c.Reason, c.At)
	case EndAll:
		r.Err = s.EndAll(ctx, c.App, c.At)
	case Barrier:
		r.Barrier, r.Err = s.Barrier(ctx, c.App, c.Subject)
	case List:
		r.Records, r.Cursor, r.Err = s.List(ctx, c.App, *c.List)
	case Count:
		r.Count, r.Err = s.Count(ctx, c.App)
	case Sweep:
		r.Ended, r.Done, r.Err = s.Sweep(ctx, c.App, c.Now, c.Max)
	case Close:
		r.Err = s.Close()
	case Watch:
		r.Changes, r.Err = s.(store.Watcher).Watch(ctx)
	case Search:
		r.Found, r.Err = store.Search(ctx, s, c.App, *c.Search)
	case Beat:
		r.Err = s.(store.Feeder).Beat(ctx, c.Beat)
	}
	return r
}

// Intercept returns a store that hands each call to around, which makes it with
// Do, replaces it, or does something before or after it. The store implements
// [store.Searcher], by [store.Search] if s doesn't. It implements
// [store.Watcher], [store.Feeder] and [store.Warner] if s does. Get costs no
// allocation. The context of Close is context.Background().
func Intercept(s store.Store, around func(context.Context, Call) Result) store.Store {
	i := &intercepted{s, around}
	switch s := s.(type) {
	case interface {
		store.Feeder
		store.Warner
	}:
		return struct {
			*feeding
			store.Warner
		}{&feeding{watching{i}}, s}
	case store.Feeder:
		return &feeding{watching{i}}
	case interface {
		store.Watcher
		store.Warner
	}:
		return struct {
			*watching
			store.Warner
		}{&watching{i}, s}
	case store.Watcher:
		return &watching{i}
	case store.Warner:
		return struct {
			*intercepted
			store.Warner
		}{i, s}
	}
	return i
}

type intercepted struct {
	store  store.Store
	around func(context.Context, Call) Result
}

func (i *intercepted) call(ctx context.Context, c Call) Result {
	c.store = i.store
	return i.around(ctx, c)
}

func (i *intercepted) Create(ctx context.Context, app string, rec *store.Record, opt store.CreateOptions) ([]store.Ended, error) {
	r := i.call(ctx, Call{Op: Create, App: app, Record: rec, Create: &opt})
	return r.Ended, r.Err
}

func (i *intercepted) Get(ctx context.Context, app string, id store.ID, strict bool, rec *store.Record) error {
	return i.call(ctx, Call{Op: Get, App: app, ID: id, Strict: strict, Record: rec}).Err
}

func (i *intercepted) Update(ctx context.Context, app string, rec *store.Record, opt store.UpdateOptions) ([]store.Ended, error) {
	r := i.call(ctx, Call{Op: Update, App: app, ID: rec.ID, Record: rec, Update: &opt})
	return r.Ended, r.Err
}

func (i *intercepted) Touch(ctx context.Context, app string, id store.ID, at, now store.Time, client store.Client) error {
	return i.call(ctx, Call{Op: Touch, App: app, ID: id, At: at, Now: now, Client: &client}).Err
}

func (i *intercepted) Confirm(ctx context.Context, app string, id store.ID, secret store.Hash, c store.Confirmation) error {
	return i.call(ctx, Call{Op: Confirm, App: app, ID: id, Secret: &secret, Confirmation: &c}).Err
}

func (i *intercepted) End(ctx context.Context, app string, id store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	r := i.call(ctx, Call{Op: End, App: app, ID: id, Reason: reason, At: at})
	return r.Ended, r.Err
}

func (i *intercepted) EndSubject(ctx context.Context, app, subject string, except store.ID, reason store.Reason, at store.Time) ([]store.Ended, error) {
	r := i.call(ctx, Call{Op: EndSubject, App: app, Subject: subject, ID: except, Reason: reason, At: at})
	return r.Ended, r.Err
}

func (i *intercepted) EndAll(ctx context.Context, app string, at store.Time) error {
	return i.call(ctx, Call{Op: EndAll, App: app, At: at}).Err
}

func (i *intercepted) Barrier(ctx context.Context, app, subject string) (store.Time, error) {
	r := i.call(ctx, Call{Op: Barrier, App: app, Subject: subject})
	return r.Barrier, r.Err
}

func (i *intercepted) List(ctx context.Context, app string, opt store.ListOptions) ([]store.Record, string, error) {
	r := i.call(ctx, Call{Op: List, App: app, List: &opt})
	return r.Records, r.Cursor, r.Err
}

func (i *intercepted) Search(ctx context.Context, app string, opt store.SearchOptions) (store.SearchPage, error) {
	r := i.call(ctx, Call{Op: Search, App: app, Search: &opt})
	return r.Found, r.Err
}

func (i *intercepted) Count(ctx context.Context, app string) (store.Count, error) {
	r := i.call(ctx, Call{Op: Count, App: app})
	return r.Count, r.Err
}

func (i *intercepted) Sweep(ctx context.Context, app string, now store.Time, max int) ([]store.Ended, bool, error) {
	r := i.call(ctx, Call{Op: Sweep, App: app, Now: now, Max: max})
	return r.Ended, r.Done, r.Err
}

func (i *intercepted) Close() error { return i.call(context.Background(), Call{Op: Close}).Err }

type watching struct{ *intercepted }

func (w *watching) Watch(ctx context.Context) (<-chan store.Change, error) {
	r := w.call(ctx, Call{Op: Watch})
	return r.Changes, r.Err
}

type feeding struct{ watching }

func (f *feeding) Beat(ctx context.Context, n uint64) error {
	return f.call(ctx, Call{Op: Beat, Beat: n}).Err
}
