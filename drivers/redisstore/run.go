package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

// patience is how often a command is sent again while a cluster moves its
// bucket to another node. Both nodes then refuse what needs several of its keys:
// the command has not run, and may succeed a moment later. The pauses add up to
// about a second.
const patience = 10

func pause(ctx context.Context, try int) bool {
	select {
	case <-time.After(10 * time.Millisecond << min(try, 4)):
		return true
	case <-ctx.Done():
		return false
	}
}

// An exchange is commands to send together, and again as far as Redis has not
// run them.
type exchange struct {
	n     int
	build func(i int, whole bool) rueidis.Completed // whole: with the text of a script
	send  func(context.Context, ...rueidis.Completed) []reply
	reads bool // a command may be sent again if its connection broke
}

// run returns the replies. It waits while a bucket moves.
func (e *exchange) run(ctx context.Context) []reply {
	commands := make(rueidis.Commands, e.n)
	for i := range commands {
		commands[i] = e.build(i, false)
	}
	replies := e.send(ctx, commands...)
	for try := 0; try < patience; try++ {
		var again []int // indices of the commands to send again
		moving := false
		for i := range replies {
			err := replies[i].err
			// Redis or a proxy may have closed the connection before.
			broken := err != nil && e.reads && try == 0 && isBroken(err) && !isContext(err)
			if broken || isMoving(err) || isUnknownScript(err) {
				moving = moving || isMoving(err)
				again = append(again, i)
			}
		}
		if len(again) == 0 || moving && !pause(ctx, try) {
			break
		}
		commands = make(rueidis.Commands, len(again))
		for j, i := range again {
			commands[j] = e.build(i, true)
		}
		for j, r := range e.send(ctx, commands...) {
			replies[again[j]] = r
		}
	}
	return replies
}

// An outcome is what one of several calls came to. The error is the raw one:
// see readError and writeError.
type outcome struct {
	answer answer
	err    error
}

// runAll runs scripts, in one round trip to each node.
func (s *Store) runAll(ctx context.Context, calls []call) []outcome {
	outcomes := make([]outcome, len(calls))
	e := exchange{n: len(calls), send: s.send, build: func(i int, whole bool) rueidis.Completed { return s.command(&calls[i], whole) }}
	for i, r := range e.run(ctx) {
		outcomes[i].answer, outcomes[i].err = s.answerOf(ctx, calls[i].keys, r)
	}
	return outcomes
}

// run runs a script.
func (s *Store) run(ctx context.Context, c call) (answer, error) {
	o := s.runAll(ctx, []call{c})[0]
	return o.answer, o.err
}

// An answer is what a script returns. The first element is a word, mostly.
type answer []rueidis.RedisMessage

func (a answer) text(i int) string {
	if i >= len(a) {
		return ""
	}
	text, _ := a[i].ToString()
	return text
}

func (a answer) number(i int) int64 {
	if i >= len(a) {
		return 0
	}
	n, _ := a[i].AsInt64()
	return n
}

func (a answer) texts(from int) []string {
	list := make([]string, 0, max(0, len(a)-from))
	for i := from; i < len(a); i++ {
		list = append(list, a.text(i))
	}
	return list
}

func (s *Store) answerOf(ctx context.Context, keys []string, r reply) (answer, error) {
	switch {
	case isWrongType(r.err):
		return nil, s.foreign(ctx, keys)
	case hasCode(r.err, "FOREIGN"): // see common.lua
		return nil, keyError(strings.Fields(r.err.Error())[1], ErrForeign)
	}
	list, err := r.list()
	if err != nil {
		return nil, err
	}
	a := answer(list)
	switch a.text(0) {
	case "newer":
		return nil, keyError(keys[0], ErrNewer)
	case "damaged":
		return nil, keyError(keys[0], errDamaged)
	}
	return a, nil
}

// foreign returns an error that names the key whose type is not the store's.
func (s *Store) foreign(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if kind, err := s.typeOf(ctx, key); err == nil && kind != "none" && kind != s.expectedType(key) {
			return fmt.Errorf("redisstore: key %q, a %s, %w", key, kind, ErrForeign)
		}
	}
	return fmt.Errorf("redisstore: one of the keys %q %w", keys, ErrForeign)
}

// typeOf returns a key's type in Redis, "none" if it doesn't exist.
func (s *Store) typeOf(ctx context.Context, key string) (string, error) {
	r := s.send(ctx, s.client.B().Type().Key(key).Build())[0]
	if r.err != nil {
		return "", r.err
	}
	return r.ToString()
}

func (s *Store) expectedType(key string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(key, s.prefix+":"), ":")
	switch kind {
	case "in", "anon", "due", "subject", "ended":
		return "zset"
	}
	return "string"
}

// cleanup returns a context for what must be done although the caller's context
// may have ended.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
}

// step calls the hook of tests, before each step of a call that takes several.
func (s *Store) step(name string) error {
	if s.hook != nil {
		return s.hook(name)
	}
	return nil
}

// check begins every call.
func (s *Store) check(ctx context.Context) error {
	if s.closed.Load() {
		return store.ErrClosed
	}
	return ctx.Err()
}

// errCrash is what the hook of a test returns to end a call as a crash would:
// nothing is put right.
var errCrash = errors.New("redisstore: crashed")
