package sojourn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/driver"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// setting returns the only Set-Cookie of a response that sets a value.
func (a *reply) setting(t testing.TB) *http.Cookie {
	t.Helper()
	var set *http.Cookie
	for _, c := range a.cookies {
		if c.MaxAge >= 0 && set != nil {
			t.Errorf("two cookies are set: %v", a.cookies)
		} else if c.MaxAge >= 0 {
			set = c
		}
	}
	if set == nil {
		t.Fatalf("no cookie is set: %v", a.Header)
	}
	return set
}

func (a *reply) cleared() (names []string) {
	for _, c := range a.cookies {
		if c.MaxAge < 0 {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestCookieDefaults(t *testing.T) {
	w := newWeb(t, nil)
	b := w.surfer()
	for _, test := range []struct {
		path, name string
		age        time.Duration
	}{
		{"/count", "__Host-visitor", 90 * 24 * time.Hour},
		{"/login?user=alice", "__Host-session", 30 * 24 * time.Hour},
	} {
		c := b.post(test.path).setting(t)
		if c.Name != test.name || len(c.Value) != 64 || c.Quoted {
			t.Errorf("%q = %q", c.Name, c.Value)
		}
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.Partitioned || len(c.Unparsed) > 0 || c.RawExpires != "" {
			t.Errorf("attributes: %s", c.Raw)
		}
		if c.MaxAge != int(test.age/time.Second) {
			t.Errorf("Max-Age=%d, want %v", c.MaxAge, test.age)
		}
	}
}

// Max-Age ends at the absolute deadline, also after the cookie is renewed.
func TestCookieMaxAge(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		if err := s.Login("alice", sojourn.Remember()); err != nil {
			t.Error(err)
		}
	})
	b := w.surfer()
	b.post("/count")
	w.pass(24 * time.Hour)
	if c := b.post("/login?user=alice").setting(t); c.MaxAge != 30*24*3600 {
		t.Errorf("login: Max-Age=%d", c.MaxAge)
	}
	w.pass(time.Hour)
	if c := b.get("/who").setting(t); c.Name != "__Host-session" || c.MaxAge != 30*24*3600-3600 {
		t.Errorf("an hour later, rotated: %s", c.Raw)
	}
	if c := b.get("/").setting(t); c.MaxAge != 90*24*3600 {
		t.Errorf("remembered: Max-Age=%d", c.MaxAge)
	}

	long := newWeb(t, nil, options(func(o *sojourn.Options) { o.Policy.Anonymous.Absolute = 1000 * 24 * time.Hour }))
	if c := long.surfer().post("/count").setting(t); c.MaxAge != 400*24*3600 {
		t.Errorf("browsers cap at 400 days: Max-Age=%d", c.MaxAge)
	}
}

// The engine doesn't care whether the cookie should have expired in the
// browser.
func TestCookieExpiryIsNotTheLimit(t *testing.T) {
	w := newWeb(t, nil, options(func(o *sojourn.Options) { o.Policy.RotateEvery = -1 }))
	b := w.surfer().login("alice")
	kept := b.fork()
	for range 29 {
		w.pass(23 * time.Hour)
		w.want("who", b.who(), "alice")
	}
	w.pass(23 * time.Hour)
	w.want("a day before the end, with the first cookie", kept.who(), "alice")
	for range 3 {
		w.pass(12 * time.Hour)
		kept.who()
	}
	w.want("after it, with a cookie that never left", kept.who(), "nobody")
	w.want("reason", kept.get("/ended").body, "absolute")
}

// Cookie names are compared exactly. Any page of the site can set cookies with
// other spellings.
func TestCookieNamesCompareExactly(t *testing.T) {
	w := newWeb(t, nil)
	b := w.surfer().login("alice")
	value := b.cookies["__Host-session"]
	w.calls.reset()
	for _, name := range []string{"__host-session", "__HOST-SESSION", "__Host-Session", "_Host-session", "Host-session", "__Host-session2", "session", "__Host-session[]", `"__Host-session"`, "\x00__Host-session", "__Host-session\x00", "$__Host-session", "\u00a0__Host-session"} {
		w.want(fmt.Sprintf("%q", name), onTape(w, name+"="+value), "nobody")
	}
	for _, name := range []string{"__Host-visitor"} {
		w.want(name, onTape(w, name+"="+value), "nobody") // a login's token works only in the session cookie
	}
	w.want("the name itself", onTape(w, "__Host-session="+value), "alice")
	w.want("among others", onTape(w, " a=b ;\t__Host-session="+value+" ; c"), "alice")
	w.want("in a separate line", onTape(w, "a=b", "__Host-session="+value, ";;="), "alice")
}

// onTape makes a request whose Cookie lines can hold anything, even what
// net/http's client and server refuse. It returns the subject.
func onTape(w *web, lines ...string) string {
	w.Helper()
	r := httptest.NewRequest("GET", "http://localhost/who", nil)
	r.Header["Cookie"] = lines
	tape := newTape()
	w.server.Config.Handler.ServeHTTP(tape, r)
	if tape.status != http.StatusOK {
		return fmt.Sprint(tape.status)
	}
	return tape.body.String()
}

func TestCookieOptions(t *testing.T) {
	for _, test := range []struct {
		name string
		c    sojourn.Cookie
		want []string // in every cookie
	}{
		{"strict", sojourn.Cookie{SameSite: http.SameSiteStrictMode}, []string{"__Host-", "SameSite=Strict"}},
		{"none", sojourn.Cookie{SameSite: http.SameSiteNoneMode}, []string{"__Host-", "SameSite=None", "Secure"}},
		{"default mode", sojourn.Cookie{SameSite: http.SameSiteDefaultMode}, []string{"__Host-", "SameSite=Lax", "Secure"}},
		{"partitioned", sojourn.Cookie{SameSite: http.SameSiteNoneMode, Partitioned: true}, []string{"__Host-", "Partitioned", "Secure", "SameSite=None"}},
		{"domain", sojourn.Cookie{Domain: "example.com"}, []string{"__Secure-", "Domain=example.com", "Secure", "HttpOnly"}},
		{"domain with a dot", sojourn.Cookie{Domain: ".example.com"}, []string{"__Secure-", "Domain=example.com"}},
		{"names", sojourn.Cookie{Name: "sid", Visitor: "vid"}, []string{"id=", "Secure", "HttpOnly", "Path=/"}},
		{"one name", sojourn.Cookie{Name: "__Host-shop"}, []string{"__Host-", "Secure"}},
		{"longest names", sojourn.Cookie{Name: strings.Repeat("n", 4096-64), Visitor: strings.Repeat("v", 4096-64)}, nil},
		{"longest domain", sojourn.Cookie{Domain: strings.Repeat("abcdefghi.", 25) + "com"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWeb(t, nil, options(func(o *sojourn.Options) { o.Cookie = test.c }))
			b := w.surfer()
			for _, a := range []*reply{b.post("/count"), b.post("/login?user=alice"), b.post("/logout")} {
				for _, line := range a.Header["Set-Cookie"] {
					for _, want := range test.want {
						if !strings.Contains(line, want) && !strings.Contains(line, "=; Max-Age=0") { // another form, which the response clears too
							t.Errorf("%s: no %s in %s", a.Request.URL.Path, want, line)
						}
					}
					pair, attributes, _ := strings.Cut(line, ";")
					if name, value, _ := strings.Cut(pair, "="); len(name)+len(value) > 4096 {
						t.Errorf("name and value have %d bytes", len(name)+len(value))
					}
					if strings.Contains(attributes, "..") || len(attributes) > 1024 {
						t.Errorf("attributes: %s", attributes)
					}
				}
			}
			b.login("alice")
			w.want("who", b.who(), "alice")
		})
	}
}

// New returns an error for options that a browser would reject or that aren't
// safe. The error says what to change.
func TestCookieWrongCombinations(t *testing.T) {
	none := http.SameSiteNoneMode
	for _, test := range []struct {
		name string
		o    sojourn.Options
		says string
	}{
		{"__Host- with Domain", sojourn.Options{Cookie: sojourn.Cookie{Name: "__Host-session", Domain: "example.com"}}, "__Secure-"},
		{"__host- with Domain", sojourn.Options{Cookie: sojourn.Cookie{Name: "__hOsT-session", Domain: "example.com"}}, "__Secure-"},
		{"visitor __Host- with Domain", sojourn.Options{Cookie: sojourn.Cookie{Visitor: "__Host-v", Domain: "example.com"}}, "__Secure-"},
		{"__Host-Http- with Domain", sojourn.Options{Cookie: sojourn.Cookie{Name: "__Host-Http-session", Domain: "example.com"}}, "__Secure-"},
		{"same names", sojourn.Options{Cookie: sojourn.Cookie{Name: "sid", Visitor: "sid"}}, "must differ"},
		{"visitor named as the session", sojourn.Options{Cookie: sojourn.Cookie{Visitor: "__Host-session"}}, "must differ"},
		{"Partitioned without None", sojourn.Options{Cookie: sojourn.Cookie{Partitioned: true}}, "SameSiteNoneMode"},
		{"Partitioned and Strict", sojourn.Options{Cookie: sojourn.Cookie{Partitioned: true, SameSite: http.SameSiteStrictMode}}, "SameSiteNoneMode"},
		{"no such SameSite", sojourn.Options{Cookie: sojourn.Cookie{SameSite: 17}}, "SameSite"},
		{"name with blank", sojourn.Options{Cookie: sojourn.Cookie{Name: "my session"}}, "my session"},
		{"name with =", sojourn.Options{Cookie: sojourn.Cookie{Name: "a=b"}}, "a=b"},
		{"name with line break", sojourn.Options{Cookie: sojourn.Cookie{Visitor: "a\r\nSet-Cookie: b"}}, "Cookie"},
		{"name too long", sojourn.Options{Cookie: sojourn.Cookie{Name: strings.Repeat("n", 4096-63)}}, "4096"},
		{"top-level domain", sojourn.Options{Cookie: sojourn.Cookie{Domain: "com"}}, "single label"},
		{"top-level domain with a dot", sojourn.Options{Cookie: sojourn.Cookie{Domain: ".com"}}, "single label"},
		{"top-level domain with a dot behind", sojourn.Options{Cookie: sojourn.Cookie{Domain: "com."}}, "single label"},
		{"domain localhost", sojourn.Options{Cookie: sojourn.Cookie{Domain: "localhost"}}, "single label"},
		{"domain with a dot behind", sojourn.Options{Cookie: sojourn.Cookie{Domain: "example.com."}}, "dot at the end"},
		{"domain of dots", sojourn.Options{Cookie: sojourn.Cookie{Domain: ".."}}, "omain"},
		{"domain of a dot", sojourn.Options{Cookie: sojourn.Cookie{Domain: "."}}, "omain"},
		{"address as domain", sojourn.Options{Cookie: sojourn.Cookie{Domain: "192.0.2.1"}}, "IP address"},
		{"IPv6 address as domain", sojourn.Options{Cookie: sojourn.Cookie{Domain: "::1"}}, "IP address"},
		{"domain with port", sojourn.Options{Cookie: sojourn.Cookie{Domain: "example.com:8080"}}, "omain"},
		{"domain with scheme", sojourn.Options{Cookie: sojourn.Cookie{Domain: "https://example.com"}}, "omain"},
		{"domain injects", sojourn.Options{Cookie: sojourn.Cookie{Domain: "example.com; Path=/x"}}, "omain"},
		{"domain too long", sojourn.Options{Cookie: sojourn.Cookie{Domain: strings.Repeat("abcdefghi.", 30) + "com"}}, "omain"},
		{"Clear-Site-Data", sojourn.Options{ClearSiteData: []string{"cokies"}}, "cookies"},
		{"Clear-Site-Data injects", sojourn.Options{ClearSiteData: []string{"cache\"\r\nX: y"}}, "cookies"},
		{"origin with path", sojourn.Options{TrustedOrigins: []string{"https://example.com/app"}}, "TrustedOrigins"},
		{"origin without scheme", sojourn.Options{TrustedOrigins: []string{"example.com"}}, "TrustedOrigins"},
		{"origin *", sojourn.Options{TrustedOrigins: []string{"*"}}, "TrustedOrigins"},
		{"origin null", sojourn.Options{TrustedOrigins: []string{"null"}}, "TrustedOrigins"},
		{"proxies", sojourn.Options{TrustedProxies: []netip.Prefix{{}}}, "ParsePrefix"},
		{"app", sojourn.Options{App: "my app"}, "letters"},
		{"app too long", sojourn.Options{App: strings.Repeat("a", 65)}, "64"},
		{"idle above absolute", sojourn.Options{Policy: sojourn.Policy{Login: sojourn.Lifetime{Idle: 2 * time.Hour, Absolute: time.Hour}}}, "Absolute"},
		{"idle of nothing", sojourn.Options{Policy: sojourn.Policy{Login: sojourn.Lifetime{Idle: time.Millisecond}}}, "second"},
		{"negative idle", sojourn.Options{Policy: sojourn.Policy{Anonymous: sojourn.Lifetime{Idle: -1}}}, "Anonymous"},
		{"rotation too fast", sojourn.Options{Policy: sojourn.Policy{RotateEvery: time.Minute}}, "5m"},
		{"no grace", sojourn.Options{Policy: sojourn.Policy{Grace: time.Second}}, "1 to 30"},
		{"negative grace", sojourn.Options{Policy: sojourn.Policy{Grace: -1}}, "1 to 30"},
		{"endless grace", sojourn.Options{Policy: sojourn.Policy{Grace: time.Hour}}, "1 to 30"},
		{"session too large", sojourn.Options{MaxSession: 2 << 20}, "at most"},
		{"value above session", sojourn.Options{MaxValue: 512 << 10}, "MaxSession"},
		{"SameSite None is fine", sojourn.Options{Cookie: sojourn.Cookie{SameSite: none}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := memstore.New()
			defer st.Close()
			e, err := sojourn.New(st, test.o)
			if err == nil {
				defer e.Close(t.Context())
			}
			switch {
			case test.says == "" && err != nil:
				t.Error(err)
			case test.says != "" && err == nil:
				t.Error("New accepts the options")
			case test.says != "" && (!strings.Contains(err.Error(), test.says) || !strings.HasPrefix(err.Error(), "sojourn: ")):
				t.Errorf("it should say %q: %v", test.says, err)
			}
		})
	}
	if _, err := sojourn.New(nil, sojourn.Options{}); err == nil || !strings.Contains(err.Error(), "memstore") {
		t.Errorf("without a store: %v", err)
	}
}

// No cache stores a response that sets a cookie, whatever the handler's headers
// say, streamed or not.
func TestCookieResponsesAreNotCached(t *testing.T) {
	for name, respond := range map[string]func(http.ResponseWriter){
		"whole":    func(rw http.ResponseWriter) { io.WriteString(rw, handlerText) },
		"streamed": func(rw http.ResponseWriter) { rw.(http.Flusher).Flush(); io.WriteString(rw, handlerText) },
		"redirect": func(rw http.ResponseWriter) { rw.Header().Set("Location", "/"); rw.WriteHeader(303) },
		"error":    func(rw http.ResponseWriter) { http.Error(rw, handlerText, 404) },
		"silent":   func(rw http.ResponseWriter) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
				h := rw.Header()
				h["Cache-Control"] = []string{"public, max-age=3600", "immutable"}
				h.Set("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")
				h.Set("CDN-Cache-Control", "max-age=3600") // RFC 9213: a CDN prefers it to Cache-Control
				h.Set("Surrogate-Control", "max-age=3600")
				h.Set("X-Accel-Expires", "3600")
				h.Set("Cloudflare-CDN-Cache-Control", "max-age=3600")
				h.Set("X-LiteSpeed-Cache-Control", "public, max-age=3600")
				h.Set("Edge-Control", "max-age=1h")
				h["cache-control"] = []string{"max-age=3600"} // net/http sends header names as they are written
				h["CDN-Cache-Control"] = []string{"max-age=7200"}
				h["EXPIRES"] = []string{"Fri, 01 Jan 2100 00:00:00 GMT"}
				h.Set("Vary", "Accept")
				switch r.URL.Path {
				case "/set":
					color.Set(s, "red")
				case "/in":
					s.Login("alice")
				case "/out":
					s.Logout()
				}
				respond(rw)
			})
			b := w.surfer()
			for _, path := range []string{"/set", "/in", "/out"} {
				a := b.get(path)
				equal(t, path+": Cache-Control", a.Header["Cache-Control"], []string{"no-store"})
				equal(t, path+": Vary", a.Header["Vary"], []string{"Accept", "Cookie"})
				if len(a.cookies) == 0 {
					t.Errorf("%s: no cookie", path)
				}
				for _, name := range []string{"Expires", "Cdn-Cache-Control", "Surrogate-Control", "X-Accel-Expires", "Cloudflare-Cdn-Cache-Control", "X-Litespeed-Cache-Control", "Edge-Control"} {
					if v := a.Header[name]; v != nil {
						t.Errorf("%s: %s: %q", path, name, v)
					}
				}
			}
			// A response without a session cookie keeps the handler's headers.
			equal(t, "Cache-Control", b.get("/").Header["Cache-Control"], []string{"public, max-age=3600", "immutable", "max-age=3600"})
		})
	}
}

