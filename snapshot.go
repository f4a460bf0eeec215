package sojourn

import (
	"context"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/store"
)

// What follows is for callers that learn the keys of values at run time, as sojournd does, and for operators, who name a session by its ID and
// present no token. Applications use Key and the session of their request.

// A Snapshot is a session at one revision.
type Snapshot struct {
	Info
	Values json.RawMessage // an object
}

// Snapshot returns all that may be told about the session, and its values, with the changes that this request has made.
func (s *Session) Snapshot() Snapshot {
	return ask(s, func(r *store.Record) Snapshot { return snapshot(r) })
}

func snapshot(r *store.Record) Snapshot { return Snapshot{info(r), appendObject(nil, r.Values)} }

// appendObject appends values as a JSON object, with its keys in order.
func appendObject(dst []byte, values store.Values) []byte {
	if dst == nil {
		dst = make([]byte, 0, len(values)+16)
	}
	dst = append(dst, '{')
	first := true
	for key, value := range values.All() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '"')
		for i := range len(key) { // keys hold no control characters
			if key[i] == '"' || key[i] == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, key[i])
		}
		dst = append(dst, '"', ':')
		dst = append(dst, value...)
	}
	return append(dst, '}')
}

// SetValue stores a JSON text at the commit, like Key.Set. ErrValue: the key is none, or the text isn't JSON in UTF-8.
func (s *Session) SetValue(key string, value json.RawMessage) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if len(value) == 0 || !utf8.Valid(value) {
		return fmt.Errorf("%w: key %q: not JSON in UTF-8", ErrValue, key)
	}
	return Key[json.RawMessage]{key}.Set(s, value)
}

// DeleteValue removes a value at the commit.
func (s *Session) DeleteValue(key string) error { return s.delete(key) }

// Get returns the live session of an ID; ErrNotFound if there is none. It isn't an activity of the session.
func (e *Engine) Get(ctx context.Context, id ID) (Snapshot, error) {
	rec, err := e.find(ctx, id)
	if err != nil {
		return Snapshot{}, err
	}
	return snapshot(rec), nil
}

func (e *Engine) find(ctx context.Context, id ID) (*store.Record, error) {
	rec, err := e.live(ctx, id)
	switch {
	case gone(err):
		return nil, ErrNotFound
	case err != nil:
		return nil, wrap("read a session", err)
	}
	return rec, nil
}

// SetValues changes values of the live session of an ID, if it is at the given revision: those that are nil are removed. ErrRevision: it
// is at another one; ErrNotFound: there is none. Otherwise as Session.Commit. It isn't an activity of the session.
func (e *Engine) SetValues(ctx context.Context, id ID, revision uint64, values map[string]json.RawMessage) (Snapshot, error) {
	s := e.Begin(ctx, Request{IfRevision: revision})
	defer s.Finish()
	s.passive, s.noRotate = true, true
	rec, err := e.find(ctx, id)
	if err != nil {
		return Snapshot{}, err
	}
	s.adopt(rec)
	for key, value := range values {
		if value == nil {
			err = s.DeleteValue(key)
		} else {
			err = s.SetValue(key, value)
		}
		if err != nil {
			return Snapshot{}, err
		}
	}
	if rec.Revision != revision {
		return Snapshot{}, ErrRevision
	}
	if err := s.Commit(ctx); err != nil {
		return Snapshot{}, err
	}
	return s.Snapshot(), nil
}

// adopt makes rec the session's without a secret, so that there is nothing to rotate or to confirm.
func (s *Session) adopt(rec *store.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded, s.rec, s.epoch = true, rec, rec.Epoch
	s.changes.ops = s.opsMemory[:0]
}
