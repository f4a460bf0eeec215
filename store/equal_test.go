package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func packed(pairs ...string) (v Values) {
	for i := 0; i < len(pairs); i += 2 {
		v = v.AppendSet(nil, pairs[i], []byte(pairs[i+1]))
	}
	return v
}

func TestValuesEqual(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{`1`, `1`, true}, {`1`, `2`, false}, {`1`, ` 1 `, true}, {`1`, `"1"`, false}, {`1`, `1.0`, false}, {`null`, `null`, true}, {`true`, `false`, false},
		{`"a"`, `"a"`, true}, {`"a"`, `"\u0061"`, true}, {`"a"`, `"b"`, false}, {`"é"`, `"\u00e9"`, true}, {`"\""`, `"\u0022"`, true}, {`"a"`, `"a\\"`, false}, {`"\ud800"`, `"\ud801"`, false}, {`"\ud800"`, `"\ufffd"`, false}, {`{"\ud800":1}`, `{"\udc00":1}`, false},
		{`[]`, `[ ]`, true}, {`[]`, `[1]`, false}, {`[1]`, `[]`, false}, {`[1,2]`, `[1, 2]`, true}, {`[1,2]`, `[2,1]`, false}, {`[1]`, `[1,2]`, false}, {`[[]]`, `[ [ ] ]`, true},
		{`[[],1]`, `[[],2]`, false}, {`[",]"]`, `[ ",]" ]`, true}, {`[1,2]`, `[1, 3]`, false},
		{`{}`, `{ }`, true}, {`{}`, `{"a":1}`, false}, {`{"a":1,"b":2}`, `{"b": 2, "a": 1}`, true}, {`{"a":1,"b":2}`, `{"b": 1, "a": 2}`, false},
		{`{"a":1}`, `{"\u0061":1}`, true}, {`{"a":1,"b":2}`, `{"a":1}`, false}, {`{"a":{"x":[{}]}}`, `{"a": {"x": [{ }]}}`, true}, {`{"a}":"{"}`, `{ "a}" : "{" }`, true},
		{`{"a":1,"a":1,"c":3}`, `{"a":1,"c":3,"c":9}`, false}, {`{"c":0,"a":1,"a":2}`, `{"a":2,"a":1,"c":0}`, false}, {`{"c":0,"a":1,"a":2}`, `{"a":1,"a":2, "c":0}`, true}, {`{"a":[1,{"b":null,"c":"d"}]}`, `{"a": [1, {"c": "d", "b": null}]}`, true},
		{`[]`, `{}`, false}, {`[1]`, `{"a":1}`, false}, {`{"a":[]}`, `{"a":{}}`, false},
	} {
		for _, pair := range [][2]string{{test.a, test.b}, {test.b, test.a}} {
			if got := packed("k", pair[0]).Equal(packed("k", pair[1])); got != test.want {
				t.Errorf("%s and %s: %v", pair[0], pair[1], got)
			}
		}
	}
	if packed("a", "1").Equal(packed("b", "1")) || packed("a", "1").Equal(packed("a", "1", "b", "1")) || packed("a", "1", "b", "1").Equal(packed("a", "1")) ||
		packed("a", "1").Equal(nil) || Values(nil).Equal(packed("a", "1")) || !Values(nil).Equal(Values{}) {
		t.Error("other keys are equal")
	}
	deep := func(blank string) string { return strings.Repeat("["+blank, 9000) + strings.Repeat("]", 9000) }
	if !packed("k", deep("")).Equal(packed("k", deep(" "))) {
		t.Error("deep values differ in their blanks")
	}
}

// Texts that are called equal must be equal to encoding/json, apart from the
// spelling of numbers. Each text must equal itself with other white space. The
// comparison must not take quadratic time: members that stand far apart make
// two objects differ.
func TestValuesEqualIsLinear(t *testing.T) {
	object := func(first, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"%d":0`, (first+i)%n)
		}
		return "{" + b.String()[1:] + "}"
	}
	near, far := farMember/2, 2*farMember
	if !packed("k", object(0, near)).Equal(packed("k", object(1, near))) {
		t.Error("a few members in another order differ")
	}
	if packed("k", object(0, far)).Equal(packed("k", object(far/2, far))) {
		t.Error("members far apart are compared with all others")
	}
}

func FuzzValuesEqual(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":[2,"x"]}`, `{"b":[2,"x"],"a":1}`, `[[],{}]`, `"\u0061"`, `{"a":1,"a":2}`, `1e2`} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if !json.Valid([]byte(a)) || !json.Valid([]byte(b)) {
			return
		}
		decode := func(s string) (v any) {
			d := json.NewDecoder(strings.NewReader(s))
			d.UseNumber()
			if err := d.Decode(&v); err != nil {
				t.Skip(err)
			}
			return v
		}
		got := packed("k", a).Equal(packed("k", b))
		if same := reflect.DeepEqual(decode(a), decode(b)); got && !same {
			t.Errorf("%q and %q are called equal", a, b)
		}
		if spaced := fmt.Sprintf(" %s\n", a); !packed("k", a).Equal(packed("k", spaced)) {
			t.Errorf("%q isn't equal to itself among blanks", a)
		}
	})
}