func TestCookieVary(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		if v := r.Header.Get("Handler-Vary"); v != "" {
			rw.Header().Set("Vary", v)
		}
		if r.URL.Path == "/asks" {
			s.Subject()
		}
	})
	for _, test := range []struct {
		path, own string
		want      []string
	}{
		{"/asks", "", []string{"Cookie"}},
		{"/asks", "Accept", []string{"Accept", "Cookie"}},
		{"/asks", "Accept, cookie", []string{"Accept, cookie"}},
		{"/asks", "*", []string{"*"}},
		{"/asks", "X-Cookie", []string{"X-Cookie", "Cookie"}},
		{"/", "", nil},
		{"/", "Accept", []string{"Accept"}},
	} {
		equal(t, test.path+" "+test.own, w.surfer().get(test.path, "Handler-Vary", test.own).Header["Vary"], test.want)
	}
	bearer := newWeb(t, nil, options(func(o *sojourn.Options) { o.Bearer = true }))
	equal(t, "with Bearer", bearer.surfer().get("/who").Header["Vary"], []string{"Cookie", "Authorization"})
}

// A rotation doesn't make a cacheable response uncacheable. The next response
// rotates.
func TestCookieNoRotationOnCacheable(t *testing.T) {
	const later = "Fri, 01 Jan 2100 00:00:00 GMT"
	for _, test := range []struct {
		header, value string
		rotates       bool
	}{
		{"Cache-Control", "public, max-age=60", false},
		{"Cache-Control", "PUBLIC", false},
		{"Cache-Control", "max-age=60", false},
		{"Cache-Control", "private, max-age=60", false},
		{"Cache-Control", `s-maxage="60"`, false},
		{"Cache-Control", "immutable", false},
		{"Cache-Control", "max-age=99999999999999999999", false},
		{"Expires", later, false},
		{"CDN-Cache-Control", "max-age=60", false},
		{"Cloudflare-CDN-Cache-Control", "public", false},
		{"Surrogate-Control", "max-age=60", false},
		{"Edge-Control", "max-age=1h", false},
		{"X-Accel-Expires", "60", false},
		{"CDN-Cache-Control", "no-store", true},
		{"Surrogate-Control", "max-age=0", true},
		{"X-Accel-Expires", "0", true},
		{"Cache-Control", "max-age=0", true},
		{"Cache-Control", "no-cache, max-age=60", true},
		{"Cache-Control", "max-age=60, no-store", true},
		{"Cache-Control", "private", true},
		{"Expires", "0", true},
		{"Expires", "Thu, 01 Jan 1970 00:00:00 GMT", true},
		{"Etag", `"1"`, true},
	} {
		w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
			rw.Header().Set(test.header, test.value)
			io.WriteString(rw, s.Subject())
		})
		b := w.surfer().login("alice")
		w.pass(time.Hour)
		a := b.get("/").wantStatus(t, 200)
		if rotated := len(a.cookies) > 0; rotated != test.rotates {
			t.Errorf("%s: %s: rotated %v", test.header, test.value, rotated)
		}
		if !test.rotates {
			w.want("header of the handler", a.Header.Get(test.header), test.value)
			if a := b.get("/who"); len(a.cookies) != 1 {
				t.Errorf("%s: %s: the next response doesn't rotate", test.header, test.value)
			}
		}
	}
}

