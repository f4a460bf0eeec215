package sojourn_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/dbsc/dbsctest"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// newBoundWeb serves webRoutes and BoundHandler.
func newBoundWeb(t testing.TB, change ...func(*world, *sojourn.Options)) *web {
	t.Helper()
	w := newWebUnstarted(t, nil, append([]func(*world, *sojourn.Options){options(func(o *sojourn.Options) { o.Bound = &sojourn.Binding{} })}, change...)...)
	mux := http.NewServeMux()
	mux.Handle("/", webRoutes(nil))
	mux.Handle("/session/bound/", w.BoundHandler())
	mux.Handle("/.well-known/", w.BoundHandler())
	w.server.Config.Handler = w.Handler(mux)
	w.server.Start()
	return w
}

// A keeper is a browser that has Device Bound Session Credentials. It sends what
// Chromium sends, and heeds the answers as that does.
type keeper struct {
	*surfer
	key       *dbsctest.Key
	offered   string // the challenge of the last offer to register
	id        string // of the bound session; empty: none
	proof     string // the name of the cookie that it waits for
	like      string // the attributes of that cookie
	challenge string // what it signs next
}

func (w *web) keeper(user string) *keeper {
	w.Helper()
	b := &keeper{surfer: w.surfer(), key: dbsctest.NewKey()}
	b.heed(b.post("/login?user=" + user))
	if b.offered == "" {
		w.Fatal("the login offers no registration")
	}
	return b
}

// bound returns a keeper whose session is bound, and no longer good without a
// proof.
func (w *web) bound(user string) *keeper {
	w.Helper()
	b := w.keeper(user)
	b.register().wantStatus(w, 200)
	b.refresh().wantStatus(w, 200)
	w.want("with a proof", b.who(), user)
	w.pass(2 * time.Minute)
	w.want("with a proof, after the grace", b.who(), user)
	w.want("without a proof", b.without().who(), "nobody")
	return b
}

var own = []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "no-cors"}

func (b *keeper) register() *reply { return b.registerWith(b.key.Registration(b.offered)) }

func (b *keeper) registerWith(jwt string, headers ...string) *reply {
	b.Helper()
	a := b.post("/session/bound/register", slices.Concat([]string{"Secure-Session-Response", jwt}, own, headers)...)
	if a.StatusCode == 200 {
		var in struct {
			ID          string `json:"session_identifier"`
			Credentials []struct{ Name, Attributes string }
		}
		if err := json.Unmarshal([]byte(a.body), &in); err != nil || len(in.Credentials) != 1 {
			b.Fatalf("instructions %q: %v", a.body, err)
		}
		b.id, b.proof, b.like = in.ID, in.Credentials[0].Name, in.Credentials[0].Attributes
	}
	return b.heed(a)
}

// refresh renews the proof, in up to three tries.
func (b *keeper) refresh(headers ...string) *reply {
	b.Helper()
	for try := 0; ; try++ {
		jwt := ""
		if b.challenge != "" {
			jwt = b.key.Refresh(b.challenge)
		}
		if a := b.refreshWith(jwt, headers...); a.StatusCode != 403 || try == 3 {
			return a
		}
	}
}

// refreshWith tries once. Without a jwt it asks for a challenge.
func (b *keeper) refreshWith(jwt string, headers ...string) *reply {
	b.Helper()
	list := slices.Concat([]string{"Sec-Secure-Session-Id", b.id}, own, headers)
	if jwt != "" {
		list = append(list, "Secure-Session-Response", jwt)
	}
	a := b.heed(b.post("/session/bound/refresh", list...))
	// The browser waits for a cookie of exactly this name and these attributes.
	if line := a.Header.Get("Set-Cookie"); a.StatusCode == 200 && (!strings.HasPrefix(line, b.proof+"=") || !strings.HasSuffix(line, "; "+b.like)) {
		b.Errorf("Set-Cookie %q, and the instructions tell of %s; %s", line, b.proof, b.like)
	}
	return a
}

