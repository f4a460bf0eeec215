package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
	"github.com/sojourn-go/sojourn/store"
)

// A browser visits a site: an anonymous cart, a login that keeps the cart, a
// second factor, a logout.
func TestBrowser(t *testing.T) {
	w := newWorld(t)
	visitor := w.visitor(j{"cart": j{"tent": 1}})
	visitor.is("", "session", "subject").is(float64(1), "session", "revision").is(j{"tent": float64(1)}, "session", "values", "cart")
	if got := visitor.header.Get("Location"); got != "/v1/sessions/"+visitor.id() {
		t.Errorf("Location: %s", got)
	}
	if c := visitor.at("set_cookie").([]any); len(c) != 1 || !strings.HasPrefix(c[0].(string), "__Host-shop-visitor="+visitor.token()+"; Max-Age=") {
		t.Errorf("cookies: %v", c)
	}
	w.alive(visitor.token(), "")

	w.pass(time.Minute)
	login := w.call("POST", "/v1/sessions/login", j{"token": visitor.token(), "subject": "ann", "amr": []string{"pwd"}, "remember": true,
		"client": j{"ip": "203.0.113.7", "user_agent": exampleAgent}}).want(200, "")
	login.is(visitor.id(), "session", "id").is("ann", "session", "subject").is(j{"tent": float64(1)}, "session", "values", "cart").
		is(true, "session", "remembered").is([]any{"pwd"}, "session", "amr").is(float64(1), "session", "level").
		is("203.0.113.7", "session", "client", "ip").is("Firefox on Linux", "session", "client", "name").is("2026-11-24T12:01:00Z", "session", "authenticated_at")
	if c := fmt.Sprint(login.at("set_cookie")); !strings.Contains(c, "__Host-shop-session="+login.token()) || !strings.Contains(c, "__Host-shop-visitor=; Max-Age=0") {
		t.Errorf("cookies: %s", c)
	}
	w.over(visitor.token(), "superseded")
	w.alive(login.token(), "ann")

	update := w.call("POST", "/v1/sessions/update", j{"token": login.token(), "set": j{"theme": "dark", "nothing": nil}, "delete": []string{"cart"}}).want(200, "")
	if v := update.at("session", "values"); !reflect.DeepEqual(v, j{"theme": "dark", "nothing": nil}) {
		t.Errorf("values: %v", v)
	}

	up := w.call("POST", "/v1/sessions/elevate", j{"token": login.token(), "level": 2, "amr": []string{"otp"}}).want(200, "")
	up.is(float64(2), "session", "level").is([]any{"pwd", "otp"}, "session", "amr").is(visitor.id(), "session", "id")
	w.over(login.token(), "superseded")

	w.pass(time.Hour)
	rotated := w.call("POST", "/v1/sessions/rotate", j{"token": up.token()}).want(200, "")
	if rotated.token() == up.token() {
		t.Error("rotate issued no token")
	}
	w.alive(up.token(), "ann")
	w.alive(rotated.token(), "ann")
	again := w.call("POST", "/v1/sessions/rotate", j{"token": up.token()}).want(200, "")
	if again.token() != up.token() || len(again.at("set_cookie").([]any)) != 0 {
		t.Error("a rotation is under way, and another token was issued")
	}

	out := w.call("POST", "/v1/sessions/logout", j{"token": rotated.token()}).want(200, "")
	if c := fmt.Sprint(out.at("set_cookie")); c != "[__Host-shop-session=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax __Host-shop-session=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax; Partitioned]" {
		t.Errorf("cookies: %s", c)
	}
	w.over(rotated.token(), "logout")
	w.over(up.token(), "logout")
	w.call("POST", "/v1/sessions/logout", j{"token": rotated.token()}).want(200, "")
}

// A token that is renewed by a resolve comes with its cookie and nothing else.
func TestResolveRotates(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	if first := w.resolve(user.token()); first.body["set_cookie"] != nil {
		t.Errorf("nothing is due: %s", first.text)
	}
	w.pass(20 * time.Minute)
	rotated := w.resolve(user.token())
	c := rotated.at("set_cookie").([]any)
	fresh := strings.TrimPrefix(strings.Split(c[0].(string), ";")[0], "__Host-shop-session=")
	if len(c) != 1 || len(fresh) != 64 || fresh == user.token() {
		t.Fatalf("cookies: %v", c)
	}
	rotated.is(fresh, "token")
	if again := w.resolve(user.token()); again.body["token"] != nil || again.body["set_cookie"] != nil {
		t.Errorf("a rotation is under way, and another token came: %s", again.text)
	}
	w.secrets = append(w.secrets, fresh)
	w.alive(fresh, "ann")
	w.alive(user.token(), "ann")
}

// A token that is renewed by an update does, too.
func TestUpdateRotates(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	update := func(n int) *answer {
		return w.call("POST", "/v1/sessions/update", j{"token": user.token(), "set": j{"n": n}}).want(200, "")
	}
	if first := update(1); first.body["set_cookie"] != nil || first.body["token"] != nil {
		t.Errorf("nothing is due: %s", first.text)
	}
	w.pass(20 * time.Minute)
	rotated := update(2)
	if c := rotated.at("set_cookie").([]any); len(c) != 1 || !strings.HasPrefix(c[0].(string), "__Host-shop-session="+rotated.token()+";") || rotated.token() == user.token() {
		t.Errorf("%s", rotated.text)
	}
	w.alive(rotated.token(), "ann")
}

// The API tells every reason for which a session can have ended.
func TestWhy(t *testing.T) {
	w := newWorld(t)
	w.over(strings.Repeat("A", 64), "unknown")
	w.over("x", "unknown")
	w.over(strings.Repeat("\u00fc", 32), "unknown")

	revoked := w.user("rob")
	w.call("DELETE", "/v1/sessions/"+revoked.id(), nil).want(204, "")
	w.over(revoked.token(), "revoked")
	w.over(revoked.token()[:40]+strings.Repeat("A", 24), "unknown") // never good: it learns nothing

	var users []*answer
	for range 6 {
		users = append(users, w.user("eve"))
		w.pass(time.Second)
	}
	w.over(users[0].token(), "evicted")

	thief := w.user("ted")
	w.pass(20 * time.Minute)
	fresh := strings.TrimPrefix(strings.Split(w.resolve(thief.token()).at("set_cookie").([]any)[0].(string), ";")[0], "__Host-shop-session=")
	w.alive(fresh, "ted")
	w.pass(2 * time.Minute)
	w.alive(fresh, "ted") // confirms
	w.pass(20 * time.Minute)
	w.over(thief.token(), "theft")
	w.over(fresh, "theft")

	idle := w.user("ida")
	w.pass(25 * time.Hour)
	w.over(idle.token(), "idle")
	old := w.user("abe")
	for range 31 {
		w.pass(23*time.Hour + 59*time.Minute)
		if w.resolve(old.token()).at("session") == nil {
			break
		}
	}
	w.over(old.token(), "absolute")
}

// Operations that need a live session say why there is none.
func TestNotLive(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	w.call("POST", "/v1/sessions/logout", j{"token": user.token()}).want(200, "")
	for path, more := range map[string]j{"update": {"set": j{"a": 1}}, "elevate": {"level": 2}, "rotate": {}} {
		more["token"] = user.token()
		w.call("POST", "/v1/sessions/"+path, more).want(409, "not_live").is("logout", "why")
		more["token"] = strings.Repeat("A", 64)
		w.call("POST", "/v1/sessions/"+path, more).want(409, "not_live").is("unknown", "why")
	}
	login := w.call("POST", "/v1/sessions/login", j{"token": user.token(), "subject": "ann"}).want(200, "")
	if login.id() == user.id() {
		t.Error("a session that was ended came back")
	}
	visitor := w.visitor(j{})
	w.call("POST", "/v1/sessions/elevate", j{"token": visitor.token(), "level": 2}).want(409, "anonymous")
	rotated := w.call("POST", "/v1/sessions/rotate", j{"token": visitor.token()}).want(200, "")
	if rotated.id() != visitor.id() || rotated.token() == visitor.token() {
		t.Errorf("%s", rotated.text)
	}
}

