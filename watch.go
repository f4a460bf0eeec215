package sojourn

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

const (
	// pollEvery is how often a session with an open Done is read if the store has
	// no change feed, or can't answer.
	pollEvery = time.Second

	// recheckers is how many of these sessions are read at a time.
	recheckers = 16
)

// A watcher closes the channels of Session.Done.
type watcher struct {
	mu      sync.Mutex
	open    map[ID]*watched
	started bool
}

// A watched is a session whose end somebody waits for.
type watched struct {
	id    ID
	ended chan struct{}
	users int         // requests that wait
	timer *time.Timer // to its deadline

	// What this process knows about a sealed session; guarded by watcher.mu.
	deadline      store.Time
	authenticated store.Time
}

// meet takes over the deadline of a sealed session. A login or elevation sets a
// new deadline. After that, older copies, which have the same ID, don't count.
// watcher.mu is held.
func (w *watched) meet(r *store.Record) {
	switch {
	case r.AuthenticatedAt > w.authenticated:
		w.authenticated, w.deadline = r.AuthenticatedAt, deadlineOf(r)
		w.timer.Reset(0) // it may be earlier
	case r.AuthenticatedAt == w.authenticated:
		w.deadline = max(w.deadline, deadlineOf(r))
	}
}

// watching is what a Session knows of its Done.
type watching struct {
	ended chan struct{} // nil: Done was not called, or there is no session
	watch *watched      // whose channel that is
	conn  *hijacked     // nil: the connection is net/http's
}

// Done returns a channel that is closed when the session ends, on any node and
// for any reason, also by expiry, so that a WebSocket or a stream of events can
// end with it. Without a session it returns a channel that never closes. All
// calls in a request return the same channel. After the request it is no longer
// closed, unless the handler has hijacked the connection: then the session is
// watched until the connection that Hijack returned is closed.
//
// For a sealed session, Done knows only the deadline, and what this process does:
// a logout here, and activity here, which moves the deadline.
func (s *Session) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.watching
	if s.finished {
		return w.ended
	}
	s.mustLoad()
	if s.exists() && w.ended == nil {
		w.watch = s.e.watchSession(s.current(), s.inCookie())
		w.ended = w.watch.ended
		if w.conn != nil {
			w.conn.add(w.watch)
		}
		context.AfterFunc(s.ctx, s.stopWatching)
	}
	return w.ended // nil without a session: receiving from it waits forever
}

// exists reports whether the request's session is stored, or sealed in a cookie
// that the client has or gets. mu is held.
func (s *Session) exists() bool {
	d := &s.draft
	return !d.logout && (s.found.rec != nil && !d.create || d.rec != nil && s.outcome.done && s.outcome.err == nil)
}

// inCookie reports whether a session that exists is sealed. mu is held.
func (s *Session) inCookie() bool {
	if s.outcome.done && s.draft.rec != nil {
		return s.draft.sealed != "" || s.found.sealed && !s.draft.create
	}
	return s.found.sealed
}

// stopWatching runs when the request's context ends.
func (s *Session) stopWatching() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watching.conn != nil {
		s.watching.conn.finish()
		return
	}
	s.e.watch.leave(s.watching.watch)
}

func (e *Engine) watchSession(r *store.Record, sealed bool) *watched {
	t, id := &e.watch, r.ID
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = make(map[ID]*watched)
	}
	if !t.started && !sealed {
		t.started = true
		e.follow()
	}
	w := t.open[id]
	if w == nil {
		w = &watched{id: id, ended: make(chan struct{})}
		if sealed {
			w.deadline, w.authenticated = deadlineOf(r), r.AuthenticatedAt
		}
		t.open[id] = w
		w.timer = time.AfterFunc(0, func() { e.recheck(w) }) // the session may have ended since it was read
	} else if sealed && w.deadline != 0 {
		w.meet(r)
	}
	w.users++
	return w
}

// leave forgets a session that no request waits for any more.
func (t *watcher) leave(w *watched) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.users--; w.users == 0 {
		t.remove(w)
	}
}