// heed takes the challenges of an answer.
func (b *keeper) heed(a *reply) *reply {
	b.Helper()
	if v := a.Header.Get("Secure-Session-Registration"); v != "" {
		_, after, _ := strings.Cut(v, `challenge="`)
		b.offered, _, _ = strings.Cut(after, `"`)
	}
	if v := a.Header.Get("Secure-Session-Challenge"); v != "" {
		text, id, _ := strings.Cut(strings.TrimPrefix(v, `"`), `";id="`)
		if b.id == "" || id == b.id+`"` {
			b.challenge = text
		}
	}
	return a
}

// without returns a client that has the cookies except the proof, like a thief of
// a while ago, or the browser when the proof has expired.
func (b *keeper) without() *surfer {
	f := b.fork()
	delete(f.cookies, b.proof)
	return f
}

// The exact exchange of a registration and a refresh.
func TestBoundExchange(t *testing.T) {
	w := newBoundWeb(t)
	b := w.keeper("alice")
	a := b.register().wantStatus(t, 200)
	id := w.id(&jar{session: b.cookies["__Host-session"]}).String()
	name := "__Host-session-bound-" + id[len(id)-8:]
	if want := `{"session_identifier":"` + id + `","refresh_url":"/session/bound/refresh","scope":{"include_site":false},` +
		`"credentials":[{"type":"cookie","name":"` + name + `","attributes":"Path=/; HttpOnly; Secure; SameSite=Lax"}],"allowed_refresh_initiators":["*"]}`; a.body != want {
		t.Errorf("instructions\n%s, want\n%s", a.body, want)
	}
	checkBoundAnswer(t, a)
	if a.Header.Get("Content-Type") != "application/json" || b.challenge == "" || a.Header["Set-Cookie"] != nil {
		t.Errorf("registration: %v", a.Header)
	}

	a = b.refresh().wantStatus(t, 200)
	checkBoundAnswer(t, a)
	if len(a.Header["Set-Cookie"]) != 1 || len(a.body) != 0 {
		t.Fatalf("refresh: %v %q", a.Header, a.body)
	}
	value := b.cookies[name]
	if want := name + "=" + value + "; Max-Age=600; Path=/; HttpOnly; Secure; SameSite=Lax"; a.Header.Get("Set-Cookie") != want || len(value) != 43 {
		t.Errorf("%s, want\n%s", a.Header.Get("Set-Cookie"), want)
	}
	w.want("who", b.who(), "alice")
	w.want("bound", w.record(w.id(&jar{session: b.cookies["__Host-session"]})).Binding != nil, true)

	// A refresh without a proof is told what to sign.
	a = b.refreshWith("").wantStatus(t, 403)
	checkBoundAnswer(t, a)
	if a.Header["Set-Cookie"] != nil || b.challenge == "" || a.Header.Get("Secure-Session-Challenge") != `"`+b.challenge+`";id="`+id+`"` {
		t.Errorf("challenge: %v", a.Header)
	}
	for _, quoted := range []string{b.id, `"` + b.id + `"`, `"` + b.id + `";v=1`} { // the second as in the draft
		jwt := `"` + b.key.Refresh(b.challenge) + `"`
		a := b.post("/session/bound/refresh", append([]string{"Sec-Secure-Session-Id", quoted, "Secure-Session-Response", jwt}, own...)...)
		b.heed(a.wantStatus(t, 200))
	}
}

// checkBoundAnswer checks what all answers of BoundHandler have.
func checkBoundAnswer(t *testing.T, a *reply) {
	t.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin",
		"Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": "", "Vary": "",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s %s, %s: %s is %q, want %q", a.Request.Method, a.Request.URL.Path, a.Status, name, got, want)
		}
	}
}

