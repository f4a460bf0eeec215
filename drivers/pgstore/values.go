package pgstore

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// encodeValues returns values as a JSON object for a jsonb column, or packed if
// jsonb can't hold them, which the engine never writes. Both are nil for no
// values.
func encodeValues(v store.Values) (text, packed any) {
	if len(v) == 0 {
		return nil, nil
	}
	object, ok := driver.AppendValues(make([]byte, 0, len(v)+16), v)
	if !ok || !fitsJSONB(object) {
		return nil, bytes.Clone(v)
	}
	return string(object), nil
}

// jsonb keeps numbers in full: 1e1000 takes a thousand digits, and 1e200000 is
// refused. The depth of its parser depends on the server's stack.
const (
	maxDigits = 100
	maxDepth  = 200
)

// fitsJSONB reports whether jsonb can hold a JSON text without changing its
// meaning. It may change blanks and the order of keys.
func fitsJSONB(text []byte) bool {
	if !utf8.Valid(text) {
		return false
	}
	depth, digits, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
			digits = 0
		case c == '\\':
			n := escapeLength(text[i:])
			if n == 0 {
				return false
			}
			i += n - 1
		case quoted:
		case c == '{', c == '[':
			if depth++; depth > maxDepth {
				return false
			}
			digits = 0
		case c == '}', c == ']':
			depth--
			digits = 0
		case c >= '0' && c <= '9', c == '.':
			if digits++; digits > maxDigits {
				return false
			}
		case (c == 'e' || c == 'E') && digits > 0:
			return false
		default:
			digits = 0
		}
	}
	return true
}

// escapeLength returns the length of the escape, or the surrogate pair, at the
// beginning of text. It returns 0 if PostgreSQL's text can't hold the character,
// as for \u0000 and half a pair.
func escapeLength(text []byte) int {
	if text[1] != 'u' {
		return 2
	}
	switch first := codeUnit(text); {
	case first == 0, first >= 0xdc00 && first <= 0xdfff:
		return 0
	case first >= 0xd800 && first <= 0xdbff:
		second := codeUnit(text[6:])
		if second < 0xdc00 || second > 0xdfff {
			return 0
		}
		return 12
	}
	return 6
}

// codeUnit returns the number of a \uXXXX at the beginning of text, or 0 if there
// is none.
func codeUnit(text []byte) uint64 {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16)
	return n
}

// appendCompact appends a JSON text without the blanks that PostgreSQL prints
// between its parts.
func appendCompact(dst, text []byte) []byte {
	from, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\':
			i++
		case c == ' ' && !quoted:
			dst = append(dst, text[from:i]...)
			from = i + 1
		}
	}
	return append(dst, text[from:]...)
}
