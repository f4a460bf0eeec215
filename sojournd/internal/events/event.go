package events

import (
	"encoding/json"
	"time"

	"github.com/sojourn-go/sojourn"
)

// KindGap is the kind of the event that stands for lost ones.
const KindGap = "gap"

// An Event is what subscribers, webhooks and the audit log get to know. It holds no secret.
type Event struct {
	_ struct{} `additionalProperties:"true"` // for the API's description: members may be added

	ID      string    `json:"id,omitempty" doc:"Names the event. Resume with it as Last-Event-ID." example:"k3pw9x2mvq-118"`
	Kind    string    `json:"kind" doc:"created, authenticated, elevated, rotated, ended, ended_all, refused, throttled, client_changed, write_failed; or gap, in place of events that were lost." example:"ended"`
	Time    time.Time `json:"time" doc:"UTC" example:"2026-11-24T09:30:00.123Z"`
	App     string    `json:"app" example:"shop"`
	Session string    `json:"session,omitempty" doc:"The session's ID." example:"019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21"`
	Subject string    `json:"subject,omitempty" doc:"The user; absent: anonymous, or not known." example:"u-1815"`
	Client  *Client   `json:"client,omitempty" doc:"Who sent the request; absent for an end by an operator or by expiry."`
	Was     *Client   `json:"was,omitempty" doc:"For client_changed: the client before."`
	Reason  string    `json:"reason,omitempty" doc:"For ended: logout, revoked, idle, absolute, evicted, theft." example:"logout"`
	Refusal string    `json:"refusal,omitempty" doc:"For refused: malformed, unknown, ended, former, ambiguous."`
	AMR     []string  `json:"amr,omitempty" doc:"For authenticated and elevated: how (RFC 8176)."`
	Level   *int      `json:"level,omitempty" doc:"For authenticated and elevated: 0 to 3."`
	Detail  string    `json:"detail,omitempty" doc:"A few words for people."`
	Lost    int       `json:"lost,omitempty" doc:"For gap: how many events were lost, where that is known."`
}

// A Client is where a request came from.
type Client struct {
	_ struct{} `additionalProperties:"true"`

	IP        string `json:"ip,omitempty" example:"203.0.113.7"`
	UserAgent string `json:"user_agent,omitempty" example:"Mozilla/5.0"`
}

func eventOf(e sojourn.Event) Event {
	event := Event{
		Kind: string(e.Kind), Time: e.Time.UTC(), App: e.App, Subject: e.Subject,
		Client: clientOf(e.Client), Was: clientOf(e.Was),
		Reason: string(e.Reason), Refusal: string(e.Refusal), AMR: e.AMR, Detail: e.Detail,
	}
	if !e.Session.IsZero() {
		event.Session = e.Session.String()
	}
	if e.Kind == sojourn.EventAuthenticated || e.Kind == sojourn.EventElevated {
		event.Level = &e.Level
	}
	return event
}

func clientOf(c sojourn.Client) *Client {
	if c == (sojourn.Client{}) {
		return nil
	}
	client := &Client{UserAgent: c.UserAgent}
	if c.IP.IsValid() {
		client.IP = c.IP.String()
	}
	return client
}

// encode returns the event as one line of JSON, without the line's end.
func (e *Event) encode() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings, numbers and a time of this age
	}
	return b
}
