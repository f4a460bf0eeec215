package sojourn

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// pollEvery is how often sessions with an open Done are read where the store has no change feed, or can't answer.
const pollEvery = time.Second

// A watcher closes the channels of Session.Done.
type watcher struct {
	mu      sync.Mutex
	open    map[ID]map[*watched]struct{}
	started bool
}

// watched is one channel of Session.Done.
type watched struct {
	id    ID
	ended chan struct{}
	timer *time.Timer // to its deadline
}

func (s *Session) done() <-chan struct{} {
	s.mu.Lock()
	if err := s.load(s.ctx); err != nil {
		s.mu.Unlock()
		panic(loadFailure{err})
	}
	stored := !s.logout && (s.rec != nil && !s.create || s.work != nil && s.committed && s.commitErr == nil)
	id, ctx := s.now().ID, s.ctx
	s.mu.Unlock()
	if !stored {
		return nil // receiving from it waits forever
	}
	return s.e.watchSession(ctx, id)
}

func (e *Engine) watchSession(ctx context.Context, id ID) <-chan struct{} {
	w := &watched{id: id, ended: make(chan struct{})}
	e.watch.mu.Lock()
	if !e.watch.started {
		e.watch.started = true
		e.watch.open = make(map[ID]map[*watched]struct{})
		e.follow()
	}
	if e.watch.open[id] == nil {
		e.watch.open[id] = make(map[*watched]struct{})
	}
	e.watch.open[id][w] = struct{}{}
	w.timer = time.AfterFunc(0, func() { e.recheck(w) }) // it may have ended since it was read
	e.watch.mu.Unlock()
	context.AfterFunc(ctx, func() { e.watch.remove(w) })
	return w.ended
}

// remove forgets w and reports whether it was there.
func (t *watcher) remove(w *watched) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	set, ok := t.open[w.id]
	if _, there := set[w]; !ok || !there {
		return false
	}
	delete(set, w)
	if len(set) == 0 {
		delete(t.open, w.id)
	}
	w.timer.Stop()
	return true
}

// finish closes the channel of w.
func (t *watcher) finish(w *watched) {
	if t.remove(w) {
		close(w.ended)
	}
}

// of returns the open channels of a session, or all with the zero ID.
func (t *watcher) of(id ID) (list []*watched) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !id.IsZero() {
		for w := range t.open[id] {
			list = append(list, w)
		}
		return list
	}
	for _, set := range t.open {
		for w := range set {
			list = append(list, w)
		}
	}
	return list
}

// recheck reads the session of w, and comes again at its deadline.
func (e *Engine) recheck(w *watched) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	rec, err := e.live(ctx, w.id)
	if gone(err) || errors.Is(err, store.ErrClosed) {
		e.watch.finish(w)
		return
	}
	next := pollEvery
	if err == nil {
		next = min(rec.LastSeenAt.Add(rec.Idle), rec.ExpiresAt).Sub(e.now())
	}
	e.watch.mu.Lock()
	defer e.watch.mu.Unlock()
	if _, there := e.watch.open[w.id][w]; there {
		w.timer.Reset(next)
	}
}

func (e *Engine) recheckAll() {
	for _, w := range e.watch.of(ID{}) {
		e.recheck(w)
	}
}

func gone(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrEnded)
}

// follow reads the store's change feed, or polls where it has none, until the engine stops.
func (e *Engine) follow() {
	feed := func(context.Context) (<-chan store.Change, error) { return nil, errors.ErrUnsupported }
	if w, ok := e.store.(store.Watcher); ok {
		feed = w.Watch
	}
	ctx := e.ctx
	changes, err := feed(ctx) // before any session is read again, so that no end falls between the two
	e.stopped.Go(func() {
		for {
			for err != nil {
				if pause(ctx, pollEvery) != nil {
					return
				}
				e.recheckAll()
				changes, err = feed(ctx)
			}
			for c := range changes {
				e.changed(c)
			}
			if ctx.Err() != nil {
				return
			}
			err = errors.New("sojourn: the change feed broke off")
		}
	})
}

func (e *Engine) changed(c store.Change) {
	switch c.Kind {
	case store.Gone:
		if c.App == e.opt.App {
			for _, w := range e.watch.of(c.ID) {
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