func TestIfRevision(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	set := func(revision any) *answer {
		return w.call("POST", "/v1/sessions/update", j{"token": user.token(), "set": j{"a": revision}, "if_revision": revision})
	}
	set(1).want(200, "").is(float64(2), "session", "revision")
	set(1).want(412, "revision_mismatch")
	set(0).want(412, "revision_mismatch")
	set(2).want(200, "")
	w.call("POST", "/v1/sessions/update", j{"token": user.token(), "if_revision": 9}).want(412, "revision_mismatch")
}

// One request changes a limited number of values, and stops at its deadline.
func TestManyKeys(t *testing.T) {
	w := newWorld(t)
	keys := func(n int) (set j, list []string) {
		set = j{}
		for i := range n {
			set[fmt.Sprint(i)] = 1
			list = append(list, fmt.Sprint(i))
		}
		return set, list
	}
	most, mostList := keys(1000)
	more, moreList := keys(1001)
	user := w.visitor(most)
	where := func(a *answer, where string) {
		t.Helper()
		a.want(422, "invalid_request")
		if got := a.at("errors").([]any)[0].(j)["where"]; got != where {
			t.Errorf("where: %q, want %q", got, where)
		}
	}
	where(w.call("POST", "/v1/sessions", j{"values": more}), "/values")
	where(w.call("POST", "/v1/sessions/update", j{"token": user.token(), "set": more}), "/set")
	where(w.call("POST", "/v1/sessions/update", j{"token": user.token(), "delete": moreList}), "/delete")
	where(w.call("PATCH", "/v1/sessions/"+user.id()+"/values", more, "If-Match", `"1"`), "")
	where(w.call("PUT", "/v1/sessions/"+user.id()+"/values", more, "If-Match", `"1"`), "")
	w.call("PATCH", "/v1/sessions/"+user.id()+"/values", most, "If-Match", `"1"`).want(200, "")
	w.call("POST", "/v1/sessions/update", j{"token": user.token(), "set": j{"x": 1}, "delete": mostList}).want(200, "").is(j{"x": float64(1)}, "session", "values")
	if n := strings.Count(string(w.openapi), `"maxProperties": 1000`) + strings.Count(string(w.openapi), `"maxItems": 1000`); n < 4 {
		t.Errorf("the description has the limit %d times", n)
	}

	over, cancel := context.WithCancel(t.Context())
	cancel()
	s := w.engines["shop"].Begin(t.Context(), sojourn.Request{Token: user.token()})
	for name, err := range map[string]error{
		"set":    change(over, s, map[string]json.RawMessage{"a": json.RawMessage("1")}, nil),
		"delete": change(over, s, nil, []string{"x"}),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s goes on when its time is over: %v", name, err)
		}
	}
}

