package sojourn_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn"
)

// clientOf makes a request that creates a session, and returns the client in
// its record.
func clientOf(t *testing.T, w *web, remote string, header http.Header) sojourn.Client {
	t.Helper()
	r := httptest.NewRequest("GET", "http://localhost/", nil)
	remote, unix := strings.CutPrefix(remote, "unix:")
	if unix {
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/app.sock", Net: "unix"}))
	}
	r.RemoteAddr = remote
	for name, values := range header {
		r.Header[name] = values
	}
	var client sojourn.Client
	w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s := sojourn.From(r.Context())
		color.Set(s, "red")
		client = s.Info().Created
	})).ServeHTTP(newTape(), r)
	return client
}

// The client's address is the connection's. If that is a trusted proxy's, it is
// the last one in X-Forwarded-For that isn't.
func TestSiteClientIP(t *testing.T) {
	w := newWebUnstarted(t, nil, options(func(o *sojourn.Options) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48"), netip.MustParsePrefix("192.0.2.1/32")}
	}))
	for _, test := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"direct", "203.0.113.7:1234", nil, "203.0.113.7"},
		{"direct, forged", "203.0.113.7:1234", []string{"198.51.100.1"}, "203.0.113.7"},
		{"direct, forged as a proxy", "203.0.113.7:1234", []string{"10.0.0.1"}, "203.0.113.7"},
		{"one proxy", "10.0.0.1:1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"one proxy, client forged more", "10.0.0.1:1", []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"client forged a proxy's address", "10.0.0.1:1", []string{"198.51.100.1, 10.0.0.9, 203.0.113.7"}, "203.0.113.7"},
		{"two proxies", "10.0.0.1:1", []string{"198.51.100.1, 203.0.113.7, 10.0.0.2"}, "203.0.113.7"},
		{"two headers", "10.0.0.1:1", []string{"198.51.100.1", "203.0.113.7, 10.0.0.2"}, "203.0.113.7"},
		{"two headers, the last one trusted", "10.0.0.1:1", []string{"198.51.100.1, 203.0.113.7", "10.0.0.3"}, "203.0.113.7"},
		{"blanks", "10.0.0.1:1", []string{"  203.0.113.7  ,10.0.0.2\t"}, "203.0.113.7"},
		{"only proxies", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"no header", "10.0.0.1:1", nil, "10.0.0.1"},
		{"empty header", "10.0.0.1:1", []string{""}, "10.0.0.1"},
		{"garbage", "10.0.0.1:1", []string{"203.0.113.7, unknown"}, "10.0.0.1"},
		{"garbage behind a proxy", "10.0.0.1:1", []string{"203.0.113.7, <script>, 10.0.0.2"}, "10.0.0.2"},
		{"with a port", "10.0.0.1:1", []string{"203.0.113.7:4711"}, "203.0.113.7"},
		{"IPv6", "[2001:db8:1::1]:1", []string{"2001:db8:2::5"}, "2001:db8:2::5"},
		{"IPv6 with a port", "[2001:db8:1::1]:1", []string{"[2001:db8:2::5]:443"}, "2001:db8:2::5"},
		{"IPv6 with a zone", "10.0.0.1:1", []string{"fe80::1%eth0"}, "fe80::1"},
		{"IPv4 in IPv6, peer", "[::ffff:10.0.0.1]:1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"IPv4 in IPv6, forwarded", "10.0.0.1:1", []string{"203.0.113.7, ::ffff:10.0.0.2"}, "203.0.113.7"},
		{"zone of the peer", "[fe80::1%eth0]:1", []string{"203.0.113.7"}, "fe80::1"},
		{"beside the prefix", "11.0.0.1:1", []string{"203.0.113.7"}, "11.0.0.1"},
		{"a prefix of one", "192.0.2.1:1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"beside it", "192.0.2.2:1", []string{"203.0.113.7"}, "192.0.2.2"},
		{"a Unix socket", "unix:@", []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"a Unix socket, no header", "unix:", nil, "invalid IP"},
		{"a Unix socket, garbage", "unix:@", []string{"unknown"}, "invalid IP"},
		{"a Unix socket, bound to an address", "unix:198.51.100.7:1", nil, "invalid IP"},
		{"a Unix socket, bound to an address, a header", "unix:198.51.100.7:1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"no port", "198.51.100.7", []string{"203.0.113.7"}, "198.51.100.7"},
		{"no port, IPv6", "2001:db8:2::1", []string{"203.0.113.7"}, "2001:db8:2::1"},
		{"no port, brackets", "[2001:db8:2::1]", []string{"203.0.113.7"}, "2001:db8:2::1"},
		{"no port, a proxy", "10.0.0.1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"unreadable", "elsewhere", []string{"203.0.113.7"}, "invalid IP"},
		{"unreadable, with a port", "elsewhere:80", []string{"203.0.113.7"}, "invalid IP"},
		{"a Unix socket's name, over what is none", "@", []string{"203.0.113.7"}, "invalid IP"},
		{"nothing", "", []string{"203.0.113.7"}, "invalid IP"},
		{"a thousand proxies", "10.0.0.1:1", []string{"203.0.113.7" + strings.Repeat(", 10.0.0.2", 1000)}, "10.0.0.2"},
		{"a thousand headers", "10.0.0.1:1", append([]string{"203.0.113.7"}, strings.Split(strings.Repeat("10.0.0.2 ", 1000), " ")[:1000]...), "10.0.0.2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{"X-Real-Ip": {"198.51.100.2"}, "Forwarded": {"for=198.51.100.3"}, "True-Client-Ip": {"198.51.100.4"}, "Cf-Connecting-Ip": {"198.51.100.5"}}
			if test.forwarded != nil {
				h["X-Forwarded-For"] = test.forwarded
			}
			if got := clientOf(t, w, test.peer, h).IP.String(); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// By default, no header is trusted.
func TestSiteTrustsNobody(t *testing.T) {
	w := newWebUnstarted(t, nil)
	for _, peer := range []string{"127.0.0.1:1", "10.0.0.1:1", "[::1]:1"} {
		got := clientOf(t, w, peer, http.Header{"X-Forwarded-For": {"203.0.113.7"}}).IP
		if want := netip.MustParseAddrPort(peer).Addr(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := clientOf(t, w, "unix:@", http.Header{"X-Forwarded-For": {"203.0.113.7"}}).IP; got.IsValid() {
		t.Errorf("address over a Unix socket: %s", got)
	}
}

// A user agent is stored so that every store, log and page can show it.
func TestSiteUserAgent(t *testing.T) {
	w := newWebUnstarted(t, nil)
	for _, test := range []struct{ is, want string }{
		{"", ""},
		{"Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (X11; Linux x86_64)"},
		{"a\x00b\r\nc\x1b[31md\x7f", "abc[31md"},
		{"a\u0085b\u009bc", "abc"},
		{"a\xff\xfeb\xc3", "ab"},
		{"Zürich ☃", "Zürich ☃"},
		{strings.Repeat("x", 10_000), strings.Repeat("x", 255)},
		{strings.Repeat("x", 254) + "ü", strings.Repeat("x", 254)},
		{strings.Repeat("\xff", 10_000), ""},
	} {
		got := clientOf(t, w, "203.0.113.7:1", http.Header{"User-Agent": {test.is}}).UserAgent
		if got != test.want || !utf8.ValidString(got) {
			t.Errorf("%.40q: %q, want %q", test.is, got, test.want)
		}
	}
}

// Each byte is judged alike wherever it stands, though the engine looks at eight
// at a time.
func TestSiteUserAgentEachByte(t *testing.T) {
	w := newWebUnstarted(t, nil)
	for _, length := range []int{1, 8, 17} {
		for at := range length {
			for c := range 256 {
				is := []byte(strings.Repeat("a", length))
				is[at] = byte(c)
				want := string(is)
				if c < 0x20 || c >= 0x7f {
					want = want[:at] + want[at+1:]
				}
				got := clientOf(t, w, "203.0.113.7:1", http.Header{"User-Agent": {string(is)}}).UserAgent
				if got != want {
					t.Fatalf("%q: %q, want %q", is, got, want)
				}
			}
		}
	}
}
