package sojourn_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// html is the Accept of a browser that loads a page.
const html = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// guarded serves each path behind its requirement. The handler behind it tells
// who came.
func guarded(t *testing.T, routes map[string]sojourn.Requirement, change ...func(*world, *sojourn.Options)) *web {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, need := range routes {
		mux.Handle(pattern, need.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			io.WriteString(rw, handlerText+" for "+sojourn.From(r.Context()).Subject())
		})))
	}
	mux.HandleFunc("POST /otp", func(rw http.ResponseWriter, r *http.Request) {
		if err := sojourn.From(r.Context()).Elevate(2, "otp"); err != nil {
			sojourn.Error(rw, r, err)
		}
	})
	return newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) { mux.ServeHTTP(rw, r) }, change...)
}

// refused checks a refusal: its status, where it leads, and that nothing of the
// handler's response was sent.
func (a *reply) refused(t testing.TB, what string, status int, to string) {
	t.Helper()
	if a.StatusCode != status || a.Header.Get("Location") != to {
		t.Errorf("%s: %s to %q, want %d to %q: %s", what, a.Status, a.Header.Get("Location"), status, to, a.body)
	}
	if strings.Contains(a.body, handlerText) {
		t.Errorf("%s: the handler has run: %q", what, a.body)
	}
	if cc := a.Header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("%s: Cache-Control is %q", what, cc)
	}
	if challenge := a.Header.Get("Www-Authenticate"); (challenge != "") != (status == 401) {
		t.Errorf("%s: WWW-Authenticate is %q", what, challenge)
	}
}

