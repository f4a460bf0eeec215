package forwardauth_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
)

// choose sets the headers of the application.
func choose(headers map[string]string) func(*forwardauth.App, *sojourn.Options) {
	return app(func(a *forwardauth.App) { a.Headers = headers })
}

// The application chooses headers with values and claims. Only signed-in users
// have them: for everybody else they are empty, not absent, so that a proxy
// replaces the visitor's own.
func TestChosenHeaders(t *testing.T) {
	w := newWorld(t, choose(map[string]string{
		"X-User": "subject", "X-Session": "session", "X-Level": "level", "X-Amr": "amr", "X-Remembered": "remembered",
		"X-Created": "created_at", "X-Since": "authenticated_at", "X-Seen": "last_seen_at", "X-Idle": "idle_expires_at", "X-Until": "expires_at",
		"x-user-email": "value.email", "X-Groups": "value.groups", "X-City": "value.profile#/address/0/city", "X-Dots": "value.a.b",
	}))
	ann := w.login("ada+x@example.com", sojourn.AMR("pwd", "otp"), sojourn.Level(2))
	w.put(ann, "email", "ada+x@example.com")
	w.put(ann, "groups", []any{"admins", "a, b", 7, true, nil})
	w.put(ann, "profile", map[string]any{"address": []any{map[string]any{"city": "Köln"}}})
	w.put(ann, "a.b", map[string]any{"c": 1})
	want := map[string]string{
		"X-User": "ada+x@example.com", "X-Session": w.id(ann).String(), "X-Level": "2", "X-Amr": "pwd,otp", "X-Remembered": "false",
		"X-Created": "2026-03-01T12:00:00Z", "X-Since": "2026-03-01T12:00:00Z", "X-Seen": "2026-03-01T12:00:00Z", "X-Idle": "2026-03-02T12:00:00Z", "X-Until": "2026-03-31T12:00:00Z",
		"X-User-Email": "ada+x@example.com", "X-Groups": "admins,a%2C b,7,true,", "X-City": "K%C3%B6ln", "X-Dots": "%7B%22c%22:1%7D",
	}
	for _, check := range []string{"any", "login", "level-2", "login-passive"} {
		answer := w.get("/check/shop/status/"+check, "Cookie", ann, "X-User-Email", "root@example.com")
		w.want(check, answer, http.StatusOK)
		for name, text := range want {
			if got := answer.Header[name]; len(got) != 1 || got[0] != text {
				t.Errorf("%s: %s is %q, want %q", check, name, got, text)
			}
		}
	}

	visitor := w.engine.Begin(t.Context(), sojourn.Request{})
	if err := errors.Join(visitor.SetValue("email", json.RawMessage(`"root@example.com"`)), visitor.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	for name, cookie := range map[string]string{"a stranger": "", "a visitor": "__Host-visitor=" + visitor.Token(), "a bad token": "__Host-session=x"} {
		answer := w.get("/check/shop/redirect/any", "Cookie", cookie)
		w.want(name, answer, http.StatusOK)
		for header := range want {
			if got := answer.Header[header]; len(got) != 1 || got[0] != "" {
				t.Errorf("%s: %s is %q", name, header, got)
			}
		}
	}
	if answer := w.get("/check/shop/status/level-3", "Cookie", ann); answer.StatusCode != http.StatusForbidden || answer.Header["X-User"] != nil {
		t.Errorf("a check that refuses tells who the user is: %v", answer.Header)
	}
}

// Safe ASCII stays as it is. Everything else is percent-encoded, and different
// texts stay different.
func TestEncodingOfHeaders(t *testing.T) {
	w := newWorld(t, choose(map[string]string{"X-Value": "value.v"}))
	ann := w.login("ann")
	of := func(value any) string {
		t.Helper()
		w.put(ann, "v", value)
		answer := w.get("/check/shop/status/login", "Cookie", ann)
		w.want("ann", answer, http.StatusOK)
		return answer.Header.Get("X-Value")
	}
	for text, want := range map[string]string{
		"ada+x@example.com": "ada+x@example.com", "Ada Lovelace": "Ada Lovelace", "Lovelace, Ada": "Lovelace%2C Ada", "https://a.example/b?c=d&e#f": "https://a.example/b?c=d&e#f",
		"Jörg": "J%C3%B6rg", "名": "%E5%90%8D", "100%": "100%25", "%2C": "%252C", "a=b; c": "a=b%3B c", `"quoted"\`: "%22quoted%22%5C", "{http.request.uri}": "%7Bhttp.request.uri%7D",
		"$http_cookie %[src]": "$http_cookie %25[src]", "<b>`x`": "%3Cb%3E%60x%60", " a": "%20a", "a ": "a%20", "a  b": "a %20b", " ": "%20", "": "",
		"a\r\nX-Admin: 1": "a%0D%0AX-Admin: 1", "a\tb": "a%09b", "\x7f": "%7F", "\u0085": "%C2%85", "=?utf-8?q?x?=": "=?utf-8?q?x?=",
		"0x1~!#$&'()*+-./:=?@[]^_|": "0x1~!#$&'()*+-./:=?@[]^_|",
	} {
		got := of(text)
		if got != want {
			t.Errorf("%q is sent as %q, want %q", text, got, want)
		}
		if back, err := url.PathUnescape(got); back != text || err != nil {
			t.Errorf("%q is read as %q, %v", got, back, err)
		}
	}
	for _, test := range []struct {
		value any
		want  string
	}{
		{nil, ""}, {true, "true"}, {json.RawMessage("1.50"), "1.50"}, {json.RawMessage("-12345678901234567890"), "-12345678901234567890"}, {[]string{}, ""},
		{[]string{"a", "b"}, "a,b"}, {[]string{"a,b"}, "a%2Cb"}, {[]any{[]int{1, 2}, map[string]int{}}, "[1%2C2],%7B%7D"}, {map[string]any{"a": nil}, "%7B%22a%22:null%7D"},
	} {
		if got := of(test.value); got != test.want {
			t.Errorf("%v is sent as %q, want %q", test.value, got, test.want)
		}
	}
}

// FuzzHeaderValue checks that no text can end a header or a member of a list,
// and that it can be read back.
func FuzzHeaderValue(f *testing.F) {
	for _, text := range []string{"", "ada+x@example.com", " a  b ", "\r\n", "ü", "%", "a,b", "\x00\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := forwardauth.Encode(text)
		if back, err := url.PathUnescape(got); back != text || err != nil {
			t.Errorf("%q becomes %q, which is read as %q, %v", text, got, back, err)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r >= 0x7f || r == ',' || r == '"' }) || strings.TrimSpace(got) != got {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}

// A pointer finds a member or an element, and nothing else.
func TestPointers(t *testing.T) {
	const value = `{"a":{"b/c":"slash","~":"tilde","":"empty","#/":"hash","null":null},"list":["zero",{"x":"one"}],"text":"t"}`
	for pointer, want := range map[string]string{
		"/a/b~1c": "slash", "/a/~0": "tilde", "/a/": "empty", "/a/#~1": "hash", "/a/null": "", "/list/0": "zero", "/list/1/x": "one", "/text": "t",
		"/list/2": "", "/list/-": "", "/list/00": "", "/list/x": "", "/list/0/x": "", "/text/0": "", "/a/none": "", "/none/x": "", "/": "", "/list/99999999999999999999": "",
	} {
		w := newWorld(t, choose(map[string]string{"X-Value": "value.v#" + pointer, "X-None": "value.none#" + pointer}))
		ann := w.login("ann")
		w.put(ann, "v", json.RawMessage(value))
		header := w.get("/check/shop/status/login", "Cookie", ann).Header
		if got := header.Get("X-Value"); got != want {
			t.Errorf("%s: %q, want %q", pointer, got, want)
		}
		if got := header["X-None"]; len(got) != 1 || got[0] != "" {
			t.Errorf("no value: %q", got)
		}
	}
}

// An application can't choose what has another meaning.
func TestHeadersThatCantBeChosen(t *testing.T) {
	for _, name := range []string{"X-User-Email", "Remote-User", "X-WEBAUTH-USER", "X-Forwarded-User", "X-Auth-Request-Email", "x-a", "A1"} {
		if err := forwardauth.CheckHeader(name, "subject"); err != nil {
			t.Errorf("%s %v", name, err)
		}
	}
	for _, name := range []string{
		"", "X_User", "X.User", "X User", "X-User:", "X-Üser", "-X", "X-", "X-User\r\nX-Admin", strings.Repeat("x", 65), "Sojourn-Subject", "sojourn-email", "SojournX", "Sojourn",
		"cookie", "Set-Cookie", "Connection", "host", "Content-Length", "Transfer-Encoding", "Authorization", "Cache-Control", "Location", "Upgrade", "TE",
		"X-Forwarded-For", "x-forwarded-uri", "X-Real-IP", "X-Accel-Redirect", "X-Original-URL", "Sec-Fetch-Site", "Proxy-Authorization", "If-Match", "Accept", "Retry-After",
	} {
		if err := forwardauth.CheckHeader(name, "subject"); err == nil {
			t.Errorf("%q can be chosen", name)
		}
	}
	for _, source := range []string{
		"", "Subject", "subject ", "email", "value", "value.", "values.email", "value.\n", "value.\xff", "value." + strings.Repeat("k", 256), "value.#/a", "value.a#/~", "value.a#/~2", "token", "secret", "revision",
	} {
		if err := forwardauth.CheckHeader("X-User", source); err == nil {
			t.Errorf("%q is a source", source)
		}
	}
	many := map[string]string{}
	for i := range 17 {
		many["X-"+string(rune('a'+i))] = "subject"
	}
	if err := forwardauth.CheckHeaders(many); err == nil {
		t.Error("17 headers can be chosen")
	}
}

// A value that is too long for a header is sent empty, never in part. Others are
// sent.
func TestLongHeaders(t *testing.T) {
	w := newWorld(t, choose(map[string]string{"X-A": "value.a", "X-B": "value.b", "X-C": "value.c"}))
	ann := w.login("ann")
	for _, test := range []struct {
		a, b int
		want string
	}{{100, 900, "100 900 1"}, {1200, 900, "0 900 1"}, {900, 1200, "900 0 1"}, {60_000, 3000, "0 0 1"}, {100, 900, "100 900 1"}} {
		w.put(ann, "a", strings.Repeat("a", test.a))
		w.put(ann, "b", strings.Repeat("b", test.b))
		w.put(ann, "c", "c")
		answer := w.get("/check/shop/status/login", "Cookie", ann)
		w.want("ann", answer, http.StatusOK)
		var lengths []string
		for _, name := range []string{"X-A", "X-B", "X-C"} {
			lengths = append(lengths, strconv.Itoa(len(answer.Header.Get(name))))
		}
		if got := strings.Join(lengths, " "); got != test.want {
			t.Errorf("%d, %d: %s bytes were sent, want %s", test.a, test.b, got, test.want)
		}
	}
	if log := w.log.String(); !strings.Contains(log, "X-A") || strings.Contains(log, "aaaa") {
		t.Errorf("the log: %s", log)
	}
}

// A passive check keeps no session alive, whether the proxy or the request asks
// for it. A client that wasn't seen before is noted all the same.
func TestPassiveChecks(t *testing.T) {
	w := newWorld(t, app(func(a *forwardauth.App) { a.PassiveHeader = "X-Background" }))
	checks := []struct {
		what, path string
		headers    []string
		passive    bool
	}{
		{"asked for by the proxy", "/check/shop/status/login-passive", nil, true},
		{"with a suffix", "/check/shop/redirect/any-passive/account?x", nil, true},
		{"for a level", "/check/shop/status/level-1-passive", nil, true},
		{"for a fresh login", "/check/shop/status/fresh-1h-passive", nil, true},
		{"asked for by the request", "/check/shop/status/login", []string{"X-Background", "1"}, true},
		{"asked for by the request, refused", "/check/shop/status/level-3", []string{"X-Background", "1"}, true},
		{"plain", "/check/shop/status/login", nil, false},
		{"with another header", "/check/shop/status/login", []string{"X-Foreground", "1"}, false},
		{"with a passive query", "/check/shop/status/login?-passive", nil, false},
		{"with a passive suffix", "/check/shop/status/login/any-passive", nil, false},
	}
	for _, c := range checks {
		ann := w.login("ann")
		id := w.id(ann)
		headers := append([]string{"Cookie", ann, "User-Agent", "Mozilla/5.0 " + strings.Repeat("x", 300)}, c.headers...)
		w.pass(time.Second)
		w.want("first", w.get("/check/shop/status/any", headers...), http.StatusOK) // notes the client
		w.pass(10 * time.Minute)
		before, err := w.engine.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		w.get(c.path, headers...)
		w.pass(0)
		after, err := w.engine.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if passive := after.LastSeenAt.Equal(before.LastSeenAt); passive != c.passive {
			t.Errorf("%s: passive is %v", c.what, passive)
		}
		if !c.passive {
			continue
		}
		for _, other := range []struct{ name, value string }{{"X-Forwarded-For", "198.51.100.66"}, {"User-Agent", "curl"}} {
			w.pass(time.Second)
			w.get(c.path, append(headers, other.name, other.value)...)
			w.pass(0)
			seen, err := w.engine.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if is := seen.LastSeen; is.IP.String() != other.value && is.UserAgent != other.value {
				t.Errorf("%s: a thief stays unseen: %v", c.what, is)
			}
		}
	}

	ann := w.login("ann")
	w.pass(time.Second)
	for range 3 {
		w.get("/check/shop/status/login-passive", "Cookie", ann) // notes the client once
		w.pass(9 * time.Hour)
	}
	w.want("after a day of polls", w.get("/check/shop/status/login", "Cookie", ann), http.StatusUnauthorized)
	for _, path := range []string{"passive", "-passive", "login-passive-passive", "login-Passive", "loginpassive", "fresh--passive"} {
		w.want(path, w.get("/check/shop/status/"+path, "Cookie", ann), http.StatusNotFound)
	}
}
