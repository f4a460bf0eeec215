package store_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
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

func unpack(v store.Values) map[string]string {
	m := map[string]string{}
	for k, j := range v.All() {
		m[k] = string(j)
	}
	return m
}

func TestValuesKeepWhatWasSet(t *testing.T) {
	long := strings.Repeat("x", 300) // its length needs two bytes
	v := pack("cart", `[1]`, "a", `1`, long, `"long key"`, "theme", `"`+long+`"`, "", `0`, "a", `2`)
	want := map[string]string{"": "0", "a": "2", "cart": "[1]", "theme": `"` + long + `"`, long: `"long key"`}
	if got := unpack(v); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := v.Check(); err != nil {
		t.Error(err)
	}
	var keys []string
	for k := range v.All() {
		keys = append(keys, k)
	}
	if !slices.IsSorted(keys) {
		t.Errorf("the keys are not in order: %q", keys)
	}
	for k, j := range want {
		if got, ok := v.Get(k); !ok || string(got) != j {
			t.Errorf("Get(%.9q) = %s, %v; want %s", k, got, ok, j)
		}
	}
	for _, k := range []string{"b", "A", "cart\x00", "zz", long + "x"} {
		if got, ok := v.Get(k); ok || got != nil {
			t.Errorf("Get(%.9q) = %q, %v of a key that was never set", k, got, ok)
		}
	}
}

func TestValuesPackTheSameInWhateverOrder(t *testing.T) {
	if a, b := pack("x", "1", "y", "2", "z", "3"), pack("z", "3", "x", "0", "y", "2", "x", "1"); !bytes.Equal(a, b) {
		t.Errorf("%q and %q", a, b)
	}
}

func TestValuesDelete(t *testing.T) {
	v := pack("x", "1", "y", "2", "z", "3")
	for _, test := range []struct {
		key  string
		want store.Values
	}{
		{"x", pack("y", "2", "z", "3")},
		{"y", pack("x", "1", "z", "3")},
		{"z", pack("x", "1", "y", "2")},
		{"", v},
		{"xx", v},
		{"zz", v},
	} {
		if got := v.AppendDelete(nil, test.key); !bytes.Equal(got, test.want) {
			t.Errorf("without %q: %q, want %q", test.key, got, test.want)
		}
	}
	if got := store.Values(nil).AppendDelete(nil, "x"); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
}

func TestValuesAppendToWhatIsThere(t *testing.T) {
	v := pack("x", "1")
	before := bytes.Clone(v)
	if got, want := v.AppendSet(store.Values("dst"), "y", []byte("2")), "dst"+string(pack("x", "1", "y", "2")); string(got) != want {
		t.Errorf("AppendSet: %q, want %q", got, want)
	}
	if got := v.AppendDelete(store.Values("dst"), "x"); string(got) != "dst" {
		t.Errorf("AppendDelete: %q", got)
	}
	if !bytes.Equal(v, before) {
		t.Errorf("the values were changed: %q, were %q", v, before)
	}
}

// The result of Get has no spare capacity, so that an append to it can't
// overwrite the next pair.
func TestValuesCantBeOverwrittenByAppend(t *testing.T) {
	for _, value := range []string{"1", strings.Repeat("1", 200)} {
		v := pack("x", value, "y", "2")
		j, _ := v.Get("x")
		_ = append(j, "overwritten"...)
		if got, ok := v.Get("y"); !ok || string(got) != "2" {
			t.Errorf("y = %q, %v", got, ok)
		}
	}
}

var badValues = map[string]store.Values{
	"a key longer than all":   {5, 'x'},
	"no JSON":                 {1, 'x'},
	"JSON longer than all":    {1, 'x', 9, '1'},
	"a length cut off":        {0x80},
	"a length of 64 bits":     binary.AppendUvarint(nil, 1<<63),
	"a length above 64 bits":  bytes.Repeat([]byte{0xff}, 11),
	"keys out of order":       slices.Concat(pack("b", "1"), pack("a", "1")),
	"a key twice":             slices.Concat(pack("a", "1"), pack("a", "1")),
	"an empty key, not first": slices.Concat(pack("a", "1"), pack("", "1")),
	"garbage at the end":      append(pack("a", "1"), 1),
}

func TestValuesCheck(t *testing.T) {
	for _, v := range []store.Values{nil, {}, pack("", ""), pack("", "1", "a", "1"), pack("a", strings.Repeat("x", 1<<17))} {
		if err := v.Check(); err != nil {
			t.Errorf("%.20q: %v", v, err)
		}
	}
	for name, v := range badValues {
		if v.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Arbitrary bytes cause no panic and no read beyond them. Well-formed values
// behave like a map.
func FuzzValues(f *testing.F) {
	for _, v := range badValues {
		f.Add([]byte(v), "a", []byte("1"))
	}
	f.Add([]byte(pack("cart", `{"items":[1,2]}`, "theme", `"dark"`)), "theme", []byte(`"light"`))
	f.Add([]byte(pack("", "0", "z", strings.Repeat("9", 200))), "m", []byte(strings.Repeat("m", 300)))
	f.Fuzz(func(t *testing.T, b []byte, key string, json []byte) {
		v := store.Values(b[:len(b):len(b)])
		was := bytes.Clone(b)
		set := v.AppendSet(nil, key, json)
		deleted := v.AppendDelete(nil, key)
		_, had := v.Get(key)
		model := unpack(v)
		if !bytes.Equal(b, was) {
			t.Fatalf("the argument was changed")
		}
		if v.Check() != nil {
			return // not well formed: the calls above must only not panic
		}

		if _, ok := model[key]; ok != had {
			t.Errorf("Get(%q) finds it: %v; All: %v", key, had, ok)
		}
		model[key] = string(json)
		if err := set.Check(); err != nil {
			t.Errorf("AppendSet: %v", err)
		}
		if got := unpack(set); !maps.Equal(got, model) {
			t.Errorf("AppendSet(%q): %q, want %q", key, got, model)
		}
		if got, ok := set.Get(key); !ok || !bytes.Equal(got, json) {
			t.Errorf("Get(%q) after AppendSet = %q, %v; want %q", key, got, ok, json)
		}
		delete(model, key)
		if err := deleted.Check(); err != nil {
			t.Errorf("AppendDelete: %v", err)
		}
		if got := unpack(deleted); !maps.Equal(got, model) {
			t.Errorf("AppendDelete(%q): %q, want %q", key, got, model)
		}
		if again := set.AppendDelete(nil, key); !bytes.Equal(again, deleted) {
			t.Errorf("set and deleted: %q; deleted: %q", again, deleted)
		}
	})
}
