package sojourn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/sojourn-go/sojourn/store"
)

// The values of a session, for callers that learn keys at run time, as sojournd
// does. Programs that know their keys use Key.

// Value returns the JSON under a key, with the changes that this request has
// made, and reports whether there is any. The caller may keep and change it.
func (s *Session) Value(key string) (json.RawMessage, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(s.ctx); err != nil {
		return nil, false, err
	}
	raw, ok := s.current().Values.Get(key)
	return bytes.Clone(raw), ok, nil
}

// Keys returns the keys that have a value, in ascending order of their bytes.
func (s *Session) Keys() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(s.ctx); err != nil {
		return nil, err
	}
	var keys []string
	for key := range s.current().Values.All() {
		keys = append(keys, key)
	}
	return keys, nil
}

// SetValue is Key.Set. ErrValue: the key isn't 1 to 255 bytes of UTF-8 without
// control characters, or the value isn't JSON in UTF-8.
func (s *Session) SetValue(key string, value json.RawMessage) error {
	raw, err := encodeRaw(key, value)
	if err != nil {
		return err
	}
	return s.do(op{kind: opSet, key: key, json: raw})
}

// DeleteValue removes a value at the commit.
func (s *Session) DeleteValue(key string) error {
	return s.do(op{kind: opDelete, key: key})
}

// Clear removes all values at the commit, also those that parallel requests
// have stored by then. The session goes on, and its user stays logged in.
func (s *Session) Clear() error { return s.do(op{kind: opReplace}) }

// ReplaceValues replaces all values at the commit, also those that parallel
// requests have stored by then. If requests call it in parallel, the last commit
// wins as a whole, and their values never mix. Keys, values and errors are those
// of SetValue.
func (s *Session) ReplaceValues(values map[string]json.RawMessage) error {
	packed, err := pack(values, &s.e.opt)
	if err != nil {
		return err
	}
	return s.do(op{kind: opReplace, values: packed})
}

// pack checks values and returns them as a record keeps them.
func pack(values map[string]json.RawMessage, opt *Options) (packed store.Values, err error) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		raw, err := encodeRaw(key, values[key])
		if err != nil {
			return nil, err
		}
		if err := checkJSON(key, raw, opt); err != nil {
			return nil, err
		}
		packed = store.Values(nil).AppendSet(packed, key, raw)
	}
	return packed, checkSize(packed, opt)
}

// encodeRaw checks a key and its value, and returns the value without blanks.
func encodeRaw(key string, value json.RawMessage) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if len(value) == 0 {
		return nil, fmt.Errorf("%w: key %q: not JSON in UTF-8", ErrValue, key)
	}
	return Key[json.RawMessage]{key}.encode(value)
}

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
