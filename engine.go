package sojourn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
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

// An Engine keeps the sessions of one application in a store. Its methods may be called concurrently.
type Engine struct {
	store  store.Store
	opt    Options
	policy Policy
	rand   io.Reader

	queue  commitQueue
	behind writeBehind
	events eventQueue
	bad    throttle
	watch  watcher
	site   *site
	views  sync.Pool // of *view

	ctx     context.Context // until Close
	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// New returns an engine on the given store. It refuses options that no browser would accept, or that aren't safe, with an
// error that says what to change. Call Close when done with it.
func New(st store.Store, opt Options) (*Engine, error) {
	if st == nil {
		return nil, errors.New("sojourn: New needs a store: memstore.New() for a start")
	}
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{store: st, opt: opt, policy: opt.Policy, rand: rand.Reader}
	if e.site, err = newSite(opt); err != nil {
		return nil, err
	}
	e.bad.init()
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.start(e.ctx)
	return e, nil
}

// Must returns e, or panics if err is not nil: for programs whose options are constants.
//
//	sessions := sojourn.Must(sojourn.New(memstore.New(), sojourn.Options{}))
func Must(e *Engine, err error) *Engine {
	if err != nil {
		panic(err)
	}
	return e
}

// Info is what may be told about a session: all but its secrets and values.
type Info struct {
	ID              ID        `json:"id"`
	Subject         string    `json:"subject"`
	CreatedAt       time.Time `json:"created_at"`
	AuthenticatedAt time.Time `json:"authenticated_at,omitzero"`
	LastSeenAt      time.Time `json:"last_seen_at"`
	IdleExpiresAt   time.Time `json:"idle_expires_at"`
	ExpiresAt       time.Time `json:"expires_at"`
	AMR             []string  `json:"amr,omitempty"`
	Level           int       `json:"level"`
	Remembered      bool      `json:"remembered"`
	Created         Client    `json:"-"` // the client at creation
	LastSeen        Client    `json:"-"` // the client at LastSeenAt
	Revision        uint64    `json:"revision"`
}

// List returns a page of the live sessions of a subject, or of the whole
// application if subject is empty, and the cursor of the next page. The cursor
// is empty after the last page. A page has at most limit sessions, 1 to 1000,
// and may have fewer although another follows. Values are not read: use Get.
func (e *Engine) List(ctx context.Context, subject, cursor string, limit int) ([]Info, string, error) {
	recs, next, err := e.store.List(ctx, e.opt.App, store.ListOptions{Subject: subject, Cursor: cursor, Limit: limit, Now: e.now()})
	if err != nil {
		return nil, "", wrap("list sessions", err)
	}
	infos := make([]Info, len(recs))
	for i := range recs {
		infos[i] = info(&recs[i])
	}
	return infos, next, nil
}

// Count returns the number of sessions, and how many of them are logged in. Expired ones may count for
// up to a minute.
func (e *Engine) Count(ctx context.Context) (sessions, loggedIn int64, err error) {
	c, err := e.store.Count(ctx, e.opt.App)
	return c.Sessions, c.LoggedIn, wrap("count sessions", err)
}

// End ends the session of this ID: ErrNotFound if there is none, or it has ended before. For users who end their own sessions, use EndOwn.
func (e *Engine) End(ctx context.Context, id ID) error {
	return e.end(ctx, id, ReasonRevoked)
}

// EndOwn ends the session of this ID if it is the subject's; ErrNotFound if it is not, so that
// nobody learns whether somebody else's session exists.
func (e *Engine) EndOwn(ctx context.Context, subject string, id ID) error {
	rec, err := e.live(ctx, id)
	if err != nil {
		return endError(err)
	}
	if subject == "" || rec.Subject != subject {
		return ErrNotFound
	}
	return e.end(ctx, id, ReasonRevoked)
}

func (e *Engine) end(ctx context.Context, id ID, reason Reason) error {
	ended, err := e.store.End(ctx, e.opt.App, id, reason, e.now())
	e.ended(Client{}, ended)
	if err == nil && len(ended) == 0 {
		return ErrNotFound
	}
	return endError(err)
}

func endError(err error) error {
	if gone(err) {
		return ErrNotFound
	}
	return wrap("end a session", err)
}

// EndSubject ends all sessions of a user except keep, and returns how many it
// ended. The zero ID keeps none. A login that is under way fails with ErrEnded,
// also one of the request that calls EndSubject: Commit it first.
func (e *Engine) EndSubject(ctx context.Context, subject string, keep ID) (int, error) {
	if err := checkSubject(subject); err != nil {
		return 0, err
	}
	ended, err := e.store.EndSubject(ctx, e.opt.App, subject, keep, ReasonRevoked, e.now())
	e.ended(Client{}, ended)
	return len(ended), wrap("end a subject's sessions", err)
}

// EndAll ends every session of the application, anonymous ones too, in constant time. What another node created in the last moments stays if
// that node's clock is ahead: where clocks may differ, call it again after as long as they do.
func (e *Engine) EndAll(ctx context.Context) error {
	now := e.now()
	if err := e.store.EndAll(ctx, e.opt.App, now); err != nil {
		return wrap("end all sessions", err)
	}
	e.emit(Event{Kind: EventEndedAll, Time: now.Time(), Reason: ReasonRevoked})
	return nil
}

func (e *Engine) now() store.Time { return store.TimeOf(e.opt.Now()) }

// wrap turns a store's error into the engine's, once; errors of the caller's own making keep their identity.
func wrap(doing string, err error) error {
	var to error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrEnded), errors.Is(err, store.ErrBarrier):
		to = ErrEnded
	case errors.Is(err, store.ErrLimit):
		to = ErrLimit
	case errors.Is(err, store.ErrFull):
		to = ErrFull
	case errors.Is(err, store.ErrConflict):
		to = ErrConflict
	case errors.Is(err, store.ErrUncertain):
		to = ErrUncertain
	case errors.Is(err, store.ErrCursor):
		to = ErrCursor
	case errors.Is(err, store.ErrKeyReused):
		to = ErrKeyReused
	default:
		to = ErrUnavailable
	}
	return fmt.Errorf("%w: %s: %w", to, doing, err)
}
