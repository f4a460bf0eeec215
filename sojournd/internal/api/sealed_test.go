package api

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

// seal replaces the shop's engine by one that seals sessions, with a key that is
// made of one byte.
func (w *world) seal(whose sojourn.SealFor, key byte) {
	w.Helper()
	e, err := sojourn.New(w.store, sojourn.Options{
		App: "shop", Now: w.time, Adopt: Adoption(),
		Cookie: sojourn.Cookie{Name: "__Host-shop-session", Visitor: "__Host-shop-visitor"},
		Sealed: &sojourn.Sealing{
			For: whose, Keys: [][]byte{bytes.Repeat([]byte{key}, 32)},
			NotBefore: func(context.Context, string) (time.Time, error) { return time.Time{}, nil },
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = e.Close(context.Background()) })
	w.engines["shop"] = e
	w.Set([]App{
		{Name: "shop", Sessions: e, Keys: []Key{{"test", HashKey(w.keys["shop"])}}, VisitorsSealed: whose == sojourn.SealVisitors},
		{Name: "blog", Sessions: w.engines["blog"], Keys: []Key{{"test", HashKey(w.keys["blog"])}}},
	})
}

// silent checks that an answer has no token and no cookie.
func (a *answer) silent() *answer {
	a.Helper()
	if a.body["token"] != nil || a.body["set_cookie"] != nil {
		a.Errorf("nothing changed, and there is a token: %s", a.text)
	}
	return a
}

// A visitor's session is in its token. Each change answers with the next token,
// and a login moves the values into the store.
func TestSealedVisitors(t *testing.T) {
	w := newWorld(t)
	w.seal(sojourn.SealVisitors, 1)
	first := w.call("POST", "/v1/sessions/update", j{"cookie": "", "set": j{"cart": "tent"}}).want(200, "").is(true, "session", "sealed")
	token := first.token()
	if len(token) <= 64 || !strings.HasPrefix(first.at("set_cookie").([]any)[0].(string), visitorName+token+";") {
		t.Fatalf("a visitor's first value: %s", first.text)
	}
	second := w.call("POST", "/v1/sessions/update", j{"token": token, "set": j{"theme": "dark"}}).want(200, "")
	if set, _ := second.cookies(); second.token() == token || len(set) != 1 {
		t.Errorf("a change: %s", second.text)
	}
	token = second.token()
	values := j{"cart": "tent", "theme": "dark"}
	w.resolve(token).is(values, "session", "values").silent()
	if n, _, err := w.engines["shop"].Count(t.Context()); n != 0 || err != nil {
		t.Errorf("%d records, %v", n, err)
	}
	w.call("GET", "/v1/stats", nil).want(200, "").is(true, "visitors_sealed").is(float64(0), "anonymous")
	w.call("GET", "/v1/sessions/"+second.id(), nil).want(404, "session_not_found")
	w.call("DELETE", "/v1/sessions/"+second.id(), nil).want(404, "session_not_found")
	key := strings.Repeat("k", 32) // such sessions have no token, and are stored
	if kept := w.call("POST", "/v1/keyed/set", j{"key": key, "set": j{"cart": "tent"}}).want(200, ""); kept.body["session"].(j)["sealed"] != nil {
		t.Errorf("under a key: %s", kept.text)
	}
	w.call("POST", "/v1/keyed/get", j{"key": key}).want(200, "").is(j{"cart": "tent"}, "session", "values")
	w.as("blog", "POST", "/v1/sessions/resolve", j{"token": token}).want(200, "").is(nil, "session").is("unknown", "why")

	in := w.call("POST", "/v1/sessions/login", j{"cookie": "__Host-shop-visitor=" + token, "subject": "ada"}).want(200, "").is(values, "session", "values")
	if set, cleared := in.cookies(); in.body["session"].(j)["sealed"] != nil || len(in.token()) != 64 || !slices.Equal(set, []string{sessionName}) || !slices.Equal(cleared, []string{visitorName}) {
		t.Errorf("logged in: %s", in.text)
	}
	w.call("GET", "/v1/sessions/"+in.id(), nil).want(200, "")
	if list := w.call("GET", "/v1/sessions?subject=ada", nil).want(200, ""); len(list.at("sessions").([]any)) != 1 {
		t.Errorf("listed: %s", list.text)
	}
}

// Calls that need a store say so, and the store is asked nothing. All others
// work, by the token.
func TestSealedEveryone(t *testing.T) {
	w := newWorld(t)
	w.seal(sojourn.SealEveryone, 1)
	w.store.fail(errors.New("the store was asked"))
	token := w.call("POST", "/v1/sessions", j{"subject": "ada", "values": j{"cart": "tent"}}).want(201, "").token()
	change := func(path string, more j) *answer {
		t.Helper()
		body := j{"token": token}
		maps.Copy(body, more)
		a := w.call("POST", "/v1/sessions/"+path, body).want(200, "")
		if set, _ := a.cookies(); a.token() == token || !slices.Equal(set, []string{sessionName}) {
			t.Errorf("%s: %s", path, a.text)
		}
		token = a.token()
		return a
	}
	change("update", j{"set": j{"theme": "dark"}})
	change("elevate", j{"level": 2})
	change("rotate", nil)
	change("login", j{"subject": "ada"}).is(j{"cart": "tent", "theme": "dark"}, "session", "values")
	w.pass(2 * time.Hour)
	w.call("POST", "/v1/sessions/resolve", j{"token": token, "passive": true}).want(200, "").silent()
	change("resolve", nil) // activity is noted in the token
	id := w.resolve(token).silent().is("ada", "session", "subject").id()
	if large := w.call("POST", "/v1/sessions/update", j{"token": token, "set": j{"essay": strings.Repeat("x", 4000)}}).want(413, "too_large"); !strings.Contains(large.text, "essay") {
		t.Errorf("too large: %s", large.text)
	}

	key := j{"key": strings.Repeat("k", 32)}
	for _, c := range []struct {
		call string
		body any
	}{
		{"GET /v1/sessions", nil}, {"GET /v1/sessions?subject=ada", nil}, {"GET /v1/sessions?values=true", nil}, {"GET /v1/sessions/" + id, nil},
		{"DELETE /v1/sessions?subject=ada", nil}, {"DELETE /v1/sessions?all=true", nil}, {"DELETE /v1/sessions/" + id, nil},
		{"POST /v1/sessions/" + id + "/touch", nil}, {"GET /v1/stats", nil},
		{"PATCH /v1/sessions/" + id + "/values", j{"a": 1}}, {"PUT /v1/sessions/" + id + "/values", j{"a": 1}}, {"PUT /v1/sessions/" + id + "/values/a", "1"},
		{"POST /v1/keyed/get", key}, {"POST /v1/keyed/end", key}, {"POST /v1/keyed/set", j{"key": key["key"], "set": j{"a": 1}}}, {"POST /v1/keyed/touch", key},
	} {
		method, path, _ := strings.Cut(c.call, " ")
		var match []string
		if method == "PATCH" || method == "PUT" {
			match = []string{"If-Match", "*"}
		}
		w.call(method, path, c.body, match...).want(501, "unsupported")
	}
	// A repeat makes another session, which costs nothing.
	for range 2 {
		w.call("POST", "/v1/sessions", j{"subject": "ada"}, "Idempotency-Key", "once").want(201, "")
	}

	out := w.call("POST", "/v1/sessions/logout", j{"token": token}).want(200, "")
	if _, cleared := out.cookies(); !slices.Contains(cleared, sessionName) {
		t.Errorf("logged out: %s", out.text)
	}
	w.alive(token, "ada") // a copy, until its deadline
	w.pass(25 * time.Hour)
	w.over(token, "idle")
}

// A token of a key that is gone is that of a stranger.
func TestSealedWithoutTheKey(t *testing.T) {
	w := newWorld(t)
	w.seal(sojourn.SealEveryone, 1)
	token := w.user("ada").token()
	w.seal(sojourn.SealEveryone, 2)
	w.over(token, "unknown")
	w.call("POST", "/v1/sessions/update", j{"token": token, "set": j{"a": 1}}).want(409, "not_live")
}