// Whatever is wrong has the status that makes a browser do the right thing, and
// changes nothing.
func TestBoundRefusals(t *testing.T) {
	w := newBoundWeb(t, options(func(o *sojourn.Options) { o.Bearer = true }))
	alice, other := w.bound("alice"), w.bound("bob")
	fresh := func(b *keeper) string {
		b.refreshWith("").wantStatus(t, 403)
		return b.challenge
	}
	id, otherID := alice.id, other.id
	for _, test := range []struct {
		name   string
		status int
		jwt    string
		b      *surfer // nil: alice, without her proof
		set    []string
	}{
		{name: "the challenge of another session", status: 403, jwt: alice.key.Refresh(fresh(other))},
		{name: "a forged challenge", status: 403, jwt: alice.key.Refresh("cv")},
		{name: "a challenge and a line break", status: 403, jwt: alice.key.Refresh(fresh(alice) + "\n")},
		{name: "another session's key", status: 401, jwt: other.key.Refresh(fresh(alice))},
		{name: "another session's key and session", status: 401, jwt: alice.key.Refresh(fresh(other)), set: []string{"Sec-Secure-Session-Id", otherID}},
		{name: "a key of its own", status: 400, jwt: alice.key.Registration(fresh(alice))},
		{name: "a new key", status: 400, jwt: dbsctest.NewKey().Registration(fresh(alice))},
		{name: "alg none", status: 400, jwt: alice.key.Sign(`{"alg":"none","typ":"dbsc+jwt"}`, `{"jti":"`+fresh(alice)+`"}`)},
		{name: "no JWT", status: 400, jwt: "x"},
		{name: "64 KiB", status: 400, jwt: strings.Repeat("x", 64<<10)},
		{name: "two proofs", status: 400, jwt: alice.key.Refresh(fresh(alice)), set: []string{"Secure-Session-Response", "+"}},
		{name: "an unknown session", status: 401, jwt: alice.key.Refresh(fresh(alice)), set: []string{"Sec-Secure-Session-Id", "01960000-0000-7000-8000-000000000000"}},
		{name: "no ID", status: 401, jwt: alice.key.Refresh(fresh(alice)), set: []string{"Sec-Secure-Session-Id", "x"}},
		{name: "an empty ID", status: 401, jwt: alice.key.Refresh(fresh(alice)), set: []string{"Sec-Secure-Session-Id", ""}},
		{name: "two IDs", status: 401, jwt: alice.key.Refresh(fresh(alice)), set: []string{"Sec-Secure-Session-Id", "+"}},
		{name: "no session is named", status: 401, jwt: alice.key.Refresh(fresh(alice)), set: []string{"Sec-Secure-Session-Id", "-"}},
	} {
		before := [2]uint64{w.record(parseID(t, id)).Revision, w.record(parseID(t, otherID)).Revision}
		h := http.Header{"Sec-Secure-Session-Id": {id}, "Secure-Session-Response": {test.jwt}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"no-cors"}}
		if len(test.set) > 0 {
			switch name, value := test.set[0], test.set[1]; value {
			case "-":
				h.Del(name)
			case "+":
				h[name] = append(h[name], h[name]...)
			default:
				h.Set(name, value)
			}
		}
		var list []string
		for name, values := range h {
			for _, v := range values {
				list = append(list, name, v)
			}
		}
		a := alice.without().post("/session/bound/refresh", list...)
		if a.StatusCode != test.status {
			t.Errorf("%s: %s, want %d", test.name, a.Status, test.status)
		}
		checkBoundAnswer(t, a)
		if a.Header["Set-Cookie"] != nil || (a.Header["Secure-Session-Challenge"] != nil) != (test.status == 403) {
			t.Errorf("%s: %v", test.name, a.Header)
		}
		if after := [2]uint64{w.record(parseID(t, id)).Revision, w.record(parseID(t, otherID)).Revision}; after != before {
			t.Errorf("%s: changed a session", test.name)
		}
	}

	// Registrations.
	visitor := w.surfer()
	visitor.post("/count").wantStatus(t, 200)
	unbound := w.keeper("carol")
	for _, test := range []struct {
		name   string
		status int
		by     *surfer
		jwt    string
		head   []string
	}{
		{"nobody", 401, w.surfer(), unbound.key.Registration(unbound.offered), own},
		{"a visitor", 401, visitor, unbound.key.Registration(unbound.offered), own},
		{"another user", 403, w.keeper("dora").surfer, unbound.key.Registration(unbound.offered), own},
		{"a bound session", 401, alice.surfer, alice.key.Registration(alice.challenge), own},
		{"a bound session without its proof", 401, alice.without(), dbsctest.NewKey().Registration(alice.challenge), own},
		{"a forged challenge", 403, unbound.surfer, unbound.key.Registration("cv"), own},
		{"no key", 400, unbound.surfer, unbound.key.Refresh(unbound.offered), own},
		{"a key that didn't sign", 401, unbound.surfer, unbound.key.Sign(`{"alg":"ES256","typ":"dbsc+jwt","jwk":`+dbsctest.NewKey().JWK()+`}`, `{"jti":"`+unbound.offered+`"}`), own},
		{"a page of another origin", 401, unbound.surfer, unbound.key.Registration(unbound.offered), []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}},
		{"a sibling", 401, unbound.surfer, unbound.key.Registration(unbound.offered), []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "no-cors"}},
		{"another Origin", 401, unbound.surfer, unbound.key.Registration(unbound.offered), []string{"Origin", "https://evil.example"}},
		{"a script", 401, unbound.surfer, unbound.key.Registration(unbound.offered), []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}},
		{"as it should be", 200, unbound.surfer, unbound.key.Registration(unbound.offered), own},
	} {
		a := test.by.post("/session/bound/register", append([]string{"Secure-Session-Response", test.jwt}, test.head...)...)
		if a.StatusCode != test.status {
			t.Errorf("registration by %s: %s, want %d", test.name, a.Status, test.status)
		}
		checkBoundAnswer(t, a)
		if a.StatusCode != 200 && a.Header["Set-Cookie"] != nil {
			t.Errorf("registration by %s: %v", test.name, a.Header)
		}
	}
	if list := refusals(w, sojourn.RefusedBound); !slices.Equal(list, []string{"alice"}) {
		t.Errorf("registrations for a bound session were told of %v", list)
	}

	// Other methods and paths.
	for _, method := range []string{"GET", "HEAD", "PUT", "OPTIONS", "DELETE"} {
		a := alice.do(method, "/session/bound/refresh", "", "Sec-Secure-Session-Id", id, "Origin", "https://evil.example", "Access-Control-Request-Headers", "secure-session-response")
		if a.wantStatus(t, 405); a.Header.Get("Allow") != "POST" {
			t.Errorf("%s: %v", method, a.Header)
		}
		checkBoundAnswer(t, a)
	}
	alice.post("/session/bound/refresh/").wantStatus(t, 404)
	alice.post("/session/bound/other").wantStatus(t, 404)
	alice.get("/.well-known/device-bound-sessions").wantStatus(t, 404)

	// The victims of all that go on.
	for user, b := range map[string]*keeper{"alice": alice, "bob": other} {
		w.want("who", b.who(), user)
		b.refresh().wantStatus(t, 200)
		w.want("who", b.who(), user)
	}
}

