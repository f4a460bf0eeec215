package forwardauth_test

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
)

var asPage = []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode", "navigate"}

func with(headers []string, more ...string) []string {
	return append(append([]string{}, headers...), more...)
}

func TestDeployedAnonymous(t *testing.T) {
	eachProxy(t, func(t *testing.T, d *deployment) {
		for _, path := range []string{"/", "/?a=b", "/index.html"} {
			v := d.visit("GET", path)
			d.passed(path, v, "")
			if v.StatusCode != http.StatusOK || v.text != "the application" || len(v.Header["Set-Cookie"]) > 0 {
				t.Errorf("%s: %s %q", path, v.Status, v.text)
			}
		}
		for _, path := range []string{"/account", "/account/", "/account/orders?id=7", "/admin", "/admin/users"} {
			d.stopped("script "+path, d.visit("GET", path), http.StatusUnauthorized)
			d.stopped("form by script "+path, d.visitWithBody("POST", path, "a=b", "Sec-Fetch-Mode", "cors"), http.StatusUnauthorized)
			v := d.visit("GET", path, asPage...)
			d.stopped("page "+path, v, http.StatusFound)
			if got, want := v.Header.Get("Location"), "/login?return_to="+url.QueryEscape(path); got != want {
				t.Errorf("%s: sent to %q, want %q", path, got, want)
			}
			if got := v.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%s: the redirect may be cached: %q", path, got)
			}
			v = d.visitWithBody("POST", path, "a=b", asPage...)
			d.stopped("form "+path, v, http.StatusFound)
			if got := v.Header.Get("Location"); got != "/login" {
				t.Errorf("form %s: sent to %q", path, got)
			}
		}
	})
}

// A sign-in page on another host gets the whole address to return to, but only
// for a listed origin.
func TestDeployedLoginElsewhere(t *testing.T) {
	const login = "https://login.example.com/?lang=en"
	listed := func(a *forwardauth.App, site string) {
		a.LoginURL, a.ReturnOrigins = login, []string{"http://" + site}
	}
	eachProxyOf(t, listed, func(t *testing.T, d *deployment) {
		_, port, _ := net.SplitHostPort(d.site)
		v := d.visit("GET", "/account?a=b&c=d", with(asPage, "X-Forwarded-Host", "elsewhere.example", "X-Forwarded-Proto", "ftp")...)
		d.stopped("page", v, http.StatusFound)
		want := login + "&return_to=" + url.QueryEscape("http://localhost:"+port+"/account?a=b&c=d")
		if got := v.Header.Get("Location"); got != want {
			t.Errorf("sent to %q, want %q", got, want)
		}
	})
	eachProxyOf(t, func(a *forwardauth.App, _ string) { a.LoginURL = login }, func(t *testing.T, d *deployment) {
		v := d.visit("GET", "/account", asPage...)
		d.stopped("page of a site that isn't listed", v, http.StatusFound)
		if got := v.Header.Get("Location"); got != login {
			t.Errorf("sent to %q", got)
		}
	})
}