// Another request changes the session between the read and the commit.
func TestRevisionRaces(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	const writers = 16
	w.store.meet(writers) // no request writes before all have read
	count := w.together(writers, func(i int) *http.Request {
		return request(t, "POST", "/v1/sessions/update", j{"token": user.token(), "set": j{fmt.Sprint(i): i}, "if_revision": 1})
	})
	if count[200] != 1 || count[412] != writers-1 {
		t.Errorf("statuses %v, want one 200 and the rest 412", count)
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	create := func(app, key string, body any) *answer {
		return w.as(app, "POST", "/v1/sessions", body, "Idempotency-Key", key)
	}
	first := create("shop", "k", j{"subject": "ann", "values": j{"a": 1}}).want(201, "")
	again := create("shop", "k", j{"subject": "ann", "values": j{"a": 1}}).want(201, "").is(first.id(), "session", "id")
	if again.token() == first.token() || len(again.at("set_cookie").([]any)) != 1 {
		t.Error("the repeat has no token of its own")
	}
	w.alive(first.token(), "ann")
	w.alive(again.token(), "ann")
	create("shop", "k", j{"subject": "ann", "values": j{"a": 2}}).want(422, "idempotency_key_reused")
	if other := create("shop", "l", j{"subject": "ann", "values": j{"a": 1}}).want(201, ""); other.id() == first.id() {
		t.Error("another key, and the same session")
	}
	if other := create("blog", "k", j{"subject": "ann", "values": j{"a": 1}}).want(201, ""); other.id() == first.id() {
		t.Error("another application, and the same session")
	}
	create("shop", strings.Repeat("k", 256), j{}).want(422, "invalid_request")
	w.as("shop", "POST", "/v1/sessions", j{}, "Idempotency-Key", "a", "Idempotency-Key", "b").want(422, "invalid_request")
	w.call("DELETE", "/v1/sessions/"+first.id(), nil).want(204, "")
	create("shop", "k", j{"subject": "ann", "values": j{"a": 1}}).want(409, "ended")

	// Who knows the key and the body is not necessarily the user who has logged
	// in since.
	visitor := create("shop", "visitor", j{"values": j{"a": 1}}).want(201, "")
	visitor = create("shop", "visitor", j{"values": j{"a": 1}}).want(201, "").is(visitor.id(), "session", "id")
	login := w.call("POST", "/v1/sessions/login", j{"token": visitor.token(), "subject": "ann", "level": 2}).want(200, "")
	create("shop", "visitor", j{"values": j{"a": 1}}).want(409, "superseded")
	w.alive(login.token(), "ann")
	user := create("shop", "user", j{"subject": "ann"}).want(201, "")
	up := w.call("POST", "/v1/sessions/elevate", j{"token": user.token(), "level": 2}).want(200, "")
	create("shop", "user", j{"subject": "ann"}).want(409, "superseded")
	w.alive(up.token(), "ann")
}

func TestOperator(t *testing.T) {
	type operated struct{ app, key, action, target, result, ip string }
	var audit []operated
	w := newWorld(t, func(o *Options) {
		o.Audit = func(app, key, action, target, result, ip string) {
			audit = append(audit, operated{app, key, action, target, result, ip})
		}
	})
	ann, ann2, ben := w.user("ann"), w.user("ann"), w.user("ben")
	w.visitor(j{})

	got := w.call("GET", "/v1/sessions/"+ann.id(), nil).want(200, "").is("ann", "subject").is(j{}, "values")
	if tag := got.header.Get("ETag"); tag != `"1"` {
		t.Errorf("ETag: %s", tag)
	}
	path := "/v1/sessions/" + ann.id() + "/values"
	w.call("PATCH", path, j{"a": j{"b": 1, "c": []int{1}}, "d": 1.50}, "If-Match", `"1"`).want(200, "").is(float64(2), "revision")
	patched := w.call("PATCH", path, `{"a":{"b":null,"e":{"f":null}},"d":null,"g":"x","big":12345678901234567890}`, "If-Match", `"2"`, "Content-Type", "application/merge-patch+json")
	patched.want(200, "")
	if !strings.Contains(patched.text, `"values":{"a":{"c":[1],"e":{}},"big":12345678901234567890,"g":"x"}`) {
		t.Errorf("patched: %s", patched.text)
	}
	w.call("PATCH", path, j{"a": 1}).want(428, "revision_required")
	for _, tag := range []string{`"2"`, `"x"`, `W/"3"`, `"0"`, `""`, `"1", "2"`} {
		w.call("PATCH", path, j{"a": 1}, "If-Match", tag).want(412, "revision_mismatch")
	}
	w.call("PATCH", path, j{"": 1}, "If-Match", `"3"`).want(422, "invalid_value")
	w.call("PATCH", path, j{"a": strings.Repeat("x", 70_000)}, "If-Match", `"3"`).want(413, "too_large")
	w.call("PATCH", path, `{"a":`+strings.Repeat(`{"a":`, 100)+"1"+strings.Repeat("}", 100)+"}", "If-Match", `"3"`).want(422, "invalid_request")

	list := w.call("GET", "/v1/sessions?limit=3", nil).want(200, "")
	cursor := list.at("next_cursor").(string)
	rest := w.call("GET", "/v1/sessions?limit=3&cursor="+cursor, nil).want(200, "")
	if len(list.at("sessions").([]any)) != 3 || len(rest.at("sessions").([]any)) != 1 || rest.body["next_cursor"] != nil || strings.Contains(list.text, `"values"`) {
		t.Errorf("pages:\n%s\n%s", list.text, rest.text)
	}
	if of := w.call("GET", "/v1/sessions?subject=ann", nil).want(200, ""); len(of.at("sessions").([]any)) != 2 {
		t.Errorf("of ann: %s", of.text)
	}
	w.call("GET", "/v1/sessions?subject=nobody", nil).want(200, "").is([]any{}, "sessions")
	w.call("GET", "/v1/sessions?cursor=nonsense", nil).want(400, "invalid_cursor")
	w.call("GET", "/v1/stats", nil).want(200, "").is(float64(4), "sessions").is(float64(3), "logged_in").is(float64(1), "anonymous")

	w.call("DELETE", "/v1/sessions/"+ben.id(), nil).want(204, "")
	of := w.call("GET", "/v1/sessions?subject=ben&ended=true", nil).want(200, "").is([]any{}, "sessions")
	if last, _ := of.at("ended").([]any)[0].(map[string]any); last["id"] != ben.id() || last["reason"] != "revoked" || last["subject"] != "ben" {
		t.Errorf("of ben: %s", of.text)
	}
	if of := w.call("GET", "/v1/sessions?subject=ann&ended=true", nil).want(200, ""); of.body["ended"] != nil || len(of.at("sessions").([]any)) != 2 {
		t.Errorf("of ann, with what ended: %s", of.text)
	}
	w.call("GET", "/v1/sessions?ended=true", nil).want(422, "invalid_request")
	w.call("GET", "/v1/sessions?subject=ben&ended=1", nil).want(422, "invalid_request")
	w.call("DELETE", "/v1/sessions/"+ben.id(), nil).want(404, "session_not_found")
	w.call("GET", "/v1/sessions/"+ben.id(), nil).want(404, "session_not_found")
	w.call("PATCH", "/v1/sessions/"+ben.id()+"/values", j{}, "If-Match", `"1"`).want(404, "session_not_found")
	w.over(ben.token(), "revoked")
	w.call("DELETE", "/v1/sessions?subject=ann&except="+ann2.id(), nil).want(200, "").is(float64(1), "ended")
	w.over(ann.token(), "revoked")
	w.alive(ann2.token(), "ann")
	w.call("DELETE", "/v1/sessions?subject=nobody", nil).want(200, "").is(float64(0), "ended")
	w.pass(time.Second)
	if all := w.call("DELETE", "/v1/sessions?all=true", nil).want(200, ""); all.text != "{}" {
		t.Errorf("all: %s", all.text)
	}
	w.over(ann2.token(), "revoked")

	var log []string
	for _, o := range audit {
		if o.app != "shop" || o.key != "test" || o.ip != "192.0.2.1" {
			t.Errorf("audit: %+v", o)
		}
		log = append(log, o.action+" "+o.result)
	}
	want := "set_values ok, set_values ok, set_values invalid_value, set_values too_large, set_values invalid_request, end ok, end session_not_found, end_subject ok, end_subject ok, end_all ok"
	if got := strings.Join(log, ", "); got != want {
		t.Errorf("audit: %s\nwant %s", got, want)
	}
}

// The audit log has the address of the connection. It has none for a Unix
// socket, whatever name the peer has chosen, and none that cannot be parsed.
func TestAuditAddress(t *testing.T) {
	var ips []string
	w := newWorld(t, func(o *Options) {
		o.Audit = func(app, key, action, target, result, ip string) { ips = append(ips, ip) }
	})
	for _, test := range []struct {
		remote, want string
		unix         bool
	}{
		{"203.0.113.9:80", "203.0.113.9", false},
		{"203.0.113.9", "203.0.113.9", false},
		{"[2001:db8::1]:80", "2001:db8::1", false},
		{"elsewhere:80", "", false},
		{"@", "", true},
		{"203.0.113.9:80", "", true},
		{"/run/evil:203.0.113.9:80", "", true},
	} {
		ips = nil
		r := request(w, "DELETE", "/v1/sessions?subject=nobody", nil)
		r.Header.Set("Authorization", "Bearer "+w.keys["shop"])
		r.RemoteAddr = test.remote
		if test.unix {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/api.sock", Net: "unix"}))
		}
		w.ServeHTTP(httptest.NewRecorder(), r)
		if len(ips) != 1 || ips[0] != test.want {
			t.Errorf("from %q: the audit log has %q, want %q", test.remote, ips, test.want)
		}
	}
}

// Values may be nested a hundred levels deep. Deeper values are refused before
// anything is stored.
func TestDepthOfValues(t *testing.T) {
	w := newWorld(t)
	ann := w.user("ann")
	deep := func(n int) json.RawMessage { return json.RawMessage(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	w.call("POST", "/v1/sessions/update", j{"token": ann.token(), "set": j{"k": deep(100)}}).want(200, "").is(float64(2), "session", "revision")
	for _, n := range []int{101, 9000} {
		w.call("POST", "/v1/sessions", j{"subject": "ben", "values": j{"k": deep(n)}}).want(422, "invalid_value")
		w.call("POST", "/v1/sessions/update", j{"token": ann.token(), "set": j{"k": deep(n)}}).want(422, "invalid_value")
		w.call("PATCH", "/v1/sessions/"+ann.id()+"/values", j{"k": deep(n)}, "If-Match", `"2"`).want(422, "invalid_value")
	}
	w.call("GET", "/v1/sessions?subject=ben", nil).want(200, "").is([]any{}, "sessions")
	w.call("GET", "/v1/sessions/"+ann.id(), nil).want(200, "").is(float64(2), "revision")
}

// Values that were stored before there was a limit can be read, changed and
// ended, like any others.
func TestDepthOfStoredValues(t *testing.T) {
	w := newWorld(t)
	ann := w.user("ann")
	id, err := store.ParseID(ann.id())
	if err != nil {
		t.Fatal(err)
	}
	const n = 9998
	value := strings.Repeat("[", n) + strings.Repeat("]", n)
	text := `"deep":` + value
	var rec store.Record
	if err := w.store.Get(t.Context(), "shop", id, true, &rec); err != nil {
		t.Fatal(err)
	}
	rec.Values = store.Values(nil).AppendSet(nil, "deep", []byte(value))
	if _, err := w.store.Update(t.Context(), "shop", &rec, store.UpdateOptions{Now: rec.LastSeenAt, Arrived: rec.LastSeenAt}); err != nil {
		t.Fatal(err)
	}
	call := func(method, path string, body any, headers ...string) string {
		t.Helper()
		r := request(w, method, path, body)
		r.Header.Set("Authorization", "Bearer "+w.keys["shop"])
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		out := httptest.NewRecorder()
		w.ServeHTTP(out, r)
		if out.Code >= 300 {
			t.Errorf("%s %s: %d %.200s", method, path, out.Code, out.Body)
		}
		return out.Body.String()
	}
	whole := func(answer string) {
		t.Helper()
		if !strings.Contains(answer, text) {
			t.Errorf("the value is missing in %.300s", answer)
		}
	}
	token := func(answer string) string {
		t.Helper()
		found := regexp.MustCompile(`"token":"([^"]*)"`).FindStringSubmatch(answer)
		if found == nil {
			t.Fatalf("no token in %.300s", answer)
		}
		return found[1]
	}
	whole(call("POST", "/v1/sessions/resolve", j{"token": ann.token()}))
	whole(call("GET", "/v1/sessions/"+ann.id(), nil))
	whole(call("POST", "/v1/sessions/update", j{"token": ann.token(), "set": j{"a": 1}}))
	whole(call("PATCH", "/v1/sessions/"+ann.id()+"/values", j{"a": 2}, "If-Match", `"3"`))
	next := call("POST", "/v1/sessions/login", j{"token": ann.token(), "subject": "ann"})
	whole(next)
	next = call("POST", "/v1/sessions/elevate", j{"token": token(next), "level": 2})
	whole(next)
	call("GET", "/v1/sessions?subject=ann", nil)
	without := call("POST", "/v1/sessions/update", j{"token": token(next), "delete": []string{"deep"}})
	if strings.Contains(without, "[[") {
		t.Errorf("the value is still there")
	}
	call("POST", "/v1/sessions/logout", j{"token": token(next)})
}

// If-Match is a list of entity tags, compared strongly, or * (RFC 9110, section
// 13.1.1). Anything else is a mistake, not a condition that fails.
func TestIfMatch(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	path := "/v1/sessions/" + user.id() + "/values"
	patch := func(headers ...string) *answer {
		t.Helper()
		var list []string
		for _, h := range headers {
			list = append(list, "If-Match", h)
		}
		return w.call("PATCH", path, j{"n": len(w.secrets)}, list...)
	}
	revision := func() string {
		return fmt.Sprint(w.call("GET", "/v1/sessions/"+user.id(), nil).at("revision"))
	}
	for _, list := range [][]string{
		{`"N"`}, {`"x", "N"`}, {`"N","x"`}, {` ,, "x" , "N" ,`}, {`"x"`, `"N"`}, {`W/"N", "N"`}, {`"a,b", "N"`}, {"*"}, {" * "},
	} {
		now := revision()
		for i := range list {
			list[i] = strings.ReplaceAll(list[i], "N", now)
		}
		patch(list...).want(200, "")
	}
	now := revision()
	for _, list := range [][]string{{`"x"`}, {`W/"` + now + `"`}, {`"0` + now + `"`}, {`"x,` + now + `"`}, {`"*"`}, {`""`}} {
		patch(list...).want(412, "revision_mismatch")
	}
	for _, list := range [][]string{
		{now}, {"x"}, {`"`}, {`"` + now}, {now + `"`}, {`'` + now + `'`}, {""}, {","}, {`*, "` + now + `"`}, {"*", "*"}, {`"x" "` + now + `"`}, {`w/"` + now + `"`}, {`"x y"`}, {`W/` + now},
	} {
		if a := patch(list...).want(400, "malformed_if_match"); !strings.Contains(a.text, `\"5\"`) {
			t.Errorf("%q: the answer doesn't say what to write: %s", list, a.text)
		}
	}
	if now != revision() {
		t.Error("a refused patch changed the session")
	}
	w.call("PATCH", "/v1/sessions/019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21/values", j{}, "If-Match", "*").want(404, "session_not_found")
	w.call("DELETE", "/v1/sessions/"+user.id(), nil, "If-Match", `"`+now+`"`).want(422, "invalid_request")
	w.alive(user.token(), "ann")
}

// A patch for any revision is applied to the values that another change has
// left.
func TestPatchAnyRevision(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	const writers = 8
	w.store.meet(writers) // no request writes before all have read
	count := w.together(writers, func(i int) *http.Request {
		r := request(t, "PATCH", "/v1/sessions/"+user.id()+"/values", j{"all": j{fmt.Sprint(i): i}})
		r.Header.Set("If-Match", "*")
		return r
	})
	if count[200] != writers {
		t.Errorf("statuses %v", count)
	}
	if all := w.call("GET", "/v1/sessions/"+user.id(), nil).at("values", "all").(j); len(all) != writers {
		t.Errorf("%d of %d patches landed: %v", len(all), writers, all)
	}
}

func TestQueries(t *testing.T) {
	w := newWorld(t)
	id := w.user("ann").id()
	for query, code := range map[string]string{
		"GET /v1/sessions?limit=0": "invalid_request", "GET /v1/sessions?limit=1001": "invalid_request", "GET /v1/sessions?limit=x": "invalid_request",
		"GET /v1/sessions?subjekt=a": "invalid_request", "GET /v1/sessions?subject=a&subject=b": "invalid_request", "GET /v1/sessions?subject=%ff": "invalid_request",
		"GET /v1/sessions?subject=%zz": "invalid_request", "GET /v1/stats?x": "invalid_request", "GET /v1/sessions/" + id + "?x=1": "invalid_request",
		"DELETE /v1/sessions": "invalid_request", "DELETE /v1/sessions?all=yes": "invalid_request", "DELETE /v1/sessions?all=true&subject=a": "invalid_request",
		"DELETE /v1/sessions?all=true&except=" + id: "invalid_request", "DELETE /v1/sessions?subject=a&except=b": "invalid_request",
		"DELETE /v1/sessions?subject=a%00b": "invalid_subject", "DELETE /v1/sessions?subject=" + strings.Repeat("x", 10<<10): "invalid_subject",
		"GET /v1/events?last=-1": "invalid_request", "GET /v1/events?follow=yes": "invalid_request",
	} {
		method, path, _ := strings.Cut(query, " ")
		a := w.call(method, path, nil)
		if a.code() != code || a.status >= 500 {
			t.Errorf("%.80s: %s", query, a.text)
		}
	}
	w.alive(w.user("ann").token(), "ann")

	// An empty parameter is a mistake.
	for _, query := range []string{
		"DELETE /v1/sessions?subject=ann&except=", "DELETE /v1/sessions?except=&subject=ann", "DELETE /v1/sessions?all=true&subject=", "DELETE /v1/sessions?subject=&all=true",
		"DELETE /v1/sessions?subject", "DELETE /v1/sessions?all=", "GET /v1/sessions?subject=", "GET /v1/sessions?limit=", "GET /v1/sessions?cursor=", "GET /v1/events?last=&follow=false",
	} {
		method, path, _ := strings.Cut(query, " ")
		if a := w.call(method, path, nil); a.code() != "invalid_request" || !strings.Contains(a.text, "is empty") {
			t.Errorf("%s: %s", query, a.text)
		}
	}
	w.call("GET", "/v1/sessions/"+id, nil).want(200, "")

	for query, where := range map[string]string{
		"limit=0": "limit", "limit=": "limit", "limit=1&limit=2": "limit", "subjekt=a": "subjekt", "a%ffb=1": "a\uFFFDb", "subject=%zz": "", "=x": "",
	} {
		a := w.call("GET", "/v1/sessions?"+query, nil).want(422, "invalid_request")
		if got := a.at("errors").([]any)[0].(j)["where"]; got != where || strings.Contains(a.text, "The body") {
			t.Errorf("%s: %s, want where %q", query, a.text, where)
		}
	}
	if a := w.call("GET", "/v1/sessions?subject="+"a%2Fb%20%C3%BC", nil).want(200, ""); len(a.at("sessions").([]any)) != 0 {
		t.Error(a.text)
	}
}

// Each route is called with the shop's key and the blog's sessions. The answer
// is as if they did not exist, and nothing happens to them.
func TestApplicationsAreApart(t *testing.T) {
	w := newWorld(t)
	blog := w.as("blog", "POST", "/v1/sessions", j{"subject": "ann", "values": j{"a": 1}}).want(201, "")
	token, id := blog.token(), blog.id()
	tried := map[string]bool{}
	try := func(pattern, path string, body any, headers ...string) *answer {
		t.Helper()
		tried[pattern] = true
		method, _, _ := strings.Cut(pattern, " ")
		a := w.call(method, path, body, headers...)
		if a.status >= 500 {
			t.Errorf("%s: %s", pattern, a.text)
		}
		if strings.Contains(a.text, id) {
			t.Errorf("%s shows another application's session: %s", pattern, a.text)
		}
		return a
	}
	const sessions = "/v1/sessions"
	try("POST /v1/sessions", sessions, j{"subject": "ann"}).want(201, "")
	try("POST /v1/sessions/resolve", sessions+"/resolve", j{"token": token}).want(200, "").is("unknown", "why")
	try("POST /v1/sessions/update", sessions+"/update", j{"token": token, "set": j{"a": 2}}).want(409, "not_live")
	try("POST /v1/sessions/login", sessions+"/login", j{"token": token, "subject": "ann"}).want(200, "").is(j{}, "session", "values")
	try("POST /v1/sessions/elevate", sessions+"/elevate", j{"token": token, "level": 3}).want(409, "not_live")
	try("POST /v1/sessions/rotate", sessions+"/rotate", j{"token": token}).want(409, "not_live")
	try("POST /v1/sessions/regenerate", sessions+"/regenerate", j{"token": token, "keep": []string{"a"}}).want(409, "not_live")
	try("POST /v1/sessions/logout", sessions+"/logout", j{"token": token}).want(200, "")
	try("GET /v1/sessions", sessions+"?subject=ann", nil).want(200, "")
	try("GET /v1/sessions/search", sessions+"/search?subject_prefix=an", nil).want(200, "")
	try("GET /v1/sessions/{id}", sessions+"/"+id, nil).want(404, "session_not_found")
	try("DELETE /v1/sessions/{id}", sessions+"/"+id, nil).want(404, "session_not_found")
	try("PATCH /v1/sessions/{id}/values", sessions+"/"+id+"/values", j{"a": 2}, "If-Match", `"1"`).want(404, "session_not_found")
	try("PUT /v1/sessions/{id}/values", sessions+"/"+id+"/values", j{"a": 2}, "If-Match", "*").want(404, "session_not_found")
	try("PUT /v1/sessions/{id}/values/{key}", sessions+"/"+id+"/values/a", "2", "If-Match", "*").want(404, "session_not_found")
	try("POST /v1/sessions/{id}/touch", sessions+"/"+id+"/touch", nil).want(404, "session_not_found")
	const key = "a key that both applications use"
	w.as("blog", "POST", "/v1/keyed/set", j{"key": key, "set": j{"a": 1}}).want(200, "")
	try("POST /v1/keyed/get", "/v1/keyed/get", j{"key": key}).want(200, "").is(nil, "session")
	try("POST /v1/keyed/touch", "/v1/keyed/touch", j{"key": key}).want(404, "session_not_found")
	try("POST /v1/keyed/set", "/v1/keyed/set", j{"key": key, "set": j{"b": 1}}).want(200, "").is(j{"b": 1.0}, "session", "values")
	try("POST /v1/keyed/end", "/v1/keyed/end", j{"key": key}).want(204, "")
	w.as("blog", "POST", "/v1/keyed/get", j{"key": key}).want(200, "").is(j{"a": 1.0}, "session", "values")
	w.as("blog", "POST", "/v1/keyed/end", j{"key": key}).want(204, "")
	try("GET /v1/events", "/v1/events?follow=false", nil)
	w.pass(time.Second)
	try("DELETE /v1/sessions", sessions+"?subject=ann", nil).want(200, "").is(float64(2), "ended")
	try("DELETE /v1/sessions", sessions+"?all=true", nil).want(200, "")
	try("GET /v1/stats", "/v1/stats", nil).want(200, "").is(float64(0), "logged_in")

	for path, methods := range w.methods {
		for _, method := range methods {
			if pattern := method + " " + path; !tried[pattern] && path != "/openapi.json" {
				t.Errorf("%s was not tried", pattern)
			}
		}
	}
	w.as("blog", "GET", sessions+"/"+id, nil).want(200, "").is("ann", "subject").is(j{"a": float64(1)}, "values").is(float64(1), "revision")
	w.as("blog", "POST", sessions+"/resolve", j{"token": token}).want(200, "").is(id, "session", "id")
	w.as("blog", "GET", "/v1/stats", nil).want(200, "").is(float64(1), "sessions")
}

func TestKeys(t *testing.T) {
	w := newWorld(t)
	good := w.keys["shop"]
	for _, key := range []string{"", "x", good + "x", good[:len(good)-1], strings.ToUpper(good), "sojourn_", strings.Repeat("k", 20_000)} {
		a := w.request(key, "POST", "/v1/sessions", j{}).want(401, "unauthorized")
		if a.header.Get("WWW-Authenticate") == "" {
			t.Error("no WWW-Authenticate")
		}
	}
	for _, headers := range [][]string{
		{"Authorization", good}, {"Authorization", "Basic " + good}, {"Authorization", "Bearer"}, {"Authorization", "Bearer "},
		{"Authorization", "Bearer " + good, "Authorization", "Bearer " + good}, {"X-Api-Key", good}, {"Cookie", "key=" + good},
	} {
		w.request("", "GET", "/v1/stats", nil, headers...).want(401, "unauthorized")
	}
	w.request("", "GET", "/v1/stats?key="+good, nil).want(401, "unauthorized")
	almost, _ := NewKey()
	near := HashKey(almost)
	near[31] ^= 1
	w.Set([]App{{Name: "shop", Sessions: w.engines["shop"], Keys: []Key{{"near", near}, {"test", HashKey(good)}}}})
	w.request(almost, "GET", "/v1/stats", nil).want(401, "unauthorized")
	w.request("", "GET", "/v1/stats", nil, "Authorization", "bearer  "+good).want(200, "")
	key, hash := NewKey()
	other, _ := NewKey()
	if !strings.HasPrefix(key, "sojourn_") || len(key) < 51 || key == other || hash != fmt.Sprintf("sha256:%x", HashKey(key)) {
		t.Errorf("NewKey: %q, %q", key, hash)
	}
}

// A key that is removed is invalid at once, and the streams that it opened end.
// Others continue.
func TestRevokedKey(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w)
	t.Cleanup(server.Close) // by then the streams' context is done
	stream := func(app string) <-chan error {
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+w.keys[app])
		res, err := http.DefaultClient.Do(r)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%v, %v", res, err)
		}
		ended := make(chan error, 1)
		go func() {
			defer res.Body.Close()
			var err error
			for b := make([]byte, 1024); err == nil; {
				_, err = res.Body.Read(b)
			}
			ended <- err
		}()
		return ended
	}
	shop, blog := stream("shop"), stream("blog")
	user := w.user("ann")

	next, _ := NewKey()
	w.Set([]App{
		{Name: "shop", Sessions: w.engines["shop"], Keys: []Key{{"next", HashKey(next)}}},
		{Name: "blog", Sessions: w.engines["blog"], Keys: []Key{{"test", HashKey(w.keys["blog"])}}},
	})
	w.call("GET", "/v1/stats", nil).want(401, "unauthorized")
	w.request(next, "GET", "/v1/sessions/"+user.id(), nil).want(200, "")
	select {
	case <-shop:
	case <-time.After(10 * time.Second):
		t.Error("the stream of a revoked key goes on")
	}
	select {
	case err := <-blog:
		t.Errorf("the stream of another key ended: %v", err)
	default:
	}
	// The same key for another application is another key.
	w.Set([]App{{Name: "shop", Sessions: w.engines["shop"], Keys: []Key{{"test", HashKey(w.keys["blog"])}}}})
	select {
	case <-blog:
	case <-time.After(10 * time.Second):
		t.Error("the stream of a key that changed hands goes on")
	}
}