// Visitors and logins have separate cookies. A login clears the visitor's
// cookie. Only a logout clears the session's.
func TestCookiesAreSeparate(t *testing.T) {
	w := newWeb(t, nil)
	b := w.surfer()
	b.post("/count")
	visitor := b.cookies["__Host-visitor"]
	a := b.post("/login?user=alice")
	w.want("cookie that is set", a.setting(t).Name, "__Host-session")
	equal(t, "a login clears", a.cleared(), []string{"__Host-visitor", "__Host-visitor"}) // also in the form with Partitioned
	w.want("the cart", b.get("/count").body, "1")
	if b.cookies["__Host-session"] == visitor || strings.HasSuffix(b.cookies["__Host-session"], visitor[22:]) {
		t.Error("the secret is the visitor's")
	}

	// The visitor's old token is invalid in both cookies.
	w.want("the visitor's token as visitor", onTape(w, "__Host-visitor="+visitor), "nobody")
	w.want("the visitor's token as session", onTape(w, "__Host-session="+visitor), "nobody")

	// A late response to a visitor's request arrives after the login, and
	// doesn't replace it.
	late := w.surfer()
	b.keep(late.post("/count"))
	w.want("who", b.who(), "alice")

	a = b.post("/logout")
	equal(t, "a logout clears", a.cleared(), []string{"__Host-session", "__Host-session", "__Host-visitor", "__Host-visitor"})
	w.want("after logout", b.who(), "nobody")
	equal(t, "a logout without cookies clears", w.surfer().post("/logout").cleared(), nil)
}

