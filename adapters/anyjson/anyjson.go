// Package anyjson writes Go values of any type as JSON, for adapters of session
// libraries whose values are Go values. Applications don't need it, except to
// read what such an adapter has stored.
//
// There are two forms. [Plain] is the JSON that sojourn.Key reads, for
// applications that move to Sojourn's own API. [Encode] keeps the Go type too,
// for code with type assertions: Decode returns what Encode got.
package anyjson

import (
	"bytes"
	"encoding"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Plain returns v as JSON, without its Go type. Integers of any size are exact,
// a time is a string (RFC 3339), and bytes are a string in base64. Maps may have
// keys of type any, if all of them are strings.
//
// An error names what JSON can't hold: channels, functions, complex numbers,
// infinities, text that isn't UTF-8, and types with a GobEncode method but no
// method for JSON, because their fields are usually private.
func Plain(v any) (json.RawMessage, error) {
	p, err := plain(reflect.ValueOf(v), 0)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("%T: %w", v, err)
	}
	return raw, nil
}

const maxDepth = 1000

// plain replaces what encoding/json refuses, or writes wrongly.
func plain(v reflect.Value, depth int) (any, error) {
	if !v.IsValid() {
		return nil, nil
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: nested too deep", v.Type())
	}
	p := reflect.New(v.Type()) // with the methods of the pointer, as gob calls them
	p.Elem().Set(v)
	switch x := p.Interface().(type) {
	case json.Marshaler, encoding.TextMarshaler:
		return x, nil
	case gob.GobEncoder, encoding.BinaryMarshaler:
		return nil, fmt.Errorf("%s writes itself as gob, and not as JSON", v.Type())
	}
	switch v.Kind() {
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			return nil, fmt.Errorf("%s: not UTF-8", v.Type())
		}
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			return nil, nil
		}
		return plain(v.Elem(), depth+1)
	case reflect.Map:
		return plainMap(v, depth)
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && (v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8) {
			return v.Interface(), nil
		}
		list := make([]any, v.Len())
		for i := range list {
			var err error
			if list[i], err = plain(v.Index(i), depth+1); err != nil {
				return nil, err
			}
		}
		return list, nil
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				if _, err := plain(v.Field(i), depth+1); err != nil {
					return nil, fmt.Errorf("%s.%s: %w", v.Type(), f.Name, err)
				}
			}
		}
		return p.Interface(), nil
	}
	return v.Interface(), nil
}

func plainMap(v reflect.Value, depth int) (any, error) {
	if v.IsNil() {
		return nil, nil
	}
	object := make(map[string]any, v.Len())
	for it := v.MapRange(); it.Next(); {
		var key string
		switch k := reflect.ValueOf(it.Key().Interface()); {
		case k.Kind() == reflect.String:
			key = k.String()
		case v.Type().Key().Kind() != reflect.Interface && k.CanInt():
			key = strconv.FormatInt(k.Int(), 10)
		case v.Type().Key().Kind() != reflect.Interface && k.CanUint():
			key = strconv.FormatUint(k.Uint(), 10)
		default:
			return nil, fmt.Errorf("%s: the key %v isn't a string", v.Type(), it.Key())
		}
		if !utf8.ValidString(key) {
			return nil, fmt.Errorf("%s: the key %q isn't UTF-8", v.Type(), key)
		}
		var err error
		if object[key], err = plain(it.Value(), depth+1); err != nil {
			return nil, err
		}
	}
	return object, nil
}

func init() { gob.Register(time.Time{}) } // for years that JSON refuses

