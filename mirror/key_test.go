package mirror_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/mirror"
	"github.com/sojourn-go/sojourn/sojourntest"
)

func TestNewRefuses(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{}).Engine
	if _, err := mirror.New(nil); err == nil {
		t.Error("no engine: no error")
	}
	many := make([]string, 400)
	for i := range many {
		many[i] = fmt.Sprintf("word-%x", i*7919)
	}
	for want, keys := range map[string][]mirror.Key{
		"use a letter":           {{Name: ""}},
		`key "__proto__"`:        {{Name: "__proto__"}},
		`key "constructor"`:      {{Name: "constructor"}},
		`key "sojourn.mirror"`:   {{Name: "sojourn.mirror"}},
		`key "a b"`:              {{Name: "a b"}},
		"twice":                  {{Name: "a"}, {Name: "a"}},
		`attribute "onclick"`:    {{Name: "a", Attribute: "onclick"}},
		`attribute "style"`:      {{Name: "a", Attribute: "style"}},
		`attribute "data-A"`:     {{Name: "a", Attribute: "data-A"}},
		`attribute "data-x y"`:   {{Name: "a", Attribute: "data-x y"}},
		"shows another key":      {{Name: "a", Attribute: "lang"}, {Name: "b", Attribute: "lang"}},
		`allowed value ""`:       {{Name: "a", Values: []string{""}}},
		`allowed value "x"`:      {{Name: "a", Values: []string{"x", "x"}}},
		"no value of the key's":  {mirror.Public(pages, mirror.Key{Values: []string{"one"}})},
		"the limit is 1024":      longKeys(16),
		"compressed, and the li": {{Name: "a", Values: many}},
	} {
		if _, err := mirror.New(sessions, keys...); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "mirror: ") {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	if _, err := mirror.New(sessions, mirror.Public(pages, mirror.Key{Attribute: "data-pages", Values: []string{"1", "2"}}), mirror.Key{Name: "b", Values: []string{"true", "x"}}); err != nil {
		t.Error(err)
	}
	if _, err := mirror.New(sessions); err != nil {
		t.Errorf("no key: %v", err)
	}
}

func longKeys(n int) (keys []mirror.Key) {
	for i := range n {
		keys = append(keys, mirror.Key{Name: fmt.Sprint("k", i), Attribute: fmt.Sprint("data-k", i)})
	}
	return keys
}

// Keys that a program has read from its configuration have no type.
func TestUntypedKeys(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{})
	m := mirror.Must(mirror.New(sessions.Engine, mirror.Key{Name: "theme", Values: []string{"dark", "1"}}, mirror.Key{Name: "any"}, mirror.Key{Name: "word", Attribute: "data-w"}))
	b := sessions.Browser(m)
	b.SignIn("ann")
	for _, c := range []struct{ key, value, want string }{
		{"theme", `"dark"`, `"dark"`}, {"theme", `1`, `1`}, {"theme", `"1"`, `"1"`}, {"theme", `1.0`, `"1"`}, {"theme", `"light"`, `"1"`},
		{"any", ` { "b" : 1, "a":[ "x<" ] } `, `{"a":["x\u003c"],"b":1}`}, {"any", `12345678901234567890.5`, `12345678901234567890.5`},
		{"word", `true`, `true`}, {"word", `"x.y_z-1"`, `"x.y_z-1"`}, {"word", `"x\n"`, `"x.y_z-1"`}, {"word", `"é"`, `"x.y_z-1"`}, {"word", `[]`, `"x.y_z-1"`},
	} {
		var user struct{ User string }
		ask := func(body string) {
			r := httptest.NewRequest("POST", "/mirror", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			if err := json.Unmarshal(b.Do(r).Body.Bytes(), &user); err != nil {
				t.Fatal(err)
			}
		}
		ask(`{}`)
		ask(fmt.Sprintf(`{"user":%q,"values":{%q:{"value":%s,"age":0}}}`, user.User, c.key, c.value))
		if got, _, err := b.Session().Value(c.key); string(got) != c.want || err != nil {
			t.Errorf("%s = %s: the session has %s (%v), want %s", c.key, c.value, got, err, c.want)
		}
	}
}

type shown struct {
	Font string `json:"font"`
	Size int    `json:"size"`
}

// A value of a struct has no more than its fields.
func TestTypeOfStruct(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{})
	m := mirror.Must(mirror.New(sessions.Engine, mirror.Public(sojourn.NewKey[shown]("shown"), mirror.Key{})))
	b := sessions.Browser(m)
	for value, refused := range map[string]bool{
		`{"font":"serif","size":2}`: false, `{"font":"serif"}`: false, `null`: false,
		`{"font":"serif","script":"x"}`: true, `{"size":"2"}`: true, `[]`: true, `"serif"`: true,
	} {
		r := httptest.NewRequest("POST", "/mirror", strings.NewReader(`{"values":{"shown":{"value":`+value+`,"age":0}}}`))
		r.Header.Set("Content-Type", "application/json")
		if got := b.Do(r).Body.String(); strings.Contains(got, `"refused":["shown"]`) != refused {
			t.Errorf("%s: %s", value, got)
		}
	}
}
