package console

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
)

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.get("/apps/shop/sessions?subject=a").to("/sign-in?return_to=%2Fapps%2Fshop%2Fsessions%3Fsubject%3Da")
	b.get("/sign-in?return_to=%2Fapps%2Fshop%2Fsessions").want(200).has(`name="return_to" value="/apps/shop/sessions"`)
	for _, wrong := range [][2]string{{"ann", "wrong"}, {"nobody", secret}, {"", ""}, {"Ann", secret}, {"ann", strings.Repeat("x", 201)}, {strings.Repeat("x", 256), secret}} {
		b.post("/sign-in", "name", wrong[0], "password", wrong[1]).want(401).has("The name or the password is wrong.")
	}
	if len(b.cookies) > 0 {
		t.Errorf("a wrong password sets cookies: %v", b.cookies)
	}
	b.post("/sign-in", "name", "ann", "password", secret, "return_to", "/apps/shop/sessions").to("/apps/shop/sessions")
	if len(b.cookies) != 1 || b.cookies["__Host-sojournd-console"] == "" {
		t.Errorf("cookies: %v", b.cookies)
	}
	b.get("/").want(200).has("Overview", "shop", "blog", "Sign out")
	b.get("/sign-in").to("/")
	b.post("/sign-in", "name", "ann", "password", secret, "return_to", "https://evil.example/").to("/")
	b.post("/sign-out").to("/sign-in?done=out")
	b.get("/sign-in?done=out").has("You are signed out.")
	b.get("/").to("/sign-in?return_to=%2F")
	if got := w.done(); got[0].Result != "invalid_login" || got[0].IP != "192.0.2.1" || got[len(got)-1].Result != "ok" || got[len(got)-1].Operator != "ann" {
		t.Errorf("the audit log has %+v", got)
	}
}

// The sessions have the limits of AAL2: an hour of inactivity, a day.
func TestOperatorsSessionEnds(t *testing.T) {
	w := newWorld(t)
	b := w.as("ann")
	w.pass(59 * time.Minute)
	b.get("/").want(200)
	w.pass(61 * time.Minute)
	b.get("/").want(303)
	b = w.as("ann")
	for range 23 {
		w.pass(59 * time.Minute)
		b.get("/").want(200)
	}
	w.pass(90 * time.Minute)
	b.get("/").want(303)
}

// Guessing is refused by account and address, and by address alone.
func TestGuessing(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	for range password.MaxWrongHere {
		b.post("/sign-in", "name", "ann", "password", "wrong").want(401)
	}
	if a := b.post("/sign-in", "name", "ann", "password", secret).want(429).has("Wait 15 minutes"); a.Header.Get("Retry-After") != "900" {
		t.Error("no Retry-After")
	}
	b.post("/sign-in", "name", "lou", "password", secret).to("/")
	b = w.browser()
	for i := range password.MaxWrong - password.MaxWrongHere {
		b.post("/sign-in", "name", fmt.Sprint("op", i), "password", "wrong").want(401)
	}
	b.post("/sign-in", "name", "sam", "password", secret).want(429)
	b.ip = "192.0.2.2"
	b.post("/sign-in", "name", "ann", "password", secret).to("/")
}

func TestSignInOnce(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.get("/sign-in?once=WRONG").want(410).has("signed somebody in already")
	b.get("/sign-in?once=ONCECODE").to("/")
	b.get("/").want(200).has("ann")
	b.get("/sign-in?once=ONCECODE").to("/") // who is signed in may follow it again
	other := w.browser()
	other.get("/sign-in?once=ONCECODE").want(410)
	other.get("/").want(303)
	other.get("/sign-in?once=").want(200) // no code is no code
}

// A reload takes roles, operators and passwords away at the next request.
func TestReload(t *testing.T) {
	w := newWorld(t)
	id := w.user(w.shop, "grace", chrome, "203.0.113.9")
	ann, lou, sam := w.as("ann"), w.as("lou"), w.as("sam")
	sam.get("/").has("shop").lacks("blog")
	ann.get(sessionPath("shop", id)).want(200).has("End this session")
	w.operators[0].Roles = map[string]Role{"shop": Look}
	w.operators[1].Hash, _ = hasher().Hash(t.Context(), password.Caller{}, "another password")
	w.operators = w.operators[:2]
	w.reload()
	ann.get(sessionPath("shop", id)).want(200).lacks("End this session")
	ann.post(sessionPath("shop", id)+"/end", "reason", "a test").want(403)
	ann.get("/apps/blog/sessions").want(404)
	lou.get("/").want(303) // another password
	sam.get("/").want(303) // gone
	w.reload()
	if len(sam.cookies) > 0 || len(lou.cookies) > 0 {
		t.Errorf("their sessions live on: %v, %v", sam.cookies, lou.cookies)
	}
	if !w.lives(w.shop, id) {
		t.Error("an operator without the role ended a session")
	}
}

