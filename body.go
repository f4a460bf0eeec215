package sojourn

import (
	"io"
	"net/http"
	"sync/atomic"
)

// A body is the body of a request over HTTP/1. When http.MaxBytesReader hits
// its limit, it tells net/http to close the connection, by a method of
// net/http's own ResponseWriter that no other type can have. So this type
// notices the limit, and closeAfter tells net/http.
type body struct {
	io.ReadCloser
	limited atomic.Bool // the last read may have been that which hit the limit
}

// At the limit, MaxBytesReader calls Read for one byte more than the limit
// allows, gets all that it asks for, and never calls Read again. A body that
// ends with that very byte may go unnoticed; it leaves nothing on the
// connection.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	full := n > 0 && n == len(p) && (err == nil || cap(p) > n)
	b.limited.Store(full && onStack("net/http.(*maxBytesReader).Read"))
	return n, err
}

// closeAfter makes net/http close the connection after the response, if a limit
// was hit.
func (x *exchange) closeAfter() {
	if x.body == nil || !x.body.limited.Load() {
		return
	}
	for w := x.w; ; {
		over := http.MaxBytesReader(w, oneByte{}, 0)
		_, _ = over.Read(make([]byte, 1)) // which is over the limit, and says so to w
		u, ok := w.(unwrapper)
		if !ok {
			return
		}
		w = u.Unwrap()
	}
}

// oneByte is a body that is too long for MaxBytesReader.
type oneByte struct{}

func (oneByte) Read(p []byte) (int, error) { return min(len(p), 1), nil }
func (oneByte) Close() error               { return nil }
