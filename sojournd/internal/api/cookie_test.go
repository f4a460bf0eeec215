package api

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	sessionName = "__Host-shop-session="
	visitorName = "__Host-shop-visitor="
)

// cookies returns the names of the cookies that an answer sets and clears.
func (a *answer) cookies() (set, cleared []string) {
	a.Helper()
	list, _ := a.body["set_cookie"].([]any)
	for _, line := range list {
		name, rest, _ := strings.Cut(line.(string), "=")
		if strings.HasPrefix(rest, ";") {
			cleared = append(cleared, name+"=")
		} else {
			set = append(set, name+"=")
		}
	}
	return set, slices.Compact(cleared)
}

// The Cookie header takes the place of a token in each call for a browser.
func TestCookieHeader(t *testing.T) {
	w := newWorld(t)
	post := func(call string, body j) *answer {
		w.Helper()
		return w.call("POST", "/v1/sessions/"+call, body)
	}
	post("resolve", j{"cookie": ""}).want(200, "").is(nil, "session")
	post("resolve", j{"cookie": "theme=dark"}).want(200, "").is(nil, "session")

	first := post("update", j{"cookie": "theme=dark", "set": j{"cart": 1}}).want(200, "")
	if set, cleared := first.cookies(); !slices.Equal(set, []string{visitorName}) || len(cleared) > 0 {
		t.Fatalf("a visitor's first value: %s", first.text)
	}
	visitor := "theme=dark; " + visitorName + first.token()
	again := post("update", j{"cookie": visitor, "set": j{"lamp": 2}, "if_revision": 1}).want(200, "")
	again.is(first.id(), "session", "id").is(1.0, "session", "values", "cart")
	post("update", j{"cookie": visitor, "set": j{"lamp": 3}, "if_revision": 1}).want(412, "revision_mismatch")
	post("update", j{"cookie": "theme=dark", "delete": []string{"cart"}}).want(409, "not_live")

	in := post("login", j{"cookie": visitor, "subject": "ann"}).want(200, "").is(1.0, "session", "values", "cart")
	if set, cleared := in.cookies(); !slices.Equal(set, []string{sessionName}) || !slices.Equal(cleared, []string{visitorName}) {
		t.Fatalf("a login: %s", in.text)
	}
	post("resolve", j{"cookie": visitor}).want(200, "").is(nil, "session").is("superseded", "why")
	both := visitor + "; " + sessionName + in.token()
	post("resolve", j{"cookie": both}).want(200, "").is("ann", "session", "subject")
	post("resolve", j{"cookie": both + "; " + sessionName + "planted"}).want(200, "").is("ann", "session", "subject")
	up := post("elevate", j{"cookie": both, "level": 2}).want(200, "")
	rotated := post("rotate", j{"cookie": sessionName + up.token()}).want(200, "")
	out := post("logout", j{"cookie": visitor + "; " + sessionName + rotated.token()}).want(200, "")
	if set, cleared := out.cookies(); len(set) > 0 || !slices.Equal(cleared, []string{sessionName, visitorName}) {
		t.Errorf("a logout: %s", out.text)
	}

	visited := post("update", j{"cookie": "", "set": j{"cart": 1, "draft": 2}}).want(200, "")
	user := post("login", j{"cookie": visitorName + visited.token(), "subject": "ben"}).want(200, "")
	anew := post("regenerate", j{"cookie": sessionName + user.token(), "keep": []string{"cart", "none"}}).want(200, "")
	anew.is("", "session", "subject").is(j{"cart": 1.0}, "session", "values")
	if set, cleared := anew.cookies(); !slices.Equal(set, []string{visitorName}) || !slices.Equal(cleared, []string{sessionName}) || anew.id() == user.id() {
		t.Errorf("a new session: %s", anew.text)
	}
	w.over(user.token(), "logout")
	w.alive(anew.token(), "")

	dead := sessionName + rotated.token()
	w.pass(time.Second)
	post("update", j{"cookie": dead, "set": j{"cart": 9}}).want(409, "ended")
	post("update", j{"cookie": dead, "set": j{"cart": 9}, "safe": true, "age": 2000}).want(409, "ended")
	fresh := post("update", j{"cookie": dead, "set": j{"cart": 9}, "safe": true}).want(200, "")
	if fresh.id() == rotated.id() {
		t.Error("the session is back")
	}

	post("resolve", j{}).want(422, "invalid_request")
	post("resolve", j{"cookie": "", "token": "x"}).want(422, "invalid_request")
	for _, age := range []any{-1, 90_000_000, 1.5, "1"} {
		post("resolve", j{"cookie": "", "age": age}).want(422, "invalid_request")
	}
}

// A request that arrived long ago presents a token of that time.
func TestAgeOfARequest(t *testing.T) {
	w := newWorld(t)
	slow := w.user("ann").token()
	w.pass(20 * time.Minute)
	next := w.resolve(slow).token() // a rotation
	w.alive(next, "ann")
	w.pass(2 * time.Minute)
	w.alive(next, "ann")     // which is confirmed
	w.pass(11 * time.Minute) // the grace is over
	w.call("POST", "/v1/sessions/update", j{"token": slow, "set": j{"upload": "done"}, "age": 15 * 60 * 1000}).want(200, "")
	w.alive(next, "ann")
	w.over(slow, "theft")
}
