package forwardauth_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// acceptH2C wraps an application that switches to HTTP/2 for every request
// whose Upgrade mentions h2c, as lenient servers do. After that the data on the
// connection does not pass the proxy's rules.
func acceptH2C(h http.Handler) http.Handler {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(strings.ToLower(strings.Join(r.Header["Upgrade"], ",")), "h2c") {
			h.ServeHTTP(w, r)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		tunnel := &http.Server{Handler: h, Protocols: protocols} //nolint:gosec // it serves this test
		_ = tunnel.Serve(&one{conn: bufferedConn{conn, buffered.Reader}})
	})
}

// one is a listener that accepts one connection.
type one struct{ conn net.Conn }

func (l *one) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, net.ErrClosed
	}
	conn := l.conn
	l.conn = nil
	return conn, nil
}

func (l *one) Close() error   { return nil }
func (l *one) Addr() net.Addr { return &net.TCPAddr{} }

// A bufferedConn is a connection of which some data may have been read already.
type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// upgrade sends a GET that asks for another protocol. It returns the answer and
// the connection.
func (d *deployment) upgrade(path string, headers ...string) (*http.Response, bufferedConn) {
	d.Helper()
	conn, err := net.Dial("tcp", d.site)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		d.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(d.site)
	head := "GET " + path + " HTTP/1.1\r\nHost: localhost:" + port + "\r\n"
	for i := 0; i < len(headers); i += 2 {
		head += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	d.app.took()
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		d.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		d.Fatalf("%q: %v", headers, err)
	}
	return answer, bufferedConn{conn, reader}
}

// No visitor gets a connection to the application that bypasses the proxy's
// rules: only upgrades to WebSocket pass.
func TestDeployedUpgradeSmuggling(t *testing.T) {
	const settings = "AAMAAABkAARAAAAAAAIAAAAA"
	for _, p := range setUps {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, p, false, nobodyChanges)
			for _, headers := range [][]string{
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", settings},
				{"Connection", "upgrade", "Upgrade", "h2c"},
				{"Connection", "Upgrade", "Connection", "HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", settings},
				{"connection", "UPGRADE,http2-settings", "upgrade", "H2C", "http2-settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", " h2c\t", "HTTP2-Settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c, websocket", "HTTP2-Settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "websocket, h2c", "HTTP2-Settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "websocket,h2c", "HTTP2-Settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "websocket h2c", "HTTP2-Settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "websocket;h2c", "HTTP2-Settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "Upgrade", "websocket", "HTTP2-Settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "websocket", "Upgrade", "h2c", "HTTP2-Settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c/1", "HTTP2-Settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c-16", "HTTP2-Settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", ",h2c", "HTTP2-Settings", settings},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "", "Upgrade", "h2c", "HTTP2-Settings", settings},
				{"Connection", "keep-alive, Upgrade, HTTP2-Settings", "Upgrade", "TLS/1.0, h2c", "HTTP2-Settings", settings},
			} {
				answer, conn := d.upgrade("/", headers...)
				if answer.StatusCode == http.StatusSwitchingProtocols {
					t.Errorf("%q: %s, and in the tunnel the application gets %q", headers, answer.Status, d.smuggled(conn))
				}
				seen, _ := d.app.took()
				for _, r := range seen {
					if upgrade := r.Header["Upgrade"]; len(upgrade) > 1 || len(upgrade) == 1 && upgrade[0] != "websocket" {
						t.Errorf("%q: the application is asked for %q", headers, upgrade)
					}
				}
				conn.Close()
			}
		})
	}
}

// smuggled requests a protected page as another user, on a connection that
// speaks HTTP/2. It returns what reached the application.
func (d *deployment) smuggled(conn net.Conn) (reached []string) {
	d.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(d.Context(), "GET", "http://"+d.site+"/admin/users", nil)
	if err != nil {
		d.Fatal(err)
	}
	r.Header.Set("Sojourn-Subject", "root")
	if answer, err := transport.RoundTrip(r); err == nil {
		answer.Body.Close()
	}
	seen, _ := d.app.took()
	for _, r := range seen {
		reached = append(reached, r.URL.Path+" of "+r.Header.Get("Sojourn-Subject"))
	}
	return reached
}

// A WebSocket passes, with the visitor's identity.
func TestDeployedWebSocket(t *testing.T) {
	for _, p := range []proxy{nginx, caddy, haproxy, caddyOfDocs, caddyOfNode} { // that of nginx in docs/server.md passes none
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			d := deploy(t, p, false, nobodyChanges)
			ann := d.signIn("ann")
			for _, headers := range [][]string{
				{"Connection", "Upgrade", "Upgrade", "websocket"},
				{"Connection", "keep-alive, Upgrade", "Upgrade", "websocket"},
				{"connection", "upgrade", "upgrade", "WebSocket"},
				{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "websocket", "HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"},
			} {
				answer, conn := d.upgrade("/socket", with(headers, "Cookie", ann, "Sojourn-Subject", "root", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")...)
				if answer.StatusCode != http.StatusSwitchingProtocols {
					t.Errorf("%q: %s", headers, answer.Status)
					continue
				}
				_, _ = io.WriteString(conn, "hello\n")
				if line, err := conn.reader.ReadString('\n'); line != "you said hello\n" {
					t.Errorf("%q: through the socket came %q, %v", headers, line, err)
				}
				seen, _ := d.app.took()
				if len(seen) != 1 || seen[0].Header.Get("Sojourn-Subject") != "ann" {
					t.Errorf("%q: it isn't ann's: %v", headers, seen)
				}
				conn.Close()
			}
		})
	}
}
