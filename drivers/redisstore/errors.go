package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
)

// Errors about what Redis holds, for errors.Is. The messages name the key.
var (
	ErrNewer   = errors.New("was written by a newer version of Sojourn")
	ErrForeign = errors.New("was not written by this store")

	errDamaged = errors.New("is not a record of a session")
	errNoTouch = errors.New("is not a touch of a session")
)

var (
	errPrefix    = errors.New("the prefix must consist of letters, digits, and any of . _ - and, inside, colons, as in shop:sessions")
	errLongKey   = errors.New("redisstore: an idempotency key has at most 255 bytes")
	errNoReason  = errors.New("redisstore: ending a session needs a reason")
	errNoSubject = errors.New("redisstore: EndSubject needs a subject")
	errAnswer    = errors.New("redisstore: a script gave an unknown answer")
	errFeed      = errors.New("redisstore: the change feed can't be followed at present")
	errTooLate   = errors.New("redisstore: each attempt took longer than its reservation lasts")

	// errAgain: the reservation has lapsed or was taken back, and nothing was
	// written. The call begins again.
	errAgain = errors.New("redisstore: the reservation has lapsed")

	errMoved = errors.New("the bucket has moved to another node")

	// errReplicas: too few replicas confirmed a write, whose outcome is therefore
	// uncertain.
	errReplicas = errors.New("too few replicas have it in time")
)

func keyError(key string, err error) error { return fmt.Errorf("redisstore: key %q %w", key, err) }

// An unsentError is the error of a call that was not sent.
type unsentError struct{ cause error }

func (e *unsentError) Error() string { return "not sent: " + e.cause.Error() }
func (e *unsentError) Unwrap() error { return e.cause }

// A dialError is a failure to connect: nothing was sent.
type dialError struct{ cause error }

func (e *dialError) Error() string { return "no connection: " + e.cause.Error() }
func (e *dialError) Unwrap() error { return e.cause }

// readError returns the error of a call that changes nothing.
func (s *Store) readError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case s.closed.Load():
		return store.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return explain(err)
}

// writeError returns the error of a call that may have changed something. What
// Redis refused, or never received, has failed for certain. Every other error is
// store.ErrUncertain.
func (s *Store) writeError(err error) error {
	switch {
	case err == nil:
		return nil
	case !isCertain(err):
		return fmt.Errorf("redisstore: %w: %w", store.ErrUncertain, err)
	case s.closed.Load() && errors.Is(err, rueidis.ErrClosing):
		return store.ErrClosed
	}
	return explain(err)
}

// stepError returns the error of a step before the write that the caller asked
// for: the session was not written.
func (s *Store) stepError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case isCertain(err):
		return s.writeError(err)
	case ctx.Err() != nil:
		return fmt.Errorf("redisstore: nothing was written: %w", ctx.Err())
	}
	return explain(err)
}

func isCertain(err error) bool {
	if errors.Is(err, errReplicas) {
		return false
	}
	_, unconnected := errors.AsType[*dialError](err)
	_, unsent := errors.AsType[*unsentError](err)
	return unconnected || unsent || isRefusal(err) || errors.Is(err, rueidis.ErrClosing)
}

// worse returns the error that leaves more uncertain.
func worse(a, b error) error {
	if a == nil || !errors.Is(a, store.ErrUncertain) && b != nil {
		return b
	}
	return a
}

// isRefusal reports whether Redis answered, with an error or with something
// that can't be read.
func isRefusal(err error) bool {
	_, ok := redisError(err)
	return ok || errors.Is(err, ErrForeign) || isUnreadable(err)
}

// isUnreadable reports whether an error is about one record: others may be good.
func isUnreadable(err error) bool {
	return errors.Is(err, ErrNewer) || errors.Is(err, errDamaged) || errors.Is(err, errNoTouch)
}

// isBroken reports whether there was no answer.
func isBroken(err error) bool {
	_, ok := redisError(err)
	return err != nil && !ok
}

func isWrongType(err error) bool { return hasCode(err, "WRONGTYPE") }
func isFull(err error) bool      { return hasCode(err, "OOM") }
func isMoving(err error) bool    { return hasCode(err, "TRYAGAIN") || errors.Is(err, errMoved) }

func isUnknownScript(err error) bool {
	e, ok := redisError(err)
	return ok && e.IsNoScript()
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func hasCode(err error, code string) bool {
	e, ok := redisError(err)
	return ok && strings.HasPrefix(e.Error(), code+" ")
}

// redisError is rueidis.IsRedisErr for errors that are wrapped.
func redisError(err error) (*rueidis.RedisError, bool) {
	e, ok := errors.AsType[*rueidis.RedisError](err)
	if !ok {
		return nil, false
	}
	return rueidis.IsRedisErr(e)
}

// hints say what to do about an error of Redis, by its code.
var hints = map[string]string{
	"WRONGPASS":   "the user or the password is wrong",
	"NOAUTH":      "Redis asks for a password: give one in the URL or in Options.Password",
	"NOPERM":      rightsHint,
	"READONLY":    "this is a replica: give the master's address",
	"LOADING":     "Redis is still reading its data",
	"CLUSTERDOWN": "the cluster has no master for a part of the keys",
	"NOREPLICAS":  "too few replicas are connected for min-replicas-to-write",
	"MISCONF":     "Redis can't save its data to disk and refuses writes",
	"MOVED":       "this is a Redis Cluster: use a redis-cluster:// URL",
	"ASK":         "this is a Redis Cluster: use a redis-cluster:// URL",
	"master_set":  "the sentinels watch no master of this name: correct master_set in the URL",
}

const rightsHint = "the user's ACL must allow the keys of the prefix, and +@read +@write +@scripting +@connection +info +time, " +
	"with +cluster for a Redis Cluster, +role for Redis Sentinel and +wait for WaitReplicas"

// explain adds to an error what to do about it.
func explain(err error) error {
	if errors.Is(err, ErrForeign) || isUnreadable(err) {
		return err
	}
	if errors.Is(err, rueidis.ErrNoCache) {
		return fmt.Errorf("redisstore: the change feed needs CLIENT TRACKING, which a proxy may not support: %s: %w", rightsHint, err)
	}
	e, ok := redisError(err)
	if !ok {
		return fmt.Errorf("redisstore: Redis can't be reached, or didn't answer: %w", err)
	}
	code, _, _ := strings.Cut(e.Error(), " ")
	if strings.Contains(e.Error(), "user executing the script") {
		code = "NOPERM"
	}
	if code == "OOM" {
		return fmt.Errorf("redisstore: %w: Redis has reached its maxmemory", store.ErrFull)
	}
	if strings.Contains(e.Error(), "No such master") {
		code = "master_set"
	}
	hint := hints[code]
	if hint != "" {
		hint = ": " + hint
	}
	return fmt.Errorf("redisstore: Redis refused%s: %w", hint, err)
}