func TestRequirement(t *testing.T) {
	w := guarded(t, map[string]sojourn.Requirement{
		"/login-only":  {SignIn: "/sign-in", StepUp: "/confirm"},
		"/fresh":       {SignIn: "/sign-in", StepUp: "/confirm", Fresh: 10 * time.Minute},
		"/level":       {SignIn: "/sign-in", StepUp: "/confirm", Level: 2},
		"/both":        {SignIn: "/sign-in", StepUp: "/confirm", Level: 2, Fresh: 10 * time.Minute},
		"/without":     {Level: 2},
		"/other-param": {SignIn: "/sign-in?lang=en", ReturnParam: "next"},
	})
	stale, second := w.surfer().login("stale"), w.surfer().login("second")
	second.post("/otp").wantStatus(t, 200)
	w.pass(11 * time.Minute)
	fresh, elevated := w.surfer().login("fresh"), w.surfer().login("elevated")
	elevated.post("/otp").wantStatus(t, 200)
	nobody := w.surfer()
	const login, confirm = "/sign-in?return_to=", "/confirm?return_to="
	for _, test := range []struct {
		who    *surfer
		path   string
		status int // of a script
		page   string
	}{
		{nobody, "/login-only", 401, login + "%2Flogin-only"},
		{nobody, "/fresh", 401, login + "%2Ffresh"},
		{nobody, "/level", 401, login + "%2Flevel"},
		{nobody, "/without", 401, ""},
		{nobody, "/other-param", 401, "/sign-in?lang=en&next=%2Fother-param"},
		{stale, "/login-only", 200, ""},
		{stale, "/fresh", 403, confirm + "%2Ffresh"},
		{stale, "/level", 403, confirm + "%2Flevel"},
		{stale, "/without", 403, ""},
		{fresh, "/fresh", 200, ""},
		{fresh, "/level", 403, confirm + "%2Flevel"},
		{fresh, "/both", 403, confirm + "%2Fboth"},
		{second, "/level", 200, ""},
		{second, "/both", 403, confirm + "%2Fboth"},
		{elevated, "/both", 200, ""},
		{elevated, "/without", 200, ""},
	} {
		what := test.who.who() + " at " + test.path
		script := test.who.get(test.path, "Accept", "*/*", "Sec-Fetch-Mode", "cors")
		page := test.who.get(test.path, "Accept", html, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
		switch {
		case test.status == 200:
			for _, a := range []*reply{script, page} {
				if a.StatusCode != 200 || a.body != handlerText+" for "+test.who.who() {
					t.Errorf("%s: %s: %q", what, a.Status, a.body)
				}
			}
		case test.page == "":
			page.refused(t, what, test.status, "")
			script.refused(t, what, test.status, "")
		default:
			page.refused(t, what, 303, test.page)
			script.refused(t, what, test.status, "")
		}
	}
}

// The way back is an address of this site, and never one at which a form was
// sent.
func TestRequirementWayBack(t *testing.T) {
	behind := sojourn.Requirement{SignIn: "/sign-in"}.Handler(http.NotFoundHandler()) // without a mux, which would clean paths
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, _ *sojourn.Session) {})
	w.server.Config.Handler = w.Handler(behind)
	host := strings.TrimPrefix(w.server.URL, "http://")
	page := func(method, path string, headers ...string) *reply {
		return w.surfer().do(method, path, "", append([]string{"Accept", html}, headers...)...)
	}
	for _, test := range []struct {
		what string
		got  *reply
		back string
	}{
		{"query", page("GET", "/search?q=a+b%20c&d"), "/search?q=a+b%20c&d"},
		{"HEAD", page("HEAD", "/cart"), "/cart"},
		{"an address in the query", page("GET", "/r?u=https://elsewhere.example//"), "/r?u=https://elsewhere.example//"},
		{"dots", page("GET", "/..%2f/elsewhere.example"), "/..%2f/elsewhere.example"},
		{"two slashes", page("GET", "//elsewhere.example/"), ""},
		{"dots before slashes", page("GET", "/.//elsewhere.example/"), ""},
		{"backslash", page("GET", "/%5c/elsewhere.example"), "/%5c/elsewhere.example"},
		{"too long", page("GET", "/"+strings.Repeat("a", 2048)), ""},
		{"a form", page("POST", "/cart"), ""},
		{"a form, PUT", page("PUT", "/cart"), ""},
		{"a form of a page", page("POST", "/cart", "Referer", w.server.URL+"/shop?page=2#x"), "/shop?page=2"},
		{"a form of the sign-in page", page("POST", "/cart", "Referer", w.server.URL+"/sign-in?return_to=%2F"), ""},
		{"a Referer of another host", page("POST", "/cart", "Referer", "https://elsewhere.example/shop"), ""},
		{"a Referer of a longer host", page("POST", "/cart", "Referer", "http://"+host+".elsewhere.example/shop"), ""},
		{"a Referer with a user", page("POST", "/cart", "Referer", "http://"+host+"@elsewhere.example/shop"), ""},
		{"a Referer of two slashes", page("POST", "/cart", "Referer", w.server.URL+"//elsewhere.example"), ""},
		{"a Referer that is none", page("POST", "/cart", "Referer", "/shop"), ""},
		{"two Referers", page("POST", "/cart", "Referer", w.server.URL+"/a", "Referer", w.server.URL+"/b"), ""},
	} {
		want := "/sign-in"
		if test.back != "" {
			want += "?return_to=" + url.QueryEscape(test.back)
		}
		test.got.refused(t, test.what, 303, want)
	}
	page("GET", "/sign-in?return_to=%2F").refused(t, "the page itself", 401, "")
	page("POST", "/sign-in").refused(t, "the page's own form", 401, "")
	page("GET", "/", "X-Requested-With", "XMLHttpRequest").refused(t, "XMLHttpRequest", 401, "")
	page("GET", "/", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe").refused(t, "a frame", 401, "")
	page("GET", "/", "Upgrade", "websocket", "Connection", "Upgrade", "Sec-Fetch-Mode", "websocket").refused(t, "a WebSocket", 401, "")
}

// Below http.StripPrefix the way back is the address that the visitor asked for.
func TestRequirementBelowAPrefix(t *testing.T) {
	need := sojourn.Requirement{SignIn: "/sign-in"}
	below := http.StripPrefix("/admin", need.Handler(http.NotFoundHandler()))
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, _ *sojourn.Session) { below.ServeHTTP(rw, r) })
	w.surfer().get("/admin/users?x=y", "Accept", html).refused(t, "below", 303, "/sign-in?return_to=%2Fadmin%2Fusers%3Fx%3Dy")
}

