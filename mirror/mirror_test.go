package mirror_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/mirror"
	"github.com/sojourn-go/sojourn/sojourntest"
	"github.com/sojourn-go/sojourn/store/memstore"
)

var (
	theme    = sojourn.NewKey[string]("theme")
	language = sojourn.NewKey[string]("language")
	nickname = sojourn.NewKey[string]("nickname")
	pages    = sojourn.NewKey[int]("pages")
	secret   = sojourn.NewKey[string]("secret")
)

// A world is a mirror of four keys on an engine of its own.
type world struct {
	*sojourntest.Sessions
	t      testing.TB
	mirror *mirror.Mirror
}

func newWorld(t testing.TB) *world { return newWorldWith(t, sojourn.Options{}) }

func newWorldWith(t testing.TB, opt sojourn.Options) *world {
	sessions := sojourntest.New(t, opt)
	m, err := mirror.New(sessions.Engine,
		mirror.Public(theme, mirror.Key{Attribute: "data-theme", Values: []string{"light", "dark"}}),
		mirror.Public(language, mirror.Key{Attribute: "lang", Values: []string{"en", "de", "fr"}}),
		mirror.Public(nickname, mirror.Key{Personal: true}),
		mirror.Public(pages, mirror.Key{}))
	if err != nil {
		t.Fatal(err)
	}
	m.SetClock(sessions.Now)
	return &world{sessions, t, m}
}

func (w *world) browser() *browser {
	b := &browser{world: w}
	b.Browser = w.Browser(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b.sent = r.Header["Cookie"]
		w.mirror.ServeHTTP(rw, r)
	}))
	return b
}

// A browser is what the script is in a page, as far as the server sees it.
type browser struct {
	world *world
	*sojourntest.Browser
	user string                     // as of the last answer
	last *httptest.ResponseRecorder // of post
	sent []string                   // cookies
}

type answer struct {
	User   string `json:"user"`
	Values map[string]struct {
		Value any   `json:"value"`
		Time  int64 `json:"time"`
	} `json:"values"`
	Refused []string `json:"refused"`
}

// post sends a body as the script does.
func (b *browser) post(body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/session/mirror", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	b.last = b.Do(r)
	return b.last
}

// send sends values, as members of a JSON object. It returns those of the answer.
func (b *browser) send(values string) map[string]any {
	b.world.t.Helper()
	return b.sendAs(b.user, values)
}

func (b *browser) sendAs(user, values string) map[string]any {
	b.world.t.Helper()
	w := b.post(fmt.Sprintf(`{"user":%q,"values":{%s}}`, user, values))
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
		b.world.t.Fatalf("%d %s", w.Code, w.Body)
	}
	b.user = a.User
	out := map[string]any{}
	for key, e := range a.Values {
		out[key] = e.Value
	}
	if len(a.Refused) > 0 {
		out["refused"] = fmt.Sprint(a.Refused)
	}
	return out
}

