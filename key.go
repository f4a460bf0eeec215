package sojourn

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// A Key names a value of type T in a session. Declare keys once, at package
// level. T is any type that encoding/json reads and writes; json.RawMessage gives
// the JSON itself.
//
// A program of an older version that calls Update drops the fields of T that it
// doesn't know.
type Key[T any] struct{ name string }

// NewKey returns the key of the given name, 1 to 255 bytes of UTF-8 without
// control characters. It panics if the name is anything else, since a key is a
// constant of the program.
func NewKey[T any](name string) Key[T] {
	if err := checkKey(name); err != nil {
		panic("sojourn: NewKey: " + err.Error())
	}
	return Key[T]{name}
}

// Name returns the name that NewKey got.
func (k Key[T]) Name() string { return k.name }

// Get returns the value, with the changes that this request has made. It returns
// the zero T if there is none. ErrValue: the stored value doesn't decode into T;
// the session is unharmed.
func (k Key[T]) Get(s *Session) (T, error) {
	v, _, err := k.Lookup(s)
	return v, err
}

// Lookup is Get that also reports whether there is a value.
func (k Key[T]) Lookup(s *Session) (v T, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(s.ctx); err != nil {
		return v, false, err
	}
	raw, ok := s.current().Values.Get(k.name)
	if !ok {
		return v, false, nil
	}
	v, err = k.decode(raw)
	return v, true, err
}

// Set stores v at the commit. Of parallel Sets of one key the last commit wins.
// Use Update if the new value depends on the old one. ErrValue: v isn't JSON in
// UTF-8.
func (k Key[T]) Set(s *Session, v T) error {
	raw, err := k.encode(v)
	if err != nil {
		return err
	}
	return s.do(op{kind: opSet, key: k.name, json: raw})
}

// Update applies fn to the value, or to the zero T if there is none. Parallel
// updates all land: if another request has committed in between, fn runs again
// at the commit, on the newest value. So fn must change nothing but *T. It may
// read the session. If fn returns DeleteValue, the value is removed. If fn
// returns another error, the value stays and Update returns that error. If that
// happens at the commit, the commit fails with ErrConflict.
func (k Key[T]) Update(s *Session, fn func(*T) error) error {
	return s.do(op{kind: opUpdate, key: k.name, fn: func(raw []byte) ([]byte, error) {
		var v T
		if raw != nil {
			var err error
			if v, err = k.decode(raw); err != nil {
				return nil, err
			}
		}
		switch err := fn(&v); {
		case err == nil:
			return k.encode(v)
		case errors.Is(err, DeleteValue):
			return nil, nil
		default:
			return nil, err
		}
	}})
}

// DeleteValue is what the function of an Update returns to remove the value. It
// reports no failure, like fs.SkipDir.
var DeleteValue = errors.New("sojourn: delete this value") //nolint:staticcheck // the name of what is no error

// Pop returns the value and removes it, and reports whether there was one. It is
// for values that count once: a notice after a redirect, the state of a sign-in
// at another site. If requests call it in parallel, on any nodes, exactly one of
// them gets the value.
//
// Pop removes the value from the store at once. The request's other changes
// still wait for the commit, and more may follow. So the value is gone even if
// the handler fails afterwards. A value that this request itself has set or
// changed is removed at the commit.
//
// If the value doesn't decode into T, it stays, and Pop returns ErrValue. Other
// errors are those of Commit, and ErrCommitted. After ErrUncertain the value may or
// may not be there. Behind a cache, Pop may miss a value that another node has
// stored within the last second; Strict finds it. In a sealed session the value is
// removed by the answer, so parallel requests may all get it.
func (k Key[T]) Pop(s *Session) (v T, ok bool, err error) {
	ok, err = s.pop(k.name, func(raw []byte) (err error) {
		v, err = k.decode(raw)
		return err
	})
	if !ok {
		var none T
		return none, false, err
	}
	return v, true, err
}

// Delete removes the value at the commit.
func (k Key[T]) Delete(s *Session) error { return s.DeleteValue(k.name) }

// decode returns the value of a JSON text. A plain string doesn't take the way
// through encoding/json.
func (k Key[T]) decode(raw []byte) (v T, err error) {
	if _, isString := any(v).(string); isString && plain(raw) {
		return any(string(raw[1 : len(raw)-1])).(T), nil
	}
	p := new(T)
	if err := json.Unmarshal(raw, p); err != nil {
		return v, fmt.Errorf("%w: key %q: %w", ErrValue, k.name, err)
	}
	return *p, nil
}

// encode is the reverse of decode.
func (k Key[T]) encode(v T) ([]byte, error) {
	if text, isString := any(v).(string); isString {
		quoted := append(append(append(make([]byte, 0, len(text)+2), '"'), text...), '"')
		if plain(quoted) {
			return quoted, nil
		}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: key %q: %w", ErrValue, k.name, err)
	}
	if !utf8.Valid(raw) { // of a json.RawMessage, or of a MarshalJSON
		return nil, fmt.Errorf("%w: key %q: not JSON in UTF-8", ErrValue, k.name)
	}
	return raw, nil
}

// plain reports whether raw is a JSON string without escapes, in ASCII.
func plain(raw []byte) bool {
	if len(raw) < 2 || raw[0] != '"' {
		return false
	}
	for _, c := range raw[1 : len(raw)-1] {
		if c < 0x20 || c >= 0x80 || c == '\\' || c == '"' {
			return false
		}
	}
	return raw[len(raw)-1] == '"'
}
