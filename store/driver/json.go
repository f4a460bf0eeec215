package driver

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/internal/jsontext"
)

// AppendValues appends v to dst as a JSON object. The text of each value stays
// as it is. AppendValues appends nothing and returns false if JSON can't hold
// v: a key is not UTF-8, a value is not JSON, or v is not well formed. The
// engine writes no such values, but a store must keep them.
func AppendValues(dst []byte, v store.Values) (_ []byte, ok bool) {
	if v.Check() != nil {
		return dst, false
	}
	begin := len(dst)
	dst = append(dst, '{')
	for key, value := range v.All() {
		if !utf8.ValidString(key) || !json.Valid(value) {
			return dst[:begin], false
		}
		if len(dst) > begin+1 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, key), ':')
		dst = append(dst, value...)
	}
	return append(dst, '}'), true
}

// AppendString appends s, which must be UTF-8, to dst as a JSON string. It
// escapes only what JSON requires.
func AppendString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
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

var errBadObject = errors.New("store: values are not a JSON object, or have a key twice")

// ParseValues appends to dst the members of the JSON object at the beginning of
// text, and returns the text after the object. The text of each value stays as
// it is and is not checked, except to find its end. Other programs may have
// written the object: keys may come in any order with white space between them,
// but each only once.
func ParseValues[Text ~string | ~[]byte](dst store.Values, text Text) (_ store.Values, rest Text, err error) {
	var few [8]member[Text]
	members, rest, ok := cutObject(few[:0], text)
	if !ok {
		return dst, text, errBadObject
	}
	if !slices.IsSortedFunc(members, byKey) {
		slices.SortFunc(members, byKey)
	}
	begin := len(dst)
	for i, m := range members {
		if i > 0 && byKey(members[i-1], m) == 0 {
			return dst[:begin], text, errBadObject
		}
		dst = appendField(appendField(dst, m.key), m.value)
	}
	return dst, rest, nil
}

type member[Text ~string | ~[]byte] struct{ key, value Text }

func byKey[Text ~string | ~[]byte](a, b member[Text]) int {
	for i := range min(len(a.key), len(b.key)) {
		if c := cmp.Compare(a.key[i], b.key[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a.key), len(b.key))
}

// appendField appends a key or a value in the packing of store.Values.
func appendField[Text ~string | ~[]byte](dst store.Values, field Text) store.Values {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}

// cutObject appends the members of the object at the beginning of text to dst,
// and returns the text after the object.
func cutObject[Text ~string | ~[]byte](dst []member[Text], text Text) (_ []member[Text], rest Text, ok bool) {
	if len(text) == 0 || text[0] != '{' {
		return dst, text, false
	}
	rest = jsontext.SkipBlanks(text[1:])
	if len(rest) > 0 && rest[0] == '}' {
		return dst, rest[1:], true
	}
	for {
		var m member[Text]
		m, rest, ok = cutMember(rest)
		if !ok {
			return dst, text, false
		}
		dst = append(dst, m)
		end := rest[0]
		rest = rest[1:]
		if end != ',' {
			return dst, rest, end == '}'
		}
	}
}

// cutMember cuts off a key and its value. If ok, rest is not empty.
func cutMember[Text ~string | ~[]byte](text Text) (m member[Text], rest Text, ok bool) {
	text = jsontext.SkipBlanks(text)
	n := jsontext.StringEnd(text)
	if n < 0 {
		return m, text, false
	}
	m.key, ok = unquote(text[:n])
	text = jsontext.SkipBlanks(text[n:])
	if !ok || len(text) == 0 || text[0] != ':' {
		return m, text, false
	}
	text = text[1:]
	n = jsontext.ValueEnd(text)
	if n <= 0 {
		return m, text, false
	}
	m.value = text[:n]
	return m, text[n:], true
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

// former is what a record knows of the secrets before its current one.
type former struct {
	Good      []store.Secret      `json:"good,omitempty"`
	Spent     []store.Spent       `json:"spent,omitempty"`
	SpentTill store.Time          `json:"spent_till,omitempty"`
	Epochs    []store.Fingerprint `json:"epochs,omitempty"`
	Halves    []store.Fingerprint `json:"halves,omitempty"`
}

// MarshalFormer returns what rec knows of the secrets before its current one
// (Good, Spent, SpentTill, Epochs and Halves) as a JSON object. It returns nil
// if all of these are empty.
func MarshalFormer(rec *store.Record) []byte {
	if len(rec.Good) == 0 && len(rec.Spent) == 0 && len(rec.Epochs) == 0 && len(rec.Halves) == 0 && rec.SpentTill == 0 {
		return nil
	}
	text, err := json.Marshal(&former{rec.Good, rec.Spent, rec.SpentTill, rec.Epochs, rec.Halves})
	if err != nil {
		panic(err) // JSON can hold any value of these types
	}
	return text
}

// UnmarshalFormer sets those fields of rec from the result of MarshalFormer. It
// reuses the capacity of the slices.
func UnmarshalFormer(rec *store.Record, text []byte) error {
	var f former
	if len(text) > 0 {
		if err := json.Unmarshal(text, &f); err != nil {
			return err
		}
	}
	rec.Good = append(rec.Good[:0], f.Good...)
	rec.Spent = append(rec.Spent[:0], f.Spent...)
	rec.SpentTill = f.SpentTill
	rec.Epochs = append(rec.Epochs[:0], f.Epochs...)
	rec.Halves = append(rec.Halves[:0], f.Halves...)
	return nil
}
