package sqlitestore

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/store"
)

func pack(pairs ...string) (v store.Values) {
	for i := 0; i < len(pairs); i += 2 {
		v = v.AppendSet(nil, pairs[i], []byte(pairs[i+1]))
	}
	return v
}

func TestValuesAreReadable(t *testing.T) {
	for _, c := range []struct {
		values store.Values
		column any
	}{
		{nil, nil},
		{pack("cart", `{"sku":1, "n":[2,{"x":"},]"}]}`, "theme", `"dark"`), `{"cart":{"sku":1, "n":[2,{"x":"},]"}]},"theme":"dark"}`},
		{pack("", `1`, "a\"b\\", `"\\\""`, "é\n", "null"), `{"":1,"a\"b\\":"\\\"","é\n":null}`},
		{pack("bad", "{"), []byte("\x03bad\x01{")},             // no JSON
		{pack("\xff", "1"), []byte("\x01\xff\x011")},           // no UTF-8
		{pack("a", "1,\"b\":2"), []byte("\x01a\x071,\"b\":2")}, // would be two
		{pack("a", ""), []byte("\x01a\x00")},
	} {
		got := encodeValues(c.values)
		if b, ok := got.([]byte); ok {
			if want, ok := c.column.([]byte); !ok || !bytes.Equal(b, want) {
				t.Errorf("%q: column %q, want %v", c.values, b, c.column)
			}
		} else if got != c.column {
			t.Errorf("%q: column %v, want %v", c.values, got, c.column)
		}
		if back, err := decodeValues(nil, got); err != nil || !bytes.Equal(back, c.values) {
			t.Errorf("%q came back as %q, %v", c.values, back, err)
		}
	}
}

// Whoever edits the file by hand gets an error for what isn't JSON, and for keys that aren't in order.
func TestValuesOfOthers(t *testing.T) {
	for _, text := range []string{"", "{", "}", "[]", "x", `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":1 "b":2}x`, `{"b":1,"a":2}`, `{"a":1,"a":2}`, `{"a":"}`, `{"a\x":1}`, `{"a" :1}`} {
		if v, err := decodeValues(nil, text); err == nil && text != `{"a":1 "b":2}x` {
			t.Errorf("%s: read as %q", text, v)
		}
	}
}

func FuzzValues(f *testing.F) {
	f.Add("cart", `{"sku":1}`, "theme", `"dark"`)
	f.Add("a\x00", `"\u0000"`, "\xff", `[",",{"}":"]"}]`)
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		v := pack(k1, v1, k2, v2)
		column := encodeValues(v)
		if back, err := decodeValues(nil, column); err != nil || !bytes.Equal(back, v) {
			t.Errorf("%q, as %v, came back as %q, %v", v, column, back, err)
		}
		if text := strings.Join([]string{k1, v1, k2, v2}, ""); text != "" {
			if v, err := decodeValues(nil, text); err == nil && v.Check() != nil {
				t.Errorf("%q was read as what is no Values", text)
			}
		}
	})
}