// Only a logout's response clears the session cookie, however the session
// ended. Another response may be late, and the browser may already hold a newer
// login.
func TestCookieOnlyLogoutClears(t *testing.T) {
	for name, end := range map[string]func(*web, *surfer){
		"revoked": func(w *web, b *surfer) { w.EndSubject(w.Context(), "alice", sojourn.ID{}) },
		"all":     func(w *web, b *surfer) { w.EndAll(w.Context()) },
		"idle":    func(w *web, b *surfer) { w.pass(25 * time.Hour) },
		"garbage": func(w *web, b *surfer) { b.cookies["__Host-session"] = "garbage" },
		"former":  func(w *web, b *surfer) { b.fork().login("alice") },
		"logout":  func(w *web, b *surfer) { b.fork().post("/logout") },
		"theft": func(w *web, b *surfer) {
			thief := b.fork()
			for range 4 {
				w.pass(time.Hour)
				thief.who()
			}
			w.pass(11 * time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWeb(t, nil)
			b := w.surfer().login("alice")
			end(w, b)
			for _, a := range []*reply{b.get("/who"), b.get("/ended"), b.get("/count"), b.post("/count")} {
				if slices.Contains(a.cleared(), "__Host-session") {
					t.Errorf("%s clears: %v", a.Request.URL.Path, a.Header["Set-Cookie"])
				}
				for _, c := range a.cookies {
					if c.Name == "__Host-session" {
						t.Errorf("%s sets: %s", a.Request.URL.Path, c.Raw)
					}
				}
			}
			w.want("who", b.who(), "nobody")
			w.pass(time.Second)
			b.login("alice")
			w.want("after a new login", b.who(), "alice")
		})
	}
}

