package sqlitestore

import (
	"bytes"
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
		{pack("cart", `{"sku":1, "n":2}`, "theme", `"dark"`), `{"cart":{"sku":1, "n":2},"theme":"dark"}`},
		{pack("bad", "{"), []byte("\x03bad\x01{")}, // not JSON
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

// Somebody who edits the file may write the object in another form. Anything
// else is an error.
func TestValuesOfOthers(t *testing.T) {
	if v, err := decodeValues(nil, `{"b": 2, "a":1}`); err != nil || !bytes.Equal(v, pack("a", "1", "b", " 2")) {
		t.Errorf("%q, %v", v, err)
	}
	for _, column := range []any{"", "[]", `{"a":1,"a":2}`, `{"a":1} `, []byte("\x01b\x011\x01a\x011"), []byte("\x05"), int64(1)} {
		if v, err := decodeValues(nil, column); err == nil {
			t.Errorf("%s: read as %q", column, v)
		}
	}
}
