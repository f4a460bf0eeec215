package sojourn

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// An Event is something that happened to a session or to a token. It holds no
// secret.
type Event struct {
	Kind    EventKind
	Time    time.Time // UTC
	App     string
	Session ID     // zero if none is concerned: a malformed token, EndAll
	Subject string // empty: anonymous, or not known
	Client  Client // who sent the request; zero for an end by sweep or operator

	Reason  Reason   // for Ended
	Refusal Refusal  // for Refused
	Was     Client   // for ClientChanged: the client before
	Level   int      // for Authenticated and Elevated
	AMR     []string // for Authenticated and Elevated
	Detail  string   // a few words for people
	Lost    int      // events dropped before this one, because OnEvent was too slow

	flushed chan struct{} // not nil: no event, but a call of Flush that waits
}

// An EventKind says what happened. The words are those of the OWASP logging
// vocabulary where it has one.
type EventKind string

const (
	EventCreated       EventKind = "created"
	EventAuthenticated EventKind = "authenticated"
	EventElevated      EventKind = "elevated"
	EventRotated       EventKind = "rotated"
	EventEnded         EventKind = "ended"
	EventEndedAll      EventKind = "ended_all"
	EventRefused       EventKind = "refused"
	EventThrottled     EventKind = "throttled" // at most once a minute for an address
	EventClientChanged EventKind = "client_changed"
	EventAdopted       EventKind = "adopted"      // of another library; Detail names what was left out
	EventWriteFailed   EventKind = "write_failed" // an activity, a rotation or an adoption was not written
)

// A Refusal says why a token was refused.
type Refusal string

const (
	RefusedMalformed Refusal = "malformed" // it has not the form of a token
	RefusedUnknown   Refusal = "unknown"   // no such session, or a wrong secret
	RefusedEnded     Refusal = "ended"     // it was good for a session that has ended
	RefusedFormer    Refusal = "former"    // it was good before a login or elevation
	RefusedAmbiguous Refusal = "ambiguous" // several cookies of one name, of which not exactly one is live
	RefusedNoKey     Refusal = "no_key"    // sealed by a key that Options.Sealed doesn't have
	RefusedUnproven  Refusal = "unproven"  // good, but the session is bound to a browser, of which there is no proof
	RefusedBound     Refusal = "bound"     // a browser tried to register a key for a session that is bound already
	RefusedThrottled Refusal = "throttled" // not looked up, because its address is guessing; there is no event
)

// LogEvents returns a function for Options.OnEvent that logs each event as a
// structured record. Events that tell of an attack or a loss are warnings, all
// others are information. What comes from requests is in attributes, so a slog
// handler quotes it.
func LogEvents(l *slog.Logger) func(Event) {
	return func(e Event) {
		level := slog.LevelInfo
		if e.Reason == ReasonTheft || e.Kind == EventThrottled || e.Kind == EventWriteFailed || e.Refusal == RefusedAmbiguous ||
			e.Refusal == RefusedUnproven || e.Refusal == RefusedBound {
			level = slog.LevelWarn
		}
		attrs := make([]slog.Attr, 0, 12)
		add := func(key, value string) {
			if value != "" {
				attrs = append(attrs, slog.String(key, value))
			}
		}
		add("app", e.App)
		if !e.Session.IsZero() {
			add("session", e.Session.String())
		}
		add("subject", e.Subject)
		add("reason", string(e.Reason))
		add("refusal", string(e.Refusal))
		add("amr", strings.Join(e.AMR, " "))
		if e.Kind == EventAuthenticated || e.Kind == EventElevated {
			attrs = append(attrs, slog.Int("auth_level", e.Level)) // "level" is slog's own
		}
		if e.Client.IP.IsValid() {
			add("ip", e.Client.IP.String())
		}
		add("user_agent", e.Client.UserAgent)
		if e.Was.IP.IsValid() {
			add("was_ip", e.Was.IP.String())
		}
		add("was_user_agent", e.Was.UserAgent)
		add("detail", e.Detail)
		if e.Lost > 0 {
			attrs = append(attrs, slog.Int("lost", e.Lost))
		}
		attrs = append(attrs, slog.Time("at", e.Time))
		l.LogAttrs(context.Background(), level, "session "+string(e.Kind), attrs...)
	}
}

// An eventQueue stands between requests and Options.OnEvent.
type eventQueue struct {
	list chan *Event
	over context.Context // the engine's

	mu   sync.Mutex
	lost int // guarded by mu
}

// emit queues an event.
func (e *Engine) emit(event Event) {
	if e.opt.OnEvent == nil {
		return
	}
	event.App = e.opt.App
	if event.Time.IsZero() {
		event.Time = e.now().Time()
	}
	q := &e.events
	q.mu.Lock()
	defer q.mu.Unlock()
	event.Lost = q.lost
	select {
	case q.list <- &event:
		q.lost = 0
	default:
		q.lost++
	}
}

// reportEnded emits the end of each session.
func (e *Engine) reportEnded(by Client, list []store.Ended) {
	for _, s := range list {
		e.emit(Event{Kind: EventEnded, Time: s.At.Time(), Session: s.ID, Subject: s.Subject, Reason: s.Reason, Client: by})
	}
}

// reportDraft emits what a draft, which was written, did.
func (e *Engine) reportDraft(by Client, d *draft) {
	if e.opt.OnEvent == nil {
		return
	}
	event := Event{Session: d.rec.ID, Subject: d.rec.Subject, Client: by, Level: int(d.rec.Level), AMR: splitAMR(d.rec.AMR)}
	report := func(kind EventKind) {
		event.Kind = kind
		e.emit(event)
	}
	if d.create {
		report(EventCreated)
	}
	for _, o := range d.lasting() {
		switch o.kind {
		case opLogin:
			report(EventAuthenticated)
		case opElevate:
			report(EventElevated)
		case opRotate:
			if o.done {
				report(EventRotated)
			}
		}
	}
}

func (q *eventQueue) flush(ctx context.Context) error {
	done := make(chan struct{})
	return enqueue(ctx, q.over, q.list, &Event{flushed: done}, done)
}

// observe hands events to Options.OnEvent until ctx is done.
func (e *Engine) observe(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-e.events.list:
			if event.flushed != nil {
				close(event.flushed)
			} else {
				e.opt.OnEvent(*event)
			}
		}
	}
}
