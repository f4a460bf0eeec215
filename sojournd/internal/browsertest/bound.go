package browsertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// BoundHost is the host of a Server. Browsers that bind sessions find it, and
// every name below it, on this machine.
const BoundHost = "shop.test"

// identity is the certificate of every Server, and the hash of its key, by which
// browsers trust it. A browser that trusts all certificates binds no session.
var identity = sync.OnceValues(func() (certificate tls.Certificate, hash string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	names := []string{BoundHost, "*." + BoundHost, OtherHost}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: BoundHost}, DNSNames: names,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, base64.StdEncoding.EncodeToString(sum[:])
})

// A Server serves a site over HTTPS on loopback: Device Bound Session Credentials
// need it. It is at https://shop.test with a port of its own. It can be closed, and
// opened again at the same port.
type Server struct {
	t       *testing.T
	site    http.Handler
	address string
	server  *http.Server
}

// Serve starts a server, which is closed when the test ends.
func Serve(t *testing.T, site http.Handler) *Server {
	s := &Server{t: t, site: site, address: "127.0.0.1:0"}
	s.Open()
	t.Cleanup(s.Close)
	return s
}

// Open opens the server's port.
func (s *Server) Open() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = listener.Addr().String()
	certificate, _ := identity()
	s.server = &http.Server{
		Handler: s.site, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}, ErrorLog: log.New(io.Discard, "", 0),
	}
	go s.server.ServeTLS(listener, "", "") //nolint:errcheck // it ends with Close
}

// Close closes the server's port, and all connections.
func (s *Server) Close() { _ = s.server.Close() }

// URL returns the site's address, at BoundHost or at another host.
func (s *Server) URL(host string) string {
	_, port, _ := net.SplitHostPort(s.address)
	return "https://" + net.JoinHostPort(host, port)
}

// Client returns a client of the server that keeps no cookies, and follows no
// redirect.
func (s *Server) Client() *http.Client {
	certificate, _ := identity()
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Leaf)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.address)
		},
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// binds are the flags with which Chromium binds sessions, on a machine without
// secure hardware, and as often as a test likes.
func binds() []chromedp.ExecAllocatorOption {
	_, hash := identity()
	return []chromedp.ExecAllocatorOption{
		chromedp.Flag("enable-features", "DeviceBoundSessions:RefreshQuota/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting"),
		chromedp.Flag("ignore-certificate-errors-spki-list", hash),
		chromedp.Flag("host-resolver-rules", "MAP "+BoundHost+" 127.0.0.1, MAP *."+BoundHost+" 127.0.0.1, MAP "+OtherHost+" 127.0.0.1"),
	}
}

// binding starts one browser that binds sessions, for all tests.
var binding = sync.OnceValues(func() (context.Context, error) { return shared(binds()...) })

// NeedBinding is Need for a browser that binds sessions.
func NeedBinding(t *testing.T) {
	t.Helper()
	need(t, binding)
}

// A BoundTab is a tab of a browser that binds sessions.
type BoundTab struct {
	*Tab

	mu     sync.Mutex
	events []network.EventDeviceBoundSessionEventOccurred // mu guards it
}

// OpenBinding is Open in a browser that binds sessions.
func OpenBinding(t *testing.T, url, dir string) *BoundTab {
	t.Helper()
	parent, err := binding()
	if err != nil {
		t.Fatal(err)
	}
	return watchBinding(open(t, parent, url, dir, chromedp.WithNewBrowserContext()))
}

// OpenProfile starts a browser of its own that binds sessions, and keeps all that
// it knows in the directory profile. quit closes it.
func OpenProfile(t *testing.T, url, dir, profile string) (tab *BoundTab, quit func()) {
	t.Helper()
	ctx, stop, err := start(profile, binds()...)
	if err != nil {
		t.Fatal(err)
	}
	quit = sync.OnceFunc(stop)
	t.Cleanup(quit)
	return watchBinding(open(t, ctx, url, dir)), quit
}

func watchBinding(tab *Tab) *BoundTab {
	tab.t.Helper()
	b := &BoundTab{Tab: tab}
	err := chromedp.Listen(tab.ctx, func(event any) {
		if e, ok := event.(*network.EventDeviceBoundSessionEventOccurred); ok {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, *e)
		}
	})
	if err != nil {
		tab.t.Fatal(err)
	}
	Call(tab, network.Enable, network.EnableParams{})
	Call(tab, network.EnableDeviceBoundSessions, network.EnableDeviceBoundSessionsParams{Enable: true})
	return b
}

// Registrations, Refreshes and Ends count what the browser did with bound sessions
// of the tab's site, so far: the registrations and the refreshes that succeeded,
// and the sessions that it gave up.
func (b *BoundTab) Registrations() int {
	return b.count(func(e network.EventDeviceBoundSessionEventOccurred) bool {
		return e.Succeeded && e.CreationEventDetails != nil
	})
}

// Refreshes: see Registrations.
func (b *BoundTab) Refreshes() int {
	return b.count(func(e network.EventDeviceBoundSessionEventOccurred) bool {
		return e.Succeeded && e.RefreshEventDetails != nil
	})
}

// Ends: see Registrations.
func (b *BoundTab) Ends() int {
	return b.count(func(e network.EventDeviceBoundSessionEventOccurred) bool { return e.TerminationEventDetails != nil })
}

func (b *BoundTab) count(is func(network.EventDeviceBoundSessionEventOccurred) bool) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if is(e) {
			n++
		}
	}
	return n
}

// Until waits until a count of the tab is n.
func (b *BoundTab) Until(what string, count func() int, n int) {
	b.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); count() != n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%d %s, want %d", count(), what, n)
		}
	}
}

// Jar returns the cookies that the browser has for the tab's site.
func (b *BoundTab) Jar() []*network.Cookie {
	b.t.Helper()
	return Call(b.Tab, network.GetCookies, network.GetCookiesParams{URLs: []string{b.url}}).Cookies
}

// Forget deletes the cookies whose names begin with a prefix, as if they had
// expired.
func (b *BoundTab) Forget(prefix string) {
	b.t.Helper()
	found := false
	for _, c := range b.Jar() {
		if strings.HasPrefix(c.Name, prefix) {
			found = true
			Call(b.Tab, network.DeleteCookies, network.DeleteCookiesParams{Name: c.Name, URL: b.url})
		}
	}
	if !found {
		b.t.Fatalf("no cookie %s… among %v", prefix, b.Cookies())
	}
}

// Steal puts another browser's cookies into this one.
func (b *BoundTab) Steal(jar []*network.Cookie) {
	b.t.Helper()
	for _, c := range jar {
		Call(b.Tab, network.SetCookie, network.SetCookieParams{
			Name: c.Name, Value: c.Value, URL: b.url, Path: c.Path, Secure: &c.Secure, HTTPOnly: &c.HTTPOnly, SameSite: c.SameSite,
		})
	}
	if got := b.Jar(); len(got) < len(jar) || !slices.ContainsFunc(got, func(c *network.Cookie) bool { return c.Value == jar[0].Value }) {
		b.t.Fatalf("the second browser has %d cookies of %d", len(got), len(jar))
	}
}