func TestCookieClearSiteData(t *testing.T) {
	w := newWeb(t, nil)
	if v := w.surfer().login("alice").post("/logout").Header["Clear-Site-Data"]; v != nil {
		t.Errorf("without the option: %q", v)
	}
	w = newWeb(t, nil, options(func(o *sojourn.Options) { o.ClearSiteData = []string{"cache", "storage"} }))
	b := w.surfer().login("alice")
	if v := b.get("/who").Header["Clear-Site-Data"]; v != nil {
		t.Errorf("not at logout: %q", v)
	}
	w.calls.fail(always(errors.New("disk on fire"), "End"), nil)
	b.post("/logout").withheld(t, http.StatusServiceUnavailable)
	w.calls.fail(nil, nil)
	w.want("after a logout that failed", b.who(), "alice")
	w.want("at logout", b.post("/logout").Header.Get("Clear-Site-Data"), `"cache", "storage"`)
}

// The handler's own cookies stay.
func TestCookieBesideOthers(t *testing.T) {
	w := newWeb(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		http.SetCookie(rw, &http.Cookie{Name: "theme", Value: "dark"})
		color.Set(s, "red")
	})
	a := w.surfer().get("/")
	if len(a.cookies) != 2 || a.cookies[0].Name != "theme" || a.cookies[1].Name != "__Host-visitor" {
		t.Errorf("%v", a.Header["Set-Cookie"])
	}
}

