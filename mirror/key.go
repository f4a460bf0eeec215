package mirror

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/sojourn-go/sojourn"
)

// A Key declares that a value of the sessions is public. Public makes one of a
// typed key. Programs that learn their keys at run time fill in Name themselves.
type Key struct {
	// Name is the key's name in the session: a letter, and up to 63 more letters,
	// digits, '-', '_' and '.'.
	Name string

	// Attribute is the attribute of the root element that shows the value: "lang",
	// "dir", or one that begins with "data-". Default: none. Then the page's script
	// asks for the value.
	Attribute string

	// Values are all values that are allowed, each of 1 to 64 bytes. A number or a
	// boolean is written as in JSON. Default: with an Attribute, any word of up to
	// 64 ASCII letters, digits, '-', '_' and '.'. Without an Attribute, any JSON
	// that decodes into the key's type.
	Values []string

	// Personal makes the browser forget the value when the user signs out. Default:
	// it stays, and everybody who uses the browser next sees it.
	Personal bool

	// decode returns the value as the key's type writes it. nil: any type.
	decode func(json.RawMessage) (any, error)
}

// Public declares that the value of a typed key is public. The name is that of the
// typed key. A value that doesn't decode into T, or has unknown fields, is refused.
func Public[T any](key sojourn.Key[T], k Key) Key {
	k.Name = key.Name()
	k.decode = func(raw json.RawMessage) (any, error) {
		var v T
		err := decodeStrictly(raw, &v)
		return v, err
	}
	return k
}

// removed is the JSON of a value that was removed.
const removed = "null"

const maxDepth = 32 // of arrays and objects in a value

var (
	goodName      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,63}$`)
	goodAttribute = regexp.MustCompile(`^(lang|dir|data-[a-z][a-z0-9-]{0,58})$`)
	word          = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

	// badNames are properties that every object of JavaScript has, and the name of
	// the session's value that the mirror keeps for itself.
	badNames = []string{"constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf", reserved}
)

var errForm = errors.New("not of the declared form")

// accept returns a value as it is kept, or an error if it hasn't the declared form.
func (k *Key) accept(raw json.RawMessage) (json.RawMessage, error) {
	var v any
	if err := decodeStrictly(raw, &v); err != nil {
		return nil, err
	}
	if v == nil {
		return json.RawMessage(removed), nil
	}
	if len(k.Values) > 0 || k.Attribute != "" {
		text, scalar := textOf(v)
		if !scalar || len(k.Values) > 0 && !slices.Contains(k.Values, text) || len(k.Values) == 0 && !word.MatchString(text) {
			return nil, errForm
		}
	}
	if tooDeep(v, maxDepth) {
		return nil, errForm
	}
	if k.decode != nil {
		var err error
		if v, err = k.decode(raw); err != nil {
			return nil, err
		}
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(out, []byte(`\u0000`)) { // which no session takes
		return nil, errForm
	}
	return out, nil
}

// decodeStrictly reads one JSON text.
func decodeStrictly(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errForm
	}
	return nil
}

// textOf returns a value as an attribute shows it, and whether one can.
func textOf(v any) (text string, scalar bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

func tooDeep(v any, left int) bool {
	switch v := v.(type) {
	case []any:
		return left == 0 || slices.ContainsFunc(v, func(v any) bool { return tooDeep(v, left-1) })
	case map[string]any:
		for _, member := range v {
			if tooDeep(member, left-1) {
				return true
			}
		}
		return left == 0
	}
	return false
}

// check refuses a declaration that isn't safe.
func check(keys []Key) error {
	names, attributes, size := map[string]bool{}, map[string]bool{}, 0
	for i := range keys {
		k := &keys[i]
		switch {
		case !goodName.MatchString(k.Name) || slices.Contains(badNames, k.Name):
			return fmt.Errorf("key %q: use a letter, and up to 63 more letters, digits, '-', '_' and '.', and no name that objects of JavaScript have", k.Name)
		case names[k.Name]:
			return fmt.Errorf("key %q is declared twice", k.Name)
		case k.Attribute != "" && !goodAttribute.MatchString(k.Attribute):
			return fmt.Errorf("key %q: attribute %q: use lang, dir, or data- with small letters, digits and '-'", k.Name, k.Attribute)
		case k.Attribute != "" && attributes[k.Attribute]:
			return fmt.Errorf("key %q: attribute %q shows another key", k.Name, k.Attribute)
		}
		names[k.Name], attributes[k.Attribute] = true, true
		longest, err := k.longest()
		if err != nil {
			return fmt.Errorf("key %q: %w", k.Name, err)
		}
		size += len(k.Name) + longest
	}
	if size > maxBytes {
		return fmt.Errorf("the keys and their longest values have %d bytes together, the limit is %d", size, maxBytes)
	}
	return nil
}

// longest returns how many bytes the longest value has, as far as the declaration
// tells.
func (k *Key) longest() (n int, err error) {
	if len(k.Values) == 0 && k.Attribute != "" {
		return len(`""`) + 64, nil
	}
	for i, v := range k.Values {
		if v == "" || len(v) > 64 || slices.Contains(k.Values[:i], v) {
			return 0, fmt.Errorf("allowed value %q: use 1 to 64 bytes, and each value once", v)
		}
		quoted, _ := json.Marshal(v)
		if !slices.ContainsFunc([]json.RawMessage{quoted, json.RawMessage(v)}, func(raw json.RawMessage) bool { _, err := k.accept(raw); return err == nil }) {
			return 0, fmt.Errorf("allowed value %q is no value of the key's type", v)
		}
		n = max(n, len(quoted))
	}
	return n, nil
}