func TestPathsAndMethods(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/", "/v1", "/v1/", "/v2/sessions", "/v1/sessions/", "/v1//sessions", "/v1/./sessions", "/v1/../v1/stats", "/.", "/..", "/v1/.", "/v1/..", "/v1/sessions/.", "/v1/sessions/..", "/v1/sessions/a/b", "/check/shop/status/any", "/metrics"} {
		w.call("GET", path, nil).want(404, "not_found")
	}
	for path, allow := range map[string]string{"/v1/stats": "GET", "/v1/sessions/resolve": "POST", "/v1/sessions": "POST, GET, DELETE", "/openapi.json": "GET"} {
		a := w.call("PUT", path, j{}).want(405, "method_not_allowed")
		if a.header.Get("Allow") != allow {
			t.Errorf("%s: Allow: %s", path, a.header.Get("Allow"))
		}
	}
	for _, id := range []string{"x", "%00", "%ff", "%2e%2e", "..%2f..", strings.Repeat("a", 10<<10), "00000000-0000-0000-0000-000000000000"} {
		w.call("GET", "/v1/sessions/"+id, nil).want(404, "session_not_found")
		w.call("DELETE", "/v1/sessions/"+id, nil).want(404, "session_not_found")
	}
}

func TestBadBodies(t *testing.T) {
	w := newWorld(t)
	token := w.user("ann").token()
	for _, c := range []struct {
		path   string
		body   any
		status int
		code   string
		words  string
	}{
		{"resolve", "", 400, "malformed_json", "empty"},
		{"resolve", "  \n", 400, "malformed_json", "empty"},
		{"resolve", "{", 400, "malformed_json", "byte 1"},
		{"resolve", "{}x", 400, "malformed_json", "byte 2"},
		{"resolve", `{"token":"` + token + `","token":"x"}`, 400, "malformed_json", "/token occurs twice"},
		{"resolve", "{\"token\":\"\xff\"}", 400, "malformed_json", "UTF-8"},
		{"resolve", `{"token":"\ud800"}`, 400, "malformed_json", ""},
		{"resolve", `[]`, 422, "invalid_request", "an object is wanted"},
		{"resolve", `"x"`, 422, "invalid_request", "an object is wanted"},
		{"resolve", `{}`, 422, "invalid_request", "/token is missing"},
		{"resolve", `{"token":7}`, 422, "invalid_request", "/token has the wrong type: a string is wanted"},
		{"resolve", `{"token":"x","passive":"yes"}`, 422, "invalid_request", "/passive has the wrong type: true or false"},
		{"resolve", `{"Token":"x"}`, 422, "invalid_request", "/Token is not known here"},
		{"resolve", `{"token":"x","tokne":1}`, 422, "invalid_request", "/tokne is not known here"},
		{"resolve", j{"token": "x", "client": j{"ip": "localhost"}}, 422, "invalid_request", "/client/ip is no IP address"},
		{"resolve", j{"token": "x", "client": j{"ip": "192.0.2.1", "name": "x"}}, 422, "invalid_request", "/client/name is not known here"},
		{"login", j{}, 422, "invalid_request", "/subject is missing"},
		{"login", j{"subject": ""}, 422, "invalid_request", "/subject is empty"},
		{"", j{"subject": ""}, 422, "invalid_request", "/subject is empty: name the user, or leave it out"},
		{"resolve", j{"token": ""}, 422, "invalid_request", "/token is empty"},
		{"update", j{"token": ""}, 422, "invalid_request", "/token is empty"},
		{"elevate", j{"token": "", "level": 2}, 422, "invalid_request", "/token is empty"},
		{"rotate", j{"token": ""}, 422, "invalid_request", "/token is empty"},
		{"logout", j{"token": ""}, 422, "invalid_request", "/token is empty"},
		{"resolve", "null", 422, "invalid_request", "The body is null: an object is wanted"},
		{"resolve", `{"token":null}`, 422, "invalid_request", "/token is null: a string is wanted"},
		{"resolve", `{"token":"x","client":null}`, 422, "invalid_request", "/client is null: an object is wanted"},
		{"resolve", `{"token":"x","passive":null}`, 422, "invalid_request", "/passive is null: true or false is wanted"},
		{"login", `{"subject":"a","amr":null}`, 422, "invalid_request", "/amr is null: an array is wanted"},
		{"login", `{"subject":"a","amr":[null]}`, 422, "invalid_request", "/amr/0 is null: a string is wanted"},
		{"login", `{"subject":"a","level":null}`, 422, "invalid_request", "/level is null: a whole number"},
		{"update", `{"token":"x","delete":null}`, 422, "invalid_request", "/delete is null: an array is wanted"},
		{"update", `{"token":"x","if_revision":null}`, 422, "invalid_request", "/if_revision is null: a whole number"},
		{"", `{"values":null}`, 422, "invalid_request", "/values is null: an object is wanted"},
		{"", `{"values":{"a":{"b":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) + `}}}`, 422, "invalid_value", "/values/a is nested too deeply"},
		{"", "\x1f\x8b\x08\x00", 400, "malformed_json", "compressed with gzip"},
		{"", "\xef\xbb\xbf{}", 400, "malformed_json", "byte order mark"},
		{"", "\xff\xfe{\x00}\x00", 400, "malformed_json", "byte order mark"},
		{"login", j{"subject": "a\u0000b"}, 422, "invalid_subject", ""},
		{"login", j{"subject": strings.Repeat("x", 10<<10)}, 422, "invalid_subject", ""},
		{"login", j{"subject": "a\nb"}, 422, "invalid_subject", ""},
		{"login", j{"subject": "a", "level": 4}, 422, "invalid_value", "level 4"},
		{"login", j{"subject": "a", "level": -1}, 422, "invalid_value", ""},
		{"login", j{"subject": "a", "level": 1.5}, 422, "invalid_request", "/level has the wrong type: a whole number"},
		{"login", `{"subject":"a","level":1e99}`, 422, "invalid_request", "/level"},
		{"login", j{"subject": "a", "amr": "pwd"}, 422, "invalid_request", "/amr has the wrong type: an array"},
		{"login", j{"subject": "a", "amr": []string{"pwd otp"}}, 422, "invalid_request", "/amr/0"},
		{"login", j{"subject": "a", "amr": []string{"pwd", "pwd\u00a0otp"}}, 422, "invalid_request", "/amr/1"},
		{"login", j{"subject": "a", "amr": []string{"pwd\u2003otp"}}, 422, "invalid_request", "/amr/0"},
		{"login", j{"subject": "a", "amr": []string{"pässword"}}, 422, "invalid_request", "/amr/0"},
		{"login", j{"subject": "a", "amr": []string{strings.Repeat("x", 300)}}, 422, "invalid_value", "amr"},
		{"", j{"remember": true}, 422, "invalid_request", "/remember"},
		{"", j{"values": []int{1}}, 422, "invalid_request", "/values has the wrong type: an object"},
		{"", j{"values": j{"": 1}}, 422, "invalid_value", ""},
		{"", j{"values": j{"a": "x\u0000"}}, 422, "invalid_value", "U+0000"},
		{"", j{"values": j{"a": strings.Repeat("x", 65<<10)}}, 413, "too_large", "65536"},
		{"", `{"values":{"a":{"b":1,"b":2}}}`, 400, "malformed_json", "/values/a/b occurs twice"},
		{"", strings.Repeat("[", 20_000), 422, "invalid_request", "The body has the wrong type: an object is wanted."},
		{"", `{"values":{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}}`, 422, "invalid_value", "/values/a is nested too deeply"},
		{"", `{"values":{"a":"` + strings.Repeat("x", 10<<20) + `"}}`, 413, "body_too_large", ""},
		{"update", j{"token": token, "set": j{"a": 1}, "delete": []string{"a"}}, 422, "invalid_request", "/delete"},
		{"update", j{"token": token, "if_revision": -1}, 422, "invalid_request", "/if_revision"},
		{"update", j{"token": token, "set": j{strings.Repeat("k", 256): 1}}, 422, "invalid_value", ""},
		{"update", j{"set": j{}}, 422, "invalid_request", "/token is missing"},
		{"elevate", j{"token": token, "level": 9}, 422, "invalid_value", ""},
		{"elevate", j{"level": 2}, 422, "invalid_request", "/token is missing"},
		{"elevate", j{"token": token, "amr": []string{"otp"}}, 422, "invalid_request", "/level is missing"},
		{"rotate", j{}, 422, "invalid_request", "/token is missing"},
		{"logout", j{}, 422, "invalid_request", "/token is missing"},
	} {
		path := strings.TrimSuffix("/v1/sessions/"+c.path, "/")
		a := w.call("POST", path, c.body)
		if a.status != c.status || a.code() != c.code || !strings.Contains(a.text, strings.ReplaceAll(c.words, `"`, `\"`)) {
			t.Errorf("%s %.60v: %s\nwant %d %s %s", path, c.body, a.text, c.status, c.code, c.words)
		}
		if strings.Contains(a.text, token) {
			t.Errorf("%s: the token comes back: %s", path, a.text)
		}
	}
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "application/merge-patch+json", "nonsense/", ";"} {
		w.call("POST", "/v1/sessions", "{}", "Content-Type", media) // two of them
		r := request(t, "POST", "/v1/sessions", "{}")
		r.Header.Set("Content-Type", media)
		r.Header.Set("Authorization", "Bearer "+w.keys["shop"])
		recorder := httptest.NewRecorder()
		w.ServeHTTP(recorder, r)
		w.check(r, recorder.Result()).want(415, "unsupported_media_type")
	}
	for _, coding := range []string{"gzip", "br", "identity, gzip", "x"} {
		if a := w.call("POST", "/v1/sessions", "{}", "Content-Encoding", coding).want(415, "unsupported_media_type"); !strings.Contains(a.text, "compressed") || a.header.Get("Accept-Encoding") != "identity" {
			t.Errorf("Content-Encoding %s: %s, %v", coding, a.text, a.header)
		}
	}
	w.call("POST", "/v1/sessions", "{}", "Content-Encoding", "Identity").want(201, "")
	for _, media := range []string{"", "application/json; charset=utf-8", "Application/JSON"} {
		r := request(t, "POST", "/v1/sessions", "{}")
		r.Header.Set("Content-Type", media)
		if media == "" {
			r.Header.Del("Content-Type")
		}
		r.Header.Set("Authorization", "Bearer "+w.keys["shop"])
		recorder := httptest.NewRecorder()
		w.ServeHTTP(recorder, r)
		if recorder.Code != 201 {
			t.Errorf("Content-Type %q: %d", media, recorder.Code)
		}
	}
}

