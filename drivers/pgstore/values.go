package pgstore

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/store"
)

// encodeValues returns values as a JSON object, for a column of the type jsonb. What jsonb can't hold, and the engine never writes,
// is returned packed. Both nil: no values.
func encodeValues(v store.Values) (text, packed any) {
	if len(v) == 0 {
		return nil, nil
	}
	object := make([]byte, 0, len(v)+16)
	object = append(object, '{')
	for key, value := range v.All() {
		if !fitsText(key) || !fitsJSONB(value) {
			return nil, []byte(v)
		}
		if len(object) > 1 {
			object = append(object, ',')
		}
		object = appendKey(object, key)
		object = append(object, ':')
		object = append(object, value...)
	}
	if v.Check() != nil { // jsonb would change it
		return nil, []byte(v)
	}
	return string(append(object, '}')), nil
}

func fitsText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func appendKey(text []byte, key string) []byte {
	for i := range len(key) {
		if c := key[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(key) //nolint:errchkjson // a string that is UTF-8
			return append(text, quoted...)
		}
	}
	text = append(text, '"')
	text = append(text, key...)
	return append(text, '"')
}

// jsonb keeps numbers in full, so that 1e1000 takes a thousand digits and 1e200000 is refused, and its parser's depth depends
// on the server's stack.
const (
	maxDigits = 100
	maxDepth  = 200
)

// fitsJSONB reports whether jsonb holds a JSON text: with what it means, though perhaps with other blanks, and keys in another order.
func fitsJSONB(text []byte) bool {
	if !json.Valid(text) || !utf8.Valid(text) {
		return false
	}
	depth, digits := 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			n := stringEnd(text[i:])
			if !fitsString(text[i : i+n]) {
				return false
			}
			i += n - 1
			digits = 0
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

// fitsString looks for escapes in a JSON string that don't stand for a character: \u0000 and half surrogate pairs.
func fitsString(quoted []byte) bool {
	for rest := quoted; ; {
		i := bytes.Index(rest, []byte(`\`))
		if i < 0 {
			return true
		}
		rest = rest[i:]
		if rest[1] != 'u' {
			rest = rest[2:]
			continue
		}
		first := codeUnit(rest)
		rest = rest[6:]
		switch {
		case first == 0, first >= 0xdc00 && first <= 0xdfff:
			return false
		case first >= 0xd800 && first <= 0xdbff:
			second := codeUnit(rest)
			if second < 0xdc00 || second > 0xdfff {
				return false
			}
			rest = rest[6:]
		}
	}
}

// codeUnit returns the number of a \uXXXX at the beginning of text, 0 if there is none.
func codeUnit(text []byte) uint64 {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16)
	return n
}

var errBadData = errors.New("pgstore: the values of a session are not what the store writes")

// appendObject appends to dst the values that a column of the type jsonb holds: a JSON object as PostgreSQL prints it, with blanks
// between its parts, and its keys in the order of their lengths.
func appendObject(dst store.Values, text []byte) (store.Values, error) {
	begin := len(dst)
	ordered := true
	var last []byte
	err := eachMember(text, func(key, value []byte) {
		ordered = ordered && (last == nil || bytes.Compare(last, key) < 0)
		last = key
		dst = appendField(dst, key)
		dst = appendCompact(dst, value)
	})
	if err != nil {
		return nil, err
	}
	if !ordered {
		order(dst[begin:])
	}
	return dst, nil
}

// eachMember calls fn for each member of a JSON object. The key is unquoted.
func eachMember(text []byte, fn func(key, value []byte)) error {
	text = bytes.TrimSpace(text)
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return errBadData
	}
	text = text[1 : len(text)-1]
	for len(bytes.TrimLeft(text, " ")) > 0 {
		text = bytes.TrimLeft(text, " ")
		n := stringEnd(text)
		if n < 0 {
			return errBadData
		}
		key, ok := unquote(text[:n])
		text = bytes.TrimLeft(text[n:], " ")
		if !ok || len(text) == 0 || text[0] != ':' {
			return errBadData
		}
		text = text[1:]
		if n = valueEnd(text); n <= 0 {
			return errBadData
		}
		fn(key, text[:n])
		if text = text[n:]; len(text) > 0 {
			text = text[1:] // the comma
		}
	}
	return nil
}

func unquote(quoted []byte) (text []byte, ok bool) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], true
	}
	var key string
	err := json.Unmarshal(quoted, &key)
	return []byte(key), err == nil
}

// stringEnd returns the length of the JSON string at the beginning of text, -1 if there is none.
func stringEnd(text []byte) int {
	if len(text) == 0 || text[0] != '"' {
		return -1
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// valueEnd returns the length of the JSON value at the beginning of text: up to a comma outside of it.
func valueEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			n := stringEnd(text[i:])
			if n < 0 {
				return -1
			}
			i += n - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

// appendField packs as the comment of store.Values says.
func appendField(dst store.Values, field []byte) store.Values {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}

// appendCompact is appendField of a JSON text without its blanks.
func appendCompact(dst store.Values, text []byte) store.Values {
	length := len(text)
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case ' ':
			length--
		}
	}
	dst = binary.AppendUvarint(dst, uint64(length))
	for i := 0; i < len(text); i++ {
		begin := i
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case ' ':
			continue
		}
		dst = append(dst, text[begin:i+1]...)
	}
	return dst
}

// order sorts packed pairs by their keys, in place.
func order(v store.Values) {
	type pair struct{ key, packed []byte }
	var few [8]pair
	pairs := few[:0]
	for rest := bytes.Clone(v); len(rest) > 0; {
		key, afterKey := cutField(rest)
		_, next := cutField(afterKey)
		pairs = append(pairs, pair{key, rest[:len(rest)-len(next)]})
		rest = next
	}
	slices.SortFunc(pairs, func(a, b pair) int { return bytes.Compare(a.key, b.key) })
	v = v[:0]
	for _, p := range pairs {
		v = append(v, p.packed...)
	}
}

// cutField reads what appendField has written.
func cutField(packed []byte) (field, rest []byte) {
	n, w := binary.Uvarint(packed)
	return packed[w : w+int(n)], packed[w+int(n):]
}