func TestDeployedLogin(t *testing.T) {
	eachProxy(t, func(t *testing.T, d *deployment) {
		v := d.visitWithBody("POST", "/login", "user=ann", "Content-Type", "application/x-www-form-urlencoded")
		var cookie string
		for _, c := range v.Cookies() {
			if c.Name == "__Host-shop-session" {
				cookie = c.Name + "=" + c.Value
			}
		}
		if cookie == "" {
			t.Fatalf("no cookie of the login: %q", v.Header)
		}
		for _, path := range []string{"/", "/account", "/account/orders?id=7"} {
			d.passed(path, d.visit("GET", path, "Cookie", cookie), "ann")
		}
		d.stopped("admin", d.visit("GET", "/admin", "Cookie", cookie), http.StatusForbidden)
		d.stopped("admin, page", d.visit("GET", "/admin", with(asPage, "Cookie", cookie)...), http.StatusForbidden)
		d.passed("admin, second factor", d.visit("GET", "/admin", "Cookie", d.signIn("root", sojourn.Level(2))), "root")
		for _, subject := range []string{"Jörg Müller", "a/b?c#d%e+f&g", "a, b; c=\"d\"", "名前"} {
			d.passed(subject, d.visit("GET", "/account", "Cookie", d.signIn(subject)), subject)
		}
		other := d.signIn("ann")
		if err := d.engine.End(t.Context(), d.id(strings.Replace(cookie, "shop-", "", 1))); err != nil {
			t.Fatal(err)
		}
		d.stopped("ended", d.visit("GET", "/account", "Cookie", cookie), http.StatusUnauthorized)
		d.passed("ended", d.visit("GET", "/", "Cookie", cookie), "")
		d.passed("the other one", d.visit("GET", "/account", "Cookie", other), "ann")
		d.world.pass(24 * time.Hour)
		d.stopped("expired", d.visit("GET", "/account", "Cookie", other), http.StatusUnauthorized)
		d.passed("expired", d.visit("GET", "/", "Cookie", other), "")
	})
}

// A visitor's own Sojourn headers never reach the application, in any spelling
// that it could confuse with the real ones.
func TestDeployedForgedIdentity(t *testing.T) {
	forged := []string{
		"Sojourn-Subject", "root", "sojourn-subject", "root", "SOJOURN-SUBJECT", "root", "Sojourn_Subject", "root", "sojourn_subject", "root", "SOJOURN_SUBJECT", "root",
		"Sojourn-Session", "0198e0c5-0000-7000-8000-000000000000", "Sojourn_Session", "x", "Sojourn-Level", "3", "Sojourn_Level", "3", "SOJOURN_level", "3",
		"Sojourn-Login", "/x",
	}
	eachProxy(t, func(t *testing.T, d *deployment) {
		ann := d.signIn("ann")
		for _, path := range []string{"/", "/login"} {
			d.passed("stranger "+path, d.visit("GET", path, forged...), "")
		}
		for _, path := range []string{"/", "/account"} {
			v := d.visit("GET", path, with(forged, "Cookie", ann)...)
			d.passed("ann "+path, v, "ann")
			if v.reached != nil && v.reached.Header.Get("Sojourn-Level") != "1" {
				t.Errorf("%s: level %q", path, v.reached.Header.Get("Sojourn-Level"))
			}
		}
		for i := 0; i < len(forged); i += 2 {
			v := d.visit("GET", "/", forged[i], forged[i+1])
			d.passed(forged[i], v, "")
			d.stopped(forged[i], d.visit("GET", "/account", forged[i], forged[i+1]), http.StatusUnauthorized)
		}
		// A header that Connection names is for one hop. A proxy that complies
		// removes it.
		d.passed("hop", d.visit("GET", "/account", "Cookie", ann, "Connection", "Sojourn-Subject, Sojourn-Session"), "ann")
	})
}

// Caddy and HAProxy remove every header that begins with Sojourn, also those that
// sojournd never sends.
func TestDeployedForeignNames(t *testing.T) {
	for _, p := range []proxy{caddy, haproxy, caddyOfDocs, caddyOfNode} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, p, false, nobodyChanges)
			ann := d.signIn("ann")
			for _, name := range []string{"Sojourn-Admin", "sojourn_admin", "SOJOURN.SUBJECT", "Sojourn-Subject_", "Sojournx", "Sojourn"} {
				d.passed(name, d.visit("GET", "/", name, "root"), "")
				d.passed(name, d.visit("GET", "/account", name, "root", "Cookie", ann), "ann")
			}
		})
	}
}

