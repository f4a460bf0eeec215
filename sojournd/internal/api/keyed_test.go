package api

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

const (
	keyOne = "m9dRzGBM4p0xXoHtYdqSbGgkzQlEy8eU"
	keyTwo = "XxYd8wq0-another-key-of-the-client"
)

func (w *world) keyed(call, key string, more j) *answer {
	w.Helper()
	body := j{"key": key}
	for name, value := range more {
		body[name] = value
	}
	return w.call("POST", "/v1/keyed/"+call, body)
}

func TestKeyed(t *testing.T) {
	w := newWorld(t)
	w.secrets = append(w.secrets, keyOne, keyTwo)
	w.keyed("get", keyOne, nil).want(200, "").is(nil, "session")
	w.keyed("touch", keyOne, nil).want(404, "session_not_found")
	w.keyed("end", keyOne, nil).want(204, "")
	w.keyed("set", keyOne, j{"update": true, "set": j{"a": 1}}).want(409, "ended")
	w.keyed("get", keyOne, nil).want(200, "").is(nil, "session")

	first := w.keyed("set", keyOne, j{"set": j{"a": 1, "b": j{"c": nil}}, "client": j{"ip": "203.0.113.7", "user_agent": "x"}}).want(200, "")
	for _, secret := range []string{"token", "set_cookie"} {
		if first.body[secret] != nil {
			t.Errorf("a session without a token has one: %s", first.text)
		}
	}
	w.keyed("get", keyOne, nil).want(200, "").is(first.id(), "session", "id").is(j{"c": nil}, "session", "values", "b")
	w.keyed("set", keyOne, j{"update": true, "delete": []string{"b"}, "set": j{"d": 2}}).want(200, "").is(j{"a": 1.0, "d": 2.0}, "session", "values").is("203.0.113.7", "session", "client", "ip")
	w.keyed("set", keyOne, j{"values": j{"e": 3}}).want(200, "").is(j{"e": 3.0}, "session", "values")
	if other := w.keyed("set", keyTwo, nil).want(200, ""); other.id() == first.id() {
		t.Error("two keys have one session")
	}

	// A user, and what operators see.
	in := w.keyed("set", keyOne, j{"subject": "ann", "set": j{"f": 4}}).want(200, "").is("ann", "session", "subject").is(first.id(), "session", "id")
	w.pass(time.Minute)
	again := w.keyed("set", keyOne, j{"subject": "ann"}).want(200, "")
	again.is(in.at("session", "authenticated_at"), "session", "authenticated_at").is(4.0, "session", "values", "f")
	w.keyed("set", keyOne, j{"subject": "ben"}).want(200, "").is("ben", "session", "subject").is(first.id(), "session", "id").is(4.0, "session", "values", "f")
	w.call("GET", "/v1/sessions?subject=ben", nil).want(200, "")
	w.call("GET", "/v1/sessions/"+first.id(), nil).want(200, "").is("ben", "subject")

	// Ended elsewhere, by its ID or by its key.
	w.call("DELETE", "/v1/sessions?subject=ben", nil).want(200, "").is(1.0, "ended")
	w.keyed("get", keyOne, nil).want(200, "").is(nil, "session").is("revoked", "why")
	w.keyed("set", keyOne, j{"set": j{"a": 1}}).want(409, "ended")
	w.keyed("set", keyOne, j{"subject": "ann"}).want(409, "ended")
	w.keyed("touch", keyOne, nil).want(404, "session_not_found")
	w.keyed("end", keyTwo, nil).want(204, "")
	w.keyed("end", keyTwo, nil).want(204, "")
	w.keyed("get", keyTwo, nil).want(200, "").is("logout", "why")

	for _, bad := range []j{{}, {"key": ""}, {"key": "short"}, {"key": strings.Repeat("k", 1025)}, {"key": nil}, {"key": keyOne, "idle": -1}, {"key": keyOne, "subject": ""}, {"key": keyOne, "set": j{}, "values": j{}}} {
		if a := w.call("POST", "/v1/keyed/set", bad); a.status != 422 {
			t.Errorf("%v: %s", bad, a.text)
		}
	}
	for _, secret := range w.secrets {
		if strings.Contains(w.log.String(), secret) {
			t.Error("the log has a key")
		}
	}
}