// finish closes the channel of w.
func (t *watcher) finish(w *watched) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.remove(w) {
		close(w.ended)
	}
}

// remove forgets w and reports whether it was there. t.mu is held.
func (t *watcher) remove(w *watched) bool {
	if t.open[w.id] != w {
		return false
	}
	delete(t.open, w.id)
	w.timer.Stop()
	return true
}

// get returns what is watched of a session; nil if nobody waits.
func (t *watcher) get(id ID) *watched {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[id]
}

// all returns every session that is waited for.
func (t *watcher) all() []*watched {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.open))
}

// recheck reads the session of w, and again at its deadline.
func (e *Engine) recheck(w *watched) {
	if e.recheckSealed(w) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	rec, err := e.live(ctx, w.id)
	if gone(err) || errors.Is(err, store.ErrClosed) {
		e.watch.finish(w)
		return
	}
	next := pollEvery
	if err == nil {
		next = deadlineOf(rec).Sub(e.now())
	}
	e.watch.mu.Lock()
	defer e.watch.mu.Unlock()
	if e.watch.open[w.id] == w {
		w.timer.Reset(next)
	}
}

func deadlineOf(r *store.Record) store.Time { return min(r.LastSeenAt.Add(r.Idle), r.ExpiresAt) }

// recheckSealed does for a sealed session, which no store knows, what recheck does
// for a stored one. It reports false if the session isn't sealed.
func (e *Engine) recheckSealed(w *watched) bool {
	t := &e.watch
	t.mu.Lock()
	left := w.deadline.Sub(e.now())
	sealed, over := w.deadline != 0, left <= 0
	if sealed && !over && t.open[w.id] == w {
		w.timer.Reset(left)
	}
	t.mu.Unlock()
	if sealed && over {
		t.finish(w)
	}
	return sealed
}

// sealedAgain tells the waiters of a sealed session its new deadline.
func (t *watcher) sealedAgain(r *store.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.open[r.ID]; w != nil && w.deadline != 0 {
		w.meet(r)
	}
}

func (e *Engine) recheckAll() {
	var reading sync.WaitGroup
	turns := make(chan struct{}, recheckers)
	for _, w := range e.watch.all() {
		turns <- struct{}{}
		reading.Go(func() {
			e.recheck(w)
			<-turns
		})
	}
	reading.Wait()
}

// follow reads the store's change feed, and polls as long as there is none, until
// the engine stops. It returns at once: a feed may take long to begin.
func (e *Engine) follow() {
	feed := func(context.Context) (<-chan store.Change, error) { return nil, errors.ErrUnsupported }
	if w, ok := e.store.(store.Watcher); ok {
		feed = w.Watch
	}
	e.stopped.Go(func() {
		for e.ctx.Err() == nil {
			if changes := e.beginFeed(feed); changes != nil {
				e.recheckAll() // what ended before the feed began
				for c := range changes {
					e.changed(c)
				}
			}
			if pause(e.ctx, pollEvery) == nil {
				e.recheckAll()
			}
		}
	})
}

// beginFeed returns the changes of a feed, or nil if it can't begin. It polls until it
// knows.
func (e *Engine) beginFeed(feed func(context.Context) (<-chan store.Change, error)) <-chan store.Change {
	begun := make(chan (<-chan store.Change), 1)
	e.stopped.Go(func() {
		changes, err := feed(e.ctx)
		if err != nil {
			changes = nil
		}
		begun <- changes
	})
	for {
		select {
		case changes := <-begun:
			return changes
		case <-time.After(pollEvery):
			e.recheckAll()
		case <-e.ctx.Done():
			return nil
		}
	}
}

func (e *Engine) changed(c store.Change) {
	switch c.Kind {
	case store.Gone:
		if c.App == e.opt.App {
			if w := e.watch.get(c.ID); w != nil {
				e.watch.finish(w)
			}
		}
	case store.GoneAll, store.Gap:
		e.recheckAll()
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
