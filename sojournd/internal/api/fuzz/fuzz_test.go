// Package fuzz sends random bodies to the API. It is a separate package because
// the API's tests import a validator of descriptions, which takes minutes to
// build for fuzzing.
package fuzz

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// The answer is always a success, or a problem of the client with a code.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"token":"TOKEN"}`, `{"subject":"ann","values":{"a":[1,{"b":null}]}}`, `{"token":"TOKEN","set":{"a":1},"delete":["b"],"if_revision":1}`,
		`{"subject":"a","amr":["pwd"],"level":2,"client":{"ip":"::1","user_agent":"x"}}`, `{"a":{"b":null}}`, "{\"\xff\":1}", `{"level":1e3}`,
		`{"token":"TOKEN","subject":"b","remember":true}`, `{"token":"x","token":"y"}`, `{"token":null}`, `{"values":{"":1}}`, `[[[`, ``,
	} {
		f.Add(seed)
	}
	a, err := api.New(api.Options{MaxBody: 64 << 10})
	if err != nil {
		f.Fatal(err)
	}
	st := memstore.New()
	e, err := sojourn.New(st, sojourn.Options{App: "shop", MaxBadTokens: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		_ = e.Close(context.Background())
		_ = st.Close()
	})
	key, _ := api.NewKey()
	a.Set([]api.App{{Name: "shop", Sessions: e, Keys: []api.Key{{Name: "fuzz", Hash: api.HashKey(key)}}}})

	f.Fuzz(func(t *testing.T, body string) {
		s := e.Begin(t.Context(), sojourn.Request{})
		if err := s.Login("fuzz"); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		token, id := s.Token(), s.ID().String()
		for _, target := range []string{
			"POST /v1/sessions", "POST /v1/sessions/resolve", "POST /v1/sessions/update", "POST /v1/sessions/elevate", "POST /v1/sessions/rotate",
			"PATCH /v1/sessions/" + id + "/values", "POST /v1/sessions/login", "POST /v1/sessions/logout",
		} {
			method, path, _ := strings.Cut(target, " ")
			r := httptest.NewRequest(method, path, strings.NewReader(strings.ReplaceAll(body, "TOKEN", token)))
			r.Header.Set("Authorization", "Bearer "+key)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("If-Match", `"1"`)
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			var answer struct{ Code string }
			switch err := json.Unmarshal(w.Body.Bytes(), &answer); {
			case err != nil:
				t.Errorf("%s: %d, no JSON: %v: %q", target, w.Code, err, w.Body)
			case w.Code >= 500, w.Code >= 400 && (answer.Code == "" || w.Header().Get("Content-Type") != "application/problem+json"):
				t.Errorf("%s: %d %s", target, w.Code, w.Body)
			}
		}
	})
}
