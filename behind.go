package sojourn

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// What a request tells of a session's use, its activity and the first sight of a
// secret, is written behind the request, unless the commit writes anyway.

const (
	touchEvery  = time.Minute // see touchDue
	queueSize   = 4096
	noteWriters = 16 // notes that are written at a time: a store across a network is slow for each
)

// touchDue reports whether a request's activity is worth noting: at most once in
// a twentieth of the idle limit, or in touchEvery, whichever is shorter.
func touchDue(r *store.Record, client *Client, arrived store.Time) bool {
	return arrived.Sub(r.LastSeenAt) >= touchInterval(r) || arrived >= r.LastSeenAt && clientChanged(r, client)
}

func touchInterval(r *store.Record) time.Duration { return min(r.Idle/20, touchEvery) }

func clientChanged(r *store.Record, client *Client) bool {
	return client.IP.IsValid() && *client != r.LastClient
}

// noteWith adds to a record, which is written anyway, what the request tells of
// the session's use. mu is held.
func (s *Session) noteWith(r *store.Record) {
	if !s.passive && s.arrived > r.LastSeenAt {
		r.LastSeenAt = s.arrived
	}
	if !s.passive && clientChanged(r, &s.request.Client) && s.arrived >= r.LastSeenAt {
		r.LastClient = s.request.Client
	}
	if s.found.verdict != current || s.draft.fresh {
		return
	}
	if c, due := sight(r, s.arrived, s.e.opt.Policy.Grace); due {
		r.Confirm(c)
	}
}

// noteLater queues what the request tells of the session's use. mu is held.
func (s *Session) noteLater() {
	rec := s.found.rec
	if rec == nil || s.found.sealed {
		return
	}
	if !s.passive && touchDue(rec, &s.request.Client, s.arrived) {
		client := s.request.Client
		if client == (Client{}) { // from a caller who doesn't say
			client = rec.LastClient
		}
		s.e.behind.add(&note{id: rec.ID, touch: s.arrived, client: client})
	}
	if s.found.verdict != current {
		return
	}
	if c, due := sight(rec, s.arrived, s.e.opt.Policy.Grace); due {
		s.e.behind.add(&note{id: rec.ID, secret: rec.Secret.Hash, confirm: c})
	}
}

// Active notes activity now. Call it for each message of a WebSocket or another
// stream, which otherwise counts as one request, however long it lasts. Active
// returns at once. The activity is written in the background, at most once a
// minute, or once in a twentieth of the idle limit if that is shorter. Active never
// revives a session that has ended, and does nothing without a session. Done
// follows the new deadline. Passive has no effect on Active.
//
// A sealed session is touched by answers only: for it, Active does nothing.
//
// On a connection that the handler has hijacked, Active works until the connection
// that Hijack returned is closed, also after the handler has returned. The
// session must have been read before that, for instance by Done.
func (s *Session) Active() {
	now := s.e.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	id, every := s.last.ID, time.Duration(0)
	switch {
	case !s.finished && s.load(s.ctx) == nil && s.exists() && !s.inCookie():
		id, every = s.current().ID, touchInterval(s.current())
	case s.finished && s.watching.conn != nil:
		every = s.watching.conn.touchInterval()
	}
	if every == 0 {
		return
	}
	if now.Sub(s.noted) >= every && s.e.behind.add(&note{id: id, active: true}) {
		s.noted = now
	}
}

// A note is an activity, or a first sight of a secret, that waits to be written.
type note struct {
	id      ID
	active  bool       // by Active, which knows no client
	touch   store.Time // 0: it is a sight
	client  Client
	secret  store.Hash
	confirm store.Confirmation
	flushed chan struct{} // not nil: no note, but a call of flush that waits
}

type writeBehind struct {
	notes chan *note
	over  context.Context // the engine's
}

// add queues a note. If the store is so slow that the queue is full, it drops
// the note, and returns false: the next request queues another.
func (b *writeBehind) add(n *note) bool {
	select {
	case b.notes <- n:
		return true
	default:
		return false
	}
}

func (b *writeBehind) flush(ctx context.Context) error {
	done := make(chan struct{})
	return enqueue(ctx, b.over, b.notes, &note{flushed: done}, done)
}

// enqueue sends v, and waits until its receiver closes done. ErrClosed: the
// engine was closed.
func enqueue[T any](ctx, over context.Context, queue chan<- T, v T, done <-chan struct{}) error {
	select {
	case queue <- v:
	case <-over.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-over.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeNotes writes what is queued until ctx is done.
func (e *Engine) writeNotes(ctx context.Context) {
	var writing sync.WaitGroup
	defer writing.Wait()
	turns := make(chan struct{}, noteWriters)
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-e.behind.notes:
			if n.flushed != nil {
				writing.Wait()
				close(n.flushed)
				continue
			}
			turns <- struct{}{}
			writing.Go(func() {
				e.writeNote(ctx, n)
				<-turns
			})
		}
	}
}

// writeNote writes a note. Those of one session may come in any order.
func (e *Engine) writeNote(ctx context.Context, n *note) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var err error
	switch {
	case n.active:
		_, err = e.touch(ctx, n.id)
	case n.touch != 0:
		err = e.store.Touch(ctx, e.opt.App, n.id, n.touch, e.now(), n.client)
	default:
		err = e.store.Confirm(ctx, e.opt.App, n.id, n.secret, n.confirm)
	}
	if err != nil && !gone(err) && !errors.Is(err, ErrNotFound) {
		e.emit(Event{Kind: EventWriteFailed, Session: n.id, Detail: "activity: " + err.Error()})
	}
}