// A visitor cannot weaken a check, or redirect anywhere, by the path, the query
// or X-Forwarded headers.
func TestDeployedHostileVisitor(t *testing.T) {
	eachProxy(t, func(t *testing.T, d *deployment) {
		for _, target := range []string{
			"/account?require=any", "/account/any", "/account?/check/shop/redirect/any", "/account//", "/account%3frequire=any",
			"/account;any", "/Account", "/ACCOUNT/any", "//account", "/account%2fany", "/Account", "/ACCOUNT/any", "//account", "/account%2fany", "/account/check/shop/status/any?mode=status", "/%61ccount", "/account/%00",
		} {
			v := d.visit("GET", target)
			if v.StatusCode != http.StatusUnauthorized && v.StatusCode != http.StatusBadRequest || v.reached != nil {
				t.Errorf("%s: %s, reached: %v", target, v.Status, v.reached != nil)
			}
		}
		for _, target := range []string{
			"/account/../x", "/account/./", "/x/../account", "/account/..", "/account/%2e%2e/x", "/account/.%2E/x", "/account/..%2fx", "/account/..%5Cx", "/account/..\\x",
			"/account%2f..%2f..%2fx", "/x/..;/account", "/account\\..\\x", "/account/..?a=b", "/%2e%2e/account",
		} {
			d.stopped(target, d.visit("GET", target, asPage...), http.StatusBadRequest)
		}
		for _, target := range []string{"/..a", "/a..", "/...", "/a.b/.well-known/c", "/x?y=/../z&w=%2e%2e%2f", "/a%2fb", "/%2ehidden"} {
			d.passed(target, d.visit("GET", target), "")
		}
		out := func(what string, v visit) {
			t.Helper()
			location := v.Header.Get("Location")
			if location == "" {
				return
			}
			u, err := url.Parse(location)
			if err != nil || u.Host != "" || u.Path != "/login" {
				t.Errorf("%s: sent to %q", what, location)
				return
			}
			if back := u.Query().Get("return_to"); back != "" && (!strings.HasPrefix(back, "/account") || strings.ContainsAny(back, "\\ \r\n")) {
				t.Errorf("%s: the way back is %q", what, back)
			}
		}
		for _, target := range []string{
			"//elsewhere.example/account", "/account//elsewhere.example", "/account/..//elsewhere.example", "/account\\elsewhere.example", "/\\elsewhere.example/account",
			"http://elsewhere.example/account", "/account?return_to=//elsewhere.example", "/account/%0d%0aLocation:%20//elsewhere.example", "/account#//elsewhere.example",
			"//elsewhere.example/../account", "/./account//elsewhere.example",
		} {
			v := d.visit("GET", target, asPage...)
			out(target, v)
			if v.StatusCode >= 500 {
				t.Errorf("%s: %s", target, v.Status)
			}
		}
		for _, header := range []string{"X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Original-Uri", "X-Original-Url", "X-Rewrite-Url", "X-Forwarded-Prefix", "Forwarded"} {
			for _, value := range []string{"//elsewhere.example/", "elsewhere.example", "/", "host=elsewhere.example"} {
				v := d.visit("GET", "/account/a?b=c", with(asPage, header, value)...)
				d.stopped(header, v, http.StatusFound)
				if got := v.Header.Get("Location"); got != "/login?return_to=%2Faccount%2Fa%3Fb%3Dc" {
					t.Errorf("%s: %s: sent to %q", header, value, got)
				}
			}
		}
		if got := d.visit("POST", "/account", with(asPage, "X-Forwarded-Method", "GET")...).Header.Get("Location"); got != "/login" {
			t.Errorf("with a forged method: sent to %q", got)
		}
		for _, value := range []string{"198.51.100.1", "198.51.100.1, 10.0.0.1", "10.0.0.1"} {
			ann := d.signIn("ann")
			d.world.pass(2 * time.Minute)
			d.passed("forged address", d.visit("GET", "/account", "Cookie", ann, "X-Forwarded-For", value, "X-Real-Ip", value, "Forwarded", "for="+value), "ann")
			if err := d.engine.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := d.engine.Begin(t.Context(), sojourn.Request{Session: []string{strings.TrimPrefix(ann, "__Host-shop-session=")}})
			if ip := s.Info().LastSeen.IP.String(); ip != "127.0.0.1" {
				t.Errorf("the visitor came from %s", ip)
			}
		}
		// The checks are for the proxy, not for the visitor.
		for _, path := range []string{"/_sojourn/any", "/_sojourn/login", "/check/shop/status/any"} {
			v := d.visit("GET", path, "Cookie", d.signIn("ann"))
			if v.reached == nil && v.StatusCode != http.StatusNotFound || v.Header.Get("Sojourn-Subject") != "" {
				t.Errorf("%s: %s %v", path, v.Status, v.Header)
			}
		}
		for _, cookie := range []string{"__Host-shop-session=x", "__Host-shop-session=" + strings.Repeat("A", 64), "=;;=\"", strings.Repeat("a=b; ", 1000), "__Host-shop-session=\xff"} {
			if v := d.visit("GET", "/account", "Cookie", cookie); v.StatusCode >= 500 || v.reached != nil {
				t.Errorf("%.40q: %s", cookie, v.Status)
			}
		}
	})
}

