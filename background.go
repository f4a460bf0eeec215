package sojourn

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

const (
	sweepEvery  = time.Minute
	sweepStep   = 1024 // sessions for each call of Store.Sweep
	sweepPause  = time.Millisecond
	queueSize   = 4096
	noteWriters = 16 // notes that are written at a time: a store across a network takes its time for each
)

// start runs what goes on beside requests until ctx is done.
func (e *Engine) start(ctx context.Context) {
	e.behind = writeBehind{make(chan *note, queueSize), ctx}
	e.events.list, e.events.over = make(chan *Event, queueSize), ctx
	for _, run := range []func(context.Context){e.sweep, e.writeNotes, e.observe} {
		e.stopped.Go(func() { run(ctx) })
	}
}

// Flush waits until the activity noted so far is written and the events emitted so far are observed, or until ctx is done. ErrClosed: the engine
// was closed.
func (e *Engine) Flush(ctx context.Context) error {
	if err := e.behind.flush(ctx); err != nil {
		return err
	}
	return e.events.flush(ctx)
}

// Close flushes and stops the engine's goroutines, and takes no longer than ctx allows. Requests must be over. The store stays
// open: whoever opened it closes it. A second Close does nothing.
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
	case <-ctx.Done(): // an observer, or the store, hangs
		return ctx.Err()
	}
}

// sweep has the store end what has expired of the engine's application, in
// small steps.
func (e *Engine) sweep(ctx context.Context) {
	every := time.NewTicker(sweepEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		for done := false; !done && ctx.Err() == nil; time.Sleep(sweepPause) {
			var ended []store.Ended
			var err error
			ended, done, err = e.store.Sweep(ctx, e.opt.App, e.now(), sweepStep)
			e.ended(Client{}, ended)
			if err != nil {
				break // the next round tries again
			}
		}
	}
}

// A note is an activity or a first sight that is written behind the request.
type note struct {
	id      ID
	touch   store.Time
	client  Client
	secret  store.Hash
	confirm store.Confirmation
	flushed chan struct{}
}

type writeBehind struct {
	notes chan *note
	over  context.Context // the engine's
}

// add queues a note. If the store is so slow that the queue is full, the note is dropped: the next request makes another.
func (b *writeBehind) add(n *note) {
	select {
	case b.notes <- n:
	default:
	}
}

func (b *writeBehind) flush(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case b.notes <- &note{flushed: done}:
	case <-b.over.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return wait(ctx, b.over, done)
}

// wait waits for done, until ctx is done or the engine over.
func wait(ctx, over context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-over.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

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
				e.write(ctx, n)
				<-turns
			})
		}
	}
}

// write writes a note. Those of one session may come in any order.
func (e *Engine) write(ctx context.Context, n *note) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var err error
	if n.touch != 0 {
		err = e.store.Touch(ctx, e.opt.App, n.id, n.touch, e.now(), n.client)
	} else {
		err = e.store.Confirm(ctx, e.opt.App, n.id, n.secret, n.confirm)
	}
	if err != nil && !gone(err) {
		e.emit(Event{Kind: EventWriteFailed, Session: n.id, Detail: "activity: " + err.Error()})
	}
}

// eventQueue stands between requests and the observer.
type eventQueue struct {
	list chan *Event
	over context.Context // the engine's
	mu   sync.Mutex
	lost int
}

// emit queues an event for the observer.
func (e *Engine) emit(event Event) {
	if e.opt.OnEvent == nil {
		return
	}
	event.App = e.opt.App
	if event.Time.IsZero() {
		event.Time = e.now().Time()
	}
	q := &e.events
	q.mu.Lock()
	defer q.mu.Unlock()
	event.Lost = q.lost
	select {
	case q.list <- &event:
		q.lost = 0
	default:
		q.lost++
	}
}

// ended emits the end of each session.
func (e *Engine) ended(by Client, list []store.Ended) {
	for _, s := range list {
		e.emit(Event{Kind: EventEnded, Time: s.At.Time(), Session: s.ID, Subject: s.Subject, Reason: s.Reason, Client: by})
	}
}

// of returns the event as one of another kind.
func (event Event) of(kind EventKind) Event {
	event.Kind = kind
	return event
}

func (q *eventQueue) flush(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case q.list <- &Event{flushed: done}:
	case <-q.over.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return wait(ctx, q.over, done)
}

func (e *Engine) observe(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-e.events.list:
			if event.flushed != nil {
				close(event.flushed)
			} else {
				e.opt.OnEvent(*event)
			}
		}
	}
}
