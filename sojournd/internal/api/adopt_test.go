package api

import (
	"strings"
	"sync"
	"testing"
	"time"
)

const oldToken = "the sid of an old session, 32 bytes"

func TestAdopt(t *testing.T) {
	w := newWorld(t)
	w.secrets = append(w.secrets, oldToken)
	resolve := func(cookie string, more j) *answer {
		t.Helper()
		body := j{"cookie": cookie, "old": oldToken}
		for name, value := range more {
			body[name] = value
		}
		return w.call("POST", "/v1/sessions/resolve", body)
	}
	resolve("", nil).want(200, "").is(nil, "session").is("adopt", "why")
	was := j{"adopt": j{"subject": "ann", "values": j{"cart": []int{1}, "bad\x00": 1}, "remember": true, "amr": []string{"pwd"}}}
	first := resolve("theme=dark", was).want(200, "").is("ann", "session", "subject").is(j{"cart": []any{1.0}}, "session", "values").is(true, "session", "remembered")
	if set, cleared := first.cookies(); len(set) != 1 || set[0] != sessionName || len(cleared) > 0 {
		t.Errorf("cookies: %s", first.text)
	}
	w.alive(first.token(), "ann")

	// Again, whatever is sent with it, and without.
	resolve("", nil).want(200, "").is(first.id(), "session", "id").is(first.token(), "token")
	resolve("", j{"adopt": j{"subject": "ben"}}).want(200, "").is("ann", "session", "subject")
	w.call("GET", "/v1/stats", nil).want(200, "").is(1.0, "sessions")

	// Our own cookie comes first.
	other := w.user("ben").token()
	resolve(sessionName+other, nil).want(200, "").is("ben", "session", "subject")

	// A logout is final.
	w.call("POST", "/v1/sessions/logout", j{"cookie": sessionName + first.token()}).want(200, "")
	for range 2 {
		w.pass(48 * time.Hour)
		resolve("", was).want(200, "").is(nil, "session")
	}

	for _, bad := range []j{
		{"old": oldToken, "token": "x"}, {"old": "short", "cookie": ""}, {"adopt": j{}, "cookie": ""}, {"old": oldToken, "cookie": "", "adopt": j{"subject": ""}},
		{"old": oldToken, "cookie": "", "adopt": j{"remember": true}}, {"old": oldToken, "cookie": "", "adopt": j{"subject": "a", "amr": []string{"a b"}}},
		{"old": oldToken, "cookie": "", "adopt": j{"subject": "a", "level": 4}}, {"old": oldToken, "cookie": "", "adopt": j{"subject": "a", "level": -1}},
		{"old": oldToken, "cookie": "", "adopt": j{"subject": strings.Repeat("a", 256)}}, {"old": oldToken, "cookie": "", "adopt": j{"subject": "a\x00"}},
	} {
		if a := w.call("POST", "/v1/sessions/resolve", bad); a.status != 422 {
			t.Errorf("%v: %s", bad, a.text)
		}
	}
	// Browsers can't present an old token.
	w.call("POST", "/v1/sessions/resolve", j{"cookie": oldName + "=" + oldToken}).want(200, "").is("unknown", "why")
}

func TestAdoptOnce(t *testing.T) {
	w := newWorld(t)
	ids := make([]string, 8)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			ids[i] = w.call("POST", "/v1/sessions/resolve", j{"cookie": "", "old": oldToken, "adopt": j{"values": j{"cart": i}}}).want(200, "").id()
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("two sessions for one old token: %v", ids)
		}
	}
}
