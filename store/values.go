package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"
)

// Values are a session's data: pairs of a key and a JSON text, packed into one
// piece of memory so that a store can keep and copy them as they are. Keys are
// in ascending order of their bytes. The zero Values are empty. A store may
// return a JSON text in another form, with other blanks or its members in
// another order, as long as Equal finds no difference.
//
// The packing is, for each pair: length of the key, key, length of the JSON,
// JSON; the lengths as unsigned varints (encoding/binary).
type Values []byte

// Get returns the JSON under key. It shares memory with v.
func (v Values) Get(key string) (json []byte, ok bool) {
	for len(v) > 0 {
		k, j, rest, ok := v.next()
		if !ok {
			return nil, false
		}
		if string(k) == key {
			return j, true
		}
		v = rest
	}
	return nil, false
}

// All returns the pairs in order. The JSON shares memory with v.
func (v Values) All() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for len(v) > 0 {
			k, j, rest, ok := v.next()
			if !ok || !yield(string(k), j) {
				return
			}
			v = rest
		}
	}
}

// AppendSet appends to dst the values v with json under key. It does not change
// its arguments. They must not overlap the free capacity of dst.
func (v Values) AppendSet(dst Values, key string, json []byte) Values {
	before, after := v.split(key)
	dst = append(dst, before...)
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, uint64(len(json)))
	dst = append(dst, json...)
	return append(dst, after...)
}

// AppendDelete appends to dst the values v without key.
func (v Values) AppendDelete(dst Values, key string) Values {
	before, after := v.split(key)
	dst = append(dst, before...)
	return append(dst, after...)
}

// split returns the pairs that come before key and those that come after it.
func (v Values) split(key string) (before, after Values) {
	rest := v
	for len(rest) > 0 {
		k, _, next, ok := rest.next()
		if !ok {
			break
		}
		if string(k) >= key {
			before = v[:len(v)-len(rest)]
			if string(k) == key {
				return before, next
			}
			return before, rest
		}
		rest = next
	}
	return v[:len(v)-len(rest)], nil
}

// Check returns an error unless v is well formed and its keys are in order. A
// store must check Values that others may have written.
func (v Values) Check() error {
	var last []byte
	for len(v) > 0 {
		k, _, rest, ok := v.next()
		if !ok || last != nil && bytes.Compare(last, k) >= 0 {
			return errBadValues
		}
		last, v = k, rest
	}
	return nil
}

var errBadValues = errors.New("store: values are not well formed")

func (v Values) next() (key, json []byte, rest Values, ok bool) {
	key, rest, ok = v.field()
	if !ok {
		return nil, nil, nil, false
	}
	json, rest, ok = rest.field()
	return key, json, rest, ok
}

func (v Values) field() (field []byte, rest Values, ok bool) {
	if len(v) > 0 && v[0] < 0x80 { // a length of one byte, which most have
		end := 1 + int(v[0])
		if end > len(v) {
			return nil, nil, false
		}
		return v[1:end:end], v[end:], true
	}
	n, w := binary.Uvarint(v)
	if w <= 0 || n > uint64(len(v)-w) {
		return nil, nil, false
	}
	end := w + int(n)
	return v[w:end:end], v[end:], true
}
