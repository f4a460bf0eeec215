package sojourn

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/sojourn-go/sojourn/store"
)

// An exchange is a request on its way through Handler: its session, and the ResponseWriter that the handler sees. Every way to write the
// header commits the session first.
type exchange struct {
	w       http.ResponseWriter
	r       *http.Request
	session Session
	request http.Request // what the handler sees: r with the session's context
	body    *body        // of the request; nil: there is none, or no connection that could be closed for it
	varies  [1]string    // room for the usual Vary

	begun    bool // the header is written, or the connection is the handler's
	headed   bool // the header tells of the session: a Hijack failed after the commit, if it is not begun
	withheld bool // the response is an error in place of the handler's
	returned bool // the handler came back, and didn't panic
}

func (x *exchange) Header() http.Header { return x.w.Header() }

func (x *exchange) WriteHeader(status int) {
	switch {
	case x.withheld:
	case x.begun, status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		x.w.WriteHeader(status)
	case x.begin(status):
		x.w.WriteHeader(status)
	}
}

func (x *exchange) Write(p []byte) (int, error) {
	if err := x.ready(); err != nil {
		return 0, err
	}
	return x.w.Write(p)
}

func (x *exchange) WriteString(p string) (int, error) {
	if err := x.ready(); err != nil {
		return 0, err
	}
	return io.WriteString(x.w, p)
}

// ReadFrom keeps sendfile working.
func (x *exchange) ReadFrom(src io.Reader) (int64, error) {
	if err := x.ready(); err != nil {
		return 0, err
	}
	return io.Copy(x.w, src)
}

func (x *exchange) flush() error {
	if err := x.ready(); err != nil {
		return err
	}
	return http.NewResponseController(x.w).Flush()
}

// hijack commits without rotating the secret: the handler writes its own
// header, and may leave out the cookie. The connection that hijack returns
// tells the session when it is closed.
func (x *exchange) hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !x.begun {
		x.session.mu.Lock()
		x.session.noRotate = true
		x.session.mu.Unlock()
		if !x.commit(http.StatusSwitchingProtocols) {
			return nil, nil, x.whyWithheld()
		}
	}
	conn, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	x.begun = true
	return x.session.hijack(conn), rw, nil
}

// Unwrap lets http.ResponseController reach what is not about the response's bytes: deadlines, full duplex.
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

// ready begins a response without an explicit status.
func (x *exchange) ready() error {
	if !x.begun && !x.withheld {
		x.begin(http.StatusOK)
	}
	if x.withheld {
		return x.whyWithheld()
	}
	return nil
}

// begin commits, and reports whether the handler's response may go out. If not, the error has been sent instead.
func (x *exchange) begin(status int) bool {
	x.closeAfter()
	s := &x.session
	s.mu.Lock()
	if s.failed {
		s.mu.Unlock()
		x.withhold(s.loadErr)
		return false
	}
	if status >= 500 {
		s.discard()
	}
	if s.idle() {
		s.committed = true
		if s.loaded {
			s.noteLater()
			x.vary()
		}
		s.mu.Unlock()
		x.begun = true
		return true
	}
	s.noRotate = s.noRotate || cacheable(x.w.Header(), s.arrived)
	s.mu.Unlock()
	if !x.commit(status) {
		return false
	}
	x.begun = true
	return true
}

// idle reports whether a commit would have nothing to write and nothing to say, as in most requests.
func (s *Session) idle() bool {
	return !s.committed && !s.finished && (!s.loaded || s.loadErr == nil && len(s.ops) == 0 && !s.logout && !s.rotates())
}

// discard drops the request's changes: of a handler that failed, or of one that panicked and was caught on the way here, nothing half-done
// is kept. What Commit has written stays.
func (s *Session) discard() {
	if s.view != nil && !s.committed {
		clear(s.opsMemory[:])
		s.changes, s.noRotate = changes{}, true
	}
}

// vary tells caches that the response depends on who asks.
func (x *exchange) vary() {
	h := x.w.Header()
	switch {
	case x.headed: // by a Hijack that then failed
		return
	case len(h["Vary"]) == 0:
		x.varies[0] = "Cookie"
		h["Vary"] = x.varies[:]
	case !varies(h):
		h.Add("Vary", "Cookie")
	}
	if x.session.e.opt.Bearer {
		h.Add("Vary", "Authorization")
	}
	x.headed = true
}

// commit writes the session, and sets the response's headers. An error goes to the client in place of the
// response, unless that tells of an error already.
func (x *exchange) commit(status int) bool {
	s := &x.session
	err := s.commit(s.ctx)
	s.mu.Lock()
	if s.loaded {
		x.tell(err == nil)
	}
	s.mu.Unlock()
	if err == nil || !s.loaded || status >= 400 {
		return true
	}
	x.withhold(err)
	return false
}