// null is refused where a value is required, for example as if_revision. Only a
// session's values may be null.
func TestNull(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	refused := func(method, path, body, where string, headers ...string) {
		t.Helper()
		a := w.call(method, path, body, headers...)
		if a.status != 422 || a.code() != "invalid_request" || a.at("errors").([]any)[0].(j)["where"] != where {
			t.Errorf("%s %s: %s: %d %s", method, path, body, a.status, a.text)
		}
	}
	refused("POST", "/v1/sessions/update", `{"token":"`+user.token()+`","set":{"a":3},"if_revision":null}`, "/if_revision")
	for path, body := range map[string]any{
		"": v1.Create{}, "/resolve": v1.Resolve{}, "/update": v1.Update{}, "/login": v1.Login{}, "/elevate": v1.Elevate{}, "/rotate": v1.Presented{}, "/logout": v1.Presented{},
	} {
		path = "/v1/sessions" + path
		refused("POST", path, "null", "")
		refused("POST", path, `{"client":{"ip":null}}`, "/client/ip")
		refused("POST", path, `{"client":{"user_agent":null}}`, "/client/user_agent")
		for i := range reflect.TypeOf(body).NumField() {
			f := reflect.TypeOf(body).Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			refused("POST", path, `{"`+name+`":null}`, "/"+name)
			if f.Type.Kind() == reflect.Slice {
				refused("POST", path, `{"`+name+`":[null]}`, "/"+name+"/0")
			}
		}
	}
	values := "/v1/sessions/" + user.id() + "/values"
	refused("PATCH", values, "null", "", "If-Match", `"1"`)

	w.call("PATCH", values, j{"a": j{"b": nil, "c": []any{nil}}, "d": nil}, "If-Match", `"1"`).want(200, "").is(j{"a": j{"c": []any{nil}}}, "values")
	w.call("POST", "/v1/sessions/update", j{"token": user.token(), "set": j{"e": nil}}).want(200, "").is(float64(3), "session", "revision")
	w.call("POST", "/v1/sessions", j{"values": j{"a": nil, "b": j{"c": nil}}}).want(201, "").is(j{"a": nil, "b": j{"c": nil}}, "session", "values")
}

