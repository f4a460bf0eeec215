package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store/overload"
)

const (
	// How many calls may be under way at once: for a single Redis, or for each
	// part of a cluster's slots, so that calls for one shard don't stop those
	// for another.
	mostCalls       = 1024
	mostCallsOfPart = 256
	parts           = 16
	slots           = 16384
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
	return g[int(command.Slot()%slots)*len(g)/slots]
}

func (g gates) refused() (n uint64) {
	for _, one := range g {
		n += one.Refused()
	}
	return n
}

// A result is the result of a command. err is set if the command was not sent,
// or if its caller has given up.
type result struct {
	rueidis.RedisResult
	err error
}

func (r result) Error() error {
	if r.err != nil {
		return r.err
	}
	return r.RedisResult.Error()
}

func (r result) NonRedisError() error {
	if r.err != nil {
		return r.err
	}
	return r.RedisResult.NonRedisError()
}

func (r result) ToArray() ([]rueidis.RedisMessage, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.RedisResult.ToArray()
}

func (r result) ToString() (string, error) {
	if r.err != nil {
		return "", r.err
	}
	return r.RedisResult.ToString()
}

func (r result) AsStrSlice() ([]string, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.RedisResult.AsStrSlice()
}

func (r result) AsZScores() ([]rueidis.ZScore, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.RedisResult.AsZScores()
}

func (r result) AsInt64() (int64, error) {
	if r.err != nil {
		return 0, r.err
	}
	return r.RedisResult.AsInt64()
}

// do sends a command.
func (s *Store) do(ctx context.Context, command rueidis.Completed) result {
	var r rueidis.RedisResult
	err := s.send(ctx, s.gates.of(&command), func(ctx context.Context) (func(), error) {
		got := s.client.Do(ctx, command)
		return func() { r = got }, got.NonRedisError()
	})
	return result{r, err}
}

// doMulti sends commands, in one round trip to each node.
func (s *Store) doMulti(ctx context.Context, commands ...rueidis.Completed) []result {
	list := make([]result, len(commands))
	if len(commands) == 0 {
		return list
	}
	err := s.send(ctx, s.gates.of(&commands[0]), func(ctx context.Context) (func(), error) {
		got := s.client.DoMulti(ctx, commands...)
		var err error
		for _, one := range got {
			if e := one.NonRedisError(); e != nil {
				err = e
			}
		}
		return func() {
			for i, one := range got {
				list[i].RedisResult = one
			}
		}, err
	})
	for i := range list {
		list[i].err = err
	}
	return list
}

// send calls fn, which sends something, and then the function that fn returns,
// which takes the results and reports whether there are any. When the context
// ends, or the timeout is over, the answer is dropped; the connection, or the
// making of it, goes on.
func (s *Store) send(ctx context.Context, gate *overload.Gate, fn func(context.Context) (take func(), err error)) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	pass, err := gate.Enter(ctx)
	if err != nil {
		return &unsentError{err}
	}
	type reply struct {
		take func()
		err  error
	}
	done := make(chan reply, 1)
	go func() {
		// With a context that may end, rueidis reads in the background, and so
		// notices a connection that was closed before it is used again.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		take, err := fn(own)
		done <- reply{take, err}
	}()
	select {
	case re := <-done:
		re.take()
		outcome := overload.Served
		if re.err != nil {
			outcome = overload.Failed
		}
		gate.Leave(pass, outcome)
		return nil
	case <-ctx.Done():
	}
	outcome := overload.Failed
	if errors.Is(ctx.Err(), context.Canceled) {
		outcome = overload.Abandoned
	}
	go func() {
		if re := <-done; outcome == overload.Failed && re.err == nil {
			outcome = overload.Served // too late
		}
		gate.Leave(pass, outcome)
	}()
	return ctx.Err()
}

// An unsentError is a call that was not sent.
type unsentError struct{ cause error }

func (e *unsentError) Error() string { return "not sent: " + e.cause.Error() }
func (e *unsentError) Unwrap() error { return e.cause }