// tell sets the headers that tell of the session: its cookies too, if it was written. Session.mu is held.
func (x *exchange) tell(written bool) {
	s, h, again := &x.session, x.w.Header(), x.headed
	x.vary()
	if !written {
		return
	}
	if s.cookies.any() {
		if s.cookies.setSession || s.cookies.setVisitor {
			s.e.site.warnPlainHTTP(x.r)
		}
		if !again {
			h["Set-Cookie"] = s.setCookies(h["Set-Cookie"])
		}
	}
	if s.logout && len(s.e.opt.ClearSiteData) > 0 {
		h.Set("Clear-Site-Data", `"`+strings.Join(s.e.opt.ClearSiteData, `", "`)+`"`)
	}
	if s.issued != "" || s.cookies.any() {
		forbidStorage(h)
	}
}

// withhold answers with err in place of the handler's response.
func (x *exchange) withhold(err error) {
	x.withheld = true
	x.session.e.refuse(x.w, &x.request, err)
}

// whyWithheld returns the error for a handler that goes on writing.
func (x *exchange) whyWithheld() error {
	x.session.mu.Lock()
	defer x.session.mu.Unlock()
	return fmt.Errorf("sojourn: the response was withheld: %w", cmp.Or(x.session.commitErr, x.session.loadErr))
}

// finish runs when the handler is over, however it ended.
func (x *exchange) finish() {
	defer x.session.finish()
	if x.returned {
		if !x.begun && !x.withheld {
			x.begin(http.StatusOK) // net/http writes the header
		}
		x.closeAfter()
		return
	}
	p := recover()
	s := &x.session
	s.mu.Lock()
	failed, cause := s.failed, s.loadErr
	s.mu.Unlock()
	switch {
	case failed && x.begun:
		slog.Error("sojourn: the session could not be read when the response had begun; it is cut off", "error", cause)
	case failed:
		if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // the value itself
			slog.Error("sojourn: a handler panicked after the session could not be read", "panic", p, "error", cause)
		}
		if !x.withheld {
			x.withhold(cause)
		}
		if p == nil { // runtime.Goexit, after which net/http sends nothing more
			_ = http.NewResponseController(x.w).Flush()
		}
		return
	}
	if p != nil {
		panic(p)
	}
}

// finish gives the session's memory back. Whoever kept the session gets ErrFinished for its values.
func (s *Session) finish() {
	s.committing.Lock() // of another goroutine: its commit ends first
	defer s.committing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	if v := s.view; v != nil {
		s.was.ID, s.was.Subject = v.now().ID, v.now().Subject
		s.view = nil
		v.reset()
		s.e.views.Put(v)
	}
}

// cacheable reports whether the handler lets the response be stored, which a new cookie would forbid.
func cacheable(h http.Header, now store.Time) bool {
	var yes, no bool // what Cache-Control says
	for name, lines := range h {
		switch {
		case strings.EqualFold(name, "Cache-Control"):
			y, n := storable(lines)
			yes, no = yes || y, no || n
		case strings.EqualFold(name, "X-Accel-Expires"):
			if strings.Trim(strings.Join(lines, ""), "0") != "" {
				return true
			}
		case targeted(name): // a cache for which it is meant obeys it before Cache-Control
			if yes, _ := storable(lines); yes {
				return true
			}
		}
	}
	if expires := h.Get("Expires"); expires != "" && !yes && !no {
		until, err := http.ParseTime(expires)
		return err == nil && store.TimeOf(until) > now
	}
	return yes && !no
}

// storable reports whether Cache-Control, or a field like it, lets a response
// be stored, and whether it forbids that.
func storable(lines []string) (yes, no bool) {
	for _, line := range lines {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
			switch name {
			case "no-store", "no-cache":
				return false, true
			case "public", "immutable":
				yes = true
			case "max-age", "s-maxage":
				age := strings.Trim(value, `"`)
				yes = yes || strings.Trim(age, "0") != "" && !strings.HasPrefix(age, "-")
			}
		}
	}
	return yes, false
}

// targeted reports whether a field is meant for some caches only, and is read
// like Cache-Control: CDN-Cache-Control and those of single CDNs (RFC 9213),
// Surrogate-Control, Edge-Control.
func targeted(name string) bool {
	const suffix = "-Cache-Control"
	return len(name) >= len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix) ||
		strings.EqualFold(name, "Surrogate-Control") || strings.EqualFold(name, "Edge-Control")
}

// forbidStorage keeps a response that holds a secret out of every cache:
// no-store is the only directive that is left. Handlers may have written names
// in any case.
func forbidStorage(h http.Header) {
	for name := range h {
		if targeted(name) || strings.EqualFold(name, "Cache-Control") || strings.EqualFold(name, "Expires") || strings.EqualFold(name, "X-Accel-Expires") {
			delete(h, name)
		}
	}
	h.Set("Cache-Control", "no-store")
}

// varies reports whether Vary names the cookie already.
func varies(h http.Header) bool {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Cookie") {
				return true
			}
		}
	}
	return false
}