// Subjects may contain any characters.
func TestSubjects(t *testing.T) {
	w := newWorld(t)
	for _, subject := range []string{"a/b", "a?b#c", "../x", "ü", "a b", "Ann", "ann", "'; DROP", "<b>", strings.Repeat("x", 255), "\u202e"} {
		user := w.user(subject)
		user.is(subject, "session", "subject")
		r := request(t, "GET", "/v1/sessions", nil)
		q := r.URL.Query()
		q.Set("subject", subject)
		if a := w.call("GET", "/v1/sessions?"+q.Encode(), nil).want(200, ""); len(a.at("sessions").([]any)) != 1 {
			t.Errorf("%q: %s", subject, a.text)
		}
		w.call("DELETE", "/v1/sessions?"+q.Encode(), nil).want(200, "").is(float64(1), "ended")
	}
}

// If the store does not answer, each operation answers 503.
func TestStoreFails(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	for err, code := range map[error]string{errors.New("the store broke"): "unavailable", store.ErrFull: "store_full", store.ErrUncertain: "outcome_unknown", context.DeadlineExceeded: "unavailable"} {
		w.store.fail(err)
		a := w.call("POST", "/v1/sessions", j{"subject": "ben"})
		if a.status != 503 || a.code() != code || a.header.Get("Retry-After") == "" || strings.Contains(a.text, "broke") {
			t.Errorf("create: %v: %s", err, a.text)
		}
		for _, c := range []struct {
			method, path string
			body         any
			header       string
		}{
			{"POST", "/resolve", j{"token": user.token()}, ""}, {"POST", "/update", j{"token": user.token()}, ""}, {"POST", "/login", j{"token": user.token(), "subject": "ann"}, ""},
			{"POST", "/elevate", j{"token": user.token(), "level": 1}, ""}, {"POST", "/rotate", j{"token": user.token()}, ""}, {"POST", "/logout", j{"token": user.token()}, ""},
			{"GET", "", nil, ""}, {"GET", "/" + user.id(), nil, ""}, {"DELETE", "/" + user.id(), nil, ""}, {"DELETE", "?all=true", nil, ""}, {"DELETE", "?subject=ann", nil, ""},
			{"PATCH", "/" + user.id() + "/values", j{}, `"1"`}, {"PUT", "/" + user.id() + "/values", j{}, "*"}, {"PUT", "/" + user.id() + "/values/a", "1", "*"},
			{"POST", "/" + user.id() + "/touch", nil, ""}, {"GET", "?values=true", nil, ""},
		} {
			if code == "store_full" || code == "outcome_unknown" {
				break // of writes alone
			}
			var headers []string
			if c.header != "" {
				headers = []string{"If-Match", c.header}
			}
			w.call(c.method, "/v1/sessions"+c.path, c.body, headers...).want(503, code)
		}
	}
	w.store.fail(errors.New("the store broke"))
	w.call("GET", "/v1/stats", nil).want(503, "unavailable")
	for _, path := range []string{"get", "set", "touch", "end"} {
		w.call("POST", "/v1/keyed/"+path, j{"key": keyOne}).want(503, "unavailable")
	}
	if !strings.Contains(w.log.String(), "the store broke") {
		t.Error("the log doesn't say why")
	}
	w.store.fail(nil)
	w.alive(user.token(), "ann")
}

