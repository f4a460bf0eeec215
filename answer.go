package sojourn

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"
)

// Error answers a request with an error of this package, in place of the
// handler's response: with the status of StatusCode, a text without internal
// details, and headers that keep the answer out of caches. If the request came
// through Handler, and Options.OnError is set, that function writes the answer.
// Return from the handler afterwards:
//
//	if err := cart.Update(s, add); err != nil {
//		sojourn.Error(w, r, err)
//		return
//	}
//
// Any other error is a 500 without details, and is logged (log/slog). Errors that
// are a 503 are logged once in ten seconds.
func Error(w http.ResponseWriter, r *http.Request, err error) {
	var onError ErrorFunc
	if s, _ := r.Context().Value(contextKey{}).(*Session); s != nil {
		onError = s.e.opt.OnError
	}
	answerError(w, r, err, onError)
}

// answerError answers with err. onError writes the answer, unless it is nil, is
// the caller, or writes nothing.
func answerError(w http.ResponseWriter, r *http.Request, err error, onError ErrorFunc) {
	h := w.Header()
	for _, name := range []string{
		"Location", "Refresh", "Link", "Content-Type", "Content-Encoding", "Content-Language",
		"Content-Disposition", "Content-Length", "Content-Range", "Accept-Ranges", "Etag", "Last-Modified", "Expires", "Trailer",
		"X-Accel-Redirect", "X-Sendfile", // a proxy would send what they name instead
	} {
		h.Del(name)
	}
	forbidStorage(h)
	if errors.Is(err, ErrThrottled) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrFull) {
		h.Set("Retry-After", "60")
	}
	if ctx := r.Context(); onError != nil && ctx.Value(answeringKey{}) == nil {
		own := answer{ResponseWriter: w}
		if onError(&own, r.WithContext(context.WithValue(ctx, answeringKey{}, true)), err); own.begun {
			return
		}
	}
	status := StatusCode(err)
	switch {
	case status == http.StatusInternalServerError:
		slog.ErrorContext(r.Context(), "sojourn: a request failed", "error", err)
	case status == http.StatusServiceUnavailable && !errors.Is(err, ErrClosed) && r.Context().Err() == nil:
		logOutage(r.Context(), err)
	}
	http.Error(w, http.StatusText(status)+": "+publicText(err), status)
}

// lastOutage is when logOutage wrote last, in nanoseconds since 1970.
var lastOutage atomic.Int64

// logOutage logs why a request got a 503. It does so once in ten seconds, because
// in an outage every request gets one.
func logOutage(ctx context.Context, err error) {
	last, now := lastOutage.Load(), time.Now().UnixNano()
	if since := time.Duration(now - last); (since < 0 || since >= 10*time.Second) && lastOutage.CompareAndSwap(last, now) {
		slog.ErrorContext(ctx, "sojourn: requests get 503 (this is logged once in ten seconds)", "error", err)
	}
}

// answeringKey marks the context of a request that OnError answers, so that Error
// doesn't ask it again.
type answeringKey struct{}

// An answer notes whether OnError wrote one: silence would be a 200.
type answer struct {
	http.ResponseWriter
	begun bool
}

func (a *answer) WriteHeader(status int) {
	a.begun = a.begun || status >= 200
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(p)
}

func (a *answer) Unwrap() http.ResponseWriter {
	a.begun = true // the caller is going to write to it
	return a.ResponseWriter
}