// A sign-in page on another host gets a whole address, of a public origin.
func TestRequirementElsewhere(t *testing.T) {
	need := map[string]sojourn.Requirement{"/": {SignIn: "https://login.example.com/in"}}
	for _, test := range []struct {
		host    string
		origins []string
		back    string
	}{
		{"shop.example.com", nil, ""},
		{"shop.example.com", []string{"https://shop.example.com"}, "https://shop.example.com/cart"},
		{"SHOP.example.com", []string{"https://shop.example.com"}, "https://shop.example.com/cart"},
		{"127.0.0.1:8080", []string{"https://shop.example.com"}, "https://shop.example.com/cart"}, // the proxy replaces Host
		{"b.example.com", []string{"https://a.example.com", "https://b.example.com"}, "https://b.example.com/cart"},
		{"elsewhere.example", []string{"https://a.example.com", "https://b.example.com"}, ""},
	} {
		w := guarded(t, need, options(func(o *sojourn.Options) { o.Origins = test.origins }))
		want := "https://login.example.com/in"
		if test.back != "" {
			want += "?return_to=" + url.QueryEscape(test.back)
		}
		w.surfer().get("/cart", "Host", test.host, "Accept", html).refused(t, test.host, 303, want)
	}
}

// A page that is guarded itself, and named by its whole URL, isn't redirected to
// itself, even if the site's origin is not known.
func TestRequirementOfItsOwnPage(t *testing.T) {
	need := map[string]sojourn.Requirement{"/": {SignIn: "https://login.example.com/in"}}
	w := guarded(t, need)
	w.surfer().get("/in", "Host", "LOGIN.example.com", "Accept", html).refused(t, "the page itself", 401, "")
	w.surfer().get("/in", "Host", "shop.example.com", "Accept", html).refused(t, "that path of another host", 303, "https://login.example.com/in")
}

// If more than a login is required, a session that has ended on another node
// doesn't pass, even while a cache still has it.
func TestI10RequirementsReadTheStore(t *testing.T) {
	beneath := memstore.New() // ends sessions without the cache's knowledge, like another node whose feed is slow
	w := guarded(t, map[string]sojourn.Requirement{"/login-only": {}, "/fresh": {Fresh: time.Hour}, "/level": {Level: 1}},
		onStore(func(store.Store) store.Store { return nearcache.New(beneath, nearcache.Options{}) }))
	for path, status := range map[string]int{"/login-only": 200, "/fresh": 401, "/level": 401} {
		b := w.surfer().login("alice")
		b.get(path).wantStatus(t, 200)
		if _, err := beneath.EndSubject(t.Context(), "default", "alice", sojourn.ID{}, sojourn.ReasonRevoked, store.TimeOf(w.time())); err != nil {
			t.Fatal(err)
		}
		b.get(path).wantStatus(t, status)
		w.pass(time.Second) // later than the barrier
	}
}

// Once an end is acknowledged, no request that comes later passes, however many
// requests keep the session in a cache.
func TestI4NobodyPassesAfterAnEnd(t *testing.T) {
	w := guarded(t, map[string]sojourn.Requirement{"/fresh": {Fresh: time.Hour}},
		onStore(func(store.Store) store.Store { return nearcache.New(memstore.New(), nearcache.Options{}) }))
	b := w.surfer().login("alice")
	var ended atomic.Bool
	var passed, refused atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			mine := b.fork()
			for refused.Load() < 100 {
				late := ended.Load()
				switch a := mine.get("/fresh"); {
				case a.StatusCode == 401:
					refused.Add(1)
				case a.StatusCode != 200 || late:
					t.Errorf("ended before: %v, and the answer is %s", late, a.Status)
					return
				default:
					passed.Add(1)
				}
			}
		})
	}
	for passed.Load() < 100 && !t.Failed() {
		runtime.Gosched()
	}
	if _, err := w.EndSubject(t.Context(), "alice", sojourn.ID{}); err != nil {
		t.Error(err)
	}
	ended.Store(true)
	wg.Wait()
}

// If the store can't answer, nobody passes, and nobody is sent to sign in.
func TestI9RequirementsFailClosed(t *testing.T) {
	w := guarded(t, map[string]sojourn.Requirement{"/": {SignIn: "/sign-in"}, "/careful": {SignIn: "/sign-in", Fresh: time.Hour}})
	b := w.surfer("Accept", html).login("alice")
	w.calls.fail(always(errors.New("broken"), "Get"), nil)
	for _, path := range []string{"/x", "/careful"} {
		a := b.get(path)
		a.withheld(t, http.StatusServiceUnavailable)
		if a.Header.Get("Location") != "" {
			t.Errorf("sent to %q", a.Header.Get("Location"))
		}
	}
}