// The application sees all cookies except the session's.
func TestDeployedCookieWithheld(t *testing.T) {
	eachProxy(t, func(t *testing.T, d *deployment) {
		ann := d.signIn("ann")
		secret := strings.TrimPrefix(ann, "__Host-shop-session=")
		visitor := "__Host-shop-visitor=" + strings.Repeat("B", 64)
		proof := func(id string) string { return "__Host-shop-session-bound-" + id + "=" + strings.Repeat("C", 43) }
		for _, test := range []struct{ sent, want string }{
			{ann, ""},
			{"a=b; " + ann, "a=b"},
			{ann + "; a=b", "a=b"},
			{"a=b; " + ann + "; c=d", "a=b; c=d"},
			{"a=b; " + ann + "; " + visitor + "; c=d", "a=b; c=d"},
			{visitor + "; " + ann, ""},
			{visitor + "; a=b; " + ann + "; c=\"d e\"; e=f=g", "a=b; c=\"d e\"; e=f=g"},
			{"a=b;" + ann + ";c=d", "a=b; c=d"},
			{"a=b;\t" + ann + "\t;\tc=d", "a=b; c=d"},
			{"__Host-shop-sessions=1; x__Host-shop-session=2; " + ann, "__Host-shop-sessions=1; x__Host-shop-session=2"},
			{proof("01234567") + "; a=b; " + ann + "; " + proof("89abcdef") + "; " + visitor + "; c=d; " + proof("00000000"), "a=b; c=d"},
			{"__Host-shop-session-bound=1; " + ann + ";" + proof("01234567"), "__Host-shop-session-bound=1"},
		} {
			v := d.visit("GET", "/account", "Cookie", test.sent)
			d.passed(test.sent, v, "ann")
			if v.reached == nil {
				continue
			}
			got := strings.Join(v.reached.Header["Cookie"], "; ")
			if strings.Contains(got, secret) {
				t.Errorf("%q: the application got %q", test.sent, got)
			}
			parsed := func(line string) string {
				var list []string
				for pair := range strings.SplitSeq(line, ";") {
					if pair = strings.TrimSpace(pair); pair != "" {
						list = append(list, pair)
					}
				}
				return strings.Join(list, "; ")
			}
			if parsed(got) != test.want || strings.HasPrefix(strings.TrimSpace(got), ";") {
				t.Errorf("%q: the application got %q, want %q", test.sent, got, test.want)
			}
		}
		// The visitor may send any number of them.
		v := d.visit("GET", "/", "Cookie", strings.Repeat(ann+"; ", 20)+"a=b")
		if v.reached != nil && strings.Contains(strings.Join(v.reached.Header["Cookie"], ";"), secret) {
			t.Error("the application got one of many")
		}
		v = d.visit("GET", "/account", "Cookie", "a=b", "Cookie", ann)
		d.passed("two lines", v, "ann")
		if v.reached != nil && strings.Contains(strings.Join(v.reached.Header["Cookie"], ";"), secret) {
			t.Error("the application got that of the second line")
		}
	})
}