// refusals returns whose sessions were refused for a reason.
func refusals(w *web, why sojourn.Refusal) (subjects []string) {
	for _, e := range w.happened(sojourn.EventRefused) {
		if e.Refusal == why {
			subjects = append(subjects, e.Subject)
		}
	}
	return subjects
}

func parseID(t testing.TB, text string) sojourn.ID {
	t.Helper()
	id, err := sojourn.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Each challenge is good once, and for a while.
func TestBoundReplays(t *testing.T) {
	w := newBoundWeb(t)
	b := w.keeper("alice")
	registration := b.key.Registration(b.offered)
	b.registerWith(registration).wantStatus(t, 200)
	b.registerWith(registration).wantStatus(t, 403) // before the browser has shown that it got the answer
	b.refresh().wantStatus(t, 200)
	w.want("who", b.who(), "alice")
	w.flush()
	b.registerWith(registration).wantStatus(t, 401)

	refresh := b.key.Refresh(b.challenge)
	b.refreshWith(refresh).wantStatus(t, 200)
	used := b.cookies[b.proof]
	b.refreshWith(refresh).wantStatus(t, 403)
	w.want("the proof after a replay", b.cookies[b.proof], used)

	// What Chromium keeps from an earlier answer may be old.
	old := b.challenge
	w.pass(15*time.Minute + time.Second)
	b.refreshWith(b.key.Refresh(old)).wantStatus(t, 403)
	b.refresh().wantStatus(t, 200)
	w.want("who", b.who(), "alice")

	// A challenge outlives the proof with which it came.
	w.pass(14 * time.Minute)
	w.want("after the proof's life", b.who(), "nobody")
	b.refreshWith(b.key.Refresh(b.challenge)).wantStatus(t, 200)
	w.want("who", b.who(), "alice")

	// A laptop that was suspended for hours.
	w.pass(6 * time.Hour)
	b.refresh().wantStatus(t, 200)
	w.want("hours later", b.who(), "alice")
}

// A refresh needs the session's key, and not its cookie: Chromium leaves out
// SameSite=Lax cookies if a link of another site leads to the page that waits.
func TestBoundRefreshAfterLink(t *testing.T) {
	w := newBoundWeb(t)
	b := w.bound("alice")
	bare := &keeper{surfer: w.surfer(), key: b.key, id: b.id, proof: b.proof, like: b.like}
	a := bare.refresh().wantStatus(t, 200)
	if len(a.cookies) != 1 || a.cookies[0].Name != b.proof {
		t.Errorf("cookies: %v", a.cookies)
	}
	w.want("the proof alone", bare.who(), "nobody")
	maps.Copy(b.cookies, bare.cookies)
	w.want("with the session's cookie", b.who(), "alice")

	// The cookie of another session doesn't matter, nor does what a browser may tell
	// of the page that waits.
	other := w.bound("bob")
	mixed := &keeper{surfer: other.fork(), key: b.key, id: b.id, proof: b.proof, like: b.like}
	mixed.refresh("Origin", "https://mail.example").wantStatus(t, 200)
	w.want("the two cookies of different sessions", mixed.who(), "bob")
	delete(mixed.cookies, other.proof)
	w.want("another session's proof", mixed.who(), "nobody")
	w.want("who", other.who(), "bob")
}

// An ended session's refresh is over at once, for good.
func TestBoundSessionEnds(t *testing.T) {
	w := newBoundWeb(t)
	for name, end := range map[string]func(b *keeper){
		"logout":   func(b *keeper) { b.fork().post("/logout").wantStatus(t, 303) },
		"revoked":  func(b *keeper) { w.want("end", w.End(ctx, parseID(t, b.id)), nil) },
		"another":  func(b *keeper) { b.fork().login("mallory") },
		"idle out": func(*keeper) { w.pass(100 * 24 * time.Hour) },
	} {
		b := w.bound("alice")
		end(b)
		b.refreshWith("").wantStatus(t, 401)
		b.refreshWith(b.key.Refresh(b.challenge)).wantStatus(t, 401)
		if a := b.register(); a.StatusCode != 401 {
			t.Errorf("%s: a registration after the end: %s", name, a.Status)
		}
		w.want(name, b.who(), "nobody")
	}

	// A refresh is no activity: an open page doesn't keep its session from being
	// idle.
	b := w.bound("alice")
	for range 500 {
		w.pass(time.Hour)
		if a := b.refresh(); a.StatusCode == 401 {
			return
		}
	}
	t.Error("refreshes keep a session alive")
}

// Inside Handler and alone, BoundHandler judges itself which origins may ask. A 403
// of Handler would tell the browser to sign.
func TestBoundOrigins(t *testing.T) {
	w := newBoundWeb(t, options(func(o *sojourn.Options) { o.Origins = []string{"https://shop.example"} }))
	alone := httptest.NewServer(w.BoundHandler())
	t.Cleanup(alone.Close)
	for _, server := range []*httptest.Server{w.server, alone} {
		b := w.bound("alice")
		b.surfer = &surfer{&web{w.world, server, w.log}, b.cookies, nil}
		for _, headers := range [][]string{
			{"Origin", "https://shop.example"},
			{"Origin", "https://mail.example", "Sec-Fetch-Site", "cross-site"},
			{"Origin", "null", "Sec-Fetch-Site", "cross-site"},
		} {
			list := append([]string{"Sec-Secure-Session-Id", b.id, "Secure-Session-Response", b.key.Refresh(b.challenge)}, headers...)
			b.heed(b.post("/session/bound/refresh", list...).wantStatus(t, 200))
		}
		// Without the browser's own word for it, another origin's page may have sent it.
		b.post("/session/bound/refresh", "Secure-Session-Response", b.key.Refresh(b.challenge), "Origin", "https://mail.example").wantStatus(t, 401)
	}
	w.surfer().post("/count", "Origin", "https://mail.example").wantStatus(t, 403)
	w.surfer().post("/session/bound/register/more", "Origin", "https://mail.example").wantStatus(t, 403)
}

// Binding.Script lets scripts register and refresh: by the session's cookie,
// because they can't name a session.
func TestBoundScript(t *testing.T) {
	for _, on := range []bool{false, true} {
		w := newBoundWeb(t, options(func(o *sojourn.Options) { o.Bound.Script = on }))
		b := w.keeper("alice")
		script := []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "same-origin"}
		ask := func(path, jwt string) *reply {
			headers := script
			if jwt != "" {
				headers = append([]string{"Secure-Session-Response", jwt}, script...)
			}
			return b.heed(b.post("/session/bound/"+path, headers...))
		}
		if !on {
			ask("register", "").wantStatus(t, 401)
			ask("register", b.key.Registration(b.offered)).wantStatus(t, 401)
			b.register().wantStatus(t, 200)
			ask("refresh", "").wantStatus(t, 401)
			ask("refresh", b.key.Refresh(b.challenge)).wantStatus(t, 401)
			continue
		}
		ask("register", "").wantStatus(t, 403)
		if a := b.registerWith(b.key.Registration(b.challenge)); a.StatusCode != 200 {
			t.Fatal(a.Status)
		}
		ask("refresh", "").wantStatus(t, 403)
		ask("refresh", b.key.Refresh(b.challenge)).wantStatus(t, 200)
		w.want("who", b.who(), "alice")
		w.pass(2 * time.Minute)
		w.want("without the proof", b.without().who(), "nobody")
		if a := ask("register", ""); a.StatusCode != 401 || a.Header["Secure-Session-Challenge"] != nil {
			t.Errorf("a bound session: %s %v", a.Status, a.Header)
		}
		w.want("events", len(refusals(w, sojourn.RefusedBound)), 0)
		w.pass(time.Hour)
		ask("refresh", "").wantStatus(t, 403)
		ask("refresh", b.key.Refresh(b.challenge)).wantStatus(t, 200)
		w.want("an hour later", b.who(), "alice")
		b.post("/logout")
		ask("refresh", b.key.Refresh(b.challenge)).wantStatus(t, 401)
		ask("register", "").wantStatus(t, 401)
		w.surfer().post("/session/bound/refresh", script...).wantStatus(t, 401)
	}
}