// Guessing is detected if the application names the client. Requests, logins
// and logouts of visitors are not refused.
func TestThrottled(t *testing.T) {
	w := newWorld(t)
	token := func(n int) string { return fmt.Sprintf("%020d%044d", n, n) }
	guess := func(n int, ip string) *answer {
		return w.call("POST", "/v1/sessions/resolve", j{"token": token(n), "client": j{"ip": ip}}).want(200, "")
	}
	why := func(a *answer) any { return a.body["why"] }
	for n := range 110 {
		if got := why(guess(n, "192.0.2.1")); got != "unknown" {
			t.Fatalf("guess %d: %v", n, got)
		}
	}
	if got := why(guess(200, "192.0.2.1")); got != "throttled" {
		t.Errorf("a further guess: %v", got)
	}
	if got := why(guess(7, "192.0.2.1")); got != "unknown" {
		t.Errorf("a known one: %v", got)
	}
	if got := why(guess(201, "192.0.2.2")); got != "unknown" {
		t.Errorf("from elsewhere: %v", got)
	}
	there := j{"ip": "192.0.2.1"}
	a := w.call("POST", "/v1/sessions/update", j{"token": token(202), "set": j{"a": 1}, "client": there}).want(429, "throttled")
	if a.header.Get("Retry-After") != "60" {
		t.Error("no Retry-After")
	}
	w.call("POST", "/v1/sessions/login", j{"token": token(203), "subject": "ann", "client": there}).want(200, "")
	w.call("POST", "/v1/sessions/logout", j{"token": token(204), "client": there}).want(200, "")
}