// A check's new secret reaches the browser, unless the application's answer
// sets cookies itself: those of a login must not be replaced.
func TestDeployedRotation(t *testing.T) {
	eachProxy(t, func(t *testing.T, d *deployment) {
		for _, path := range []string{"/", "/account/a", "/fails", "/denies"} {
			cookie := d.signIn("ann")
			v := d.visit("GET", path, "Cookie", cookie)
			d.passed("young", v, "ann")
			if len(v.Header["Set-Cookie"]) > 0 || v.Header.Get("Cache-Control") != "" {
				t.Errorf("young: %v", v.Header)
			}
			d.world.pass(16 * time.Minute)
			v = d.visit("POST", path, "Cookie", cookie)
			d.passed("POST", v, "ann")
			if len(v.Header["Set-Cookie"]) > 0 {
				t.Errorf("a POST rotates: %v", v.Header)
			}
			v = d.visit("GET", "/cookies", "Cookie", cookie)
			d.passed("own cookies", v, "ann")
			if got := v.Header["Set-Cookie"]; len(got) != 2 || !strings.HasPrefix(got[0], "theme=dark") || !strings.HasPrefix(got[1], "cart=1") {
				t.Errorf("the application's cookies came as %q", got)
			}
			d.world.pass(6 * time.Minute) // that rotation's answer was lost, and it is repeated
			v = d.visit("GET", path, "Cookie", cookie)
			d.passed("due", v, "ann")
			set := v.Cookies()
			if len(set) != 1 || len(v.Header["Set-Cookie"]) != 1 || set[0].Name != "__Host-shop-session" || !set[0].HttpOnly || !set[0].Secure || set[0].Path != "/" {
				t.Fatalf("Set-Cookie: %q", v.Header["Set-Cookie"])
			}
			if got := v.Header["Cache-Control"]; len(got) != 1 || got[0] != "no-store" {
				t.Errorf("an answer with a secret may be cached: %q", got)
			}
			next := set[0].Name + "=" + set[0].Value
			if next == cookie {
				t.Error("the secret is the same")
			}
			d.passed("the new one", d.visit("GET", "/account", "Cookie", next), "ann")
			d.passed("the old one, in the grace", d.visit("GET", "/account", "Cookie", cookie), "ann")
		}
	})
}

// No cache may store an answer to which a secret was added, whatever the
// application says about caching. All other answers keep the application's
// headers.
func TestDeployedSecretsAreNotCached(t *testing.T) {
	for _, p := range []proxy{nginx, caddy, haproxy, caddyOfNode} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, p, false, nobodyChanges)
			cookie := d.signIn("ann")
			for _, headers := range [][]string{nil, {"Cookie", cookie}} {
				v := d.visit("GET", "/immutable", headers...)
				for name, value := range forCaches {
					if got := v.Header.Values(name); len(got) != 1 || got[0] != value {
						t.Errorf("without a secret %s is %q", name, got)
					}
				}
			}
			d.world.pass(16 * time.Minute)
			v := d.visit("GET", "/immutable", "Cookie", cookie)
			if len(v.Header["Set-Cookie"]) != 1 {
				t.Errorf("Set-Cookie: %q", v.Header["Set-Cookie"])
			}
			for name := range forCaches {
				if got := v.Header.Values(name); name != "Cache-Control" && len(got) > 0 {
					t.Errorf("beside a secret %s is %q", name, got)
				}
			}
			if got := v.Header["Cache-Control"]; len(got) != 1 || got[0] != "no-store" {
				t.Errorf("beside a secret Cache-Control is %q", got)
			}
		})
	}
}