// The idle limit is the request's, if it is shorter than the policy's.
func TestKeyedIdle(t *testing.T) {
	w := newWorld(t)
	const day = 24 * 60 * 60
	left := func(a *answer) time.Duration {
		t.Helper()
		until, err := time.Parse(time.RFC3339, a.want(200, "").at("session", "idle_expires_at").(string))
		if err != nil {
			t.Fatal(err)
		}
		return until.Sub(w.time())
	}
	check := func(a *answer, want time.Duration) {
		t.Helper()
		if got := left(a); got != want {
			t.Errorf("it ends in %v, want %v", got, want)
		}
	}
	check(w.keyed("set", keyOne, nil), 14*day*time.Second)
	check(w.keyed("touch", keyOne, j{"idle": 30 * day}), 14*day*time.Second)
	check(w.keyed("touch", keyOne, j{"idle": 600}), 10*time.Minute)
	w.pass(9 * time.Minute)
	w.keyed("get", keyOne, nil).want(200, "")
	w.keyed("touch", keyOne, j{"idle": 600}).want(200, "")
	w.pass(9 * time.Minute)
	check(w.keyed("get", keyOne, nil), time.Minute) // which is no activity
	w.keyed("set", keyOne, j{"set": j{"a": 1}}).want(200, "")
	check(w.keyed("get", keyOne, nil), 10*time.Minute)
	check(w.keyed("set", keyOne, j{"subject": "ann", "idle": 3600}), time.Hour)
	check(w.keyed("set", keyOne, j{"subject": "ann", "idle": 30 * day}), 24*time.Hour)
	w.pass(25 * time.Hour)
	w.keyed("get", keyOne, nil).want(200, "").is("idle", "why")
	w.keyed("set", keyOne, j{"set": j{"a": 1}}).want(409, "ended")
}

// A store forgets an ended session after an hour. A client that has read it before
// sends update, and never brings it back.
func TestKeyedForgotten(t *testing.T) {
	w := newWorld(t)
	old := w.keyed("set", keyOne, j{"set": j{"a": 1}}).want(200, "")
	w.keyed("end", keyOne, nil).want(204, "")
	for range 2 {
		w.pass(2 * time.Hour)
		if _, _, err := w.store.Sweep(t.Context(), "shop", store.TimeOf(w.time()), 1000); err != nil {
			t.Fatal(err)
		}
	}
	w.keyed("get", keyOne, nil).want(200, "").is(nil, "session")
	w.keyed("set", keyOne, j{"update": true, "set": j{"a": 2}}).want(409, "ended")
	if fresh := w.keyed("set", keyOne, j{"set": j{"b": 1}}).want(200, ""); fresh.id() != old.id() {
		t.Error("the ID does not depend on the key alone")
	}
}

// Parallel requests create one session, and lose nothing. Once its end is
// acknowledged, none of them brings it back.
func TestKeyedRaces(t *testing.T) {
	w := newWorld(t)
	for round := range 20 {
		key := fmt.Sprintf("the key of a round: %d", round)
		const parallel = 8
		w.store.meet(parallel)
		var sets sync.WaitGroup
		for i := range parallel {
			sets.Go(func() { w.keyed("set", key, j{"set": j{fmt.Sprint("v", i): i}}).want(200, "") })
		}
		sets.Wait()
		if values := w.keyed("get", key, nil).at("session", "values").(j); len(values) != parallel {
			t.Fatalf("%d values of %d: %v", len(values), parallel, values)
		}
		for i := range parallel {
			sets.Go(func() {
				if a := w.keyed("set", key, j{"set": j{"late": i}}); a.status != 200 && a.code() != "ended" {
					t.Errorf("%s", a.text)
				}
			})
		}
		w.keyed("end", key, nil).want(204, "")
		w.keyed("get", key, nil).want(200, "").is(nil, "session")
		sets.Wait()
		w.keyed("get", key, nil).want(200, "").is("logout", "why")
	}
}
