package api

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
)

// newBoundWorld returns a world whose shop binds sessions.
func newBoundWorld(t *testing.T) *world { return newWorldOf(t, bound) }

// headers returns the headers for the browser of an answer, without the quotes of
// JSON.
func (a *answer) headers() http.Header {
	h := http.Header{}
	list, _ := a.body["headers"].(map[string]any)
	for name, value := range list {
		h.Set(name, value.(string))
	}
	return h
}

// A keeper is a browser that binds its sessions of the shop.
type keeper struct {
	*dbsctest.Browser
	world  *world
	cookie string // of the session
	proof  string
}

func (w *world) keeper() *keeper {
	k := &keeper{Browser: &dbsctest.Browser{Key: dbsctest.NewKey()}, world: w}
	k.Post = func(path string, header http.Header) *http.Response {
		r := httptest.NewRequest("POST", path, nil)
		r.Header = header
		r.Header.Set("Cookie", k.cookies())
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		out := httptest.NewRecorder()
		w.engines["shop"].BoundHandler().ServeHTTP(out, r)
		return out.Result()
	}
	return k
}

// cookies returns the Cookie header that the browser sends.
func (k *keeper) cookies() string { return "theme=dark; " + k.cookie + "; " + k.proof }

// bind logs a user in, and binds the session. The grace, in which the session is
// good without a proof, is over then.
func (w *world) bind(subject string) *keeper {
	w.Helper()
	k := w.keeper()
	in := w.call("POST", "/v1/sessions/login", j{"cookie": "", "subject": subject}).want(200, "").is(false, "session", "bound")
	k.cookie = sessionName + in.token()
	if err := k.Register(in.headers().Get("Secure-Session-Registration")); err != nil {
		w.Fatal(err)
	}
	k.refresh()
	w.call("POST", "/v1/sessions/resolve", j{"cookie": k.cookies()}).want(200, "").is(subject, "session", "subject").is(true, "session", "bound")
	w.pass(2 * time.Minute)
	return k
}

func (k *keeper) refresh() {
	k.world.Helper()
	var err error
	if k.proof, err = k.Refresh(); err != nil {
		k.world.Fatal(err)
	}
}

