package forwardauth_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Whatever prevents an answer to HAProxy's check, the request gets 503 and
// doesn't reach the application.
func TestHAProxyWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	answer := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 64<<10))
			_, _ = io.WriteString(conn, text)
		}
	}
	for name, c := range map[string]struct {
		serve func(net.Conn)
		edits []string
	}{
		"closes":             {serve: func(conn net.Conn) { _ = conn.Close() }},
		"hangs":              {serve: func(net.Conn) {}, edits: []string{"timeout = 2500", "timeout = 50"}},
		"no HTTP":            {serve: answer("hello\r\n\r\n")},
		"cut off":            {serve: answer("HTTP/1.1 200 OK\r\nSojourn-Subject: ro")},
		"a long header":      {serve: answer("HTTP/1.1 200 OK\r\nSojourn-Subject: root\r\nX: " + strings.Repeat("x", 100_000) + "\r\n\r\n")},
		"500":                {serve: answer("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")},
		"404":                {serve: answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")},
		"204":                {serve: answer("HTTP/1.1 204 No Content\r\n\r\n")},
		"the script fails":   {edits: []string{"local visitor =", "local visitor = nil .."}},
		"the script is late": {edits: []string{"local visitor =", "while true do end local visitor =", "lua-load-per-thread", "tune.lua.session-timeout 50\nlua-load-per-thread"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := haproxy
			p.edits = c.edits
			d := deploy(t, p, false, nobodyChanges)
			ann := d.signIn("ann")
			if c.serve != nil {
				d.replaceChecks(c.serve)
			}
			for _, path := range []string{"/", "/account"} {
				v := d.visit("GET", path, with(asPage, "Cookie", ann)...)
				d.stopped(path, v, http.StatusServiceUnavailable)
				if v.Header.Get("Retry-After") != "5" || v.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %v", path, v.Header)
				}
			}
		})
	}
}

// HAProxy's rules hold for HTTP/2, where a request's target is a whole URL.
func TestHAProxyOverHTTP2(t *testing.T) {
	t.Parallel()
	d := deploy(t, haproxy, false, nobodyChanges)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", d.site)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	visit := func(method, target string, headers ...string) visit {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://shop.example.com"+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
		}
		d.app.took()
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		v := visit{Response: answer, text: string(text)}
		if seen, _ := d.app.took(); len(seen) > 0 {
			v.reached = seen[0]
		}
		return v
	}

	if v := visit("GET", "/"); v.ProtoMajor != 2 {
		t.Fatalf("it answers in %s", v.Proto)
	}
	v := visit("GET", "/account?a=b", asPage...)
	d.stopped("page", v, http.StatusFound)
	if got := v.Header.Get("Location"); got != "/login?return_to=%2Faccount%3Fa%3Db" {
		t.Errorf("sent to %q", got)
	}
	d.stopped("HEAD", visit("HEAD", "/account"), http.StatusUnauthorized)
	for _, target := range []string{"/account", "//account", "/Account", "/%61ccount", "/account;a", "/account?require=any"} {
		d.stopped(target, visit("GET", target, "sojourn-subject", "root", "sojourn_subject", "root"), http.StatusUnauthorized)
	}
	for _, target := range []string{"/account/../x", "/x/..;/account", "/x/%2e%2e/account"} {
		d.stopped(target, visit("GET", target), http.StatusBadRequest)
	}
	d.passed("stranger", visit("GET", "/", "sojourn-subject", "root", "sojourn_level", "3"), "")

	ann := d.signIn("ann")
	d.world.pass(16 * time.Minute)
	v = visit("GET", "/account?a=b", "cookie", "a=b", "cookie", ann, "cookie", "c=d")
	d.passed("ann", v, "ann")
	if v.reached == nil || v.reached.RequestURI != "/account?a=b" || v.reached.Host != "shop.example.com" || strings.Join(v.reached.Header["Cookie"], "; ") != "a=b; c=d" {
		t.Errorf("the application got %+v", v.reached)
	}
	if len(v.Cookies()) != 1 || v.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the new secret came with %v", v.Header)
	}
}

// HAProxy decodes no path with a stray %, so its rules for paths would not match.
// Some applications accept such a path. The one here accepts everything.
func TestHAProxyStrayPercent(t *testing.T) {
	t.Parallel()
	p := haproxy
	p.edits = []string{"server application 127.0.0.1:8000", "http-request return status 200 content-type text/plain string reached"}
	d := deploy(t, p, false, nobodyChanges)
	if v := d.visit("GET", "/caf%C3%A9?a=%zz"); v.StatusCode != http.StatusOK {
		t.Errorf("a good path: %s", v.Status)
	}
	for _, target := range []string{"/account%zz", "/account/%", "/admin/100%/x", "/%4", "/account%4"} {
		if v := d.visit("GET", target); v.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", target, v.Status)
		}
	}
}
