package events

import (
	"encoding/json"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

func eventOf(e sojourn.Event) v1.Event {
	event := v1.Event{
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

func clientOf(c sojourn.Client) *v1.EventClient {
	if c == (sojourn.Client{}) {
		return nil
	}
	client := &v1.EventClient{UserAgent: c.UserAgent}
	if c.IP.IsValid() {
		client.IP = c.IP.String()
	}
	return client
}

// encode returns an event as one line of JSON, without the line's end.
func encode(e *v1.Event) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings, numbers and a time can always be encoded
	}
	return b
}
