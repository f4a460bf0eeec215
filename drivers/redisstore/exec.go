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

// A call is a script with its keys, all of one slot, and its arguments.
type call struct {
	script *script
	keys   []string
	args   []string
}

func (s *Store) command(c *call) rueidis.Completed {
	return s.client.B().Evalsha().Sha1(c.script.sha).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
}

// whole sends the script's text too, which Redis then remembers.
func (s *Store) whole(c *call) rueidis.Completed {
	return s.client.B().Eval().Script(c.script.text).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
}

// run runs a script. The error is the raw one, see read and write.
func (s *Store) run(ctx context.Context, c call) (answer, error) {
	result := s.do(ctx, s.command(&c))
	if noScript(result.Error()) {
		result = s.do(ctx, s.whole(&c))
	}
	for try := range patience {
		if !isMoving(result) || !rest(ctx, try) {
			break
		}
		result = s.do(ctx, s.whole(&c))
	}
	return s.answerOf(ctx, &c, result)
}

// An outcome is what one of several calls came to.
type outcome struct {
	answer answer
	err    error
}

// runAll runs scripts in one round trip to each node.
func (s *Store) runAll(ctx context.Context, calls []call) []outcome {
	outcomes := make([]outcome, len(calls))
	commands := make(rueidis.Commands, len(calls))
	for i := range calls {
		commands[i] = s.command(&calls[i])
	}
	results := s.doMulti(ctx, commands...)
	for try := 0; ; try++ {
		var again []int // those of which nothing has run
		moving := false
		commands = commands[:0]
		for i := range results {
			if m := isMoving(results[i]); m || noScript(results[i].Error()) {
				moving = moving || m
				again = append(again, i)
				commands = append(commands, s.whole(&calls[i]))
			}
		}
		if len(again) == 0 || try > patience || moving && !rest(ctx, try) {
			break
		}
		for j, result := range s.doMulti(ctx, commands...) {
			results[again[j]] = result
		}
	}
	for i := range results {
		outcomes[i].answer, outcomes[i].err = s.answerOf(ctx, &calls[i], results[i])
	}
	return outcomes
}

// While a cluster moves a bucket from one node to another, both refuse what needs several of its keys: nothing has
// run, and a moment later it may. A call waits for that for a second or so.
const patience = 10

func isMoving(result result) bool { return hasCode(result.Error(), "TRYAGAIN") }

// rest waits before a command is sent again, and reports whether it may be.
func rest(ctx context.Context, try int) bool {
	select {
	case <-time.After(10 * time.Millisecond << min(try, 4)):
		return true
	case <-ctx.Done():
		return false
	}
}

func hasCode(err error, code string) bool {
	e, ok := redisError(err)
	return ok && strings.HasPrefix(e.Error(), code+" ")
}

func isWrongType(err error) bool { return hasCode(err, "WRONGTYPE") }
func isFull(err error) bool      { return hasCode(err, "OOM") }

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func noScript(err error) bool {
	e, ok := redisError(err)
	return ok && e.IsNoScript()
}

// An answer is what a script returns: a word first, mostly.
type answer []rueidis.RedisMessage

func (a answer) len() int { return len(a) }

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

func (s *Store) answerOf(ctx context.Context, c *call, result result) (answer, error) {
	list, err := result.ToArray()
	if isWrongType(err) {
		return nil, s.foreign(ctx, c.keys)
	}
	if hasCode(err, "FOREIGN") { // see common.lua
		return nil, keyError(strings.Fields(err.Error())[1], ErrForeign)
	}
	if err != nil {
		return nil, err
	}
	a := answer(list)
	switch word := a.text(0); word {
	case "newer":
		return nil, keyError(c.keys[0], ErrNewer)
	case "damaged":
		return nil, keyError(c.keys[0], errDamaged)
	}
	return a, nil
}

func keyError(key string, err error) error { return fmt.Errorf("redisstore: key %q %w", key, err) }

// foreign returns an error that names the key which is of another type than the store's.
func (s *Store) foreign(ctx context.Context, keys []string) error {
	for _, key := range keys {
		kind, err := s.do(ctx, s.client.B().Type().Key(key).Build()).ToString()
		if err == nil && kind != "none" && kind != s.typeOf(key) {
			return fmt.Errorf("redisstore: key %q, a %s, %w", key, kind, ErrForeign)
		}
	}
	return fmt.Errorf("redisstore: one of the keys %q %w", keys, ErrForeign)
}

