package sojourn

import (
	"log/slog"
	"net/http"
	"runtime"
)

// mustLoad reads the session for an accessor, and doesn't return if that fails.
// Session.mu is held.
func (s *Session) mustLoad() {
	err := s.load(s.ctx)
	if err == nil {
		return
	}
	if s.source == nil { // of Begin
		panic(loadFailure{err})
	}
	s.failed = true
	const (
		ours    = "github.com/sojourn-go/sojourn.(*handler).ServeHTTP"
		timeout = "net/http.(*timeoutHandler).ServeHTTP" // whose goroutine hands panics on
	)
	switch {
	case !s.finished && onStack(ours, timeout):
		panic(http.ErrAbortHandler) // which recoverers and net/http pass without a stack trace
	case onStack(timeout, "net/http.(*conn).serve", "testing.tRunner", "runtime.main"): // a mistake of the program's
		panic(loadFailure{err})
	}
	slog.Error("sojourn: a goroutine asked for a session that can't be read, and was ended", "error", err)
	runtime.Goexit()
}
