package sojourn_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sojourn-go/sojourn"
)

// As without Handler, the connection closes if the body exceeded the limit of
// http.MaxBytesReader, and otherwise stays open. The test leaves out sizes at
// which both the body and the reader's buffer end with the first byte beyond
// the limit: then nothing is left on the connection, and it may stay open.
func TestWriterMaxBytes(t *testing.T) {
	read := func(rw http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(rw, "too large", http.StatusRequestEntityTooLarge)
		}
	}
	limit := func(n int64, then http.HandlerFunc) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(rw, r.Body, n)
			then(rw, r)
		}
	}
	handlers := map[string]http.HandlerFunc{
		"in place":    limit(100, read),
		"at a buffer": limit(511, read), // io.ReadAll starts with 512 bytes
		"of a copy": func(rw http.ResponseWriter, r *http.Request) {
			limit(100, read)(rw, r.WithContext(r.Context()))
		},
		"MaxBytesHandler": http.MaxBytesHandler(http.HandlerFunc(read), 100).ServeHTTP,
		"answered by 200": limit(100, func(rw http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
		}),
		"after the header": limit(100, func(rw http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(rw)
			rc.EnableFullDuplex()
			rc.Flush()
			io.Copy(io.Discard, r.Body)
		}),
		"byte by byte": limit(100, func(rw http.ResponseWriter, r *http.Request) {
			var p [1]byte
			for {
				if _, err := r.Body.Read(p[:]); err != nil {
					if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
						rw.WriteHeader(http.StatusRequestEntityTooLarge)
					}
					return
				}
			}
		}),
		"a form": limit(100, func(rw http.ResponseWriter, r *http.Request) {
			if err := r.ParseForm(); err != nil {
				http.Error(rw, err.Error(), http.StatusBadRequest)
			}
		}),
		"JSON": limit(100, func(rw http.ResponseWriter, r *http.Request) {
			var v any
			if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
				http.Error(rw, err.Error(), http.StatusBadRequest)
			}
		}),
		"not read": limit(100, func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusForbidden) }),
		"no limit": read,
		"a part, without a limit": func(rw http.ResponseWriter, r *http.Request) {
			io.ReadFull(r.Body, make([]byte, 10))
		},
		"a part within the limit": limit(1000, func(rw http.ResponseWriter, r *http.Request) {
			r.Body.Read(make([]byte, 1))
			r.Body.Read(make([]byte, 4<<10))
		}),
	}
	w := newWebUnstarted(t, nil)
	asks := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			sojourn.From(r.Context()).Subject()
			h.ServeHTTP(rw, r)
		})
	}
	var group sync.WaitGroup // net/http waits half a second before it closes a connection
	atOnce := make(chan struct{}, 64)
	for name, h := range handlers {
		for _, size := range []int{1, 90, 100, 102, 511, 513, 300_000} {
			for _, chunked := range []bool{false, true} {
				atOnce <- struct{}{}
				group.Go(func() {
					defer func() { <-atOnce }()
					bare := keepsOpen(t, h, size, chunked)
					for _, in := range []http.Handler{w.Handler(h), w.Handler(asks(h))} {
						if got := keepsOpen(t, in, size, chunked); got != bare {
							t.Errorf("%s, %d bytes, chunked %v: %s; without Handler: %s", name, size, chunked, got, bare)
						}
					}
				})
			}
		}
	}
	group.Wait()
}

// keepsOpen sends a request over a new connection, and reports whether the
// connection can be used again.
func keepsOpen(t *testing.T, h http.Handler, size int, chunked bool) string {
	t.Helper()
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	text := "x=" + strings.Repeat("1", size)
	text = text[:size]
	head := "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	if chunked {
		text = fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, size, text)
	} else {
		text = fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, size, text)
	}
	go io.WriteString(conn, text)
	answers := bufio.NewReader(conn)
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err.Error()
	}
	io.Copy(io.Discard, res.Body)
	if res.Close {
		if _, err := answers.ReadByte(); err == nil {
			return "closes, and goes on"
		}
		return "closes"
	}
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if _, err := http.ReadResponse(answers, nil); err != nil {
		return "closes without saying so"
	}
	return "stays open"
}
