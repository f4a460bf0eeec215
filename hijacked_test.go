package sojourn_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

// socket hijacks the connection like a WebSocket library and says hello. Its
// own goroutine waits for the end of the connection or of the session, and
// reports the latter on ended.
func socket(t testing.TB, ended chan<- struct{}) handler {
	return func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
		early := r.URL.Query().Has("early")
		if early {
			s.Done()
		} else if s.Subject() == "" {
			t.Error("nobody is logged in")
		}
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		done := s.Done()
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			io.Copy(io.Discard, buf)
		}()
		buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n")
		buf.Flush()
		wait := func() {
			defer conn.Close()
			select {
			case <-gone:
			case <-done:
				ended <- struct{}{}
			}
		}
		if r.URL.Query().Has("stay") {
			wait()
		} else {
			go wait()
		}
	}
}

// open opens a WebSocket.
func (s *surfer) open(path string) (net.Conn, error) {
	conn, err := net.Dial(s.server.Listener.Addr().Network(), s.server.Listener.Addr().String())
	if err != nil {
		return nil, err
	}
	if s.server.TLS != nil {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	if err := s.request("GET", path, "", "Connection", "Upgrade", "Upgrade", "echo").Write(conn); err != nil {
		return nil, err
	}
	buf := bufio.NewReader(conn)
	for line := ""; err == nil && line != "hello\n"; line, err = buf.ReadString('\n') {
	}
	return conn, err
}

// What Done holds for a WebSocket is freed with the connection: after five
// thousand were opened and closed, nothing is left.
func TestDoneIsForgottenWithTheConnection(t *testing.T) {
	ended := make(chan struct{}, 1)
	w := newWeb(t, socket(t, ended))
	b := w.surfer().login("alice")
	n := 5000
	if testing.Short() {
		n = 500
	}
	paths := []string{"/", "/?stay", "/?early", "/?early&stay"}
	turns := make(chan struct{}, 16)
	var all sync.WaitGroup
	for i := range n {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			conn, err := b.open(paths[i%len(paths)])
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		})
	}
	all.Wait()
	for patience := time.Now().Add(time.Minute); sojourn.OpenDones(w.Engine) > 0; time.Sleep(time.Millisecond) { // the server notices in its own goroutines
		if time.Now().After(patience) {
			t.Fatalf("%d sessions are still watched", sojourn.OpenDones(w.Engine))
		}
	}
	select {
	case <-ended:
		t.Error("Done of a live session is closed")
	default:
	}
}

// An open WebSocket is told of the session's end, even after its handler has
// returned, on every kind of connection.
func TestHijackedHearsOfTheEnd(t *testing.T) {
	for _, kind := range []string{"TCP", "TLS", "Unix"} {
		for _, path := range []string{"/", "/?stay", "/?early"} {
			t.Run(kind+path, func(t *testing.T) {
				ended := make(chan struct{}, 1)
				w := newWebUnstarted(t, socket(t, ended))
				switch kind {
				case "TLS":
					w.server.StartTLS()
				case "Unix":
					l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
					if err != nil {
						t.Skipf("needs Unix sockets: %v", err)
					}
					w.server.Listener.Close()
					w.server.Listener = l
					w.server.Start()
					w.server.URL = "http://localhost"
				default:
					w.server.Start()
				}
				j := w.loggedIn("alice")
				b := w.surfer()
				b.cookies["__Host-session"] = j.session
				conn, err := b.open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if n := sojourn.OpenDones(w.Engine); n != 1 {
					t.Errorf("%d sessions are watched", n)
				}
				if _, err := w.EndSubject(ctx, "alice", sojourn.ID{}); err != nil {
					t.Fatal(err)
				}
				<-ended
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("after the end: %v", err)
				}
			})
		}
	}
}

// Hijack returns a connection with the optional methods of the original one.
func TestHijackedConnection(t *testing.T) {
	for _, kind := range []string{"TCP", "TLS"} {
		w := newWebUnstarted(t, func(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, closesHalf := conn.(interface{ CloseWrite() error })
			_, reads := conn.(io.ReaderFrom)
			_, encrypted := conn.(interface{ ConnectionState() tls.ConnectionState })
			if !closesHalf || reads != (kind == "TCP") || encrypted != (kind == "TLS") {
				t.Errorf("%s: %T", kind, conn)
			}
		})
		if kind == "TLS" {
			w.server.StartTLS()
		} else {
			w.server.Start()
		}
		res, err := w.server.Client().Get(w.server.URL)
		if err == nil {
			res.Body.Close()
			t.Errorf("%s: the server answers", kind)
		}
	}
}

// A handler hijacks the connection and returns. Its goroutines still wait for
// Done.
func TestDoneOfAHijackedConnection(t *testing.T) {
	w := newWorld(t)
	j := w.loggedIn("ann")
	dones := make(chan (<-chan struct{}), 1)
	server := httptest.NewTLSServer(w.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		dones <- sojourn.From(r.Context()).Done()
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { conn.Close() })
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	})))
	r, _ := http.NewRequest("GET", server.URL, nil)
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: j.session})
	if _, err := server.Client().Do(r); err != nil {
		t.Fatal(err)
	}
	done := <-dones
	server.Close()
	if _, err := w.EndSubject(ctx, "ann", sojourn.ID{}); err != nil {
		t.Fatal(err)
	}
	<-done
}