// I9: without an answer to the check no request passes.
func TestDeployedStoreFails(t *testing.T) {
	eachProxy(t, func(t *testing.T, d *deployment) {
		ann := d.signIn("ann")
		d.store.fail(errors.New("disk on fire"))
		for _, path := range []string{"/", "/account", "/admin"} {
			d.stopped("ann "+path, d.visit("GET", path, "Cookie", ann), http.StatusServiceUnavailable)
			d.stopped("ann, page "+path, d.visit("GET", path, with(asPage, "Cookie", ann)...), http.StatusServiceUnavailable)
		}
		d.store.fail(nil)
		d.passed("again", d.visit("GET", "/account", "Cookie", ann), "ann")
		d.checks.CloseClientConnections()
		d.checks.Close()
		for _, path := range []string{"/", "/account"} {
			if v := d.visit("GET", path, "Cookie", ann); v.StatusCode < 500 || v.reached != nil {
				t.Errorf("without a server %s: %s, reached: %v", path, v.Status, v.reached != nil)
			}
		}
	})
}

// Bodies, methods and answers pass unchanged.
func TestDeployedTransparent(t *testing.T) {
	eachProxy(t, func(t *testing.T, d *deployment) {
		ann := d.signIn("ann")
		big := strings.Repeat("0123456789abcdef", 5<<16) // 5 MiB: nginx writes it to its temporary directory
		v := d.visitWithBody("POST", "/account", big, "Cookie", ann)
		d.passed("POST", v, "ann")
		if v.body != big+"<nil>" {
			t.Errorf("of the body %d bytes arrived", len(v.body))
		}
		v = d.visitWithBody("PUT", "/account", "5\r\nhello\r\n0\r\n\r\n", "Cookie", ann, "Transfer-Encoding", "chunked")
		d.passed("chunked", v, "ann")
		if v.body != "hello<nil>" || v.reached == nil || v.reached.Method != "PUT" {
			t.Errorf("the body arrived as %.40q", v.body)
		}
		for _, method := range []string{"HEAD", "DELETE", "PATCH", "OPTIONS"} {
			v := d.visit(method, "/account?x=y", "Cookie", ann)
			d.passed(method, v, "ann")
			if v.reached != nil && (v.reached.Method != method || v.reached.RequestURI != "/account?x=y") {
				t.Errorf("%s arrived as %s %s", method, v.reached.Method, v.reached.RequestURI)
			}
		}
		for path, status := range map[string]int{"/fails": 500, "/denies": 401} {
			if v := d.visit("GET", path, asPage...); v.StatusCode != status || v.text != "the application" {
				t.Errorf("the application's own answer to %s came as %s %q", path, v.Status, v.text)
			}
		}
	})
}

// A page with a long address leads to the sign-in page, with or without the
// address to return to, and never to an error.
func TestDeployedLongAddress(t *testing.T) {
	for _, p := range setUps {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, p, false, nobodyChanges)
			for _, target := range []string{
				"/account?" + strings.Repeat("x[]=1&", 300), "/account?" + strings.Repeat("a", 1900), "/account?" + strings.Repeat("[", 700), "/account?" + strings.Repeat("%5B", 2000),
			} {
				v := d.visit("GET", target, asPage...)
				d.stopped(target, v, http.StatusFound)
				if got := v.Header.Get("Location"); got != "/login" && got != "/login?return_to="+url.QueryEscape(target) {
					t.Errorf("%s: sent to %q", target, got)
				}
				for _, v := range []visit{d.visit("GET", target, "Cookie", d.signIn(strings.Repeat("ü", 127))), d.visit("GET", "/x"+target)} {
					if v.StatusCode != http.StatusOK || v.reached == nil {
						t.Errorf("%s: %s", target, v.Status)
					}
				}
			}
		})
	}
}