// Browsers drop a Secure cookie that came by plain HTTP, except from localhost.
// The log says so once.
func TestCookiePlainHTTP(t *testing.T) {
	for _, test := range []struct {
		name, url, peer string
		warns           bool
	}{
		{"a host", "http://shop.example/", "203.0.113.7:999", true},
		{"an address", "http://192.0.2.7:8080/", "203.0.113.7:999", true},
		{"HTTPS", "https://shop.example/", "203.0.113.7:999", false},
		{"localhost", "http://localhost:8080/", "127.0.0.1:999", false},
		{"below localhost", "http://shop.localhost/", "127.0.0.1:999", false},
		{"127.0.0.1", "http://127.0.0.1:7080/", "127.0.0.1:999", false},
		{"::1", "http://[::1]:7080/", "[::1]:999", false},
		{"not localhost", "http://localhost.example/", "203.0.113.7:999", true},
		{"almost httptest.NewRequest", "http://example.com/", "192.0.2.2:1234", true},
		{"httptest.NewRequest", "http://example.com/", "192.0.2.1:1234", false},
		{"behind a trusted proxy", "http://shop.example/", "10.0.0.1:999", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			old := slog.Default()
			defer slog.SetDefault(old)
			slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
			w := newWebUnstarted(t, nil, options(func(o *sojourn.Options) {
				o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			}))
			for range 3 {
				r := httptest.NewRequest("POST", test.url+"count", nil)
				r.RemoteAddr = test.peer
				w.server.Config.Handler.ServeHTTP(newTape(), r)
			}
			n := strings.Count(log.String(), "plain HTTP")
			if test.warns && n != 1 || !test.warns && n != 0 {
				t.Errorf("%d warnings: %s", n, &log)
			}
		})
	}
}

