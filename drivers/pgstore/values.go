package pgstore

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// encodeValues returns values as a JSON object, for a column of the type jsonb. What jsonb can't hold, and the engine never writes,
// is returned packed. Both nil: no values.
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

// jsonb keeps numbers in full, so that 1e1000 takes a thousand digits and 1e200000 is refused, and its parser's depth depends
// on the server's stack.
const (
	maxDigits = 100
	maxDepth  = 200
)

// fitsJSONB reports whether jsonb holds a JSON text: with what it means, though perhaps with other blanks, and keys in another order.
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

// escapeLength returns the length of the escape, or the pair of surrogates, at the beginning of text: 0 if it stands for no character
// that text holds, as \u0000 and half pairs don't.
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

// codeUnit returns the number of a \uXXXX at the beginning of text, 0 if there is none.
func codeUnit(text []byte) uint64 {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16)
	return n
}

// appendCompact appends a JSON text without the blanks that PostgreSQL prints between its parts.
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