// Each operator may do what their roles allow, and nothing else; and no page of
// another site can do it in their name.
func TestRolesAndOrigins(t *testing.T) {
	w := newWorld(t)
	id := w.user(w.shop, "grace", chrome, "203.0.113.9", "cart", "1")
	keep := w.user(w.shop, "grace", firefox, "203.0.113.9")
	there := w.user(w.blog, "grace", chrome, "203.0.113.9")
	page, subject := sessionPath("shop", id), "/apps/shop/subject?subject=grace"
	end := "/apps/shop/subject/end"
	actions := []struct {
		method, path string
		form         []string
		look, end    int // statuses
	}{
		{"GET", "/", nil, 200, 200},
		{"GET", "/find?q=" + id.String(), nil, 303, 303},
		{"GET", "/apps/shop/sessions", nil, 200, 200},
		{"GET", page, nil, 200, 200},
		{"GET", subject, nil, 200, 200},
		{"GET", end + "?subject=grace", nil, 403, 200},
		{"POST", page + "/values", nil, 200, 200},
		{"POST", page + "/end", []string{"reason", "a test"}, 403, 303},
		{"POST", end, []string{"subject", "grace", "keep", keep.String(), "reason", "a test"}, 403, 303},
		{"POST", end, []string{"subject", "grace", "reason", "a test"}, 403, 303},
	}
	send := func(b *browser, i int) *answer {
		a := actions[i]
		if a.method == "GET" {
			return b.get(a.path)
		}
		return b.post(a.path, a.form...)
	}
	lou, sam, ann, stranger := w.as("lou"), w.as("sam"), w.as("ann"), w.browser()
	for i, a := range actions {
		if got := send(stranger, i); got.StatusCode != 303 || !strings.HasPrefix(got.Header.Get("Location"), "/sign-in") {
			t.Errorf("a stranger, %s %s: %d", a.method, a.path, got.StatusCode)
		}
		if got := send(lou, i); got.StatusCode != a.look {
			t.Errorf("who may look, %s %s: %d, want %d", a.method, a.path, got.StatusCode, a.look)
		}
		if !w.lives(w.shop, id) || !w.lives(w.shop, keep) {
			t.Fatalf("%s %s: who may only look ended a session", a.method, a.path)
		}
		if a.method == "POST" {
			ann.origin = "https://evil.example"
			send(ann, i).want(403).has("That came from another site")
			ann.origin = "https://console.example"
			if !w.lives(w.shop, id) {
				t.Fatalf("%s %s: a page of another site ended a session", a.method, a.path)
			}
		}
	}
	for i, a := range actions {
		send(sam, i).want(a.end)
	}
	if w.lives(w.shop, id) || w.lives(w.shop, keep) || !w.lives(w.blog, there) {
		t.Error("the wrong sessions live")
	}
	blog := sessionPath("blog", there)
	sam.get(blog).want(404)
	sam.post(blog+"/end", "reason", "a test").want(404)
	sam.post(blog + "/values").want(404)
	sam.post("/apps/blog/subject/end", "subject", "grace", "reason", "a test").want(404)
	if !w.lives(w.blog, there) {
		t.Error("a role in one application ends sessions in another")
	}
	for _, path := range []string{"/sign-in", "/sign-out", "/confirm"} {
		ann.origin = "https://evil.example"
		ann.post(path, "name", "lou", "password", secret).want(403)
	}
}

func TestHeaders(t *testing.T) {
	w := newWorld(t)
	b := w.as("ann")
	for _, a := range []*answer{b.get("/"), b.get("/nowhere"), w.browser().get("/sign-in"), b.post("/sign-in", "name", "x")} {
		csp := a.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none';") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") ||
			a.Header.Get("X-Frame-Options") != "DENY" || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("headers %v", a.Header)
		}
		a.lacks("<style", " style=", " onclick", "http://", "https://", "javascript:")
	}
	files, err := staticFiles.ReadDir("static")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		name := f.Name()
		a := b.get(static.Path(name)).want(200)
		if !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %v", name, a.Header)
		}
		b.get("/static/000000000000/" + name).want(404)
	}
}

