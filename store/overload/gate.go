// Package overload protects a slow store from more calls than it can answer. It
// is meant for drivers of stores; applications don't need it.
//
// A store under too much load answers after its callers have given up, and all
// its work is lost. A Gate lets in as many calls as the store can work on at a
// time, and refuses at once those that could not be served in time.
package overload

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrOverloaded is the error of a call that a Gate refuses: nothing was sent.
var ErrOverloaded = errors.New("too many calls wait already")

const (
	// strikes is how many calls in a row must fail before a gate shuts.
	strikes = 8

	// leastWaiting is how many calls at least may wait for a trial.
	leastWaiting = 64

	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// A Gate limits the calls to a store. A limited number of calls are inside at a
// time. Other calls wait in line if they can be served in time; those that
// can't are refused at once.
//
// When eight calls in a row fail, and no call was answered for the length of a
// timeout, the gate shuts. After a pause one call goes in as a trial. When it
// is answered, the gate opens step by step. When it is not, the next trial
// follows after a longer pause.
//
// All methods may be called concurrently.
type Gate struct {
	most    int
	timeout time.Duration

	mu      sync.Mutex    // guards the fields below
	line    []*waiter     // first come, first served
	inside  int           // calls of this life
	life    int           // grows when the gate shuts; calls of an earlier life are not counted
	limit   int           // how many may be inside, as of Resize; at most most
	allowed int           // how many may be inside; grows to most after a trial
	service time.Duration // the recent average of served calls
	alive   time.Time     // when a call was last served, or the first unserved one came
	came    time.Time     // when the last call came that did not wait

	failures int // in a row
	pauses   int // in a row; 0: the gate is open
	trying   bool
	opens    *time.Timer // when the pause is over; nil: it is
	refused  uint64
	closed   error
}

type waiter struct {
	deadline time.Time // zero: the waiter has no limit
	decided  chan struct{}
	pass     Pass
	err      error
}

// NewGate returns a gate for calls that take at most timeout each. most is the
// largest number of calls inside at a time; Resize can set a lower one.
func NewGate(most int, timeout time.Duration) *Gate {
	most = max(most, 1)
	return &Gate{most: most, limit: most, allowed: most, timeout: timeout}
}

// Resize sets how many calls may be inside at a time, such as the number of
// connections.
func (g *Gate) Resize(limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = min(limit, g.most)
	g.letIn(time.Now())
}

// Dismiss refuses all calls that wait in line, with the error err.
func (g *Gate) Dismiss(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dismiss(err)
}

// Close is Dismiss, and refuses all later calls too.
func (g *Gate) Close(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = err
	g.dismiss(err)
}

func (g *Gate) dismiss(err error) {
	for _, w := range g.line {
		w.err = err
		close(w.decided)
	}
	g.line = nil
}

// A Pass is the right of one call to be inside.
type Pass struct {
	began time.Time
	life  int
	trial bool
}

// An Outcome says what became of a call.
type Outcome int

// The outcomes of a call.
const (
	Served    Outcome = iota // there was an answer, which may be an error
	Failed                   // there was no answer
	Abandoned                // it is not known, or says nothing about the store
)

// Enter waits until the call may go in, and returns the Pass that Leave needs.
// The error is ErrOverloaded, the context's, or the one that Dismiss or Close
// got.
func (g *Gate) Enter(ctx context.Context) (Pass, error) { return g.enter(ctx, false) }

// EnterFirst is Enter for calls that keep a node in service, such as its
// heartbeat: they go to the head of the line, and are never refused.
func (g *Gate) EnterFirst(ctx context.Context) (Pass, error) { return g.enter(ctx, true) }

// TryEnter is Enter for calls that needn't wait. Of others it reports false.
func (g *Gate) TryEnter() (Pass, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		return Pass{}, false
	}
	return g.admitAtOnce(time.Now())
}