// A typed is a value that JSON alone can't bring back. It has the name of its
// type, if that is one of named; otherwise the value is gob (encoding/gob).
type typed struct {
	Type  string          `json:"$go,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
	Gob   []byte          `json:"$gob,omitempty"`
}

// named are the types that a typed names.
var named = func() map[string]reflect.Type {
	types := map[string]reflect.Type{}
	for _, v := range []any{
		int8(0), int16(0), int32(0), int64(0), uint(0), uint8(0), uint16(0), uint32(0), uint64(0),
		float32(0), float64(0), time.Time{}, time.Duration(0), []byte(nil), []string(nil), []int(nil), map[string]string(nil), map[string]int(nil),
	} {
		types[reflect.TypeOf(v).String()] = reflect.TypeOf(v)
	}
	return types
}()

// Encode returns v as JSON from which Decode makes the same value, of the same
// type. Strings, booleans, ints and nil are plain JSON, which other programs can
// read. Other values are stored with their type. Types that Go doesn't predeclare
// are written as gob, and must be registered with gob.Register.
func Encode(v any) (json.RawMessage, error) {
	switch x := v.(type) {
	case nil, bool, int:
		return json.Marshal(x)
	case string:
		if utf8.ValidString(x) && !strings.Contains(x, "\x00") {
			return json.Marshal(x)
		}
	}
	if t := reflect.TypeOf(v); named[t.String()] == t {
		if raw, ok := exact(v); ok {
			return json.Marshal(typed{Type: t.String(), Value: raw})
		}
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(&v); err != nil {
		return nil, fmt.Errorf("%T: %w", v, err)
	}
	return json.Marshal(typed{Gob: b.Bytes()})
}

// exact returns the JSON of v if it brings back v.
func exact(v any) (json.RawMessage, bool) {
	raw, err := json.Marshal(v)
	if err != nil || bytes.Contains(raw, []byte(`\u0000`)) {
		return nil, false
	}
	back := reflect.New(reflect.TypeOf(v))
	if json.Unmarshal(raw, back.Interface()) != nil {
		return nil, false
	}
	if t, isTime := v.(time.Time); isTime {
		return raw, back.Elem().Interface().(time.Time).Equal(t)
	}
	return raw, reflect.DeepEqual(v, back.Elem().Interface())
}

// Decode returns the value of a JSON text that Encode has written. For other JSON
// it returns string, bool, int, float64 for numbers that aren't whole, []any,
// map[string]any or nil.
func Decode(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if object, ok := v.(map[string]any); ok && (object["$go"] != nil || object["$gob"] != nil) {
		return decodeTyped(raw)
	}
	return natural(v), nil
}

func decodeTyped(raw json.RawMessage) (v any, err error) {
	var t typed
	if err := json.Unmarshal(raw, &t); err != nil {
		return nil, err
	}
	if t.Type == "" {
		err := gob.NewDecoder(bytes.NewReader(t.Gob)).Decode(&v)
		return v, err
	}
	typ := named[t.Type]
	if typ == nil {
		return nil, fmt.Errorf("the Go type %q is unknown", t.Type)
	}
	p := reflect.New(typ)
	if err := json.Unmarshal(t.Value, p.Interface()); err != nil {
		return nil, err
	}
	return p.Elem().Interface(), nil
}

// natural replaces json.Number.
func natural(v any) any {
	switch x := v.(type) {
	case json.Number:
		if n, err := strconv.Atoi(x.String()); err == nil {
			return n
		}
		f, _ := x.Float64()
		if float64(int(f)) == f && math.Abs(f) < 1<<53 { // PostgreSQL writes 1e3 as 1000, and 1.0 as 1.0
			return int(f)
		}
		return f
	case []any:
		for i := range x {
			x[i] = natural(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = natural(x[k])
		}
	}
	return v
}

// Subject returns the user that a session's value names: a string as it is, a
// number in decimal digits, also a float64 of a codec that writes JSON, and any
// other value as fmt prints it. It is empty for nil, an empty string and zero.
func Subject(v any) string {
	r := reflect.ValueOf(v)
	if v == nil || r.IsZero() {
		return ""
	}
	if _, prints := v.(fmt.Stringer); r.CanFloat() && !prints {
		return strconv.FormatFloat(r.Float(), 'f', -1, r.Type().Bits())
	}
	return fmt.Sprint(v)
}
