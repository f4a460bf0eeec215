package store

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"
)

// The forms in JSON are for stores whose data people look at with the database's own tools.

// AppendJSON appends to dst a JSON object with each value's text as it is. ok is false where JSON can't hold v: a key isn't
// UTF-8, a value is no JSON, or Check finds fault. The engine writes no such values, but a store must keep them.
func (v Values) AppendJSON(dst []byte) (_ []byte, ok bool) {
	if v.Check() != nil {
		return dst, false
	}
	begin := len(dst)
	dst = append(dst, '{')
	for len(v) > 0 {
		key, value, rest, _ := v.next()
		if !utf8.Valid(key) || !json.Valid(value) {
			return dst[:begin], false
		}
		if len(dst) > begin+1 {
			dst = append(dst, ',')
		}
		dst = append(AppendJSONString(dst, key), ':')
		dst = append(dst, value...)
		v = rest
	}
	return append(dst, '}'), true
}

// AppendJSONString appends a JSON string that stands for s, which is UTF-8. Only what JSON demands is escaped.
func AppendJSONString[Text ~string | ~[]byte](dst []byte, s Text) []byte {
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		if c >= ' ' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

var errBadObject = errors.New("store: values are no JSON object, or have a key twice")

// ParseValues appends to dst the members of the JSON object that text begins with, each value's text as it is, and returns what
// comes after the object. Others may have written it: the keys may be in any order, with blanks in between, but each only once.
// Values are not looked into, further than to find their ends.
func ParseValues[Text ~string | ~[]byte](dst Values, text Text) (_ Values, rest Text, err error) {
	if len(text) == 0 || text[0] != '{' {
		return dst, text, errBadObject
	}
	begin := len(dst)
	rest = skipBlanks(text[1:])
	if len(rest) > 0 && rest[0] == '}' {
		return dst, rest[1:], nil
	}
	behind := byte(',')
	for behind == ',' {
		key, value, after, ok := cutMember(rest)
		if !ok {
			return dst[:begin], text, errBadObject
		}
		dst = appendField(appendField(dst, key), value)
		behind, rest = after[0], after[1:]
	}
	v := dst[begin:]
	err = v.Check()
	if err != nil { // out of order
		v.sort()
		err = v.Check()
	}
	if err != nil || behind != '}' {
		return dst[:begin], text, errBadObject
	}
	return dst, rest, nil
}

// cutMember cuts a key and a value off. The rest is not empty.
func cutMember[Text ~string | ~[]byte](text Text) (key, value, rest Text, ok bool) {
	text = skipBlanks(text)
	n := stringEnd(text)
	if n < 0 {
		return key, value, rest, false
	}
	key, ok = unquote(text[:n])
	text = skipBlanks(text[n:])
	if !ok || len(text) == 0 || text[0] != ':' {
		return key, value, rest, false
	}
	text = text[1:]
	n = valueEnd(text)
	if n <= 0 {
		return key, value, rest, false
	}
	return key, text[:n], text[n:], true
}

func skipBlanks[Text ~string | ~[]byte](text Text) Text {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\n' || text[0] == '\r' || text[0] == '\t') {
		text = text[1:]
	}
	return text
}

// stringEnd returns the length of the JSON string at the beginning of text, -1 if there is none.
func stringEnd[Text ~string | ~[]byte](text Text) int {
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

// valueEnd returns the length of the JSON value at the beginning of text: up to a comma or a bracket outside of it. It is -1 if there
// is neither.
func valueEnd[Text ~string | ~[]byte](text Text) int {
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
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

func unquote[Text ~string | ~[]byte](quoted Text) (_ Text, ok bool) {
	for i := range len(quoted) {
		if quoted[i] == '\\' {
			var s string
			err := json.Unmarshal([]byte(string(quoted)), &s)
			return Text(s), err == nil
		}
	}
	return quoted[1 : len(quoted)-1], true
}

func appendField[Text ~string | ~[]byte](dst Values, field Text) Values {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}

// sort puts pairs in the order of their keys.
func (v Values) sort() {
	type pair struct{ key, packed []byte }
	var few [8]pair
	pairs := few[:0]
	for rest := Values(bytes.Clone(v)); len(rest) > 0; {
		key, _, next, _ := rest.next()
		pairs = append(pairs, pair{key, rest[:len(rest)-len(next)]})
		rest = next
	}
	slices.SortFunc(pairs, func(a, b pair) int { return bytes.Compare(a.key, b.key) })
	v = v[:0]
	for _, p := range pairs {
		v = append(v, p.packed...)
	}
}

// former is what a record knows of the secrets before its current one.
type former struct {
	Good      []Secret      `json:"good,omitempty"`
	Spent     []Spent       `json:"spent,omitempty"`
	SpentTill Time          `json:"spent_till,omitempty"`
	Epochs    []Fingerprint `json:"epochs,omitempty"`
	Halves    []Fingerprint `json:"halves,omitempty"`
}

// MarshalFormer returns what r knows of the secrets before its current one,
// Good, Spent, SpentTill, Epochs and Halves, as a JSON object; nil if that is
// nothing.
func (r *Record) MarshalFormer() []byte {
	if len(r.Good) == 0 && len(r.Spent) == 0 && len(r.Epochs) == 0 && len(r.Halves) == 0 && r.SpentTill == 0 {
		return nil
	}
	text, err := json.Marshal(&former{r.Good, r.Spent, r.SpentTill, r.Epochs, r.Halves})
	if err != nil {
		panic(err) // JSON holds whatever these types do
	}
	return text
}

// UnmarshalFormer sets those fields, reusing the capacity of the slices, to what MarshalFormer returned.
func (r *Record) UnmarshalFormer(text []byte) error {
	if len(text) == 0 { // most often
		r.Good, r.Spent, r.Epochs, r.Halves, r.SpentTill = r.Good[:0], r.Spent[:0], r.Epochs[:0], r.Halves[:0], 0
		return nil
	}
	var f former
	if err := json.Unmarshal(text, &f); err != nil {
		return err
	}
	r.Good, r.Spent, r.Epochs = append(r.Good[:0], f.Good...), append(r.Spent[:0], f.Spent...), append(r.Epochs[:0], f.Epochs...)
	r.Halves = append(r.Halves[:0], f.Halves...)
	r.SpentTill = f.SpentTill
	return nil
}

// MarshalText returns the hash in base64.
func (h Hash) MarshalText() ([]byte, error) { return base64.StdEncoding.AppendEncode(nil, h[:]), nil }

// UnmarshalText is the reverse of MarshalText.
func (h *Hash) UnmarshalText(b []byte) error { return decodeBase64(h[:], b) }

// MarshalText returns the fingerprint in base64.
func (f Fingerprint) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, f[:]), nil
}

// UnmarshalText is the reverse of MarshalText.
func (f *Fingerprint) UnmarshalText(b []byte) error { return decodeBase64(f[:], b) }

func decodeBase64(dst, text []byte) error {
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil || len(b) != len(dst) {
		return errBadBase64
	}
	copy(dst, b)
	return nil
}

var errBadBase64 = errors.New("store: no hash or fingerprint in base64")
