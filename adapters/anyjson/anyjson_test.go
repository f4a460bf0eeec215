package anyjson

import (
	"encoding/gob"
	"errors"
	"math"
	"math/big"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

type public struct {
	Name  string
	Count int64
	Any   any
}

// A private has fields that only gob sees.
type private struct{ secret string }

func (p private) GobEncode() ([]byte, error) { return []byte(p.secret), nil }
func (p *private) GobDecode(b []byte) error  { p.secret = string(b); return nil }

// A pointed writes itself, but only from its address.
type pointed struct{ secret string }

func (p *pointed) GobEncode() ([]byte, error) { return []byte(p.secret), nil }
func (p *pointed) GobDecode(b []byte) error   { p.secret = string(b); return nil }

type color string

func init() {
	gob.Register(public{})
	gob.Register(private{})
	gob.Register(color(""))
	gob.Register(map[string]any{})
	gob.Register(map[any]any{})
	gob.Register([]any{})
}

var moment = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("", 3600))

func TestEncodeKeepsTypes(t *testing.T) {
	for _, v := range []any{
		nil, true, "", "text", "quote\"<&>", "nul\x00", "\xff", 0, -5, math.MaxInt, int8(-1), int16(2), int32(3), int64(math.MinInt64), uint(1), uint8(255), uint64(math.MaxUint64),
		float32(1.5), 3.0, 0.1, math.MaxFloat64, math.Inf(1), time.Minute, []byte{}, []byte{0, 255}, []string{"a", ""}, []string{"\xff"}, []int{1}, map[string]string{"a": "b"}, map[string]int{"a": 1},
		public{"n", math.MaxInt64, "x"}, private{"hidden"}, color("red"), []any{1, "a", nil, 2.5}, map[string]any{"a": 1}, map[any]any{"a": 1, 2: "b"}, []string(nil),
	} {
		raw, err := Encode(v)
		if err != nil {
			t.Errorf("%#v: %v", v, err)
			continue
		}
		if strings.Contains(string(raw), `\u0000`) {
			t.Errorf("%#v: %s holds a NUL", v, raw)
		}
		back, err := Decode(raw)
		if err != nil || !reflect.DeepEqual(back, v) {
			t.Errorf("%#v became %#v (%v) by %s", v, back, err, raw)
		}
	}
	for _, when := range []time.Time{moment, {}, time.Now(), time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)} {
		raw, err := Encode(when)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Decode(raw); err != nil || !back.(time.Time).Equal(when) {
			t.Errorf("%v became %v (%v)", when, back, err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	type unknown struct{ A int }
	for _, v := range []any{make(chan int), func() {}, unknown{1}} {
		if raw, err := Encode(v); err == nil {
			t.Errorf("%T: %s", v, raw)
		}
	}
}

func TestDecodeForeign(t *testing.T) {
	large := any(5_000_000_000.0)
	if strconv.IntSize > 32 {
		large, _ = strconv.Atoi("5000000000")
	}
	for text, want := range map[string]any{
		`5000000000`: large, `1`: 1, `1.0`: 1, `1.5`: 1.5, `1e3`: 1000, `123456789012345678901`: 123456789012345678901.0, `"a"`: "a", `null`: nil, `[1,[2.5]]`: []any{1, []any{2.5}},
		`{"a":{"b":2},"value":1}`: map[string]any{"a": map[string]any{"b": 2}, "value": 1},
	} {
		if v, err := Decode([]byte(text)); err != nil || !reflect.DeepEqual(v, want) {
			t.Errorf("%s: %#v, %v", text, v, err)
		}
	}
	for _, text := range []string{``, `{`, `{"$go":"main.T","value":1}`, `{"$go":"int8","value":300}`, `{"$go":5}`, `{"$gob":"AAAA"}`, `{"$gob":"!"}`, `{"$go":"int8"}`} {
		if v, err := Decode([]byte(text)); err == nil {
			t.Errorf("%s: %#v", text, v)
		}
	}
}

func TestPlain(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{nil, `null`},
		{uint64(math.MaxUint64), `18446744073709551615`},
		{int64(math.MinInt64), `-9223372036854775808`},
		{new(big.Int).Lsh(big.NewInt(1), 100), `1267650600228229401496703205376`},
		{moment, `"2026-03-01T12:00:00.123456789+01:00"`},
		{[]byte("abc"), `"YWJj"`},
		{[]byte(nil), `null`},
		{public{"n", 1, nil}, `{"Name":"n","Count":1,"Any":null}`},
		{&public{Any: map[string]any{"a": 1}}, `{"Name":"","Count":0,"Any":{"a":1}}`},
		{map[any]any{"b": 1, "a": map[any]any{"c": []any{1, "x"}}}, `{"a":{"c":[1,"x"]},"b":1}`},
		{map[int]string{2: "x"}, `{"2":"x"}`},
		{map[color]int{"red": 1}, `{"red":1}`},
		{[2]any{1, nil}, `[1,null]`},
		{url.Values{"a": {"b"}}, `{"a":["b"]}`},
		{*big.NewInt(5), `5`},
		{struct{ Sum big.Int }{*big.NewInt(5)}, `{"Sum":5}`},
		{[]big.Int{*big.NewInt(5)}, `[5]`},
		{map[string]big.Int{"a": *big.NewInt(5)}, `{"a":5}`},
	} {
		if raw, err := Plain(c.v); err != nil || string(raw) != c.want {
			t.Errorf("%#v: %s, %v; want %s", c.v, raw, err, c.want)
		}
	}
	cycle := map[string]any{}
	cycle["self"] = cycle
	for name, v := range map[string]any{
		"chan int": make(chan int), "func()": func() {}, "NaN": math.NaN(), "complex128": 1i, "UTF-8": "\xff", "anyjson.private": private{"x"}, "anyjson.pointed": pointed{"x"}, "anyjson.pointed ": struct{ P pointed }{}, "isn't a string": map[any]any{1: 2},
		"too deep": cycle, "public.Any": public{Any: private{}}, "writes itself as gob": []any{private{}}, "errorString": map[string]any{"a": struct{ E any }{errors.New},
			"b": 1},
	} {
		raw, err := Plain(v)
		if err == nil || name != "errorString" && !strings.Contains(err.Error(), strings.TrimSpace(name)) {
			t.Errorf("%s: %s, %v", name, raw, err)
		}
	}
}

func TestSubject(t *testing.T) {
	for v, want := range map[any]string{nil: "", "": "", 0: "", int64(0): "", "ada": "ada", 7: "7", uint64(math.MaxUint64): "18446744073709551615", color("red"): "red", 1234567.0: "1234567", float32(0.5): "0.5", 1e20: "100000000000000000000"} {
		if got := Subject(v); got != want {
			t.Errorf("%#v: %q, want %q", v, got, want)
		}
	}
}
