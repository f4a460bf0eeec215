package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// A touch by ID keeps a session from expiring, and tells when it will. A session
// that is over stays over.
func TestTouch(t *testing.T) {
	w := newWorld(t)
	user := w.call("POST", "/v1/sessions", j{"subject": "ann", "values": j{"a": 1}, "client": j{"ip": "192.0.2.1"}}).want(201, "")
	path := "/v1/sessions/" + user.id() + "/touch"
	for range 3 { // the idle limit is a day
		w.pass(23 * time.Hour)
		a := w.call("POST", path, nil).want(200, "")
		a.is(w.time().Format(time.RFC3339), "last_seen_at").is(w.time().Add(24*time.Hour).Format(time.RFC3339), "idle_expires_at").
			is("ann", "subject").is("192.0.2.1", "client", "ip").is(float64(1), "revision")
		if a.header.Get("ETag") != `"1"` || a.body["values"] != nil {
			t.Errorf("%v %s", a.header, a.text)
		}
	}
	w.alive(user.token(), "ann")
	w.pass(25 * time.Hour)
	w.call("POST", path, nil).want(404, "session_not_found")
	w.over(user.token(), "idle")

	ended := w.user("ben")
	w.call("DELETE", "/v1/sessions/"+ended.id(), nil).want(204, "")
	for _, id := range []string{ended.id(), "x", "%ff", "019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21"} {
		w.call("POST", "/v1/sessions/"+id+"/touch", nil).want(404, "session_not_found")
	}
	w.over(ended.token(), "revoked")
	raced := w.user("cat")
	w.pass(time.Hour)
	const touches = 8
	count := w.together(touches+1, func(i int) *http.Request {
		if i == touches/2 {
			return request(t, "DELETE", "/v1/sessions/"+raced.id(), nil)
		}
		return request(t, "POST", "/v1/sessions/"+raced.id()+"/touch", nil)
	})
	if count[204] != 1 || count[200]+count[404] != touches {
		t.Errorf("touches while the session ends: %v", count)
	}
	w.over(raced.token(), "revoked")
	w.call("POST", path+"?at=1", nil).want(422, "invalid_request")
	w.call("GET", path, nil).want(405, "method_not_allowed")
}

// Values are replaced as a whole, one or all. Null is a value at every depth.
func TestReplaceValues(t *testing.T) {
	w := newWorld(t)
	user := w.call("POST", "/v1/sessions", j{"subject": "ann", "values": j{"a": j{"b": 1}, "c": 2}}).want(201, "")
	all := "/v1/sessions/" + user.id() + "/values"
	put := func(path string, body any, match string) *answer {
		t.Helper()
		return w.call("PUT", path, body, "If-Match", match)
	}
	has := func(values string) {
		t.Helper()
		if a := w.call("GET", "/v1/sessions/"+user.id(), nil).want(200, ""); !strings.Contains(a.text, `"values":`+values+`}`) {
			t.Errorf("want values %s, got %s", values, a.text)
		}
	}

	a := put(all+"/a", `{"x":null,"y":[null,{"z":null}],"n":1.50,"big":12345678901234567890}`, `"1"`).want(200, "").is(float64(2), "revision")
	if a.header.Get("ETag") != `"2"` {
		t.Errorf("ETag: %s", a.header.Get("ETag"))
	}
	has(`{"a":{"x":null,"y":[null,{"z":null}],"n":1.50,"big":12345678901234567890},"c":2}`)
	for _, value := range []string{"null", "true", "-0.5e10", `"text"`, "[]", "{}", `"ü😀"`} {
		put(all+"/c", value, "*").want(200, "")
		has(`{"a":{"x":null,"y":[null,{"z":null}],"n":1.50,"big":12345678901234567890},"c":` + value + `}`)
	}
	put(all, `{"d":null,"e":{"f":null}}`, "*").want(200, "")
	has(`{"d":null,"e":{"f":null}}`)
	put(all, `{}`, "*").want(200, "")
	has(`{}`)

	revision := w.call("GET", "/v1/sessions/"+user.id(), nil).at("revision")
	for _, path := range []string{all, all + "/a"} {
		w.call("PUT", path, j{}).want(428, "revision_required")
		put(path, j{}, `"1"`).want(412, "revision_mismatch")
		put(path, j{}, "1").want(400, "malformed_if_match")
		put(path, "", "*").want(400, "malformed_json")
		put(path, "{", "*").want(400, "malformed_json")
		put(path, `{"a":1} 2`, "*").want(400, "malformed_json")
		put(path, `{"a":{"b":1,"b":2}}`, "*").want(400, "malformed_json")
		put(path, "\"\xff\"", "*").want(400, "malformed_json")
		put(path, `{"a":"`+strings.Repeat("x", 70_000)+`"}`, "*").want(413, "too_large")
		put(path, `{"a":`+strings.Repeat("[", 101)+strings.Repeat("]", 101)+`}`, "*").want(422, "invalid_value")
		put(path, `{"a":"\u0000"}`, "*").want(422, "invalid_value")
	}
	put(all, `[]`, "*").want(422, "invalid_request")
	put(all, `null`, "*").want(422, "invalid_request")
	put(all, `{"":1}`, "*").want(422, "invalid_value")
	put("/v1/sessions/019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21/values", j{}, "*").want(404, "session_not_found")
	put("/v1/sessions/019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21/values/a", j{}, "*").want(404, "session_not_found")
	w.call("GET", "/v1/sessions/"+user.id(), nil).is(revision, "revision")

	// All values may be replaced by others, however large both are.
	large := func(key string) j {
		v := j{}
		for i := range 4 {
			v[fmt.Sprint(key, i)] = strings.Repeat("x", 60_000)
		}
		return v
	}
	for _, key := range []string{"a", "b", "a"} {
		put(all, large(key), "*").want(200, "")
	}
	shifted := large("a") // the same keys, with other sizes
	shifted["a0"], shifted["a1"] = "", strings.Repeat("x", 65_000)
	shifted["a2"], shifted["a3"] = strings.Repeat("x", 65_000), strings.Repeat("x", 65_000)
	put(all, shifted, "*").want(200, "")
}

