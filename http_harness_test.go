package sojourn_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A web is a world behind a real HTTP server.
type web struct {
	*world
	server *httptest.Server
	log    *logbook // what net/http logs
}

// A handler serves the paths that webRoutes doesn't.
type handler func(w http.ResponseWriter, r *http.Request, s *sojourn.Session)

// newWeb serves h over HTTP/1.1.
func newWeb(t testing.TB, h handler, change ...func(*world, *sojourn.Options)) *web {
	t.Helper()
	w := newWebUnstarted(t, h, change...)
	w.server.Start()
	return w
}

func newWebUnstarted(t testing.TB, h handler, change ...func(*world, *sojourn.Options)) *web {
	t.Helper()
	w := &web{log: new(logbook)}
	w.world = newWorld(t, append([]func(*world, *sojourn.Options){watched}, change...)...)
	w.server = httptest.NewUnstartedServer(w.Handler(webRoutes(h)))
	w.server.Config.ErrorLog = log.New(w.log, "", 0)
	t.Cleanup(w.server.Close) // runs before the engine's cleanup
	return w
}

// webRoutes is the application that most tests use.
func webRoutes(h handler) http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, do func(http.ResponseWriter, *http.Request, *sojourn.Session) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := do(w, r, sojourn.From(r.Context())); err != nil {
				sojourn.Error(w, r, err)
			}
		})
	}
	route("GET /who", func(w http.ResponseWriter, r *http.Request, s *sojourn.Session) error {
		_, err := io.WriteString(w, who(s))
		return err
	})
	route("GET /ended", func(w http.ResponseWriter, r *http.Request, s *sojourn.Session) error {
		_, err := io.WriteString(w, string(s.EndReason()))
		return err
	})
	route("POST /login", func(w http.ResponseWriter, r *http.Request, s *sojourn.Session) error {
		if err := s.Login(r.FormValue("user"), sojourn.AMR("pwd")); err != nil {
			return err
		}
		http.Redirect(w, r, "/account", http.StatusSeeOther)
		return nil
	})
	route("POST /elevate", func(w http.ResponseWriter, r *http.Request, s *sojourn.Session) error {
		return s.Elevate(2, "otp")
	})
	route("POST /logout", func(w http.ResponseWriter, r *http.Request, s *sojourn.Session) error {
		if err := s.Logout(); err != nil {
			return err
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	})
	route("POST /count", func(w http.ResponseWriter, r *http.Request, s *sojourn.Session) error {
		return count.Update(s, increment)
	})
	route("GET /count", func(w http.ResponseWriter, r *http.Request, s *sojourn.Session) error {
		n, err := count.Get(s)
		if err == nil {
			_, err = io.WriteString(w, strconv.Itoa(n))
		}
		return err
	})
	if h != nil {
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { h(w, r, sojourn.From(r.Context())) })
	}
	return mux
}

// who returns the subject, or nobody.
func who(s *sojourn.Session) string {
	if s.Subject() == "" {
		return "nobody"
	}
	return s.Subject()
}

// writeWho writes the subject as a response.
func writeWho(rw http.ResponseWriter, r *http.Request, s *sojourn.Session) {
	io.WriteString(rw, who(s))
}

// A surfer is an HTTP client of a web. It keeps cookies like a browser, and
// returns every response.
type surfer struct {
	*web
	cookies map[string]string
	headers []string // name, value, ... for every request
}

func (w *web) surfer(headers ...string) *surfer {
	return &surfer{w, map[string]string{}, headers}
}

// A reply is a response whose body has been read.
type reply struct {
	*http.Response
	body    string
	cookies []*http.Cookie
}

func (s *surfer) get(path string, headers ...string) *reply {
	s.Helper()
	return s.do("GET", path, "", headers...)
}

func (s *surfer) post(path string, headers ...string) *reply {
	s.Helper()
	return s.do("POST", path, "", headers...)
}

func (s *surfer) login(user string) *surfer {
	s.Helper()
	if a := s.post("/login?user=" + user); a.StatusCode != http.StatusSeeOther {
		s.Fatalf("login: %s: %s", a.Status, a.body)
	}
	return s
}

// do sends a request, reads the whole response and keeps its cookies. It
// doesn't follow redirects.
func (s *surfer) do(method, path, body string, headers ...string) *reply {
	s.Helper()
	a, err := s.try(method, path, body, headers...)
	if err != nil {
		s.Fatal(err)
	}
	return a
}

func (s *surfer) request(method, path, body string, headers ...string) *http.Request {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for _, list := range [][]string{s.headers, headers} {
		for i := 0; i < len(list); i += 2 {
			if list[i] == "Host" {
				r.Host = list[i+1]
			} else {
				r.Header[http.CanonicalHeaderKey(list[i])] = append(r.Header[http.CanonicalHeaderKey(list[i])], list[i+1])
			}
		}
	}
	var pairs []string
	for name, value := range s.cookies {
		pairs = append(pairs, name+"="+value)
	}
	if slices.Sort(pairs); len(pairs) > 0 {
		r.Header["Cookie"] = append(r.Header["Cookie"], strings.Join(pairs, "; "))
	}
	return r
}

func (s *surfer) try(method, path, body string, headers ...string) (*reply, error) {
	s.Helper()
	res, err := s.server.Client().Transport.RoundTrip(s.request(method, path, body, headers...))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	a := &reply{Response: res, body: string(text)}
	s.keep(a)
	return a, err
}