// SetCookies returns what a caller without net/http's server must send.
func TestCookieWithoutHandler(t *testing.T) {
	w := newWorld(t)
	s := w.begin(&jar{visitor: "x"})
	if err := s.Login("alice"); err != nil {
		t.Fatal(err)
	}
	if s.Token() != "" || len(s.SetCookies()) != 0 {
		t.Error("a token before the commit")
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := s.SetCookies()
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "__Host-session="+s.Token()+"; ") || !strings.HasPrefix(lines[1], "__Host-visitor=; Max-Age=0; ") ||
		lines[2] != lines[1]+"; Partitioned" {
		t.Errorf("%q", lines)
	}
}

// A handler that has read the session, and then asks for a strict read that
// nobody makes, has still used the session.
func TestCookieVaryAfterStrict(t *testing.T) {
	w := newWorld(t, onCalls(func(ctx context.Context, c driver.Call) driver.Result {
		result := c.Do(ctx)
		if c.Op == driver.Get {
			c.Record.Cached = !c.Strict
		}
		return result
	}))
	j := w.loggedIn("ann")
	for _, commit := range []bool{false, true} {
		h := w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			s := sojourn.From(r.Context())
			w.want("subject", s.Subject(), "ann")
			s.Strict()
			if commit {
				w.want("commit", s.Commit(r.Context()), nil)
			}
			rw.WriteHeader(http.StatusNoContent)
		}))
		r := httptest.NewRequest("GET", "https://localhost/", nil)
		r.Header.Set("User-Agent", home.UserAgent) // a changed client would be read strictly
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: j.session})
		a := httptest.NewRecorder()
		h.ServeHTTP(a, r)
		w.want("Vary", a.Header().Get("Vary"), "Cookie")
	}
}
