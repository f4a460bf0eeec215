package redisstore

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store/overload"
)

// What goes in one command: other calls wait while Redis runs it.
const (
	mostTogether  = 16
	bytesTogether = 64 << 10 // of arguments
)

// A batcher sends calls of one kind to a single Redis. Calls that come at the
// same moment go in one command, which spares Redis and this node most of the
// work for each. No call waits for others to come.
type batcher struct {
	s     *Store
	build func(calls []*batched, whole bool) rueidis.Completed // as that of an exchange
	reads bool

	mu      sync.Mutex // guards the fields below
	waiting []*batched
	called  bool // a goroutine is about to send those that wait
}

// A batched is a call of a batcher.
type batched struct {
	keys, args []string

	pass      overload.Pass
	abandoned atomic.Bool   // nobody waits for the answer
	done      chan struct{} // gets a value when the fields below are set
	answer    answer
	err       error
	alone     bool
}

// do makes a call. The answer to a command is an array; each of its calls gets the
// same number of elements. If Redis refuses a command for several, do reports
// alone: nothing has happened, and the call is to be made without others.
func (b *batcher) do(ctx context.Context, keys, args []string) (a answer, alone bool, err error) {
	c := &batched{keys: keys, args: args, done: make(chan struct{}, 1)}
	timer := time.NewTimer(b.s.timeout)
	defer timer.Stop()
	if err := b.enter(ctx, c); err != nil {
		return nil, false, &unsentError{err}
	}
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	if !b.called {
		b.called = true
		go b.send()
	}
	b.mu.Unlock()
	select {
	case <-c.done:
		return c.answer, c.alone, c.err
	case <-timer.C:
		return nil, false, context.DeadlineExceeded
	case <-ctx.Done():
		c.abandoned.Store(errors.Is(ctx.Err(), context.Canceled))
		return nil, false, ctx.Err()
	}
}

// enter passes the gate.
func (b *batcher) enter(ctx context.Context, c *batched) (err error) {
	gate, ok := b.s.gates[0], false
	if c.pass, ok = gate.TryEnter(); ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.s.timeout)
	defer cancel()
	c.pass, err = gate.Enter(ctx)
	return err
}

// send sends the calls that wait, and hands out the answers.
func (b *batcher) send() {
	runtime.Gosched() // after many answers, many goroutines make their next calls
	calls := b.take()
	e := exchange{n: 1, reads: b.reads,
		build: func(_ int, whole bool) rueidis.Completed { return b.build(calls, whole) },
		send:  func(_ context.Context, c ...rueidis.Completed) []reply { return b.s.deliver(c) }}
	replies := e.run(context.Background())
	list, err := replies[0].list()
	each := len(list) / len(calls)
	alone, outcome := len(calls) > 1 && isRefusal(err), outcomeOf(replies)
	for i, c := range calls {
		c.answer, c.alone, c.err = list[i*each:(i+1)*each], alone, err
		if c.abandoned.Load() {
			b.s.gates[0].Leave(c.pass, overload.Abandoned)
		} else {
			b.s.gates[0].Leave(c.pass, outcome)
		}
		c.done <- struct{}{}
	}
}

// take returns the calls that came first. If others wait, it lets another
// goroutine send them.
func (b *batcher) take() []*batched {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, size := 0, 0
	for n < len(b.waiting) && n < mostTogether && size < bytesTogether {
		for _, arg := range b.waiting[n].args {
			size += len(arg)
		}
		n++
	}
	calls := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	if b.called = len(b.waiting) > 0; b.called {
		go b.send()
	} else {
		b.waiting = nil
	}
	return calls
}
