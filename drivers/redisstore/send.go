package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store/overload"
)

const (
	// How many calls may be under way at a time: for a single Redis, or for each
	// part of a cluster's slots, so that calls to one shard don't delay calls to
	// another.
	mostCalls       = 1024
	mostCallsOfPart = 256
	parts           = 16
)

// gates limit the calls.
type gates []*overload.Gate

func newGates(cluster bool, timeout time.Duration) gates {
	if !cluster {
		return gates{overload.NewGate(mostCalls, timeout)}
	}
	g := make(gates, parts)
	for i := range g {
		g[i] = overload.NewGate(mostCallsOfPart, timeout)
	}
	return g
}

// of returns the gate of a command's slot.
func (g gates) of(command *rueidis.Completed) *overload.Gate {
	return g[int(command.Slot()%clusterSlots)*len(g)/clusterSlots]
}

// A reply is what came of a command: Redis' message, or the error of Redis or
// of the connection.
type reply struct {
	rueidis.RedisMessage
	err error
}

func (r *reply) list() ([]rueidis.RedisMessage, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.ToArray()
}

// send sends commands, in one round trip to each node. When the context ends or
// the store's timeout is over, send returns and drops the replies; the
// connection, or the attempt to make one, stays.
func (s *Store) send(ctx context.Context, commands ...rueidis.Completed) []reply {
	if len(commands) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	gate := s.gates.of(&commands[0])
	pass, err := gate.Enter(ctx)
	if err != nil {
		return failed(len(commands), &unsentError{err})
	}
	done := make(chan []reply, 1)
	go func() {
		done <- s.deliver(commands)
	}()
	select {
	case replies := <-done:
		gate.Leave(pass, outcomeOf(replies))
		return replies
	case <-ctx.Done():
	}
	abandoned := errors.Is(ctx.Err(), context.Canceled)
	go func() {
		outcome := outcomeOf(<-done) // it may have been served, too late
		if abandoned {
			outcome = overload.Abandoned
		}
		gate.Leave(pass, outcome)
	}()
	return failed(len(commands), ctx.Err())
}

// deliver sends commands and waits for the replies, however long that takes.
func (s *Store) deliver(commands []rueidis.Completed) []reply {
	ctx := endless{context.Background()}
	replies := make([]reply, len(commands))
	if len(commands) == 1 {
		replies[0].RedisMessage, replies[0].err = s.client.Do(ctx, commands[0]).ToMessage()
		return replies
	}
	for i, result := range s.client.DoMulti(ctx, commands...) {
		replies[i].RedisMessage, replies[i].err = result.ToMessage()
	}
	return replies
}

// An endless context looks as if it might end. With such a context rueidis reads
// in the background, and so notices a connection that was closed before it is
// used again.
type endless struct{ context.Context }

var never = make(chan struct{})

func (endless) Done() <-chan struct{} { return never }

func failed(n int, err error) []reply {
	replies := make([]reply, n)
	for i := range replies {
		replies[i].err = err
	}
	return replies
}

// outcomeOf says whether all commands were answered. An error of Redis is an
// answer.
func outcomeOf(replies []reply) overload.Outcome {
	for i := range replies {
		if isBroken(replies[i].err) {
			return overload.Failed
		}
	}
	return overload.Served
}