// An operator finds sessions by ID and subject, in each application.
func TestFind(t *testing.T) {
	w := newWorld(t)
	id := w.user(w.shop, "grace", chrome, "203.0.113.9")
	there := w.user(w.blog, "linus & co", firefox, "203.0.113.9")
	w.user(w.blog, "both", firefox, "203.0.113.9")
	w.user(w.shop, "both", firefox, "203.0.113.9")
	b := w.as("ann")
	b.get("/find?q=+" + id.String() + "+").to(sessionPath("shop", id))
	b.get("/find?app=shop&q=" + there.String()).to(sessionPath("blog", there))
	b.get("/find?q=grace").to("/apps/shop/subject?subject=grace")
	b.get("/find?q=linus+%26+co").to("/apps/blog/subject?subject=linus+%26+co")
	b.get("/find?q=both").want(200).has("/apps/shop/subject?subject=both", "/apps/blog/subject?subject=both")
	b.get("/find?q=nobody&app=blog").to("/apps/blog/sessions?subject=nobody")
	b.get("/apps/blog/sessions?subject=nobody").want(200).has("No live session of")
	b.get("/find?q=").to("/apps/shop/sessions")
	b.get("/find?q=" + strings.Repeat("x", 300)).want(303)
	b.get("/apps/shop/sessions?subject=" + strings.Repeat("x", 300)).want(200).has("No live session of")
	b.get("/find?q=%00%ff").want(303)
	sam := w.as("sam")
	sam.get("/find?q=" + there.String()).to(sessionPath("shop", there)) // he doesn't see the blog
	sam.get(sessionPath("shop", there)).want(404).has("it has ended, or never was")
	sam.get("/find?q=both").to("/apps/shop/subject?subject=both")
}

// The list has pages, and the address holds the query.
func TestList(t *testing.T) {
	w := newWorld(t)
	want := map[string]bool{}
	for i := range 2*pageSize + 7 {
		subject := ""
		if i%2 == 0 {
			subject = fmt.Sprint("user", i)
		}
		want[w.user(w.shop, subject, chrome, "203.0.113.9").String()] = true
	}
	b := w.as("lou")
	got := map[string]bool{}
	pages := 0
	for path := "/apps/shop/sessions"; path != ""; pages++ {
		a := b.get(path).want(200)
		for _, part := range strings.Split(a.body, `href="/apps/shop/sessions/`)[1:] {
			id, _, _ := strings.Cut(part, `"`)
			got[id] = true
		}
		_, next, _ := strings.Cut(a.body, `rel="next" href="`)
		next, _, _ = strings.Cut(next, `"`)
		path = strings.ReplaceAll(next, "&amp;", "&")
	}
	if !reflect.DeepEqual(got, want) || pages < 3 {
		t.Errorf("%d sessions on %d pages, want %d", len(got), pages, len(want))
	}
	b.get("/apps/shop/sessions?subject=user2").has("user2").lacks("user4")
	for _, forged := range []string{"nonsense", "../../etc", "%00", strings.Repeat("f", 5000)} {
		b.get("/apps/shop/sessions?cursor=" + forged).want(400).has("There is no such page of the list")
		b.get("/apps/shop/subject?subject=user2&cursor=" + forged).want(400)
	}
	for _, path := range []string{"/apps/shop/sessions/nonsense", "/apps/shop/sessions/%3Cscript%3E", "/apps/nowhere/sessions", "/apps/%2e%2e/sessions", "/apps/shop/sessions/" + strings.Repeat("0", 36)} {
		b.get(path).want(404).lacks("<script>")
	}
	b.get("/apps/shop/subject").want(400)
	b.get("/apps/shop/subject?subject=" + strings.Repeat("x", 300)).want(400)
}