func (g *Gate) enter(ctx context.Context, first bool) (Pass, error) {
	if err := ctx.Err(); err != nil {
		return Pass{}, err
	}
	g.mu.Lock()
	if err := g.closed; err != nil {
		g.mu.Unlock()
		return Pass{}, err
	}
	now := time.Now()
	if p, ok := g.admitAtOnce(now); ok {
		g.mu.Unlock()
		return p, nil
	}
	if len(g.line) == 0 && g.inside == 0 && g.pauses == 0 {
		g.alive = now
	}
	w := &waiter{decided: make(chan struct{})}
	if first {
		g.line = slices.Insert(g.line, 0, w)
	} else {
		w.deadline = now.Add(g.timeout)
		if d, ok := ctx.Deadline(); ok && d.Before(w.deadline) {
			w.deadline = d
		}
		if g.tooMany(now, w.deadline.Sub(now)) {
			g.refused++
			g.mu.Unlock()
			return Pass{}, ErrOverloaded
		}
		g.line = append(g.line, w)
	}
	g.mu.Unlock()
	select {
	case <-w.decided:
		return w.pass, w.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	i := slices.Index(g.line, w)
	if i >= 0 {
		g.line = slices.Delete(g.line, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 && w.err == nil { // it was let in just now
		g.Leave(w.pass, Abandoned)
	}
	return Pass{}, ctx.Err()
}

// mayAdmit reports whether another call may go in.
func (g *Gate) mayAdmit() bool {
	if g.pauses > 0 {
		return g.opens == nil && !g.trying && g.limit > 0
	}
	return g.inside < min(g.allowed, g.limit)
}

// admitAtOnce lets a call in if it needn't wait.
func (g *Gate) admitAtOnce(now time.Time) (Pass, bool) {
	if len(g.line) > 0 || !g.mayAdmit() {
		return Pass{}, false
	}
	if now.Sub(g.came) > g.timeout { // the calls inside have no time limit, so they say nothing about the store
		g.alive = now
	}
	g.came = now
	return g.admit(now), true
}

func (g *Gate) admit(now time.Time) Pass {
	if g.inside == 0 {
		g.alive = now
	}
	g.inside++
	g.trying = g.pauses > 0
	return Pass{now, g.life, g.trying}
}

// tooMany reports whether a call at the end of the line would run out of the
// time that it has left.
func (g *Gate) tooMany(now time.Time, left time.Duration) bool {
	if g.pauses > 0 {
		return len(g.line) >= max(g.most, leastWaiting) // these may still be served after the trial
	}
	// While no call is answered, assume that one takes at least this long.
	service := max(g.service, now.Sub(g.alive))
	wait := service * time.Duration(len(g.line)+1) / time.Duration(g.most) // soon so many will be let in
	return wait+service > left
}

// Leave ends the call that Enter has let in.
func (g *Gate) Leave(p Pass, o Outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if p.life == g.life {
		g.inside--
	}
	switch {
	case o == Served:
		g.answer(now, p)
	case o == Failed && p.life == g.life:
		g.fail(now, p)
	case p.trial && p.life == g.life:
		g.trying = false
	}
	g.letIn(now)
}

// letIn lets in calls from the line, up to the limit.
func (g *Gate) letIn(now time.Time) {
	for len(g.line) > 0 && g.mayAdmit() {
		w := g.line[0]
		g.line = slices.Delete(g.line, 0, 1)
		if !w.deadline.IsZero() && w.deadline.Sub(now) < g.service {
			w.err = ErrOverloaded // it has waited too long to be served in time
			g.refused++
		} else {
			w.pass = g.admit(now)
		}
		close(w.decided)
	}
}

func (g *Gate) answer(now time.Time, p Pass) {
	g.alive, g.failures = now, 0
	if !p.trial { // a trial may have waited for a connection
		took := min(now.Sub(p.began), g.timeout) // a call without a time limit must not cause refusals of others
		g.service += (took - g.service) / 8
	}
	switch {
	case g.pauses > 0:
		if p.life != g.life {
			return // this call began before the gate shut; the trial decides
		}
		g.pauses, g.trying = 0, false
		g.allowed = min(2, g.most)
	case g.allowed < g.most:
		g.allowed = min(2*g.allowed, g.most)
	}
}

func (g *Gate) fail(now time.Time, p Pass) {
	g.failures++
	switch {
	case p.trial:
		g.trying = false
	case g.pauses > 0 || g.failures < strikes || now.Sub(g.alive) < g.timeout:
		return
	}
	// The calls inside may hang for a long time. The trial doesn't wait for
	// them.
	g.life++
	g.inside = 0
	g.pauses++
	g.opens = time.AfterFunc(Backoff(g.pauses, firstPause, lastPause), func() {
		g.mu.Lock()
		g.opens = nil
		g.mu.Unlock()
		g.Leave(Pass{life: -1}, Abandoned) // lets in the first of the line
	})
}

// Refused returns how many calls were refused.
func (g *Gate) Refused() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}
