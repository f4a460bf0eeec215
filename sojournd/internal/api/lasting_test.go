package api

import (
	"strings"
	"testing"
	"time"
)

// A login can be shorter than the policy, and its cookie can last until the
// browser closes. A rotation keeps both, and the next login sets them again.
func TestLoginLasts(t *testing.T) {
	w := newWorld(t)
	visitor := w.visitor(j{"cart": 1})
	login := w.call("POST", "/v1/sessions/login", j{"token": visitor.token(), "subject": "ann", "expires_in": 28800, "idle": 1800, "until_browser_closes": true}).want(200, "")
	at := func(d time.Duration) string { return w.time().Add(d).Format(time.RFC3339) }
	login.is(at(8*time.Hour), "session", "expires_at").is(at(30*time.Minute), "session", "idle_expires_at").is(true, "session", "until_browser_closes").
		is(float64(1), "session", "values", "cart")
	cookie := func(a *answer) string {
		t.Helper()
		return a.at("set_cookie").([]any)[0].(string)
	}
	if c := cookie(login); strings.Contains(c, "Max-Age") || !strings.HasPrefix(c, "__Host-shop-session="+login.token()+";") {
		t.Errorf("cookie: %s", c)
	}
	w.pass(20 * time.Minute)
	rotated := w.resolve(login.token())
	rotated.is(at(30*time.Minute), "session", "idle_expires_at").is(at(7*time.Hour+40*time.Minute), "session", "expires_at")
	if c := cookie(rotated); strings.Contains(c, "Max-Age") {
		t.Errorf("after a rotation: %s", c)
	}
	token := rotated.token()
	w.pass(31 * time.Minute)
	w.over(token, "idle")

	short := w.call("POST", "/v1/sessions", j{"subject": "ben", "expires_in": 60}).want(201, "")
	short.is(at(time.Minute), "session", "expires_at").is(at(time.Minute), "session", "idle_expires_at").is(false, "session", "until_browser_closes")
	if c := cookie(short); !strings.Contains(c, "; Max-Age=60;") {
		t.Errorf("cookie: %s", c)
	}
	again := w.call("POST", "/v1/sessions/login", j{"token": short.token(), "subject": "ben"}).want(200, "")
	again.is(short.id(), "session", "id").is(at(30*24*time.Hour), "session", "expires_at").is(at(24*time.Hour), "session", "idle_expires_at")
	w.pass(2 * time.Minute)
	w.over(short.token(), "superseded")
	w.alive(again.token(), "ben")
	gone := w.call("POST", "/v1/sessions", j{"subject": "cat", "expires_in": 60}).want(201, "")
	w.pass(time.Minute)
	w.over(gone.token(), "absolute")

	// The policy's limits hold in any case.
	for _, body := range []j{{"expires_in": 1 << 52, "idle": 1 << 52}, {"expires_in": 9007199254740991}, {"idle": 86401}} {
		body["subject"] = "dan"
		w.call("POST", "/v1/sessions/login", body).want(200, "").is(at(30*24*time.Hour), "session", "expires_at").is(at(24*time.Hour), "session", "idle_expires_at")
	}
	w.call("POST", "/v1/sessions/login", j{"subject": "dan", "remember": true, "idle": 2 * 86400}).want(200, "").
		is(at(90*24*time.Hour), "session", "expires_at").is(at(48*time.Hour), "session", "idle_expires_at")

	for _, test := range []struct {
		path  string
		body  j
		where string
	}{
		{"/login", j{"expires_in": 0}, "/expires_in"}, {"/login", j{"expires_in": -1}, "/expires_in"}, {"/login", j{"expires_in": 1.5}, "/expires_in"}, {"/login", j{"expires_in": "60"}, "/expires_in"},
		{"/login", j{"expires_in": nil}, "/expires_in"}, {"/login", j{"expires_in": 1e30}, "/expires_in"}, {"/login", j{"idle": 0}, "/idle"}, {"/login", j{"idle": -60}, "/idle"}, {"/login", j{"idle": true}, "/idle"},
		{"/login", j{"until_browser_closes": 1}, "/until_browser_closes"}, {"/login", j{"until_browser_closes": true, "remember": true}, "/until_browser_closes"},
		{"", j{"expires_in": 0}, "/expires_in"}, {"", j{"idle": -1}, "/idle"},
	} {
		test.body["subject"] = "eve"
		a := w.call("POST", "/v1/sessions"+test.path, test.body).want(422, "invalid_request")
		if got := a.at("errors").([]any)[0].(j)["where"]; got != test.where {
			t.Errorf("%v: where %q, want %q", test.body, got, test.where)
		}
	}
	for _, member := range []string{"expires_in", "idle", "until_browser_closes", "remember"} { // of a login only
		body := j{member: 60}
		if member[0] != 'e' && member[0] != 'i' {
			body[member] = true
		}
		if a := w.call("POST", "/v1/sessions", body).want(422, "invalid_request"); !strings.Contains(a.text, "needs a subject") {
			t.Errorf("%s: %s", member, a.text)
		}
	}
	w.call("GET", "/v1/sessions?subject=eve", nil).want(200, "").is([]any{}, "sessions")
}

// The token of an anonymous session is renewed on request, and by nothing else.
func TestRotateVisitor(t *testing.T) {
	w := newWorld(t)
	visitor := w.visitor(j{"cart": 1})
	w.pass(time.Hour)
	if a := w.resolve(visitor.token()); a.body["token"] != nil {
		t.Errorf("a visitor's token was renewed by itself: %s", a.text)
	}
	rotated := w.call("POST", "/v1/sessions/rotate", j{"token": visitor.token()}).want(200, "")
	rotated.is(visitor.id(), "session", "id").is("", "session", "subject").is(float64(1), "session", "values", "cart")
	c := rotated.at("set_cookie").([]any)
	if len(c) != 1 || !strings.HasPrefix(c[0].(string), "__Host-shop-visitor="+rotated.token()+"; Max-Age=") || rotated.token() == visitor.token() {
		t.Errorf("%s", rotated.text)
	}
	w.alive(visitor.token(), "") // requests in flight
	w.alive(rotated.token(), "")
	w.pass(2 * time.Minute)
	w.alive(rotated.token(), "") // confirms it
	w.pass(20 * time.Minute)
	w.over(visitor.token(), "theft") // a former token, long after its successor was used
	w.over(rotated.token(), "theft")
	w.call("POST", "/v1/sessions/rotate", j{"token": rotated.token()}).want(409, "not_live").is("theft", "why")
}