func TestSessionPage(t *testing.T) {
	w := newWorld(t)
	id := w.user(w.shop, "grace", chrome, "203.0.113.9", "cart", `{"sku":"tent"}`, "note", `"a & b"`)
	w.events = []v1.Event{
		{App: "shop", Kind: "created", Session: id.String(), Time: w.now, Client: &v1.EventClient{IP: "203.0.113.9"}},
		{App: "blog", Kind: "rotated", Session: id.String(), Time: w.now},
	}
	w.pass(25 * time.Minute)
	b := w.as("lou")
	a := b.get(sessionPath("shop", id)).want(200)
	a.has("grace", "Chrome on Linux", "203.0.113.9", "25 min ago", "level 1", "pwd", "in 23 h", "in 29 d", "From a login", "created", "Show the values").
		lacks("sku", "rotated", "End this session")
	snap, _ := w.shop.Get(t.Context(), id)
	if len(snap.Secrets) != 1 {
		t.Fatal("no secrets")
	}
	w.done()
	b.post(sessionPath("shop", id)+"/values").want(200).has("<code>cart</code>", "{\n  &#34;sku&#34;: &#34;tent&#34;\n}", `&#34;a `)
	if got, want := w.done(), []Operation{{Operator: "lou", App: "shop", Action: "show_values", Target: id.String(), Result: "ok", IP: "192.0.2.1"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("the audit log has %+v", got)
	}
	b.post("/apps/shop/sessions/01a22736-4dca-774d-8deb-0106afd0b68c/values").want(404)
	if got := w.done(); len(got) != 1 || got[0].Result != "no_session" {
		t.Errorf("the audit log has %+v", got)
	}
}

// A stranger who knows a session's ID can't hide its events behind others that
// hold the ID, too.
func TestSessionPageOwnEvents(t *testing.T) {
	w := newWorld(t)
	id := w.user(w.shop, "grace", chrome, "203.0.113.9")
	for range 100 {
		w.user(w.shop, "", "visitor of "+id.String(), "198.51.100.7")
	}
	w.user(w.shop, id.String(), chrome, "198.51.100.8")
	w.hears("198.51.100.8", 2)
	w.as("lou").get(sessionPath("shop", id)).want(200).has("authenticated", "203.0.113.9").lacks("198.51.100.7", "198.51.100.8")
}

// Large and deep values are shown, and don't grow much by their indentation.
func TestLargeValues(t *testing.T) {
	w := newWorld(t)
	deep := strings.Repeat("[", 99) + strings.Repeat("1,", 30_000) + "1" + strings.Repeat("]", 99)
	id := w.user(w.shop, "grace", chrome, "203.0.113.9", "deep", deep, "long", `"`+strings.Repeat("x", 60<<10)+`"`, "empty", "{}")
	a := w.as("ann").post(sessionPath("shop", id) + "/values").want(200)
	a.has("1,1,1", "xxxx", "{}")
	if len(a.body) > 1<<20 {
		t.Errorf("the page has %d bytes", len(a.body))
	}
}

// What comes from outside is shown as text, and shows what it is.
func TestHostileText(t *testing.T) {
	w := newWorld(t)
	const hostile = `"><script>alert(1)</script>{{.}}'` + "\u202Egnp.exe\u2066\u200b"
	id := w.user(w.shop, hostile[:len(hostile)-3], hostile+strings.Repeat("<b>", 3000), "203.0.113.9", `k"><script>`, mustJSON(t, hostile+strings.Repeat("<i>", 3000)))
	w.events = []v1.Event{{App: "shop", Kind: "refused<script>", Session: id.String(), Time: w.now, Detail: hostile, Reason: hostile, Client: &v1.EventClient{IP: "<script>", UserAgent: hostile}}}
	b := w.as("ann")
	subject := url.Values{"subject": {hostile[:len(hostile)-3]}}.Encode()
	for _, a := range []*answer{
		b.get("/apps/shop/sessions"), b.get(sessionPath("shop", id)), b.post(sessionPath("shop", id) + "/values"),
		b.get("/apps/shop/subject?" + subject), b.get("/apps/shop/subject/end?" + subject), b.get("/apps/shop/sessions?" + subject),
		b.get("/apps/shop/sessions?subject=" + url.QueryEscape(hostile)), b.post(sessionPath("shop", id)+"/end", "reason", strings.Repeat(hostile, 20)),
		w.browser().post("/sign-in", "name", hostile, "password", "x"),
	} {
		if a.StatusCode >= 500 {
			t.Errorf("status %d", a.StatusCode)
		}
		a.lacks("<script>", "<b>", "<i>")
		shown := a.body
		for _, field := range []string{`value="`, `content="`} { // a form's field has the text itself
			for strings.Contains(shown, field) {
				before, after, _ := strings.Cut(shown, field)
				_, after, _ = strings.Cut(after, `"`)
				shown = before + after
			}
		}
		if strings.ContainsAny(shown, "\u202E\u2066\u200b") {
			t.Errorf("the page has marks that turn text around:\n%s", shown)
		}
	}
	b.get(sessionPath("shop", id)).has("⟨U&#43;202E⟩gnp.exe", "&lt;script&gt;alert(1)")
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEnd(t *testing.T) {
	w := newWorld(t)
	first, second, third := w.user(w.shop, "grace", chrome, "203.0.113.9"), w.user(w.shop, "grace", firefox, "203.0.113.9"), w.user(w.shop, "grace", firefox, "203.0.113.9")
	anonymous := w.user(w.shop, "", firefox, "203.0.113.9")
	b := w.as("ann")
	w.done()
	page := subjectPath("shop", "grace")
	b.get(page).want(200).has("3 live sessions of at most 100", "Chrome on Linux", "Firefox on Windows", first.String(), second.String(), third.String()).lacks("under way then")
	for _, reason := range []string{"", "  ", strings.Repeat("x", 501)} {
		b.post(sessionPath("shop", first)+"/end", "reason", reason).want(422).has("1 to 500 characters")
	}
	if got := w.done(); len(got) > 0 || !w.lives(w.shop, first) {
		t.Fatalf("it ended without a reason: %+v", got)
	}
	b.post(sessionPath("shop", first)+"/end", "reason", " lost phone, ticket 4711 ", "back", page).to("/apps/shop/subject?done=ended&subject=grace")
	b.get("/apps/shop/subject?done=ended&subject=grace").has("The session has ended.", "2 live sessions", "Ended in the last hour", "revoked").lacks(first.String() + "/end")
	want := Operation{Operator: "ann", App: "shop", Action: "end", Target: first.String(), Reason: "lost phone, ticket 4711", Result: "ok", IP: "192.0.2.1"}
	if got := w.done(); len(got) != 1 || got[0] != want {
		t.Errorf("the audit log has %+v", got)
	}
	b.post(sessionPath("shop", first)+"/end", "reason", "again", "back", "https://evil.example/").to("/apps/shop/sessions?done=over")
	b.post(sessionPath("shop", anonymous)+"/end", "reason", "x").to("/apps/shop/sessions?done=ended")
	b.get(sessionPath("shop", first)).want(404).has("There is no live session with this ID")
	w.done()

	form := "/apps/shop/subject/end?subject=grace&keep=" + third.String()
	b.get(form).want(200).has("End all other sessions", "Firefox on Windows")
	b.post("/apps/shop/subject/end", "subject", "grace", "keep", third.String()).want(422)
	b.post("/apps/shop/subject/end", "subject", "grace", "keep", third.String(), "reason", "theft").to(page + "&done=ended_all")
	if w.lives(w.shop, second) || !w.lives(w.shop, third) {
		t.Error("the wrong sessions live")
	}
	b.get(page + "&done=ended_all").has("A login that was under way fails")
	b.post("/apps/shop/subject/end", "subject", "grace", "reason", "theft").to(page + "&done=ended_all")
	if w.lives(w.shop, third) {
		t.Error("a session lives")
	}
	got := w.done()
	if len(got) != 2 || got[0].Action != "end_others" || got[1].Action != "end_subject" || got[1].Target != "grace" || got[1].Reason != "theft" {
		t.Errorf("the audit log has %+v", got)
	}
	linus := w.user(w.shop, "linus", chrome, "203.0.113.9")
	for _, keep := range []string{"nonsense", linus.String(), first.String()} { // no ID, another subject's, over
		b.post("/apps/shop/subject/end", "subject", "grace", "keep", keep, "reason", "x").want(404)
	}
	b.post("/apps/shop/subject/end", "reason", "x").want(400)
	w.pass(4 * time.Minute)
	b.get(page).has("No live session", ">4 min ago</time>. A login that was under way then fails")
	w.pass(time.Hour)
	w.as("ann").get(page).want(200).lacks("under way then")
}

// To end more than one session takes a password that was entered lately.
func TestFreshPassword(t *testing.T) {
	w := newWorld(t)
	id := w.user(w.shop, "grace", chrome, "203.0.113.9")
	b := w.as("ann")
	w.pass(11 * time.Minute)
	const confirm = "/confirm?return_to=%2Fapps%2Fshop%2Fsubject%2Fend%3Fsubject%3Dgrace"
	b.get("/apps/shop/subject/end?subject=grace").to(confirm)
	b.post("/apps/shop/subject/end", "subject", "grace", "reason", "x").want(303)
	if !w.lives(w.shop, id) {
		t.Fatal("it ended without a fresh password")
	}
	b.get(confirm).want(200).has("Confirm that it is you", "Password of ann")
	b.post("/confirm", "password", "wrong", "return_to", "/apps/shop/subject/end?subject=grace").want(401).has("The password is wrong.")
	b.post("/confirm", "password", secret, "return_to", "/apps/shop/subject/end?subject=grace").to("/apps/shop/subject/end?subject=grace")
	b.post("/apps/shop/subject/end", "subject", "grace", "reason", "x").want(303)
	if w.lives(w.shop, id) {
		t.Error("it lives")
	}
	other := w.user(w.shop, "linus", chrome, "203.0.113.9")
	w.pass(11 * time.Minute)
	b.post(sessionPath("shop", other)+"/end", "reason", "one needs none").want(303)
	if w.lives(w.shop, other) {
		t.Error("one session took a fresh password")
	}
}

// An operator is signed in twice. Signed out in one browser, they go on in the
// other. An end from elsewhere holds at the next request.
func TestSignedInTwice(t *testing.T) {
	w := newWorld(t)
	one, two := w.as("ann"), w.as("ann")
	one.post("/sign-out").want(303)
	one.get("/").want(303)
	two.get("/").want(200)
	if _, err := w.sessions.EndSubject(t.Context(), "ann", sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	two.get("/").to("/sign-in?return_to=%2F")
	two.post("/apps/shop/subject/end", "subject", "grace", "reason", "x").want(303)
}

// A cache may be late with an end on another node, so no request asks one for the
// operator's session.
func TestStrict(t *testing.T) {
	w := newWorld(t)
	b := w.as("ann")
	for _, path := range []string{"/", "/alerts", "/apps/shop/sessions", "/apps/shop/events", "/apps/shop/subject/end?subject=grace"} {
		b.get(path).want(200)
	}
	if n := w.lax.Load(); n > 0 {
		t.Errorf("%d reads may come from a cache", n)
	}
}

// While the store is down, each page says so and tries again by itself. Nothing is
// taken for signed out.
func TestStoreDown(t *testing.T) {
	w := newWorld(t)
	id := w.user(w.shop, "grace", chrome, "203.0.113.9")
	b := w.as("ann")
	w.down.Store(true)
	for _, path := range []string{"/", "/apps/shop/sessions", sessionPath("shop", id), "/sign-in", "/find?q=grace"} {
		if a := b.get(path).want(503).has("The store doesn&#39;t answer"); a.Header.Get("Refresh") == "" || a.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %v", path, a.Header)
		}
	}
	if a := b.post(sessionPath("shop", id)+"/end", "reason", "x").want(503); a.Header.Get("Refresh") != "" {
		t.Error("a form is sent again by itself")
	}
	w.down.Store(false)
	b.get("/").want(200)
	b.get(sessionPath("shop", id)).want(200)
}

func TestBadForms(t *testing.T) {
	w := newWorld(t)
	b := w.as("ann")
	b.post("/sign-in", "name", strings.Repeat("x", 20<<10)).want(413)
	b.post("/sign-in", "name", "\xff").want(400)
	b.post("/sign-in", "name", "a\x00").want(400)
	b.get("/nowhere").want(404).has("There is no such page")
	b.get("/apps/shop/sessions/").want(404)
	b.send("DELETE", "/apps/shop/sessions", nil).want(404)
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "grace": "grace", "größe": "größe", "a\nb": "a⟨U+000A⟩b", "\xff": "\uFFFD", "a\u202Eb": "a⟨U+202E⟩b", "שלום": "שלום", "\ue000": "⟨U+E000⟩", "\x7f": "⟨U+007F⟩",
	} {
		if got := plain(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	if got := short("größer", 3); got != "grö…" {
		t.Error(got)
	}
	if got := lines("a\n\tb\r"); got != "a\n\tb⟨U+000D⟩" {
		t.Error(got)
	}
}

func TestWhen(t *testing.T) {
	v := &visit{Console: New(Options{Now: func() time.Time { return time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC) }})}
	for d, want := range map[time.Duration]string{
		0: "just now", 30 * time.Second: "30 s ago", 59 * time.Second: "1 min ago", 90 * time.Minute: "1 h ago", 49 * time.Hour: "2 d ago", -time.Hour: "in 1 h", -90 * 24 * time.Hour: "in 90 d",
	} {
		if got := v.When(v.now().Add(-d)); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
