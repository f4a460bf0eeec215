package sojourn

import (
	"context"
	"log/slog"
	"strings"
	"time"
)

// An Event is something that happened to a session or to a token. It holds no secret.
type Event struct {
	Kind    EventKind
	Time    time.Time // UTC
	App     string
	Session ID     // zero where none is concerned: a malformed token, EndAll
	Subject string // empty: anonymous, or not known
	Client  Client // who sent the request; for an end by sweep or operator: zero

	Reason  Reason   // for Ended
	Refusal Refusal  // for Refused
	Was     Client   // for ClientChanged: the client before
	Level   int      // for Authenticated and Elevated
	AMR     []string // for Authenticated and Elevated
	Detail  string   // a few words for people
	Lost    int      // events dropped before this one, since the observer was too slow

	flushed chan struct{} // not an event: Flush waits for it
}

// EventKind says what happened. The words are those of the OWASP logging vocabulary where it has one.
type EventKind string

const (
	EventCreated       EventKind = "created"
	EventAuthenticated EventKind = "authenticated"
	EventElevated      EventKind = "elevated"
	EventRotated       EventKind = "rotated"
	EventEnded         EventKind = "ended"
	EventEndedAll      EventKind = "ended_all"
	EventRefused       EventKind = "refused"
	EventThrottled     EventKind = "throttled" // once a minute for an address at most
	EventClientChanged EventKind = "client_changed"
	EventWriteFailed   EventKind = "write_failed" // a touch or confirmation written behind was lost; harmless
)

// Refusal says why a token was refused.
type Refusal string

const (
	RefusedMalformed Refusal = "malformed" // no token at all
	RefusedUnknown   Refusal = "unknown"   // no such session, or garbage for its secret
	RefusedEnded     Refusal = "ended"     // good for a session that has ended
	RefusedFormer    Refusal = "former"    // good before a login or elevation
	RefusedAmbiguous Refusal = "ambiguous" // several cookies of one name, of which not exactly one is live
	RefusedThrottled Refusal = "throttled" // not looked up: its address is guessing, and this process hasn't seen it live. No event
)

// LogEvents returns a function for Options.OnEvent that writes each event as a structured record: ends and refusals as warnings where
// they tell of an attack, all else as information. Values from requests are attributes, so a slog handler quotes them.
func LogEvents(l *slog.Logger) func(Event) {
	return func(e Event) {
		level := slog.LevelInfo
		if e.Reason == ReasonTheft || e.Kind == EventThrottled || e.Kind == EventWriteFailed || e.Refusal == RefusedAmbiguous {
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