func (w *world) equal(what string, got, want any) {
	w.t.Helper()
	if !reflect.DeepEqual(got, want) {
		w.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

type values = map[string]any

// A visitor's preferences make no session, no cookie and no record (I8).
func TestVisitorLeavesNoTrace(t *testing.T) {
	memory := memstore.New()
	defer memory.Close()
	sessions, err := sojourn.New(memory, sojourn.Options{OnEvent: func(e sojourn.Event) { t.Errorf("an event: %v", e) }})
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close(t.Context())
	m := mirror.Must(mirror.New(sessions, mirror.Public(theme, mirror.Key{Attribute: "data-theme"})))
	for _, r := range []*http.Request{
		httptest.NewRequest("GET", "/session/mirror.js", nil),
		httptest.NewRequest("POST", "/session/mirror", strings.NewReader(`{"user":"","values":{"theme":{"value":"dark","age":5}}}`)),
	} {
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if cookies := w.Header()["Set-Cookie"]; cookies != nil || w.Code != http.StatusOK {
			t.Errorf("%s: %d, and it sets %q", r.URL, w.Code, cookies)
		}
	}
	for _, app := range []string{"default", "default/profiles"} {
		n, err := memory.Count(t.Context(), app)
		if err != nil || n.Sessions != 0 {
			t.Errorf("the store has %d records of %s (%v)", n.Sessions, app, err)
		}
	}
}

// A visitor who has a session for something else keeps no preference in it.
func TestVisitorsSessionStaysAsItIs(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.Change(func(s *sojourn.Session) error { return secret.Set(s, "cart") })
	w.equal("the answer", b.send(`"theme":{"value":"dark","age":5}`), values{})
	keys, err := b.Session().Keys()
	w.equal("the keys", fmt.Sprint(keys, err), "[secret] <nil>")
}

func TestFirstSignInTakesTheBrowsersValues(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.send(`"theme":{"value":"dark","age":5},"nickname":{"value":"Ann","age":0}`)
	b.SignIn("ann")
	w.equal("the answer", b.sendAs("", `"theme":{"value":"dark"},"nickname":{"value":"Ann"}`), values{"theme": "dark", "nickname": "Ann"})
	got, err := theme.Get(b.Session())
	w.equal("the session's value", fmt.Sprint(got, " ", err), "dark <nil>")
	if b.user == "" || strings.Contains(b.last.Body.String(), "ann") {
		t.Errorf("the answer must mark the user without naming it: %s", b.last.Body)
	}
}

// At a sign-in on a second device the server's values win where it has some, and
// that browser's are taken where it has none.
func TestSecondDevice(t *testing.T) {
	w := newWorld(t)
	first, second := w.browser(), w.browser()
	first.SignIn("ann")
	first.sendAs("", `"theme":{"value":"dark"},"nickname":{"value":"Ann"}`)
	first.Change((*sojourn.Session).Logout) // the values outlive the session
	w.Advance(time.Hour)

	second.SignIn("ann")
	// The change is a minute old, and so later than the first device's. It was a visitor's.
	w.equal("the answer", second.sendAs("", `"theme":{"value":"light","age":60000},"language":{"value":"de","age":60000}`),
		values{"theme": "dark", "nickname": "Ann", "language": "de"})
	got, err := theme.Get(second.Session())
	w.equal("the session's value", fmt.Sprint(got, " ", err), "dark <nil>")

	other := w.browser()
	other.SignIn("bob")
	w.equal("another user's", other.sendAs("", ``), values{})
}

// Of two devices' changes the later wins, in whatever order they arrive.
func TestLaterChangeWins(t *testing.T) {
	for _, order := range []string{"first first", "second first"} {
		w := newWorld(t)
		a, b := w.browser(), w.browser()
		a.SignIn("ann")
		b.SignIn("ann")
		a.send(``)
		b.send(``)
		w.Advance(time.Hour)
		// Both were offline. a changed it 20 minutes ago, b 10 minutes ago.
		older := func() { a.send(`"theme":{"value":"light","age":1200000}`) }
		newer := func() { b.send(`"theme":{"value":"dark","age":600000}`) }
		if order == "first first" {
			older()
			newer()
		} else {
			newer()
			older()
		}
		for name, device := range map[string]*browser{"a": a, "b": b} {
			w.equal(order+": "+name, device.send(``), values{"theme": "dark"})
			got, _ := theme.Get(device.Session())
			w.equal(order+": session of "+name, got, "dark")
		}
	}
}

// A browser that lies about the time, or whose clock was set, can't bind the
// future: a change now wins.
func TestAgeIsBounded(t *testing.T) {
	w := newWorld(t)
	a, b := w.browser(), w.browser()
	a.SignIn("ann")
	b.SignIn("ann")
	a.send(``)
	b.send(``)
	for _, age := range []string{"-1e15", "-5", "0", "1e300", "99999999999999999999"} {
		a.send(`"theme":{"value":"light","age":` + age + `}`)
		w.equal("after age "+age, b.send(`"theme":{"value":"dark","age":0}`), values{"theme": "dark"})
	}
}

// If the server's clock was put back, a change counts all the same.
func TestServersClockPutBack(t *testing.T) {
	w := newWorld(t)
	a, b := w.browser(), w.browser()
	a.SignIn("ann")
	b.SignIn("ann")
	b.send(``)
	w.mirror.SetClock(func() time.Time { return w.Now().Add(time.Hour) })
	a.send(`"theme":{"value":"light"}`)
	w.mirror.SetClock(w.Now)
	w.equal("the answer", b.send(`"theme":{"value":"dark","age":0}`), values{"theme": "dark"})
	w.equal("the other device", a.send(`"theme":{"value":"light"}`), values{"theme": "dark"})
}

func TestRemovedValue(t *testing.T) {
	w := newWorld(t)
	a, b := w.browser(), w.browser()
	a.SignIn("ann")
	a.send(`"theme":{"value":"dark"}`)
	b.SignIn("ann")
	w.equal("before", b.send(``), values{"theme": "dark"})
	w.Advance(time.Minute)
	w.equal("the answer", a.send(`"theme":{"value":null,"age":10}`), values{"theme": nil})
	w.equal("the other device", b.sendAs(b.user, `"theme":{"value":"dark"}`), values{"theme": nil})
	_, ok, err := theme.Lookup(b.Session())
	w.equal("in the session", fmt.Sprint(ok, err), "false <nil>")
}

// What the application changes in the session reaches the profile, and so the
// other devices.
func TestApplicationChangesValue(t *testing.T) {
	w := newWorld(t)
	a, b := w.browser(), w.browser()
	a.SignIn("ann")
	b.SignIn("ann")
	a.send(`"theme":{"value":"light"}`)
	b.send(``)
	w.Advance(time.Minute)
	a.Change(func(s *sojourn.Session) error { return theme.Set(s, "dark") })
	w.equal("the answer", a.send(`"theme":{"value":"light"}`), values{"theme": "dark"})
	w.equal("the other device", b.send(`"theme":{"value":"light"}`), values{"theme": "dark"})

	w.Advance(time.Minute)
	a.Change(func(s *sojourn.Session) error { return theme.Delete(s) })
	w.equal("after the removal", a.send(`"theme":{"value":"dark"}`), values{"theme": nil})
	w.equal("the other device after the removal", b.send(`"theme":{"value":"dark"}`), values{"theme": nil})

	w.Advance(time.Minute)
	b.send(`"theme":{"value":"light","age":0}`)
	w.equal("a session that has not yet met the change", a.send(``), values{"theme": "light"})
}

// A value that the application stores, and that isn't of the declared form, stays
// where it is.
func TestApplicationsOwnForm(t *testing.T) {
	w := newWorld(t)
	a := w.browser()
	a.SignIn("ann")
	a.Change(func(s *sojourn.Session) error { return theme.Set(s, "<b>") })
	w.equal("the answer", a.send(`"language":{"value":"de","age":0}`), values{"language": "de"})
	got, _ := theme.Get(a.Session())
	w.equal("the session's value", got, "<b>")
}

// Nothing that is not declared leaves the server: every value of the session and
// of the profile is there to be found.
func TestOnlyDeclaredValuesLeaveTheServer(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.SignIn("ann")
	b.Change(func(s *sojourn.Session) error {
		for i := range 100 {
			if err := s.SetValue(fmt.Sprint("key", i), json.RawMessage(fmt.Sprintf(`"hidden%d"`, i))); err != nil {
				return err
			}
		}
		return theme.Set(s, "dark")
	})
	err := w.UpdateProfile(t.Context(), "ann", func(v map[string]json.RawMessage) error {
		v["profile"] = json.RawMessage(`"hidden"`)
		v["sojourn.mirror"] = json.RawMessage(`{"undeclared":{"value":"hidden","time":1},"theme":{"value":"hidden","time":1}}`)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := []string{}
	for i := range 100 {
		sent = append(sent, fmt.Sprintf(`"key%d":{"value":"x","age":0}`, i))
	}
	for _, name := range []string{"secret", "undeclared", "profile", "sojourn.mirror", "__proto__", ""} {
		sent = append(sent, fmt.Sprintf(`%q:{"value":"x","age":0}`, name))
	}
	b.send(`"theme":{"value":"dark"}`)
	b.send(strings.Join(sent, ","))
	if strings.Contains(b.last.Body.String(), "hidden") || !strings.Contains(b.last.Body.String(), `"theme":{"value":"dark"`) {
		t.Errorf("the answer: %s", b.last.Body)
	}
	keys, err := b.Session().Keys()
	w.equal("the number of values in the session", fmt.Sprint(len(keys), err), "102 <nil>") // with theme and the mirror's own
	value, _, _ := b.Session().Value("key7")
	w.equal("a value of the session", string(value), `"hidden7"`)
	tag, err := w.mirror.Tag("/session/", b.Session())
	if err != nil || strings.Contains(string(tag), "hidden") {
		t.Errorf("%s (%v)", tag, err)
	}
}

// The values of another user who used the browser before don't become this
// user's, if they are personal.
func TestAnotherUserOfTheBrowser(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.SignIn("ann")
	b.send(`"theme":{"value":"dark"},"nickname":{"value":"Ann"}`)
	ann := b.user
	b.SignIn("bob")
	w.equal("the answer", b.sendAs(ann, `"theme":{"value":"dark","age":0},"nickname":{"value":"Ann","age":0}`), values{"theme": "dark"})
	b.SignIn("ann")
	w.equal("ann's", b.sendAs(b.user, `"theme":{"value":"light","age":0}`), values{"theme": "dark", "nickname": "Ann"})
}

// The session may go on under another user, with the values that the application
// keeps.
func TestKeptSessionOfAnotherUser(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.SignIn("ann")
	b.send(`"theme":{"value":"dark"},"nickname":{"value":"Ann"}`)
	b.Change(func(s *sojourn.Session) error {
		if err := s.Regenerate("theme", "nickname", "sojourn.mirror"); err != nil {
			return err
		}
		return s.Login("bob")
	})
	w.equal("the answer", b.sendAs("", ``), values{"theme": "dark"})
}

func TestRefusedValues(t *testing.T) {
	w := newWorld(t)
	for _, signedIn := range []bool{false, true} {
		b := w.browser()
		want := values{}
		if signedIn {
			b.SignIn("ann")
			b.send(`"pages":{"value":12},"theme":{"value":"dark"}`)
			want = values{"pages": 12.0, "theme": "dark"}
		}
		for _, c := range []string{
			`"theme":{"value":"<script>","age":0}`, `"theme":{"value":["dark"],"age":0}`, `"theme":{"value":"dark ","age":0}`,
			`"theme":{"value":true,"age":0}`, `"theme":{"age":0}`, `"theme":null`, `"theme":{"value":{"dark":1},"age":0}`,
			`"pages":{"value":"12","age":0}`, `"pages":{"value":1.5,"age":0}`, `"pages":{"value":1e400,"age":0}`,
		} {
			want["refused"] = "[" + c[1:6] + "]"
			w.equal(c, b.send(c), want)
		}
		for _, c := range []string{
			`"nickname":{"value":"` + strings.Repeat("x", 1024) + `","age":0}`, `"nickname":{"value":"\u0000","age":0}`, `"nickname":{"value":7,"age":0}`,
		} {
			want["refused"] = "[nickname]"
			if !signedIn && strings.Contains(c, "x") { // which is known by its form alone
				continue
			}
			w.equal(c, b.send(c), want)
		}
	}
}

// All keys together have 1 KB. A change above it is refused, and nothing else is
// lost.
func TestLimitOfAllKeys(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.SignIn("ann")
	b.send(`"theme":{"value":"dark"},"nickname":{"value":"` + strings.Repeat("x", 900) + `"}`)
	got := b.send(`"nickname":{"value":"` + strings.Repeat("y", 1000) + `","age":0},"language":{"value":"de","age":0}`)
	w.equal("the language", got["language"], "de")
	w.equal("the refused", got["refused"], "[nickname]")
	w.equal("the old value", got["nickname"], strings.Repeat("x", 900))
	got = b.send(`"nickname":{"value":"` + strings.Repeat("y", 980) + `","age":0}`)
	w.equal("the size of the next", len(got["nickname"].(string)), 980)
	got = b.send(`"pages":{"value":1234567,"age":0}`)
	w.equal("one byte too many", got["refused"], "[pages]")
	got = b.send(`"pages":{"value":123456,"age":0}`)
	w.equal("1,024 bytes", got["pages"], 123456.0)
}

// The limit is one of what leaves the server, too: the application may have stored
// any value in the session, and another declaration's in the profile.
func TestLimitOfWhatLeavesTheServer(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.SignIn("ann")
	b.send(`"theme":{"value":"dark","age":0}`)
	b.Change(func(s *sojourn.Session) error { return nickname.Set(s, strings.Repeat("x", 2000)) })
	tag, err := w.mirror.Tag("/session/", b.Session())
	if err != nil || strings.Contains(string(tag), "xxx") || !strings.Contains(string(tag), "dark") {
		t.Errorf("%s (%v)", tag, err)
	}
	got := b.send("")
	w.equal("the answer", got, values{"theme": "dark"})
	value, err := nickname.Get(b.Session())
	w.equal("what the application stored", fmt.Sprint(len(value), err), "2000 <nil>")

	err = w.UpdateProfile(t.Context(), "ben", func(v map[string]json.RawMessage) error {
		v["sojourn.mirror"] = json.RawMessage(fmt.Sprintf(`{"nickname":{"value":%q,"time":1},"theme":{"value":"dark","time":1}}`, strings.Repeat("x", 2000)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b = w.browser()
	b.SignIn("ben")
	w.equal("the profile's values", b.send(""), values{"theme": "dark"})
}

// What the mirror accepts can be kept in a session and a profile.
func TestDeepValues(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{})
	w := &world{sessions, t, mirror.Must(mirror.New(sessions.Engine, mirror.Key{Name: "tree"}))}
	w.mirror.SetClock(sessions.Now)
	b := w.browser()
	b.SignIn("ann")
	b.send("")
	for _, depth := range []int{31, 32, 33, 1000} {
		got := b.send(fmt.Sprintf(`"tree":{"value":%s%d%s,"age":0}`, strings.Repeat("[", depth), depth, strings.Repeat("]", depth)))
		w.equal(fmt.Sprint("refused at the depth ", depth), got["refused"] != nil, depth > 32)
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.SignIn("ann")
	deep := strings.Repeat("[", 3000) + strings.Repeat("]", 3000)
	for body, status := range map[string]int{
		``: 400, `{`: 400, `[]`: 400, `{"user":7}`: 400, `{} {}`: 400, `{}x`: 400, `{"values":[]}`: 400,
		`{"values":{"theme":{"value":"dark","age":"5"}}}`: 400,
		`{"user":"` + strings.Repeat("x", 9000) + `"}`:    413,
		`null`: 200, `{}`: 200, `{"later":{"version":1}}`: 200,
		`{"values":{"theme":{"value":` + deep + `,"age":0}}}`: 200,
	} {
		if got := b.post(body); got.Code != status {
			t.Errorf("%.40s: %d %s, want %d", body, got.Code, got.Body, status)
		} else if h := got.Header(); !strings.Contains(h.Get("Cache-Control"), "no-store") && status == 200 {
			t.Errorf("%.40s: %v", body, h)
		}
	}
	for _, c := range []struct {
		method, path, contentType string
		status                    int
	}{
		{"GET", "/session/mirror", "", 405}, {"POST", "/session/mirror.js", "application/json", 405}, {"GET", "/session/other", "", 404}, {"GET", "/", "", 404},
		{"POST", "/session/mirror", "text/plain", 415}, {"POST", "/session/mirror", "", 415},
		{"POST", "/session/mirror", "application/json; charset=utf-8", 200},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader("{}"))
		r.Header.Set("Content-Type", c.contentType)
		if got := b.Do(r); got.Code != c.status {
			t.Errorf("%+v: %d", c, got.Code)
		}
	}
	r := httptest.NewRequest("POST", "/session/mirror", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", "https://evil.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if got := b.Do(r); got.Code != 403 {
		t.Errorf("another origin: %d", got.Code)
	}
}

// While the store can't answer, the script must learn nothing (I9).
func TestOutage(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.SignIn("ann")
	b.send(`"theme":{"value":"dark","age":0}`)
	w.Fail(sojourn.ErrUnavailable)
	if got := b.post(`{"user":"` + b.user + `","values":{"theme":{"value":"light","age":0}}}`); got.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	w.Fail(nil)
	w.equal("afterwards", b.send(``), values{"theme": "dark"})
}

// A request with the secret of before an elevation must not look like a sign-out.
func TestFormerSecretIsNoSignOut(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.SignIn("ann")
	b.send(``)
	r := httptest.NewRequest("POST", "/session/mirror", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	r.Header["Cookie"] = b.sent
	b.Change(func(s *sojourn.Session) error { return s.Elevate(2) })
	got := httptest.NewRecorder()
	w.mirror.ServeHTTP(got, r)
	if got.Code != http.StatusConflict {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

// A session that goes without the user asking isn't kept by exchanges.
func TestExchangeWithoutChangeIsNoActivity(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.SignIn("ann")
	b.send(`"theme":{"value":"dark","age":0}`)
	for range 30 {
		w.Advance(time.Hour)
		b.send(`"theme":{"value":"dark"}`)
	}
	w.equal("the user", b.user, "")
}

// Parallel changes of many devices all land, and all devices agree at last.
func TestParallelDevices(t *testing.T) {
	w := newWorld(t)
	devices := make([]*browser, 8)
	for i := range devices {
		devices[i] = w.browser()
		devices[i].SignIn("ann")
		devices[i].send(``)
	}
	var all sync.WaitGroup
	for i, b := range devices {
		all.Go(func() {
			for n := range 5 {
				b.send(fmt.Sprintf(`"pages":{"value":%d,"age":0}`, i*10+n))
				b.send(fmt.Sprintf(`%q:{"value":%q,"age":0}`, []string{"theme", "language"}[i%2], []string{"dark", "de"}[i%2]))
			}
		})
	}
	all.Wait()
	want := devices[0].send(``)
	w.equal("the theme", want["theme"], "dark")
	w.equal("the language", want["language"], "de")
	for _, b := range devices {
		w.equal("a device", b.send(``), want)
	}
}

// Pages that the server makes ask for what the script would show.
func TestAttribute(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.SignIn("ann")
	attribute := func(name string) string {
		t.Helper()
		text, err := w.mirror.Attribute(b.Session(), name)
		if err != nil {
			t.Error(err)
		}
		return text
	}
	if got := attribute("lang") + attribute("data-theme") + attribute("dir") + attribute(""); got != "" {
		t.Errorf("without values: %q", got)
	}
	for _, c := range []struct{ value, shown string }{{`"de"`, "de"}, {`"tlh"`, ""}, {`null`, ""}, {`{"a":1}`, ""}, {`"en"`, "en"}} {
		b.Change(func(s *sojourn.Session) error { return s.SetValue("language", json.RawMessage(c.value)) })
		if got := attribute("lang"); got != c.shown {
			t.Errorf("with %s: %q, want %q", c.value, got, c.shown)
		}
	}
	w.Fail(errors.New("out"))
	if _, err := w.mirror.Attribute(w.Begin(t.Context(), sojourn.Request{Session: []string{strings.Repeat("A", 64)}}), "lang"); !errors.Is(err, sojourn.ErrUnavailable) {
		t.Errorf("if the store can't answer: %v", err)
	}
}

// The element says what the session has, and asks for an exchange where that isn't
// known yet.
func TestTag(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	said := func() string {
		tag, err := w.mirror.Tag("/session/", b.Session())
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`^<script src="/session/mirror\.js\?v=([\w-]{12})" integrity="(sha384-[\w/+]{64})" data-state="(.*)"></script>$`).FindStringSubmatch(string(tag))
		if found == nil || found[2] != w.mirror.Integrity() {
			t.Fatalf("the element is %s", tag)
		}
		if got := b.Get("/session/mirror.js?v=" + found[1]); got.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("the script's headers: %v", got.Header())
		}
		return html.UnescapeString(found[3])
	}
	w.equal("a visitor's", said(), `{"user":"","values":{}}`)
	b.SignIn("ann")
	w.equal("before the first exchange", said(), `{"user":null,"values":{}}`)
	b.send(`"theme":{"value":"dark","age":0}`)
	at := w.Now().UnixMilli()
	w.equal("after it", said(), fmt.Sprintf(`{"user":%q,"values":{"theme":{"value":"dark","time":%d}}}`, b.user, at))
	w.Advance(time.Second)
	b.Change(func(s *sojourn.Session) error { return theme.Set(s, "light") })
	var a answer
	if err := json.Unmarshal([]byte(said()), &a); err != nil || a.Values["theme"].Value != "light" || a.Values["theme"].Time <= at {
		t.Errorf("after a change of the application: %+v (%v)", a, err)
	}
	static, err := w.mirror.Tag("/session", nil)
	if err != nil || strings.Contains(string(static), "data-state") || !strings.Contains(string(static), `src="/session/mirror.js?v=`) {
		t.Errorf("the static element is %s (%v)", static, err)
	}
}
