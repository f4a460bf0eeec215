package sojourn

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
)

// An exchange is a request on its way through Handler: its session, and the
// ResponseWriter that the handler sees. Every way to write the header commits
// the session first.
type exchange struct {
	w       http.ResponseWriter
	r       *http.Request
	session Session
	request http.Request // what the handler sees: r with the session's context
	body    *body        // of the request over HTTP/1; nil: none
	varies  [1]string    // room for the usual Vary

	begun    bool // the header is written, or the connection is the handler's
	headed   bool // the session's headers are set; not begun yet if a Hijack failed after the commit
	withheld bool // the response is an error in place of the handler's
	returned bool // the handler came back, and didn't panic
	failed   bool // an accessor couldn't answer, so the response is an error; guarded by session.mu
}

func (x *exchange) Header() http.Header { return x.w.Header() }

func (x *exchange) WriteHeader(status int) {
	switch {
	case x.withheld:
	case x.begun, status < 200 && status != http.StatusSwitchingProtocols,
		status > 999: // net/http panics, and then nothing must be stored
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

// ReadFrom keeps sendfile working. As with net/http's, a source that fails before
// its first byte has begun no response, so the handler can still answer with an
// error.
func (x *exchange) ReadFrom(src io.Reader) (n int64, err error) {
	if !x.begun {
		n, err = io.Copy(struct{ io.Writer }{x}, io.LimitReader(src, firstBytes))
		if err != nil || n < firstBytes {
			return n, err
		}
	}
	more, err := io.Copy(x.w, src)
	return n + more, err
}

// firstBytes is how much of a source ReadFrom reads by itself: as much as net/http
// does, to tell the content's type.
const firstBytes = 512

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
	if x.withheld {
		return nil, nil, x.whyWithheld()
	}
	if !x.begun {
		x.session.KeepSecret()
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

// Unwrap lets http.ResponseController set deadlines and full duplex.
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

// begin commits, and reports whether the handler's response may go out. If not,
// it has sent the error instead.
func (x *exchange) begin(status int) bool {
	x.closeAfter()
	s := &x.session
	s.mu.Lock()
	if x.failed {
		cause := s.loadErr
		s.mu.Unlock()
		x.withhold(cause)
		return false
	}
	if status >= 500 {
		s.discard()
	}
	if s.idle() {
		s.outcome.done = true
		if s.state != nil { // it was read, even if Strict has asked for another read since
			s.noteLater()
			x.vary()
		}
		s.mu.Unlock()
		x.begun = true
		return true
	}
	s.keepSecret = s.keepSecret || cacheable(x.w.Header(), s.arrived)
	s.mu.Unlock()
	if !x.commit(status) {
		return false
	}
	x.begun = true
	return true
}

// idle reports whether a commit would have nothing to write and nothing to say,
// as in most requests. mu is held.
func (s *Session) idle() bool {
	return !s.outcome.done && !s.finished && (!s.loaded || s.loadErr == nil && !s.draft.begun() && !s.found.adopted && !s.found.clears && !s.forget && !s.rotates() && !s.moves() && !s.asks())
}

// discard drops the request's changes after a handler failed, so that nothing
// half-done is kept. What Commit has written stays. mu is held.
func (s *Session) discard() {
	if s.state != nil && !s.outcome.done {
		s.draft.reset()
		s.keepSecret, s.forget = true, false
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

// commit writes the session, and sets the response's headers. An error goes to
// the client in place of the response, unless that is an error itself.
func (x *exchange) commit(status int) bool {
	s := &x.session
	err := s.Commit(s.ctx)
	s.mu.Lock()
	if s.state != nil {
		x.tell(err == nil)
	}
	s.mu.Unlock()
	if err == nil || !s.loaded || status >= 400 {
		return true
	}
	x.withhold(err)
	return false
}

// tell sets the headers about the session. Its cookies are among them if it was
// written. Session.mu is held.
func (x *exchange) tell(written bool) {
	s, h, again := &x.session, x.w.Header(), x.headed
	x.vary()
	if s.askBrowser(h) {
		forbidStorage(h)
	}
	if !written {
		return
	}
	if s.outcome.cookies.any() {
		if s.outcome.cookies.setSession || s.outcome.cookies.setVisitor {
			s.e.site.warnPlainHTTP(x.r)
		}
		if !again {
			h["Set-Cookie"] = s.setCookies(h["Set-Cookie"])
		}
	}
	if s.draft.logout && len(s.e.opt.ClearSiteData) > 0 {
		h.Set("Clear-Site-Data", `"`+strings.Join(s.e.opt.ClearSiteData, `", "`)+`"`)
	}
	if s.outcome.issued != "" || s.outcome.cookies.any() {
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
	return fmt.Errorf("sojourn: the response was withheld: %w", cmp.Or(x.session.outcome.err, x.session.loadErr))
}

// finish runs when the handler is over, however it ended.
func (x *exchange) finish() {
	defer x.removeFiles()
	defer x.session.Finish()
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
	failed, cause := x.failed, s.loadErr
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

// removeFiles removes the temporary files of a form. net/http does that for the
// request that it made, and the handler has parsed the form of a copy.
func (x *exchange) removeFiles() {
	if form := x.request.MultipartForm; form != nil && x.r.MultipartForm == nil {
		_ = form.RemoveAll() // net/http ignores this error too
	}
}

// abort ends the handler because an accessor can't answer. session.mu is held.
func (x *exchange) abort(s *Session, err error) {
	x.failed = true
	const (
		ours    = "github.com/sojourn-go/sojourn.(*handler).ServeHTTP"
		timeout = "net/http.(*timeoutHandler).ServeHTTP" // whose goroutine hands panics on
	)
	switch {
	case !s.finished && onStack(ours, timeout):
		panic(http.ErrAbortHandler) // which recoverers and net/http pass without a stack trace
	case onStack(timeout, "net/http.(*conn).serve", "testing.tRunner", "runtime.main"): // the program's mistake
		panic(loadFailure{err})
	}
	slog.Error("sojourn: a goroutine asked for a session that can't be read, and was ended", "error", err)
	runtime.Goexit()
}
