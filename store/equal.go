package store

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/store/internal/jsontext"
)

// Equal reports whether two Values have the same keys with the same JSON:
// blanks, the order of an object's members and the escapes of strings make no
// difference, because a store may keep values in another form. Numbers are
// equal if they are written alike.
func (v Values) Equal(o Values) bool {
	if bytes.Equal(v, o) {
		return true
	}
	for len(v) > 0 && len(o) > 0 {
		vKey, vJSON, vRest, ok := v.next()
		oKey, oJSON, oRest, also := o.next()
		if !ok || !also || !bytes.Equal(vKey, oKey) || !equalJSON(vJSON, oJSON) {
			return false
		}
		v, o = vRest, oRest
	}
	return len(v) == len(o)
}

// equalJSON compares two valid JSON texts, and stops at the first difference.
func equalJSON(a, b []byte) bool {
	a, b = bytes.Trim(a, " \n\r\t"), bytes.Trim(b, " \n\r\t")
	switch {
	case bytes.Equal(a, b):
		return true
	case len(a) == 0 || len(b) == 0 || a[0] != b[0]:
		return false
	}
	switch a[0] {
	case '"':
		return equalString(a, b)
	case '[':
		return equalArray(a[1:], b[1:])
	case '{':
		return equalObject(a[1:], b[1:])
	}
	return false
}

// equalString compares two strings. Those with U+FFFD differ unless they are
// written alike, since package json reads every unpaired surrogate as that.
func equalString(a, b []byte) bool {
	if !bytes.Contains(a, []byte{'\\'}) && !bytes.Contains(b, []byte{'\\'}) {
		return bytes.Equal(a, b)
	}
	var x, y string
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && x == y && !strings.ContainsRune(x, utf8.RuneError)
}

// equalArray compares what comes after the opening brackets.
func equalArray(a, b []byte) bool {
	for {
		n, m := jsontext.ValueEnd(a), jsontext.ValueEnd(b)
		if n < 0 || m < 0 || a[n] != b[m] || !equalJSON(a[:n], b[:m]) {
			return n == 0 && m == 0 && a[0] == b[0] // both empty
		}
		if a[n] != ',' {
			return true
		}
		a, b = a[n+1:], b[m+1:]
	}
}

type member struct{ key, value []byte }

// farMember is how many places apart a member may stand in two equal objects.
// The limit keeps the comparison linear for all objects.
const farMember = 64

// equalObject compares what comes after the opening brackets. Members with the
// same key must come in the same order, since the last one counts. Objects differ,
// unless their texts are the same, if members stand more than farMember places
// apart.
func equalObject(a, b []byte) bool {
	var few, others [8]member
	x, ok := members(few[:0], a)
	y, also := members(others[:0], b)
	if !ok || !also || len(x) != len(y) {
		return false
	}
	for i := range x {
		found := false
		for j := i; j < min(len(y), i+farMember) && !found; j++ {
			if found = equalString(x[i].key, y[j].key); found {
				next := y[j]
				copy(y[i+1:], y[i:j]) // the others stay in their order
				y[i] = next
			}
		}
		if !found || !equalJSON(x[i].value, y[i].value) {
			return false
		}
	}
	return true
}

// members appends the members of the object whose opening bracket comes before
// text; the keys are as quoted.
func members(dst []member, text []byte) ([]member, bool) {
	for {
		text = jsontext.SkipBlanks(text)
		if len(dst) == 0 && len(text) > 0 && text[0] == '}' {
			return dst, true
		}
		n := jsontext.StringEnd(text)
		if n < 0 {
			return dst, false
		}
		key := text[:n]
		if text = jsontext.SkipBlanks(text[n:]); len(text) == 0 || text[0] != ':' {
			return dst, false
		}
		text = text[1:]
		if n = jsontext.ValueEnd(text); n < 0 {
			return dst, false
		}
		dst = append(dst, member{key, text[:n]})
		if text[n] != ',' {
			return dst, true
		}
		text = text[n+1:]
	}
}
