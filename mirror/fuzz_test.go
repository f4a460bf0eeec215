package mirror_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
)

// FuzzExchange sends bodies as a visitor and as a user. Whatever comes, the answer
// is one of the statuses that the script knows, holds declared values only, and
// leaves the session as it says.
func FuzzExchange(f *testing.F) {
	w := newWorld(f)
	visitor, user := w.browser(), w.browser()
	visitor.Browser, user.Browser = w.Browser(site(w)), w.Browser(site(w))
	user.SignIn("ann")
	user.send(``)
	for _, body := range []string{
		`{}`, `{"user":"","values":{"theme":{"value":"dark","age":12}}}`, `{"user":"` + user.user + `","values":{"theme":{"value":"dark","age":0}}}`,
		`{"user":"` + user.user + `","values":{"pages":{"value":7,"age":-1e9},"nickname":{"value":"\ud800","age":1e308},"__proto__":{"value":{}}}}`,
		`{"values":{"language":{"value":null},"nickname":{"value":"\u0000<b>"},"theme":{"value":["dark"]}}} `, `[1]`, `{"values":{"theme":null}}`,
	} {
		f.Add(body)
	}
	word := regexp.MustCompile(`^(light|dark|en|de|fr)$`)
	f.Fuzz(func(t *testing.T, body string) {
		for name, b := range map[string]*browser{"visitor": visitor, "user": user} {
			r := httptest.NewRequest("POST", "/session/mirror", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			got := b.Do(r)
			if got.Code == 400 || got.Code == 413 {
				continue
			}
			var a answer
			if err := json.Unmarshal(got.Body.Bytes(), &a); err != nil || got.Code != 200 {
				t.Fatalf("%s: %d %s", name, got.Code, got.Body)
			}
			if want := map[string]string{"visitor": "", "user": user.user}[name]; a.User != want || name == "visitor" && len(a.Values) > 0 {
				t.Fatalf("%s: %+v", name, a)
			}
			for key, e := range a.Values {
				switch v := e.Value.(type) {
				case nil:
				case string:
					if key != "nickname" && !word.MatchString(v) {
						t.Fatalf("%s = %q", key, v)
					}
				case float64:
					if key != "pages" {
						t.Fatalf("%s = %v", key, v)
					}
				default:
					t.Fatalf("%s = %v", key, v)
				}
			}
		}
		for key := range strings.FieldsSeq(user.Do(httptest.NewRequest("GET", "/keys", nil)).Body.String()) {
			if !slices.Contains([]string{"theme", "language", "nickname", "pages", "sojourn.mirror"}, key) {
				t.Fatalf("the session has a value of the key %q", key)
			}
		}
	})
}

// site has a page with the keys of the session, because a fuzz target can't call
// Browser.Session.
func site(w *world) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/session/", w.mirror)
	mux.Handle("/keys", w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		keys, _ := sojourn.From(r.Context()).Keys()
		fmt.Fprintln(rw, strings.Join(keys, " "))
	})))
	return mux
}