// A refusal without a page is written by OnError, and asks for the credentials
// that the application takes (RFC 9110, section 15.5.2).
func TestRequirementRefusesWithOnError(t *testing.T) {
	w := guarded(t, map[string]sojourn.Requirement{"/": {Level: 3}}, options(func(o *sojourn.Options) {
		o.App, o.Bearer = "shop", true
		o.OnError = func(rw http.ResponseWriter, r *http.Request, err error) {
			rw.WriteHeader(sojourn.StatusCode(err))
			io.WriteString(rw, err.Error())
		}
	}))
	a := w.surfer().get("/")
	a.refused(t, "a stranger", 401, "")
	if got := a.Header.Get("Www-Authenticate"); got != `Cookie realm="shop", Bearer realm="shop"` || a.body != sojourn.ErrAnonymous.Error() {
		t.Errorf("%q, %q", got, a.body)
	}
	a = w.surfer().login("alice").get("/")
	a.refused(t, "alice", 403, "")
	w.want("body", a.body, sojourn.ErrLevel.Error())
}

// Check serves callers without Handler, too.
func TestRequirementCheck(t *testing.T) {
	w := newWorld(t)
	check := func(j *jar, q sojourn.Requirement) error {
		s := w.begin(j)
		defer s.Finish()
		return q.Check(ctx, s)
	}
	ann := w.loggedIn("ann")
	w.pass(time.Hour)
	w.want("a stranger", check(&jar{}, sojourn.Requirement{}), sojourn.ErrAnonymous)
	w.want("a login", check(ann, sojourn.Requirement{}), nil)
	w.want("fresh enough", check(ann, sojourn.Requirement{Fresh: time.Hour}), nil)
	w.want("stale", check(ann, sojourn.Requirement{Fresh: time.Hour - 1}), sojourn.ErrNotFresh)
	w.want("nothing is so fresh", check(ann, sojourn.Requirement{Fresh: -1}), sojourn.ErrNotFresh)
	w.want("no level is so high", check(ann, sojourn.Requirement{Level: 4}), sojourn.ErrLevel)
}

func TestRequirementMistakes(t *testing.T) {
	for want, q := range map[string]sojourn.Requirement{
		"use 0 to 3":                 {Level: 4},
		"level -1":                   {Level: -1},
		"Fresh is -1s":               {Fresh: -time.Second},
		"SignIn \"login\"":           {SignIn: "login"},
		"SignIn \"//elsewhere":       {SignIn: "//elsewhere.example/login"},
		"is no origin":               {SignIn: "ftp://login.example.com/"},
		"parts that are not allowed": {StepUp: "https://ann:pw@login.example.com/"},
		"StepUp \"/a\\nb\"":          {StepUp: "/a\nb"},
		"StepUp is longer":           {StepUp: "/" + strings.Repeat("a", 1024)},
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, want) || !strings.HasPrefix(text, "sojourn: Requirement: ") {
					t.Errorf("%+v: %q, want %q", q, text, want)
				}
			}()
			q.Handler(http.NotFoundHandler())
		}()
	}
}

func TestLocalPath(t *testing.T) {
	for _, address := range []string{"/", "/cart", "/search?q=https://elsewhere.example//", "/a%2f%2fb", "/?", "/#p-tent", "/" + strings.Repeat("a", 2047)} {
		if got := sojourn.LocalPath(address, "/fallback"); got != address {
			t.Errorf("%q: %q", address, got)
		}
	}
	for _, address := range []string{
		"", "cart", "//elsewhere.example", "///elsewhere.example", "/\\elsewhere.example", "\\\\elsewhere.example", "/\t/elsewhere.example", "/\n/elsewhere.example",
		"https://elsewhere.example/", "https:elsewhere.example", "javascript:alert(1)", "/..//elsewhere.example", "/a/./\\elsewhere.example", " /cart", "/ca rt", "/café", "/\x00", "@elsewhere.example", "/a\r\nSet-Cookie: x=y", "/" + strings.Repeat("a", 2048),
	} {
		if got := sojourn.LocalPath(address, "/fallback"); got != "/fallback" {
			t.Errorf("%q: %q", address, got)
		}
	}
}