// An application's answer may have a long header with many cookies.
func TestDeployedLongHeader(t *testing.T) {
	for _, p := range setUps {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, p, false, nobodyChanges)
			v := d.visit("GET", "/many-cookies")
			d.passed("many cookies", v, "")
			if v.StatusCode != http.StatusOK || len(v.Header["Set-Cookie"]) != 3 {
				t.Errorf("%s with %d cookies", v.Status, len(v.Header["Set-Cookie"]))
			}
		})
	}
}

// While sojournd restarts, Caddy's and HAProxy's checks wait and no request
// fails.
func TestDeployedRestart(t *testing.T) {
	for _, p := range []proxy{caddy, haproxy, caddyOfDocs, caddyOfNode} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, p, false, nobodyChanges)
			ann := d.signIn("ann")
			d.passed("before", d.visit("GET", "/account", "Cookie", ann), "ann")
			for _, method := range []string{"GET", "POST"} {
				restarted := d.restart()
				d.passed(method+" meanwhile", d.visitWithBody(method, "/account", "a=b", "Cookie", ann), "ann")
				restarted()
			}
		})
	}
}

// The set-ups in the documentation of the server are run as they are written.
func TestDocumented(t *testing.T) {
	for _, p := range []proxy{nginxOfDocs, caddyOfDocs} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, p, false, func(a *forwardauth.App, _ string) { a.RelaysCookies = false })
			forged := []string{"Sojourn-Subject", "root", "Sojourn_Subject", "root", "sojourn-session", "x", "SOJOURN_LEVEL", "3", "Sojourn-Login", "/x"}
			ann := d.signIn("Ann Ü")
			for _, path := range []string{"/", "/accoun", "/x?y=z"} {
				d.passed("stranger "+path, d.visit("GET", path, forged...), "")
				d.passed("ann "+path, d.visit("GET", path, with(forged, "Cookie", ann)...), "Ann Ü")
			}
			for _, path := range []string{"/account", "/account/orders?id=7", "/Account", "/account?require=any", "/account/any", "//account"} {
				d.passed("ann "+path, d.visit("GET", path, with(forged, "Cookie", ann)...), "Ann Ü")
				d.passed("ann's form "+path, d.visitWithBody("POST", path, "a=b", with(forged, "Cookie", ann)...), "Ann Ü")
				d.stopped("script "+path, d.visit("GET", path, forged...), http.StatusUnauthorized)
				d.stopped("page "+path, d.visit("GET", path, with(asPage, forged...)...), http.StatusFound)
			}
			for _, hop := range []string{"Sojourn-Subject", "close, Sojourn-Subject, Sojourn-Level", "sojourn-session,keep-alive"} { // named so, it would go no further
				for _, path := range []string{"/", "/account"} {
					d.passed(path+" with Connection: "+hop, d.visit("GET", path, "Cookie", ann, "Connection", hop), "Ann Ü")
				}
			}
			if v := d.visitWithBody("POST", "/account", strings.Repeat("a", 5<<20), "Cookie", ann); v.reached == nil {
				t.Errorf("5 MiB: %s", v.Status)
			}
			v := d.visit("GET", "/account/a?b=c&d=e", asPage...)
			if got := v.Header.Get("Location"); got != "/login?return_to=%2Faccount%2Fa%3Fb%3Dc%26d%3De" {
				t.Errorf("sent to %q", got)
			}
			for _, path := range []string{"/account/../x", "/x/%2e%2e/account", "/account/..%2fx"} {
				d.stopped(path, d.visit("GET", path, "Cookie", ann), http.StatusBadRequest)
			}
			d.store.fail(errors.New("disk on fire"))
			for _, path := range []string{"/", "/account"} {
				if v := d.visit("GET", path, "Cookie", ann); v.StatusCode < 500 || v.reached != nil {
					t.Errorf("%s without a store: %s", path, v.Status)
				}
			}
		})
	}
}
