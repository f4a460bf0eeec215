package sojourn

import (
	"bufio"
	"net"
	"net/http"
)

// ResponseWriters differ in what they can do besides writing: net/http's can be
// hijacked over HTTP/1.1 and can push over HTTP/2, and http.TimeoutHandler's
// can't even flush. Handlers find out by a type assertion, so the writer that
// they get must have the methods of the one that it wraps, and no others. Each
// type below is an exchange with some of these methods, and as small as a
// pointer: none takes an allocation.
type (
	wF struct{ *exchange } // Flush and FlushError
	wH struct{ *exchange } // Hijack
	wC struct{ *exchange } // CloseNotify
	wP struct{ *exchange } // Push

	wFH   struct{ wF }
	wFC   struct{ wF }
	wFP   struct{ wF }
	wHC   struct{ wH }
	wHP   struct{ wH }
	wCP   struct{ wC }
	wFHC  struct{ wFH }
	wFHP  struct{ wFH }
	wFCP  struct{ wFC }
	wHCP  struct{ wHC }
	wFHCP struct{ wFHC }
)

func (w wF) Flush()            { _ = w.flush() }
func (w wF) FlushError() error { return w.flush() } // for http.ResponseController

func (w wH) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return w.hijack() }
func (w wFH) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }

func (w wC) CloseNotify() <-chan bool   { return w.closeNotify() }
func (w wFC) CloseNotify() <-chan bool  { return w.closeNotify() }
func (w wHC) CloseNotify() <-chan bool  { return w.closeNotify() }
func (w wFHC) CloseNotify() <-chan bool { return w.closeNotify() }

func (w wP) Push(target string, o *http.PushOptions) error    { return w.push(target, o) }
func (w wFP) Push(target string, o *http.PushOptions) error   { return w.push(target, o) }
func (w wHP) Push(target string, o *http.PushOptions) error   { return w.push(target, o) }
func (w wCP) Push(target string, o *http.PushOptions) error   { return w.push(target, o) }
func (w wFHP) Push(target string, o *http.PushOptions) error  { return w.push(target, o) }
func (w wFCP) Push(target string, o *http.PushOptions) error  { return w.push(target, o) }
func (w wHCP) Push(target string, o *http.PushOptions) error  { return w.push(target, o) }
func (w wFHCP) Push(target string, o *http.PushOptions) error { return w.push(target, o) }

// writer returns the exchange with the methods of x.w, or of what that wraps.
func (x *exchange) writer() http.ResponseWriter {
	switch abilities(x.w) {
	case canFlush:
		return wF{x}
	case canHijack:
		return wH{x}
	case canNotify:
		return wC{x}
	case canPush:
		return wP{x}
	case canFlush | canHijack:
		return wFH{wF{x}}
	case canFlush | canNotify: // a wrapper of net/http's over HTTP/2
		return wFC{wF{x}}
	case canFlush | canPush:
		return wFP{wF{x}}
	case canHijack | canNotify:
		return wHC{wH{x}}
	case canHijack | canPush:
		return wHP{wH{x}}
	case canNotify | canPush:
		return wCP{wC{x}}
	case canFlush | canHijack | canNotify: // net/http's over HTTP/1.1
		return wFHC{wFH{wF{x}}}
	case canFlush | canHijack | canPush:
		return wFHP{wFH{wF{x}}}
	case canFlush | canNotify | canPush: // net/http's over HTTP/2
		return wFCP{wFC{wF{x}}}
	case canHijack | canNotify | canPush:
		return wHCP{wHC{wH{x}}}
	case canFlush | canHijack | canNotify | canPush:
		return wFHCP{wFHC{wFH{wF{x}}}}
	}
	return x
}

const (
	canFlush = 1 << iota
	canHijack
	canNotify
	canPush
)

// abilities looks where http.ResponseController would: beneath wrappers too.
func abilities(w http.ResponseWriter) (can int) {
	for {
		switch w.(type) {
		case http.Flusher, interface{ FlushError() error }:
			can |= canFlush
		}
		if _, ok := w.(http.Hijacker); ok {
			can |= canHijack
		}
		if _, ok := w.(closeNotifier); ok {
			can |= canNotify
		}
		if _, ok := w.(http.Pusher); ok {
			can |= canPush
		}
		u, ok := w.(unwrapper)
		if !ok {
			return can
		}
		w = u.Unwrap()
	}
}

type unwrapper interface{ Unwrap() http.ResponseWriter }

// closeNotifier is http.CloseNotifier, which is deprecated, and which gin's
// Stream needs.
type closeNotifier interface{ CloseNotify() <-chan bool }

// beneath returns the first T among w and the writers that it wraps; the zero T
// if there is none.
func beneath[T any](w http.ResponseWriter) (t T) {
	for {
		if t, ok := w.(T); ok {
			return t
		}
		u, ok := w.(unwrapper)
		if !ok {
			return t
		}
		w = u.Unwrap()
	}
}

func (x *exchange) closeNotify() <-chan bool { return beneath[closeNotifier](x.w).CloseNotify() }

func (x *exchange) push(target string, o *http.PushOptions) error {
	return beneath[http.Pusher](x.w).Push(target, o)
}
