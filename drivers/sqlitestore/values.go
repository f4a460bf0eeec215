package sqlitestore

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/store"
)

// encodeValues returns values as a JSON object, which shows each value's text as it is. What JSON
// can't hold, and the engine never writes, is kept packed, as a blob; nil is no values.
func encodeValues(v store.Values) any {
	if len(v) == 0 {
		return nil
	}
	text := make([]byte, 0, len(v)+16)
	text = append(text, '{')
	for key, value := range v.All() {
		if !utf8.ValidString(key) || !json.Valid(value) {
			return append([]byte(nil), v...)
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = appendKey(text, key)
		text = append(text, ':')
		text = append(text, value...)
	}
	return string(append(text, '}'))
}

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

var errBadData = errors.New("sqlitestore: the values of a session are no JSON object with its keys in order")

// decodeValues appends to dst what encodeValues returned.
func decodeValues(dst store.Values, column any) (store.Values, error) {
	switch text := column.(type) {
	case nil:
		return dst, nil
	case []byte:
		dst = append(dst, text...)
	case string:
		var ok bool
		if dst, ok = appendObject(dst, text); !ok {
			return nil, errBadData
		}
	default:
		return nil, errBadData
	}
	if dst.Check() != nil {
		return nil, errBadData
	}
	return dst, nil
}

// appendObject reads a JSON object as encodeValues writes it, without blanks between its parts: others may have
// written to the file.
func appendObject(dst store.Values, text string) (_ store.Values, ok bool) {
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return nil, false
	}
	text = text[1 : len(text)-1]
	for len(text) > 0 {
		n := stringEnd(text)
		if n < 0 || n >= len(text) || text[n] != ':' {
			return nil, false
		}
		key, ok := unquote(text[:n])
		if !ok {
			return nil, false
		}
		text = text[n+1:]
		n = valueEnd(text)
		if n <= 0 {
			return nil, false
		}
		dst = appendField(appendField(dst, key), text[:n])
		if text = text[n:]; text != "" {
			text = text[1:] // the comma
			if text == "" {
				return nil, false
			}
		}
	}
	return dst, true
}

// appendField packs as the comment of store.Values says.
func appendField(dst store.Values, field string) store.Values {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}

func unquote(quoted string) (string, bool) {
	for i := range len(quoted) {
		if quoted[i] == '\\' {
			var key string
			err := json.Unmarshal([]byte(quoted), &key)
			return key, err == nil
		}
	}
	return quoted[1 : len(quoted)-1], true
}

// stringEnd returns the length of the JSON string at the beginning of text, -1 if there is none.
func stringEnd(text string) int {
	if text == "" || text[0] != '"' {
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
func valueEnd(text string) int {
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
