package driver_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

func pack(pairs ...string) (v store.Values) {
	for i := 0; i < len(pairs); i += 2 {
		v = v.AppendSet(nil, pairs[i], []byte(pairs[i+1]))
	}
	return v
}

func TestValuesAsJSON(t *testing.T) {
	for _, test := range []struct {
		values store.Values
		want   string
	}{
		{nil, `{}`},
		{pack("cart", `{"sku":1, "n":[2,{"x":"},]"}]}`, "theme", `"dark"`), `{"cart":{"sku":1, "n":[2,{"x":"},]"}]},"theme":"dark"}`},
		{pack("", `1`, `a"b\`, `"\\\""`, "é\n<", " null\t"), `{"":1,"a\"b\\":"\\\"","é\u000a<": null	}`},
		{pack("a", "\"\xff\""), "{\"a\":\"\xff\"}"},
	} {
		text, ok := driver.AppendValues([]byte("before"), test.values)
		if string(text) != "before"+test.want || !ok {
			t.Errorf("%q: %q, %v; want %q behind what was there", test.values, text, ok, test.want)
		}
		back, rest, err := driver.ParseValues(store.Values("before"), test.want+"after")
		if string(back) != "before"+string(test.values) || rest != "after" || err != nil {
			t.Errorf("%q: read as %q, %q, %v", test.want, back, rest, err)
		}
	}
	bad := map[string]store.Values{
		"no JSON": pack("bad", "{"), "a key that isn't UTF-8": pack("\xff", "1"), "would be two": pack("a", `1,"b":2`), "nothing": pack("a", ""),
		"a key longer than all": {5, 'x'}, "no value": {1, 'x'}, "a value longer than all": {1, 'x', 9, '1'},
		"a length cut off": {0x80}, "a length above 64 bits": bytes.Repeat([]byte{0xff}, 11),
		"keys out of order": slices.Concat(pack("b", "1"), pack("a", "1")), "a key twice": slices.Concat(pack("a", "1"), pack("a", "1")),
		"an empty key, not first": slices.Concat(pack("a", "1"), pack("", "1")), "garbage at the end": append(pack("a", "1"), 1),
	}
	for name, v := range bad {
		if text, ok := driver.AppendValues([]byte("before"), v); string(text) != "before" || ok {
			t.Errorf("%s: %q, %v", name, text, ok)
		}
	}
}

// Other programs may change an object that a store wrote in these ways.
func TestValuesOfOthers(t *testing.T) {
	want := pack("", "1", "a", " [1, 2] ", "b\n", `"x"`)
	for _, text := range []string{
		`{"":1,"a": [1, 2] ,"b\n":"x"}`,
		"{ \"b\\u000a\" :\"x\",\n\t\"a\": [1, 2] ,\r\n\"\":1}",
	} {
		if got, rest, err := driver.ParseValues(nil, []byte(text)); !bytes.Equal(got, want) || len(rest) > 0 || err != nil {
			t.Errorf("%s: %q, %q, %v; want %q", text, got, rest, err, want)
		}
	}
	if got, rest, err := driver.ParseValues(nil, "{ }"); len(got) > 0 || rest != "" || err != nil {
		t.Errorf("{ }: %q, %q, %v", got, rest, err)
	}
	for _, text := range []string{
		"", "{", "}", "[]", "x", " {}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{a:1}`, `{"a":1`, `{"a":1]`, `{"a":"}`, `{"a":[}`, `{"a\x":1}`, `{"a`, `{"a\`, `{"a":"\`,
		`{"a":1,"a":2}`, `{"a":1,"b":2,"a":3}`,
	} {
		got, rest, err := driver.ParseValues(store.Values("before"), text)
		if string(got) != "before" || rest != text || err == nil {
			t.Errorf("%s: %q, %q, %v", text, got, rest, err)
		}
	}
}

// Values come back unchanged if JSON can hold them. Arbitrary text causes no
// panic, and never Values that are not well formed.
func FuzzValuesJSON(f *testing.F) {
	f.Add("cart", `{"sku":1}`, "theme", `"dark"`)
	f.Add("a\x00", `"\u0000"`, "\xff", `[",",{"}":"]"}]`)
	f.Add(`{"b":1`, `,"a" : `, `[2]`, `}`)
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		v := pack(k1, v1, k2, v2)
		if text, ok := driver.AppendValues(nil, v); ok {
			back, rest, err := driver.ParseValues(nil, text)
			if !bytes.Equal(back, v) || len(rest) > 0 || err != nil {
				t.Errorf("%q, as %s, came back as %q, %q, %v", v, text, back, rest, err)
			}
			var object map[string]json.RawMessage
			if err := json.Unmarshal(text, &object); err != nil || len(object) != len(maps.Collect(v.All())) {
				t.Errorf("%q: %s, to encoding/json %v, %v", v, text, object, err)
			}
			for key := range v.All() {
				if _, ok := object[key]; !ok {
					t.Errorf("%q: %s has no %q to encoding/json", v, text, key)
				}
			}
		} else if utf8.ValidString(k1) && utf8.ValidString(k2) && json.Valid([]byte(v1)) && json.Valid([]byte(v2)) {
			t.Errorf("%q: JSON can hold it", v)
		}
		text := strings.Join([]string{k1, v1, k2, v2}, "")
		v, rest, err := driver.ParseValues(nil, text)
		if v.Check() != nil || !strings.HasSuffix(text, rest) {
			t.Errorf("%q was read as %q, %q, %v", text, v, rest, err)
		}
		if err != nil && isObject(text) {
			t.Errorf("%q is an object: %v", text, err)
		}
	})
}

// isObject reports whether text is a JSON object without duplicate keys and
// without leading white space.
func isObject(text string) bool {
	if text == "" || text[0] != '{' || !json.Valid([]byte(text)) {
		return false
	}
	d := json.NewDecoder(strings.NewReader(text))
	_, _ = d.Token() // the opening bracket
	seen := map[json.Token]bool{}
	for d.More() {
		key, _ := d.Token()
		if seen[key] || d.Decode(new(json.RawMessage)) != nil {
			return false
		}
		seen[key] = true
	}
	return true
}

// The text has former secrets in the form that existing databases hold.
func TestFormerSecrets(t *testing.T) {
	for _, test := range []struct {
		rec  store.Record
		want string
	}{
		{store.Record{}, ""},
		{store.Record{SpentTill: 5}, `{"spent_till":5}`},
		{store.Record{
			Good:   []store.Secret{{Hash: store.Hash{1, 2}, IssuedAt: 1, FirstSeenAt: 2, ConfirmedAt: 3, Until: 4, Login: true}, {Hash: store.Hash{31: 255}}},
			Spent:  []store.Spent{{Print: store.Fingerprint{3, 7: 4}, Until: 6}, {}},
			Epochs: []store.Fingerprint{{5}}, Halves: []store.Fingerprint{{6}, {7}},
		}, `{"good":[{"hash":"AQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","issued_at":1,"first_seen_at":2,"confirmed_at":3,"until":4,"login":true},` +
			`{"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8="}],"spent":[{"print":"AwAAAAAAAAQ=","until":6},{"print":"AAAAAAAAAAA="}],"epochs":["BQAAAAAAAAA="],"halves":["BgAAAAAAAAA=","BwAAAAAAAAA="]}`},
	} {
		text := driver.MarshalFormer(&test.rec)
		if string(text) != test.want {
			t.Errorf("%s, want %s", text, test.want)
		}
		back := &store.Record{Subject: "ann", Secret: store.Secret{Hash: store.Hash{9}}, Good: make([]store.Secret, 1), Spent: make([]store.Spent, 1),
			SpentTill: 7, Epochs: make([]store.Fingerprint, 1), Halves: make([]store.Fingerprint, 1)}
		want := *back
		want.Good, want.Spent, want.SpentTill, want.Epochs, want.Halves = test.rec.Good, test.rec.Spent, test.rec.SpentTill, test.rec.Epochs, test.rec.Halves
		if err := driver.UnmarshalFormer(back, text); err != nil || !back.Equal(&want) {
			t.Errorf("%s: came back as %+v, %v", text, back, err)
		}
	}
	for _, bad := range []string{"x", "[]", `{"good":[{"hash":"AQI="}]}`, `{"epochs":["*"]}`, `{"spent":[{"print":"AwAAAAAAAAQAAA=="}]}`, `{"spent_till":"5"}`} {
		if err := driver.UnmarshalFormer(new(store.Record), []byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
