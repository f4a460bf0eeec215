package forwardauth_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
)

// eachChosen runs a test behind every real proxy whose set-up passes the header
// X-User-Email, which the application has chosen.
func eachChosen(t *testing.T, test func(t *testing.T, d *deployment)) {
	for _, p := range []proxy{nginx, caddy, haproxy} {
		p.chosen = true
		p.edits = []string{
			"auth_request /_sojourn/level-2;", "auth_request /_sojourn/login-passive;", // nginx, of /admin
			"/check/shop/redirect/level-2", "/check/shop/redirect/login-passive", // Caddy
			"lua.sojourn level-2", "lua.sojourn login-passive", // HAProxy
			`"x-requested-with" }`, `"x-requested-with", "x-background" }`, // whose script names the headers
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(t, deploy(t, p, false, func(a *forwardauth.App, _ string) {
				a.Headers, a.PassiveHeader = map[string]string{"X-User-Email": "value.email"}, "X-Background"
			}))
		})
	}
}

// email checks that a request reached the application with an address, or with
// none, under every name that an application could take for X-User-Email.
func (d *deployment) email(what string, v visit, want string) {
	d.Helper()
	if v.reached == nil {
		d.Errorf("%s: it didn't reach the application: %s", what, v.Status)
		return
	}
	var got []string
	for name, values := range v.reached.Header {
		if strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name)) == "x-user-email" {
			got = append(got, values...)
		}
	}
	one := strings.Join(got, ", ")
	if address, err := url.PathUnescape(one); err != nil || address != want || len(got) > 1 {
		d.Errorf("%s: the application takes %q, %v for the address; want %q", what, got, err, want)
	}
}

// A chosen header reaches the application as the check sent it. A visitor's own
// never does, in any spelling that the application could confuse with it.
func TestDeployedChosenHeader(t *testing.T) {
	forged := []string{"X-User-Email", "x-user-email", "X_User_Email", "X-User_Email", "x_user-email", "X.User.Email", "X-User.Email", "X_User.Email"}
	all := []string{"Sojourn-Subject", "root"}
	for _, name := range forged {
		all = append(all, name, "root@example.com")
	}
	eachChosen(t, func(t *testing.T, d *deployment) {
		ann, ben := d.signIn("ann"), d.signIn("ben") // ben has no address
		for _, address := range []string{"ada+x@example.com", "\"Jörg, jr.\"@example.com", "a\r\nX-Admin: 1", " {http.request.uri} $http_cookie %[src] "} {
			d.put(strings.Replace(ann, "shop-", "", 1), "email", address)
			for _, path := range []string{"/", "/account"} {
				d.email(path, d.visit("GET", path, "Cookie", ann), address)
			}
		}
		d.put(strings.Replace(ann, "shop-", "", 1), "email", "ada+x@example.com")
		v := d.visitWithBody("POST", "/account", "a=b", with(all, "Cookie", ann)...)
		d.email("forged beside the own", v, "ada+x@example.com")
		if v.reached != nil && v.reached.Header.Get("X-User-Email") != "ada+x@example.com" {
			t.Errorf("safe ASCII doesn't stay as it is: %q", v.reached.Header.Get("X-User-Email"))
		}
		for _, name := range forged {
			d.email("a stranger's "+name, d.visit("GET", "/", name, "root@example.com"), "")
			d.email("ben's "+name, d.visit("GET", "/account", name, "root@example.com", "Cookie", ben), "")
			d.email("ann's "+name, d.visit("GET", "/account", name, "root@example.com", "Cookie", ann), "ada+x@example.com")
		}
		d.email("a stranger's", d.visit("GET", "/", all...), "")
		d.passed("a stranger's", d.visit("GET", "/", all...), "")
		d.email("hop", d.visit("GET", "/account", "Cookie", ann, "Connection", "x-user-email"), "ada+x@example.com")
		d.email("hops", d.visit("GET", "/account", "Cookie", ann, "Connection", "keep-alive, X-User-Email, Sojourn-Subject"), "ada+x@example.com")

		d.world.pass(20 * time.Minute)
		v = d.visit("GET", "/account", "Cookie", ann)
		d.email("with a rotated secret", v, "ada+x@example.com")
		if len(v.Header["Set-Cookie"]) != 1 {
			t.Errorf("no secret was rotated: %v", v.Header)
		}
		if v.Header.Get("X-User-Email") != "" {
			t.Error("the visitor gets the header")
		}
	})
}

// Neither a route whose check is passive nor a request that asks for it is
// activity, behind real proxies, too.
func TestDeployedPassive(t *testing.T) {
	eachChosen(t, func(t *testing.T, d *deployment) {
		for _, poll := range []struct{ path, header string }{{"/account", "X-Background"}, {"/admin", "X-Other"}} {
			ann := d.signIn("ann")
			d.world.pass(time.Second)
			d.passed("first", d.visit("GET", "/account", "Cookie", ann, "User-Agent", "Mozilla/5.0"), "ann") // notes the client
			for hour := range 3 {
				d.world.pass(9 * time.Hour)
				v := d.visit("GET", poll.path, "Cookie", ann, "User-Agent", "Mozilla/5.0", poll.header, fmt.Sprint(hour))
				if hour == 2 {
					d.stopped("a poll after a day", v, http.StatusUnauthorized)
					continue
				}
				d.passed("a poll", v, "ann")
				for _, c := range v.Cookies() { // a poll's answer may have a new secret
					ann = c.Name + "=" + c.Value
				}
			}
		}
	})
}
