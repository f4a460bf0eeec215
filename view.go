package sojourn

import "github.com/sojourn-go/sojourn/store"

// view is what a Session knows of the stored session, and what the request wants to change. Session.mu guards it.
//
// Views are lent: they are given back when the request is over (of Begin: if Finish says so), under the mutex, and from then on the session has no values any more. So
// no goroutine that outlives its request sees another's.
type view struct {
	request Request
	found
	changes
	outcome
	scratch
}

// found is what load found.
type found struct {
	rec         *store.Record // the live session, as last read; nil: none
	epoch       uint32        // of rec when it was first read: the request's authority
	presented   secret        // its secret, as the client sent it
	verdict     verdict       // of presented
	endedBy     Reason        // why the presented session is over
	endedAt     store.Time    // and since when
	refusal     Refusal       // of the presented token
	refused     error         // ErrEnded or ErrSuperseded: a late request, which must not write (I14)
	reentry     ID            // a live session of which an earlier epoch's secret was presented
	met         int           // how often the changed client was met: more than once only after conflicts
	lives       [2][]ID       // live sessions whose tokens came in several cookies of one name, by transport
	undecided   bool          // a token was not looked up, since its address is guessing
	sessionSent bool          // a session cookie was presented
	visitorSent bool          // a visitor cookie was presented
}

// outcome is what the commit did.
type outcome struct {
	cookies cookieChange
	issued  string // a token
}

// scratch is memory for the usual request.
type scratch struct {
	tokens     [2]string
	recMemory  store.Record
	workMemory store.Record
	spare      store.Values // the next values of work are built here
	opsMemory  [2]op
}

func (e *Engine) lendView() *view {
	if v, _ := e.views.Get().(*view); v != nil {
		return v
	}
	return new(view)
}

const keepValues = 16 << 10 // larger buffers are left to the collector

// reset empties v but for memory that the next request can use. The records are written over by the next reader.
func (v *view) reset() {
	v.request.Session, v.request.Visitor, v.request.Bearer, v.request.Token = nil, nil, "", ""
	v.request.IdempotencyKey = ""
	v.found = found{}
	if v.work != nil {
		v.changes, v.outcome = changes{}, outcome{}
		clear(v.opsMemory[:])
		v.workMemory.Values = smallValues(v.workMemory.Values)
		v.spare = smallValues(v.spare)
	}
	v.recMemory.Values = smallValues(v.recMemory.Values)
}

func smallValues(v store.Values) store.Values {
	if cap(v) > keepValues {
		return nil
	}
	return v[:0]
}

// noSession stands for the session of a visitor who has none.
var noSession store.Record

// now returns the session with the request's changes. Session.mu is held.
func (v *view) now() *store.Record {
	switch {
	case v.work != nil:
		return v.work
	case v.rec != nil:
		return v.rec
	}
	return &noSession
}
