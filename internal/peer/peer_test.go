package peer_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/sojourn-go/sojourn/internal/peer"
)

var proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}

// A valid address is returned. Any other text gives no address, and no trust.
func TestOf(t *testing.T) {
	for _, test := range []struct {
		remote  string
		want    string
		trusted bool
	}{
		{"198.51.100.7:4711", "198.51.100.7", false},
		{"198.51.100.7", "198.51.100.7", false},
		{"10.0.0.1:1", "10.0.0.1", true},
		{"10.0.0.1", "10.0.0.1", true},
		{"[2001:db8::1]:443", "2001:db8::1", true},
		{"[2001:db8::1]", "2001:db8::1", true},
		{"2001:db8::1", "2001:db8::1", true},
		{"2001:db9::1", "2001:db9::1", false},
		{"[::ffff:10.0.0.1]:1", "10.0.0.1", true},
		{"::ffff:10.0.0.1", "10.0.0.1", true},
		{"[fe80::1%eth0]:1", "fe80::1", false},
		{"fe80::1%eth0", "fe80::1", false},
		{"", "invalid IP", false},
		{"@", "invalid IP", false},
		{"/run/app.sock", "invalid IP", false},
		{"unknown", "invalid IP", false},
		{"localhost:80", "invalid IP", false},
		{"10.0.0.1:http", "invalid IP", false},
		{"10.0.0.1:", "invalid IP", false},
		{"10.0.0.1:80:80", "invalid IP", false},
		{"10.0.0.1, 10.0.0.2", "invalid IP", false},
		{" 10.0.0.1:1", "invalid IP", false},
		{"[10.0.0.1", "invalid IP", false},
		{"[]:1", "invalid IP", false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = test.remote
		p := peer.Of(r)
		if p.IP.String() != test.want || p.Unix || p.Trusted(proxies) != test.trusted || p.Trusted(nil) {
			t.Errorf("%q: %+v, trusted %v", test.remote, p, p.Trusted(proxies))
		}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/app.sock", Net: "unix"}))
		if p := peer.Of(r); p != (peer.Peer{Unix: true}) || !p.Trusted(proxies) || p.Trusted(nil) {
			t.Errorf("%q over a Unix socket: %+v", test.remote, p)
		}
	}
}

// A peer has no address even if it binds its Unix socket to the text of one.
func TestBoundUnixPeer(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "server"))
	if err != nil {
		t.Skipf("needs Unix sockets: %v", err)
	}
	got := make(chan peer.Peer, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Logf("RemoteAddr is %q", r.RemoteAddr)
		got <- peer.Of(r)
	})}
	defer server.Close()
	go server.Serve(l)
	for _, name := range []string{"203.0.113.9:80", "10.0.0.1", "[2001:db8::1]:80", "@10.0.0.1:1"} {
		c, err := net.DialUnix("unix", &net.UnixAddr{Name: name, Net: "unix"}, &net.UnixAddr{Name: l.Addr().String(), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		if p := <-got; p != (peer.Peer{Unix: true}) {
			t.Errorf("bound to %q: %+v", name, p)
		}
		c.Close()
	}
}

// Of runs for every request that reads its session.
func TestOfAllocatesNothing(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	for _, remote := range []string{"198.51.100.7:4711", "[2001:db8::1]:443", "198.51.100.7"} {
		r.RemoteAddr = remote
		if n := testing.AllocsPerRun(100, func() { peer.Of(r) }); n != 0 {
			t.Errorf("%q: %v allocations", remote, n)
		}
	}
}