// A browser's update can replace all values, too. Among parallel ones the last
// wins as a whole.
func TestUpdateReplacesValues(t *testing.T) {
	w := newWorld(t)
	user := w.call("POST", "/v1/sessions", j{"subject": "ann", "values": j{"a": 1, "b": 2}}).want(201, "")
	update := func(body j) *answer {
		t.Helper()
		body["token"] = user.token()
		return w.call("POST", "/v1/sessions/update", body)
	}
	update(j{"values": j{"b": nil, "c": j{"d": nil}}}).want(200, "").is(j{"b": nil, "c": j{"d": nil}}, "session", "values")
	update(j{"values": j{"x": 1}, "if_revision": 1}).want(412, "revision_mismatch")
	update(j{"values": j{"x": 1}, "if_revision": 2}).want(200, "").is(j{"x": float64(1)}, "session", "values")
	for _, body := range []j{{"set": j{"y": 1}}, {"delete": []string{"x"}}, {"set": j{}}} {
		body["values"] = j{}
		update(body).want(422, "invalid_request")
	}
	update(j{"values": nil}).want(422, "invalid_request")
	update(j{"values": []int{}}).want(422, "invalid_request")
	update(j{"values": j{"": 1}}).want(422, "invalid_value")
	update(j{"values": j{"x": strings.Repeat("x", 70_000)}}).want(413, "too_large")

	const writers = 8
	count := w.together(writers, func(i int) *http.Request {
		return request(t, "POST", "/v1/sessions/update", j{"token": user.token(), "values": j{"first": i, "second": i}})
	})
	if count[200] != writers {
		t.Errorf("statuses %v", count)
	}
	values := w.resolve(user.token()).at("session", "values").(j)
	if len(values) != 2 || values["first"] != values["second"] {
		t.Errorf("values are mixed: %v", values)
	}
	update(j{"values": j{}}).want(200, "").is(j{}, "session", "values")

	visitor := func(values j) *answer {
		return w.call("POST", "/v1/sessions/update", j{"cookie": "", "values": values})
	}
	visitor(j{"cart": 1}).want(200, "").is(j{"cart": float64(1)}, "session", "values")
	visitor(j{}).want(409, "not_live")
}

