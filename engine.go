package sojourn

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// The words that the engine shares with its stores.
type (
	ID     = store.ID
	Client = store.Client
	Reason = store.Reason
)

// Why a session ended.
const (
	ReasonLogout   = store.ReasonLogout
	ReasonRevoked  = store.ReasonRevoked
	ReasonIdle     = store.ReasonIdle
	ReasonAbsolute = store.ReasonAbsolute
	ReasonEvicted  = store.ReasonEvicted
	ReasonTheft    = store.ReasonTheft
)

// ParseID reads an ID as ID.String writes it.
func ParseID(s string) (ID, error) { return store.ParseID(s) }

// An Engine keeps the sessions of one application, in a store or sealed in their
// cookies. Its methods may be called concurrently.
type Engine struct {
	store store.Store // nil with SealEveryone, if every session is sealed
	opt   Options
	rand  io.Reader

	queue  commitQueue
	behind writeBehind
	events eventQueue
	bad    throttle
	watch  watcher
	site   *site
	seal   *sealer   // nil: every session is in the store
	states sync.Pool // of *state

	profiles atomic.Bool // UpdateProfile was called

	ctx     context.Context // until Close
	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// New returns an engine on the given store. It refuses options that no browser
// would accept, or that aren't safe, with an error that says what to change.
// The store may be nil with SealEveryone. Call Close when done with it.
func New(st store.Store, opt Options) (*Engine, error) {
	if err := opt.checkStore(st); err != nil {
		return nil, err
	}
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{store: st, opt: opt, rand: rand.Reader}
	if e.site, err = newSite(opt); err != nil {
		return nil, err
	}
	if e.seal, err = newSealer(&e.opt, e.site); err != nil {
		return nil, err
	}
	if opt.Development {
		slog.Warn("sojourn: development mode (Options.Development): anybody on the way can read the session cookies, and any page on the host can plant them. Never use it for real users", "app", opt.App)
	}
	e.bad.init()
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.behind = writeBehind{make(chan *note, queueSize), e.ctx}
	e.events.list, e.events.over = make(chan *Event, queueSize), e.ctx
	for _, run := range []func(context.Context){e.sweep, e.writeNotes, e.observe} {
		e.stopped.Go(func() { run(e.ctx) })
	}
	return e, nil
}

// Must returns e, or panics if err is not nil. It is for programs whose options
// are constants:
//
//	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{}))
func Must(e *Engine, err error) *Engine {
	if err != nil {
		panic(err)
	}
	return e
}

// Flush waits until the activity noted so far is written and the events emitted
// so far were handed to Options.OnEvent, or until ctx is done. ErrClosed: the
// engine was closed.
func (e *Engine) Flush(ctx context.Context) error {
	if err := e.behind.flush(ctx); err != nil {
		return err
	}
	return e.events.flush(ctx)
}

// Close flushes and stops the engine's goroutines, and takes no longer than ctx
// allows. Requests must be over. It doesn't close the store. A second Close does
// nothing.
func (e *Engine) Close(ctx context.Context) error {
	err := e.Flush(ctx)
	if errors.Is(err, ErrClosed) {
		return nil
	}
	e.stop()
	stopped := make(chan struct{})
	go func() { e.stopped.Wait(); close(stopped) }()
	select {
	case <-stopped:
		return err
	case <-ctx.Done(): // OnEvent, or the store, hangs
		return ctx.Err()
	}
}

const (
	sweepEvery = time.Minute
	sweepStep  = 1024 // sessions for each call of Store.Sweep
	sweepPause = time.Millisecond
)

// sweep ends what has expired of the engine's application, in small steps.
func (e *Engine) sweep(ctx context.Context) {
	if e.store == nil {
		return
	}
	every := time.NewTicker(sweepEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		e.sweepApp(ctx, e.opt.App, func(ended []store.Ended) { e.reportEnded(Client{}, ended) })
		if e.opt.Adopt != nil || e.seal != nil {
			e.sweepApp(ctx, e.adoptedApp(), func([]store.Ended) {})
		}
		if e.profiles.Load() {
			e.sweepApp(ctx, e.profileApp(), func([]store.Ended) {})
		}
	}
}

func (e *Engine) sweepApp(ctx context.Context, app string, report func([]store.Ended)) {
	for done := false; !done && ctx.Err() == nil; time.Sleep(sweepPause) {
		var ended []store.Ended
		var err error
		ended, done, err = e.store.Sweep(ctx, app, e.now(), sweepStep)
		report(ended)
		if err != nil {
			break // the next round tries again
		}
	}
}

// live reads a session from the store itself. ErrNotFound or ErrEnded of package
// store: it isn't live.
func (e *Engine) live(ctx context.Context, id ID) (*store.Record, error) {
	rec := new(store.Record)
	if err := e.store.Get(ctx, e.opt.App, id, true, rec); err != nil {
		return nil, err
	}
	if expired, _ := rec.ExpiredAt(e.now()); expired != "" {
		return nil, store.ErrEnded
	}
	return rec, nil
}

// gone reports whether a store's error says that the session doesn't live.
func gone(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrEnded)
}

func (e *Engine) now() store.Time { return store.TimeOf(e.opt.Now()) }
