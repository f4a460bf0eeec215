package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// The examples of RFC 7396, appendix A, as members of a session's values, and
// more.
func TestMerge(t *testing.T) {
	for _, c := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"a":{"z":1.50,"y":[null,{"x":null}]}}`, `{"a":{"b":12345678901234567890}}`, `{"a":{"b":12345678901234567890,"y":[null,{"x":null}],"z":1.50}}`},
		{nested(100, `1`), `{"b":2}`, strings.TrimSuffix(nested(100, `1`), "}") + `,"b":2}`},
		{nested(100, `1`), nested(64, `2`), nested(64, `2`)},
	} {
		changes, err := mergeValues(json.RawMessage(`{"k":`+c.target+`}`), v1.Patch{"k": json.RawMessage(c.patch)})
		if got := string(changes["k"]); err != nil || got != c.want {
			t.Errorf("%.80s and %.80s: %s, %v\nwant %s", c.target, c.patch, got, err, c.want)
		}
	}
	if _, err := mergeValues(json.RawMessage(`{}`), v1.Patch{"k": json.RawMessage(nested(65, `2`))}); err == nil {
		t.Error("a patch of 65 levels is taken")
	}
}

// The cost of a large object does not depend on its depth.
func TestMergeDepth(t *testing.T) {
	var large []string
	for i := range 1000 {
		large = append(large, fmt.Sprintf("%q:%d", fmt.Sprint("key", i), i))
	}
	object := "{" + strings.Join(large, ",") + "}"
	allocs := func(depth int) float64 {
		values, patch := json.RawMessage(`{"k":`+nested(depth, object)+`}`), v1.Patch{"k": json.RawMessage(nested(depth, object))}
		return testing.AllocsPerRun(3, func() {
			if _, err := mergeValues(values, patch); err != nil {
				t.Error(err)
			}
		})
	}
	if flat, deep := allocs(1), allocs(60); deep > 2*flat {
		t.Errorf("%v allocations 60 levels down, %v at the first", deep, flat)
	}
}

// nested returns a JSON text inside of depth objects.
func nested(depth int, text string) string {
	return strings.Repeat(`{"a":`, depth) + text + strings.Repeat("}", depth)
}