func (s *Store) typeOf(key string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(key, s.prefix+":"), ":")
	switch kind {
	case "in", "anon", "due", "subject":
		return "zset"
	case "apps":
		return "set"
	}
	return "string"
}

// read turns the error of a call that changed nothing into one to return.
func (s *Store) read(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case s.closed.Load():
		return store.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return s.explain(err)
}

// write turns the error of a call that may have changed something into one to return: what Redis refused, or was
// never sent to it, is certain, and all else is not.
func (s *Store) write(err error) error {
	if err == nil {
		return nil
	}
	if certain(err) {
		if s.closed.Load() && errors.Is(err, rueidis.ErrClosing) {
			return store.ErrClosed
		}
		return s.explain(err)
	}
	return fmt.Errorf("redisstore: %w: %w", store.ErrUncertain, err)
}

func certain(err error) bool {
	if errors.Is(err, errReplicas) {
		return false
	}
	if _, ok := errors.AsType[*dialError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*unsentError](err); ok {
		return true
	}
	return isRefusal(err) || errors.Is(err, rueidis.ErrClosing)
}

// worse returns the one of two errors by which less is known; one of a thousand will do.
func worse(a, b error) error {
	if a == nil || !errors.Is(a, store.ErrUncertain) && b != nil {
		return b
	}
	return a
}

// isRefusal reports whether Redis answered, with an error or with what can't be read.
func isRefusal(err error) bool {
	_, ok := redisError(err)
	return ok || errors.Is(err, ErrNewer) || errors.Is(err, ErrForeign) || errors.Is(err, errDamaged)
}

// redisError is rueidis.IsRedisErr for errors that are wrapped, or several.
func redisError(err error) (*rueidis.RedisError, bool) {
	e, ok := errors.AsType[*rueidis.RedisError](err)
	if !ok {
		return nil, false
	}
	return rueidis.IsRedisErr(e)
}

// explain adds to an error what to do about it.
func (s *Store) explain(err error) error {
	if errors.Is(err, ErrNewer) || errors.Is(err, ErrForeign) || errors.Is(err, errDamaged) {
		return err
	}
	if errors.Is(err, rueidis.ErrNoCache) {
		return fmt.Errorf("redisstore: the feed can't listen, with CLIENT TRACKING, of which a proxy may know nothing: %s: %w", rightsHint, err)
	}
	e, ok := redisError(err)
	if !ok {
		return fmt.Errorf("redisstore: Redis can't be reached, or didn't answer: %w", err)
	}
	code, _, _ := strings.Cut(e.Error(), " ")
	if strings.Contains(e.Error(), "user executing the script") {
		code = "NOPERM"
	}
	hint := ""
	switch code {
	case "OOM":
		return fmt.Errorf("redisstore: %w: Redis has reached its maxmemory", store.ErrFull)
	case "WRONGPASS":
		hint = "the user or the password is wrong"
	case "NOAUTH":
		hint = "Redis asks for a password: give one in the URL or in Options.Password"
	case "NOPERM":
		hint = rightsHint
	case "READONLY":
		hint = "this is a replica: give the master's address"
	case "LOADING":
		hint = "Redis is still reading its data"
	case "CLUSTERDOWN":
		hint = "the cluster has no master for a part of the keys"
	case "NOREPLICAS":
		hint = "too few replicas are connected for min-replicas-to-write"
	case "MISCONF":
		hint = "Redis can't save its data to disk and refuses writes"
	case "MOVED", "ASK":
		hint = "this is a Redis Cluster: use a redis-cluster:// URL"
	}
	if hint != "" {
		hint = ": " + hint
	}
	return fmt.Errorf("redisstore: Redis refused%s: %w", hint, err)
}

const rightsHint = "the user's ACL must allow the keys of the prefix, and +@read +@write +@scripting +@connection +info +time, with +cluster for a Redis Cluster and +wait for WaitReplicas"

// after returns a context for what must be done though the caller's may be over: to put right what was begun.
func (s *Store) after(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
}