// keep handles Set-Cookie like a browser.
func (s *surfer) keep(a *reply) {
	s.Helper()
	for _, line := range a.Header["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			s.Fatalf("Set-Cookie %q: %v", line, err)
		}
		a.cookies = append(a.cookies, c)
		if c.MaxAge < 0 {
			delete(s.cookies, c.Name)
		} else {
			s.cookies[c.Name] = c.Value
		}
	}
}

// fork returns another client with the same cookies.
func (s *surfer) fork() *surfer {
	f := s.web.surfer(s.headers...)
	for name, value := range s.cookies {
		f.cookies[name] = value
	}
	return f
}

func (s *surfer) who() string {
	s.Helper()
	a := s.get("/who")
	if a.StatusCode != http.StatusOK {
		return a.Status
	}
	return a.body
}

// wantStatus marks the test as failed if the response has another status.
func (a *reply) wantStatus(t testing.TB, status int) *reply {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("%s %s: %s, want %d: %s", a.Request.Method, a.Request.URL.Path, a.Status, status, a.body)
	}
	return a
}

// withheld checks that nothing of the handler's response was sent.
func (a *reply) withheld(t testing.TB, status int) {
	t.Helper()
	a.wantStatus(t, status)
	for _, name := range []string{"Set-Cookie", "Location", "Refresh", "Link", "Clear-Site-Data", "Etag", "Last-Modified", "Content-Disposition"} {
		if v := a.Header[name]; v != nil {
			t.Errorf("a withheld response has %s: %q", name, v)
		}
	}
	if strings.Contains(a.body, handlerText) {
		t.Errorf("a withheld response has the handler's body: %q", a.body)
	}
	if n := strings.Count(a.body, http.StatusText(status)+": "); n > 1 {
		t.Errorf("a withheld response has %d errors in its body: %q", n, a.body)
	}
	if cc := a.Header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("a withheld response has Cache-Control %q", cc)
	}
}

// handlerText is in what the tests' handlers write, and in no response of the
// engine.
const handlerText = "written by the handler"

// A tripwire records each call of a store and can make it fail.
type tripwire struct {
	mu    sync.Mutex
	names []string
	// before and after may return an error for the n-th call. An error from
	// before replaces the call; one from after replaces its result.
	before, after func(name string, n int) error
	corrupt       store.Values // if set, every Get returns these
}

func (s *tripwire) made() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names)
}

// reset returns the names of the calls so far, and forgets them.
func (s *tripwire) reset() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.names
	s.names = nil
	return names
}

// fail sets which calls fail from now on.
func (s *tripwire) fail(before, after func(name string, n int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

// always is an argument for fail: every call with one of these names returns
// err. Without names, every call does.
func always(err error, names ...string) func(string, int) error {
	return func(name string, _ int) error {
		if len(names) == 0 || slices.Contains(names, name) {
			return err
		}
		return nil
	}
}

func (s *tripwire) call(ctx context.Context, c driver.Call) driver.Result {
	switch c.Op {
	case driver.Sweep, driver.Search, driver.Close, driver.Watch, driver.Beat: // not recorded
		return c.Do(ctx)
	}
	name := c.Op.String()
	s.mu.Lock()
	n := len(s.names)
	s.names = append(s.names, name)
	before, after := s.before, s.after
	s.mu.Unlock()
	if before != nil {
		if err := before(name, n); err != nil {
			return driver.Result{Err: err}
		}
	}
	r := c.Do(ctx)
	if c.Op == driver.Get && s.corrupt != nil {
		c.Record.Values = append(c.Record.Values[:0], s.corrupt...)
	}
	if after != nil {
		if err := after(name, n); err != nil {
			r.Err = err
		}
	}
	return r
}

// A logbook is a writer for logs.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// captureLog returns what slog's default logger writes during the test.
func captureLog(t *testing.T) *bytes.Buffer {
	var text bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&text, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &text
}

// A tape is a ResponseWriter that records in order what reaches the connection.
// It can also record the calls of a tripwire.
type tape struct {
	header  http.Header
	sent    http.Header // a copy, taken with the first header
	status  int
	body    bytes.Buffer
	entries []string
	mu      sync.Mutex
}

func newTape() *tape { return &tape{header: http.Header{}} }

func (t *tape) note(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = append(t.entries, what)
}

func (t *tape) list() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.entries)
}

// notes also records the calls of a store.
func (t *tape) notes(s *tripwire) {
	s.fail(func(name string, _ int) error {
		t.note(name)
		return nil
	}, nil)
}

func (t *tape) begin(status int) {
	if t.status == 0 {
		t.status, t.sent = status, t.header.Clone()
	}
}

func (t *tape) Header() http.Header { return t.header }

func (t *tape) WriteHeader(status int) {
	t.note("header " + strconv.Itoa(status))
	if status >= 200 || status == http.StatusSwitchingProtocols {
		t.begin(status)
	}
}

func (t *tape) Write(p []byte) (int, error) {
	t.note("write")
	t.begin(http.StatusOK)
	return t.body.Write(p)
}

func (t *tape) WriteString(p string) (int, error) {
	t.note("write string")
	t.begin(http.StatusOK)
	return t.body.WriteString(p)
}

func (t *tape) ReadFrom(r io.Reader) (int64, error) {
	t.note("read from")
	t.begin(http.StatusOK)
	return t.body.ReadFrom(r)
}

func (t *tape) Flush() {
	t.note("flush")
	t.begin(http.StatusOK)
}

func (t *tape) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	t.note("hijack")
	t.begin(0)
	ours, theirs := net.Pipe()
	go io.Copy(io.Discard, theirs)
	return ours, bufio.NewReadWriter(bufio.NewReader(ours), bufio.NewWriter(ours)), nil
}

func (t *tape) SetWriteDeadline(time.Time) error {
	t.note("deadline")
	return nil
}