// With Cookie.Domain the session covers the whole site. Browsers ask the domain
// which hosts may register for it.
func TestBoundSite(t *testing.T) {
	w := newBoundWeb(t, options(func(o *sojourn.Options) {
		o.Cookie.Domain = "example.com"
		o.Cookie.SameSite = http.SameSiteNoneMode
		o.Origins = []string{"https://www.example.com"}
		o.TrustedOrigins = []string{"https://blog.example.com"}
	}))
	b := &keeper{surfer: w.surfer(), key: dbsctest.NewKey()}
	b.heed(b.post("/login?user=alice"))
	a := b.register().wantStatus(t, 200)
	for _, part := range []string{
		`"scope":{"origin":"https://example.com","include_site":true}`, `"name":"__Secure-session-bound-`,
		`"attributes":"Path=/; Domain=example.com; HttpOnly; Secure; SameSite=None"}]}`,
	} {
		if !strings.Contains(a.body, part) {
			t.Errorf("%s\nhas no %s", a.body, part)
		}
	}
	a = w.surfer().get("/.well-known/device-bound-sessions").wantStatus(t, 200)
	if want := `{"registering_origins":["https://www.example.com","https://blog.example.com"]}`; a.body != want {
		t.Errorf("%s, want %s", a.body, want)
	}
	checkBoundAnswer(t, a)
	b.refresh("Origin", "https://example.com", "Sec-Fetch-Site", "same-site").wantStatus(t, 200) // as Chromium sends it
}

