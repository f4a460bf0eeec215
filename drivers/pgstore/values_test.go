package pgstore

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn/store"
)

// TestI5Values stores values that jsonb prints differently or can't hold. Each
// means the same when it is read.
func TestI5Values(t *testing.T) {
	s := openNew(t)
	ctx, now := t.Context(), store.TimeOf(time.Now())
	same := map[string]string{ // as jsonb prints them, without blanks
		`{"b": [1,  2, {"x":null}], "a" : "x, y: { }"}`: `{"a":"x, y: { }","b":[1,2,{"x":null}]}`,
		`"\u00e9\ud83d\ude00\/\\\""`:                    `"é😀/\\\""`,
		`12345678901234567890.10`:                       `12345678901234567890.10`,
		`[true,false,null,"",{},[]]`:                    `[true,false,null,"",{},[]]`,
		`"` + strings.Repeat("x ", 1000) + `"`:          `"` + strings.Repeat("x ", 1000) + `"`,
	}
	for _, packed := range []string{ // unchanged
		`"\u0000"`, `"\ud800"`, `"\udc00\ud800"`, "\"\xff\"", `1e400`, `1E5`, `{"a":1e-7}`, strings.Repeat("9", 200), "", "no JSON", `{"a":`,
		strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
	} {
		same[packed] = packed
	}
	for text, want := range same {
		for _, key := range []string{"k", "", "key with \" and \\ and \n", "é", "a\x00b", "\xff"} {
			rec := newSession("", now)
			rec.Values = nil
			for _, k := range []string{"zz", "bbb", "a", "zzz"} { // jsonb sorts by length
				rec.Values = rec.Values.AppendSet(nil, k, []byte(`"`+k+`"`))
			}
			rec.Values = rec.Values.AppendSet(nil, key, []byte(text))
			if _, err := s.Create(ctx, "shop", rec, store.CreateOptions{Arrived: now, Now: now}); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			var got store.Record
			if err := s.Get(ctx, "shop", rec.ID, true, &got); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if err := got.Values.Check(); err != nil {
				t.Fatalf("%q under %q: %v: %q", text, key, err, got.Values)
			}
			v, ok := got.Values.Get(key)
			wanted := want
			if !fitsText(key) {
				wanted = text // then all values are packed
			}
			if !ok || string(v) != wanted {
				t.Errorf("%q under %q came back as %q, want %q", text, key, v, wanted)
			}
			if v, _ := got.Values.Get("bbb"); string(v) != `"bbb"` {
				t.Errorf("its neighbour came back as %q", v)
			}
		}
	}
}

// FuzzFitsJSONB: JSON passes the check only if PostgreSQL's known rules accept
// it.
func FuzzFitsJSONB(f *testing.F) {
	for _, text := range []string{`{"a":[1,2.5,"x"]}`, `"\ud83d\ude00"`, `"\u0000"`, `"\\u0000"`, `1e9`, `"1e9"`, `"a\"b\\"`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var v any
		if json.Unmarshal(text, &v) != nil || !fitsJSONB(text) {
			return
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(again), `\u0000`) && !strings.Contains(string(again), `\\u0000`) {
			t.Errorf("%q holds NUL", text)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, text); err != nil {
			t.Fatal(err)
		}
		if got := appendCompact(nil, text); !bytes.ContainsAny(text, "\t\r\n") && !bytes.Equal(got, compact.Bytes()) {
			t.Errorf("%q without blanks: %q", text, got)
		}
	})
}

func fitsText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"alice", "a\x00b", `a\b`, `\x00`, "\xff", `\\x41`, "é\xc3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := escape(s)
		if !fitsText(e) {
			t.Errorf("%q becomes %q, which text can't hold", s, e)
		}
		if got := unescape(e); got != s {
			t.Errorf("%q comes back as %q", s, got)
		}
		_ = unescape(s)
	})
}