// The description is valid and has an example for each body, which matches its
// schema.
func TestDescription(t *testing.T) {
	w := newWorld(t)
	res := w.request("", "GET", "/openapi.json", nil).want(200, "")
	doc, err := libopenapi.NewDocument([]byte(res.text))
	if err != nil {
		t.Fatal(err)
	}
	if ok, errs := spec(t, []byte(res.text)).ValidateDocument(); !ok {
		for _, e := range errs {
			t.Error(e.Message, e.Reason, e.SchemaValidationErrors)
		}
	}
	model, err := doc.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			method = strings.ToUpper(method)
			described[method+" "+path] = true
			url := strings.ReplaceAll(path, "{id}", "019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21")
			if op.RequestBody != nil {
				for media, content := range op.RequestBody.Content.FromOldest() {
					var example any
					if err := content.Example.Decode(&example); err != nil {
						t.Fatal(err)
					}
					text, err := json.Marshal(example)
					if err != nil {
						t.Fatal(err)
					}
					r := request(t, method, url, string(text))
					r.Header.Set("Content-Type", media)
					r.Header.Set("Authorization", "Bearer x")
					r.Header.Set("If-Match", `"1"`)
					if ok, errs := w.spec.ValidateHttpRequest(r); !ok {
						for _, e := range errs {
							t.Errorf("%s %s: the example is not as described: %s %v", method, path, e.Message, e.SchemaValidationErrors)
						}
					}
					// The server accepts the example, too.
					if a := w.call(method, url, string(text), "If-Match", `"1"`); a.code() == "invalid_request" || a.code() == "malformed_json" {
						t.Errorf("%s %s: the example is refused: %s", method, path, a.text)
					}
				}
			}
			for status, response := range op.Responses.Codes.FromOldest() {
				if response.Content == nil {
					continue
				}
				for media, content := range response.Content.FromOldest() {
					if media == "text/event-stream" {
						continue
					}
					var example any
					if content.Example == nil {
						t.Errorf("%s %s %s: no example", method, path, status)
						continue
					}
					if err := content.Example.Decode(&example); err != nil {
						t.Fatal(err)
					}
					text, _ := json.Marshal(example)
					recorder := httptest.NewRecorder()
					recorder.Header().Set("Content-Type", media)
					var code int
					_, _ = fmt.Sscan(status, &code)
					recorder.WriteHeader(code)
					_, _ = recorder.Write(text)
					if ok, errs := w.spec.ValidateHttpResponse(httptest.NewRequest(method, url, nil), recorder.Result()); !ok {
						for _, e := range errs {
							t.Errorf("%s %s %s: the example is not as described: %s %v", method, path, status, e.Message, e.SchemaValidationErrors)
						}
					}
				}
			}
		}
	}
	for path, methods := range w.methods {
		for _, method := range methods {
			if path != "/openapi.json" && !described[method+" "+path] {
				t.Errorf("%s %s is not described", method, path)
			}
		}
	}
	if !strings.Contains(res.text, `"EventClient"`) {
		t.Error("the events' type is not described")
	}
}

// Validation of answers can fail: a description that is incomplete is detected.
func TestValidationFails(t *testing.T) {
	w := newWorld(t)
	recorder := httptest.NewRecorder()
	recorder.Header().Set("Content-Type", "application/json")
	_, _ = recorder.WriteString(`{"session":{"id":7}}`)
	if ok, _ := w.spec.ValidateHttpResponse(httptest.NewRequest("POST", "/v1/sessions/resolve", nil), recorder.Result()); ok {
		t.Error("a wrong answer passes")
	}
}

// No log line, even at debug level, holds a secret that was issued or sent.
func TestCanary(t *testing.T) {
	w := newWorld(t)
	user := w.user("ann")
	canary := "CANARY" + strings.Repeat("c", 58)
	w.call("POST", "/v1/sessions/resolve", j{"token": canary})
	w.call("POST", "/v1/sessions/resolve", `{"token":"`+canary+`",}`)
	w.call("POST", "/v1/sessions/resolve", `{"`+canary+`":1}`)
	w.call("GET", "/v1/sessions/"+canary, nil)
	w.call("GET", "/v1/"+canary, nil)
	w.call("GET", "/v1/stats?"+canary+"="+canary, nil)
	w.request(canary, "GET", "/v1/stats", nil)
	w.call("POST", "/v1/sessions/update", j{"token": user.token(), "set": j{"a": 1}})
	w.call("POST", "/v1/sessions/login", j{"token": user.token(), "subject": "ann"})
	w.store.fail(errors.New("broken"))
	w.call("POST", "/v1/sessions/resolve", j{"token": user.token()})
	log := w.log.String()
	if !strings.Contains(log, "api request") || !strings.Contains(log, "resolve") {
		t.Fatalf("nothing was logged:\n%s", log)
	}
	for _, secret := range append(slices.Clone(w.secrets), canary) {
		if strings.Contains(log, secret) || strings.Contains(log, secret[len(secret)-32:]) {
			t.Errorf("a secret was logged:\n%s", log)
		}
	}
}

func TestObserve(t *testing.T) {
	var routes []string
	w := newWorld(t, func(o *Options) {
		o.Observe = func(route string, status int, took time.Duration) {
			routes = append(routes, fmt.Sprint(route, " ", status, " ", took > 0))
		}
	})
	w.call("GET", "/v1/stats", nil)
	w.call("GET", "/v1/sessions/x", nil)
	w.call("GET", "/nowhere", nil)
	w.store.fail(errors.New("disk on fire"))
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, ctx := range []context.Context{t.Context(), gone} { // a client that didn't wait is no failure of the store's
		r := httptest.NewRequestWithContext(ctx, "GET", "/v1/sessions/019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21", nil)
		r.Header.Set("Authorization", "Bearer "+w.keys["shop"])
		w.ServeHTTP(httptest.NewRecorder(), r)
	}
	want := "[GET /v1/stats 200 true GET /v1/sessions/{id} 404 true  404 true GET /v1/sessions/{id} 503 true GET /v1/sessions/{id} 499 true]"
	if got := fmt.Sprint(routes); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A body that never ends is cut off at the server's deadline, with its own
// code.
func TestSlowBody(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewUnstartedServer(w)
	server.Config.ReadTimeout = 2 * time.Second // a busy machine must read the header in it
	server.Start()
	defer server.Close()
	body := make(slowBody)
	r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/v1/sessions", body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 100
	r.Header.Set("Authorization", "Bearer "+w.keys["shop"])
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	w.check(httptest.NewRequest("POST", "/v1/sessions", nil), res).want(408, "request_timeout")
	close(body)
}

type slowBody chan struct{}

func (b slowBody) Read(p []byte) (int, error) { <-b; return 0, http.ErrBodyReadAfterClose }
func (b slowBody) Close() error               { return nil }

func TestEvents(t *testing.T) {
	w := newWorld(t)
	a := w.call("GET", "/v1/events?last=7&follow=false", nil)
	if a.status != 200 || a.text != "id: shop-1\ndata: {\"last\":7}\n\n" {
		t.Errorf("%d %q", a.status, a.text)
	}
	w.call("GET", "/v1/events", nil, "Last-Event-ID", "refuse").want(503, "stream_refused")
	without := newWorld(t, func(o *Options) { o.Events = nil })
	without.call("GET", "/v1/events", nil).want(404, "not_found")
}

// The documentation lists every code and every route, and its requests work as
// they are written.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../../docs/server.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := string(text)
	w := newWorld(t)
	for _, list := range [][]code{everywhere, {codeNotFound, codeMethod}} {
		for _, c := range list {
			w.seen[c.name] = true
		}
	}
	for _, name := range regexp.MustCompile(`"code":"(\w+)"`).FindAllStringSubmatch(strings.ReplaceAll(string(w.openapi), `"code": "`, `"code":"`), -1) {
		w.seen[name[1]] = true
	}
	for _, name := range regexp.MustCompile(`(?m)(?:description": "|\\n\\n)([a-z_]+): `).FindAllStringSubmatch(string(w.openapi), -1) {
		w.seen[name[1]] = true
	}
	delete(w.seen, "null") // which begins another description
	if len(w.seen) < 25 {
		t.Errorf("only %d codes were found in the description", len(w.seen))
	}
	for name := range w.seen {
		if !strings.Contains(docs, "`"+name+"`") {
			t.Errorf("docs/server.md lacks the code %s", name)
		}
	}
	for path, methods := range w.methods {
		for _, method := range methods {
			if path != "/openapi.json" && !strings.Contains(docs, "`"+method+" "+path+"`") {
				t.Errorf("docs/server.md lacks %s %s", method, path)
			}
		}
	}
	requests := regexp.MustCompile(`(?m)^curl .*--json '(.*)' http://127.0.0.1:7081(/\S+)$`).FindAllStringSubmatch(docs, -1)
	if len(requests) != 4 {
		t.Errorf("%d requests in docs/server.md", len(requests))
	}
	token := ""
	for _, r := range requests {
		a := w.call("POST", r[2], strings.ReplaceAll(r[1], "TOKEN", token)).want(200, "")
		if a.body["token"] != nil {
			token = a.token()
		}
	}
}