// A bound session is good only together with a proof. Without one, every call says
// what the browser must do, and changes nothing.
func TestBoundSession(t *testing.T) {
	w := newBoundWorld(t)
	k := w.bind("ann")
	post := func(call string, body j) *answer {
		w.Helper()
		return w.call("POST", "/v1/sessions/"+call, body)
	}
	proof := strings.SplitN(k.proof, "=", 2)[1]
	token := strings.TrimPrefix(k.cookie, sessionName)

	// With the proof, in both forms.
	set := post("update", j{"cookie": k.cookies(), "set": j{"cart": 1}}).want(200, "").is(true, "session", "bound")
	id := set.id()
	post("update", j{"token": token, "proofs": []string{"x", proof}, "set": j{"lamp": 2}}).want(200, "").is(1.0, "session", "values", "cart")
	if got := post("resolve", j{"token": token, "proofs": []string{proof}}).want(200, "").is("ann", "session", "subject").headers(); len(got) > 0 {
		t.Errorf("a proven session gets the headers %v", got)
	}

	// Without it, nobody is logged in, and the answer has a challenge that works.
	stolen := "theme=dark; " + k.cookie
	challenged := func(a *answer) {
		t.Helper()
		got := a.headers().Get("Secure-Session-Challenge")
		if !strings.HasSuffix(got, `;id="`+id+`"`) {
			t.Errorf("the challenge is %q: %s", got, a.text)
		}
	}
	other := w.bind("ben")
	w.call("DELETE", "/v1/sessions?subject=ben", nil).want(200, "")
	for _, body := range []j{
		{"cookie": stolen}, {"token": token}, {"token": token, "proofs": []string{}}, {"token": token, "proofs": []string{"", strings.Repeat("A", 43), strings.Repeat("x", 64<<10)}},
		{"cookie": stolen + "; " + other.proof}, {"cookie": stolen + "; __Host-shop-session-bound-" + id[len(id)-8:] + "=" + strings.Repeat("A", 43)},
		{"cookie": stolen + "; " + strings.Replace(k.proof, "shop", "blog", 1)}, {"cookie": stolen + "; __Host-blog-session-bound-00000000=" + proof},
		{"cookie": stolen + strings.Repeat("; __Host-shop-session-bound-00000000="+strings.Repeat("A", 43), 100)},
	} {
		challenged(post("resolve", body).want(200, "").is(nil, "session").is("unproven", "why"))
		for call, more := range map[string]j{"update": {"set": j{"cart": 9}}, "elevate": {"level": 2}, "rotate": {}, "regenerate": {}} {
			for name, value := range body {
				more[name] = value
			}
			challenged(post(call, more).want(409, "not_live").is("unproven", "why"))
		}
	}
	// A browser renews no proof as long as it has one, so a dead one goes.
	name := "__Host-shop-session-bound-" + id[len(id)-8:]
	dead := post("resolve", j{"cookie": stolen + "; " + name + "=" + strings.Repeat("A", 43)}).want(200, "").is("unproven", "why")
	if _, cleared := dead.cookies(); !slices.Contains(cleared, name+"=") {
		t.Errorf("the dead proof stays: cleared %v", cleared)
	}
	challenged(post("update", j{"cookie": stolen, "delete": []string{"cart"}}).want(409, "not_live").is("unproven", "why"))
	visitor := post("update", j{"cookie": stolen, "set": j{"seen": true}, "safe": true}).want(200, "").is("", "session", "subject")
	if set, cleared := visitor.cookies(); len(set) != 1 || set[0] != visitorName || len(cleared) > 0 {
		t.Errorf("a safe request sets %v and clears %v", set, cleared)
	}
	after := w.call("GET", "/v1/sessions/"+id, nil).want(200, "").is(true, "bound").is(1.0, "values", "cart")
	after.is(1.0, "level")
	unproven := post("resolve", j{"cookie": stolen})
	k.Heed(unproven.headers())
	k.refresh()
	post("resolve", j{"cookie": k.cookies()}).want(200, "").is("ann", "session", "subject")

	// Too much is refused.
	post("resolve", j{"token": token, "proofs": []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}}).want(422, "invalid_request")
	post("resolve", j{"cookie": stolen, "proofs": []string{proof}}).want(422, "invalid_request")
	post("resolve", j{"token": token, "proofs": proof}).want(422, "invalid_request")

	// A rotation and an elevation keep the binding, and ask for no other key.
	for _, call := range []string{"rotate", "elevate"} {
		up := post(call, map[string]j{"rotate": {"cookie": k.cookies()}, "elevate": {"cookie": k.cookies(), "level": 2}}[call]).want(200, "").is(true, "session", "bound")
		if len(up.headers()) > 0 {
			t.Errorf("%s of a bound session: %v", call, up.headers())
		}
		k.cookie = sessionName + up.token()
	}
	if list := w.call("GET", "/v1/sessions?subject=ann", nil).want(200, ""); !strings.Contains(list.text, `"bound":true`) {
		t.Errorf("a list doesn't tell: %s", list.text)
	}

	// A logout works without a proof, and so does a login, which makes a new session.
	in := post("login", j{"cookie": k.cookie, "subject": "ann"}).want(200, "").is(false, "session", "bound")
	if in.id() == id || in.headers().Get("Secure-Session-Registration") == "" {
		t.Errorf("a login without a proof: %s", in.text)
	}
	k = w.bind("ann")
	out := post("logout", j{"cookie": k.cookies()}).want(200, "")
	if _, cleared := out.cookies(); len(cleared) != 2 || cleared[0] != sessionName || cleared[1] != strings.SplitAfter(k.proof, "=")[0] {
		t.Errorf("a logout clears %v", cleared)
	}
}

// resolve says what a session lacks for a page.
func TestRequire(t *testing.T) {
	w := newBoundWorld(t)
	lacks := func(what, cookie string, need j, want any) {
		t.Helper()
		a := w.call("POST", "/v1/sessions/resolve", j{"cookie": cookie, "require": need}).want(200, "")
		if a.body["unmet"] != want {
			t.Errorf("%s: unmet is %v, want %v", what, a.body["unmet"], want)
		}
	}
	all := j{"level": 1, "fresh": 600, "bound": true}
	lacks("a stranger", "", all, "anonymous")
	lacks("a stranger", "theme=dark", j{}, "anonymous")
	loose := sessionName + w.user("ann").token()
	lacks("a login", loose, j{}, nil)
	lacks("a login", loose, j{"bound": true}, "unbound")
	lacks("a login", loose, j{"level": 2, "bound": true}, "level")
	k := w.bind("ben")
	lacks("a bound login", k.cookies(), all, nil)
	lacks("a bound login", k.cookies(), j{"level": 2}, "level")
	lacks("without a proof", k.cookie, j{}, "unproven")
	lacks("without a proof", k.cookie, j{"bound": true}, "unproven")
	w.pass(12 * time.Minute)
	k.refresh()
	lacks("an old login", k.cookies(), all, "not_fresh")
	for _, need := range []any{j{"level": 4}, j{"level": -1}, j{"fresh": -1}, j{"fresh": 1 << 32}, j{"bound": 1}, j{"unbound": true}, true, nil} {
		w.call("POST", "/v1/sessions/resolve", j{"cookie": "", "require": need}).want(422, "invalid_request")
	}
}