// The key in a path is percent-encoded, and may be any key except "/".
func TestKeysInPaths(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	all := "/v1/sessions/" + user.id() + "/values/"
	for i, key := range []string{"a", "ü", "a/b", ".", "..", "../x", "//", "a b", "a+b", "100%", "a?b", "a#b", `"\`, "values", strings.Repeat("k", 255)} {
		path := all + strings.NewReplacer(".", "%2E", "+", "%2B").Replace(url.PathEscape(key))
		a := w.call("PUT", path, fmt.Sprint(i), "If-Match", "*").want(200, "")
		a.is(float64(i), "values", key)
		w.call("PATCH", strings.TrimSuffix(all, "/"), j{key: nil}, "If-Match", "*").want(200, "").is(j{}, "values")
	}
	for _, key := range []string{"%ff", "%00", "%0a", "%C2%85", strings.Repeat("k", 256)} {
		w.call("PUT", all+key, "1", "If-Match", "*").want(422, "invalid_value")
	}
	w.call("PUT", all, "1", "If-Match", "*").want(404, "not_found")
	w.call("PUT", all+"a/b", "1", "If-Match", "*").want(404, "not_found")
	for _, method := range []string{"GET", "DELETE", "PATCH", "POST"} {
		if a := w.call(method, all+"a", nil).want(405, "method_not_allowed"); a.header.Get("Allow") != "PUT" {
			t.Errorf("Allow: %s", a.header.Get("Allow"))
		}
	}
	w.call("GET", "/v1/sessions/"+user.id(), nil).is(j{}, "values")
}

// One value may be replaced at any revision, however many others change the
// session at the same time: all land.
func TestSetValueAnyRevision(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	const writers = 8
	w.store.meet(writers) // no request writes before all have read
	count := w.together(writers, func(i int) *http.Request {
		r := request(t, "PUT", fmt.Sprintf("/v1/sessions/%s/values/%d", user.id(), i), i)
		r.Header.Set("If-Match", "*")
		return r
	})
	if count[200] != writers {
		t.Errorf("statuses %v", count)
	}
	if all := w.call("GET", "/v1/sessions/"+user.id(), nil).at("values").(j); len(all) != writers {
		t.Errorf("%d of %d values landed: %v", len(all), writers, all)
	}
}

// A list has values only if it is asked for them. Then a page has a limited size.
func TestListWithValues(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.visitor(j{"n": i, "null": nil})
	}
	cursor, seen := "", map[float64]bool{}
	for range 5 {
		a := w.call("GET", "/v1/sessions?values=true&limit=2"+cursor, nil).want(200, "")
		for _, s := range a.at("sessions").([]any) {
			values := s.(j)["values"].(j)
			seen[values["n"].(float64)] = true
			if null, ok := values["null"]; !ok || null != nil {
				t.Errorf("values: %v", values)
			}
		}
		next, more := a.body["next_cursor"].(string)
		if !more {
			break
		}
		cursor = "&cursor=" + url.QueryEscape(next)
	}
	if len(seen) != 5 {
		t.Errorf("saw %v", seen)
	}
	for _, query := range []string{"", "?values=false"} {
		if a := w.call("GET", "/v1/sessions"+query, nil).want(200, ""); strings.Contains(a.text, `"values"`) || len(a.at("sessions").([]any)) != 5 {
			t.Errorf("%q: %s", query, a.text)
		}
	}
	for _, query := range []string{"?values=yes", "?values=1", "?values=", "?values=true&values=true"} {
		w.call("GET", "/v1/sessions"+query, nil).want(422, "invalid_request")
	}

	large := json.RawMessage(`"` + strings.Repeat("x", 60_000) + `"`)
	for range 20 {
		s := w.engines["shop"].Begin(t.Context(), sojourn.Request{})
		if err := errors.Join(s.SetValue("a", large), s.SetValue("b", large), s.SetValue("c", large), s.SetValue("d", large), s.Commit(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	pages, n := 0, 0
	for cursor, more := "", true; more; pages++ {
		r := request(t, "GET", "/v1/sessions?values=true&limit=1000"+cursor, nil)
		r.Header.Set("Authorization", "Bearer "+w.keys["shop"])
		out := httptest.NewRecorder()
		w.ServeHTTP(out, r)
		var page v1.Sessions
		if err := json.Unmarshal(out.Body.Bytes(), &page); err != nil || out.Code != 200 || out.Body.Len() > 5<<20 {
			t.Fatalf("%d, %d bytes, %v", out.Code, out.Body.Len(), err)
		}
		n += len(page.Sessions)
		cursor, more = "&cursor="+url.QueryEscape(page.NextCursor), page.NextCursor != ""
	}
	if n != 25 || pages < 2 {
		t.Errorf("%d sessions in %d pages", n, pages)
	}
}