// An address that guesses session IDs costs the store no more than one that
// guesses tokens, and its answers end no browser's session.
func TestBoundGuessing(t *testing.T) {
	w := newBoundWeb(t, options(func(o *sojourn.Options) { o.MaxBadTokens = 10 }))
	b := w.bound("alice")
	b.refreshWith("").wantStatus(t, 403)
	unknown := func(i int) *reply {
		return w.surfer().post("/session/bound/refresh", "Sec-Secure-Session-Id", fmt.Sprintf("01960000-0000-7000-8000-%012d", i))
	}
	for range 3 {
		unknown(0).wantStatus(t, 401)
	}
	w.flush() // the activity of the requests before
	w.calls.reset()
	unknown(0).wantStatus(t, 401)
	w.want("reads for an ID that is known to be dead", len(w.calls.made()), 0)
	statuses := map[int]int{}
	for i := range 100 {
		statuses[unknown(i).StatusCode]++
	}
	if statuses[401] > 30 || statuses[401]+statuses[503] != 100 {
		t.Errorf("statuses: %v", statuses)
	}
	b.refresh().wantStatus(t, 200) // this process knows it
	if n := len(refusals(w, sojourn.RefusedUnknown)); n > 11 {
		t.Errorf("%d events", n)
	}
}

// Engines without Options.Bound serve nothing.
func TestBoundHandlerOfNone(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/session/bound/register", "/session/bound/refresh", "/.well-known/device-bound-sessions"} {
		rec := httptest.NewRecorder()
		w.BoundHandler().ServeHTTP(rec, httptest.NewRequest("POST", path, nil))
		w.want(path, rec.Code, 404)
	}
}

// BenchmarkBoundRefresh is a whole refresh, without the network: at most 150 µs of
// CPU, of which the signature's check is most.
func BenchmarkBoundRefresh(b *testing.B) {
	w := newBoundWeb(b, func(w *world, _ *sojourn.Options) { w.store = memstore.New() })
	k := w.bound("alice")
	h := w.BoundHandler()
	r := httptest.NewRequest("POST", "/session/bound/refresh", nil)
	r.Header.Set("Sec-Secure-Session-Id", k.id)
	r.Header.Set("Cookie", "__Host-session="+k.cookies["__Host-session"])
	next := k.challenge
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		r.Header.Set("Secure-Session-Response", k.key.Refresh(next))
		rec := httptest.NewRecorder()
		b.StartTimer()
		h.ServeHTTP(rec, r.WithContext(context.Background()))
		if rec.Code != 200 {
			b.Fatal(rec.Code)
		}
		next, _, _ = strings.Cut(strings.TrimPrefix(rec.Header().Get("Secure-Session-Challenge"), `"`), `"`)
	}
}
