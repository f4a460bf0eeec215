// Package v1 holds the requests and answers of the API under /v1. The server
// writes them, package client reads them, and /openapi.json describes them from
// their struct tags.
//
// A type with additionalProperties:"true" may get more members in a later
// version. Requests must not have members that are not described.
package v1

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxKeys is the number of keys that one request may change.
const MaxKeys = 1000

// A Session is what the API tells about a session.
type Session struct {
	_ struct{} `additionalProperties:"true"`

	ID                 string    `json:"id" format:"uuid" doc:"Names the session. Not a secret. Stays the same through login and rotation." example:"019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21"`
	Subject            string    `json:"subject" doc:"The user who is logged in. Empty for an anonymous session." example:"u-1815"`
	CreatedAt          time.Time `json:"created_at" example:"2026-11-24T09:30:00Z"`
	AuthenticatedAt    time.Time `json:"authenticated_at,omitzero" doc:"The last login or elevation. Absent for an anonymous session." example:"2026-11-24T09:31:00Z"`
	LastSeenAt         time.Time `json:"last_seen_at" doc:"The last activity, to about a minute." example:"2026-11-24T09:40:00Z"`
	IdleExpiresAt      time.Time `json:"idle_expires_at" doc:"When the session ends if there is no further activity." example:"2026-11-25T09:40:00Z"`
	ExpiresAt          time.Time `json:"expires_at" doc:"When the session ends at the latest." example:"2026-12-24T09:31:00Z"`
	AMR                []string  `json:"amr" nullable:"false" doc:"How the user authenticated (RFC 8176)." example:"[\"pwd\"]"`
	Level              int       `json:"level" doc:"The level of the authentication." minimum:"0" maximum:"3" example:"1"`
	Remembered         bool      `json:"remembered" doc:"The user asked to stay signed in."`
	UntilBrowserCloses bool      `json:"until_browser_closes" doc:"The cookie has no Max-Age, so the browser drops it when it closes."`
	Bound              bool      `json:"bound" doc:"The session is bound to a key of its browser, so a copied cookie is refused after minutes."`
	Sealed             bool      `json:"sealed,omitzero" doc:"Present and true if the session is in its token and not on the server. Each change makes a new token." example:"true"`
	Client             Browser   `json:"client" doc:"The client that was seen last."`
	Revision           uint64    `json:"revision" doc:"Grows with each change." example:"3"`
	Values             Values    `json:"values,omitzero" doc:"The application's data. Absent from a list without values=true, and from the answer to a touch."`
}

// A Browser is the client of a session.
type Browser struct {
	_ struct{} `additionalProperties:"true"`

	IP        string `json:"ip,omitzero" example:"203.0.113.7"`
	UserAgent string `json:"user_agent,omitzero" example:"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"`
	Name      string `json:"name,omitzero" doc:"The user agent in words for people." example:"Firefox on Linux"`
}

// Values is a JSON object that is passed through unchanged.
type Values json.RawMessage

// Schema implements huma.SchemaProvider.
func (Values) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// MarshalJSONTo writes the object as it is.
func (v Values) MarshalJSONTo(e *jsontext.Encoder) error { return e.WriteValue(jsontext.Value(v)) }

// UnmarshalJSON keeps the object as it is.
func (v *Values) UnmarshalJSON(text []byte) error {
	*v = append((*v)[:0], text...)
	return nil
}

// Sessions is one page of a list.
type Sessions struct {
	_ struct{} `additionalProperties:"true"`

	Sessions   []*Session `json:"sessions" nullable:"false" doc:"With their values only if values=true asks for them."`
	NextCursor string     `json:"next_cursor,omitzero" doc:"The cursor of the next page. Absent on the last page."`

	Ended []*EndedSession `json:"ended,omitempty" nullable:"false" doc:"With ended=true: the user's sessions that ended within the last hour, the latest end first, 100 at most. Absent if there are none."`
}

// An EndedSession is what the API tells about a session that has ended.
type EndedSession struct {
	_ struct{} `additionalProperties:"true"`

	ID        string    `json:"id" format:"uuid" example:"019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21"`
	Subject   string    `json:"subject" doc:"The user who was logged in." example:"u-1815"`
	CreatedAt time.Time `json:"created_at" example:"2026-11-24T09:30:00Z"`
	EndedAt   time.Time `json:"ended_at" example:"2026-11-24T10:00:00Z"`
	Reason    string    `json:"reason" doc:"logout, revoked, idle, absolute, evicted or theft." example:"logout"`
	Client    Browser   `json:"client" doc:"The client that was seen last."`
}

// Found is one page of a search.
type Found struct {
	_ struct{} `additionalProperties:"true"`

	Sessions   []*Session `json:"sessions" nullable:"false" doc:"Without their values. May be empty although the search goes on."`
	NextCursor string     `json:"next_cursor,omitzero" doc:"The cursor with which the search goes on. Absent when it is complete."`
	Examined   int64      `json:"examined" doc:"About how many sessions the search has examined so far." example:"20000"`
	Share      float64    `json:"share" doc:"How much of the search that is, estimated." minimum:"0" maximum:"1" example:"0.25"`
}

// Ended tells how many sessions were ended.
type Ended struct {
	_ struct{} `additionalProperties:"true"`

	Ended *int `json:"ended,omitempty" doc:"The number of sessions. Absent with all=true, which does not count them." example:"3"`
}

// Stats are counts of live sessions.
type Stats struct {
	_ struct{} `additionalProperties:"true"`

	Sessions  int64 `json:"sessions" doc:"Sessions that expired less than a minute ago may be counted too." example:"1204"`
	LoggedIn  int64 `json:"logged_in" example:"310"`
	Anonymous int64 `json:"anonymous" example:"894"`

	VisitorsSealed bool `json:"visitors_sealed,omitzero" doc:"Present and true if the sessions of visitors are in their cookies: they are neither counted nor listed." example:"true"`
}

// ParseMoment reads a time in the form of RFC 3339, or a date, which stands for
// its beginning in UTC.
func ParseMoment(text string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day, nil
	}
	return time.Parse(time.RFC3339, text)
}

// Patch is a JSON Merge Patch (RFC 7396) of a session's values.
type Patch map[string]json.RawMessage

// TransformSchema implements huma.SchemaTransformer. It adds the limit of keys.
func (Patch) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	most := MaxKeys
	s.MaxProperties = &most
	return s
}

// A Value is any JSON, also null, that is passed through unchanged.
type Value json.RawMessage

// Schema implements huma.SchemaProvider. The empty schema allows any value.
func (Value) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Any JSON."}
}

// MarshalJSONTo writes the value as it is.
func (v Value) MarshalJSONTo(e *jsontext.Encoder) error { return e.WriteValue(jsontext.Value(v)) }

// UnmarshalJSONFrom keeps the value as it is.
func (v *Value) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	text, err := d.ReadValue()
	*v = append((*v)[:0], text...)
	return err
}

// A Problem is the body of every answer that is not a success (RFC 9457).
type Problem struct {
	_ struct{} `additionalProperties:"true"`

	Title  string  `json:"title" doc:"The status in words." example:"Conflict"`
	Status int     `json:"status" doc:"The HTTP status." example:"409"`
	Code   string  `json:"code" doc:"What happened, in a word that never changes." example:"not_live"`
	Detail string  `json:"detail" doc:"What happened and what to do, for people."`
	Why    string  `json:"why,omitempty" enum:"unknown,idle,absolute,logout,revoked,evicted,theft,superseded,unproven" doc:"With not_live: the reason, in the words of resolve." example:"logout"`
	Errors []Field `json:"errors,omitempty" nullable:"false" doc:"With invalid_request: each mistake and where it is."`

	Headers Headers `json:"headers,omitempty" doc:"With why unproven: as for resolve."`
}

// Headers are headers for the application's answer to the browser, by name.
type Headers map[string]string

// A Field is a part of a request that is wrong.
type Field struct {
	Where  string `json:"where" doc:"A JSON Pointer into the body (RFC 6901), or the name of a header or a parameter. Empty for the body or the query as a whole." example:"/subject"`
	Detail string `json:"detail" doc:"What is wrong with it." example:"is missing"`
}

// Error makes a Problem an error.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	return fmt.Sprintf("%s (%d %s)", strings.TrimSuffix(text, "."), p.Status, p.Code)
}

// KindGap is the kind of an event that stands for lost events.
const KindGap = "gap"

// An Event tells what happened to a session. It holds no secret. Subscribers,
// webhooks and the audit log get the same events.
type Event struct {
	_ struct{} `additionalProperties:"true"`

	ID      string       `json:"id,omitempty" doc:"Names the event. Send it as Last-Event-ID to resume." example:"k3pw9x2mvq-118"`
	Kind    string       `json:"kind" doc:"created, authenticated, elevated, rotated, ended, ended_all, refused, throttled, client_changed, adopted, write_failed; or gap, in place of events that were lost." example:"ended"`
	Time    time.Time    `json:"time" doc:"UTC" example:"2026-11-24T09:30:00.123Z"`
	App     string       `json:"app" example:"shop"`
	Session string       `json:"session,omitempty" doc:"The session's ID." example:"019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21"`
	Subject string       `json:"subject,omitempty" doc:"The user. Absent if the session is anonymous or the user is not known." example:"u-1815"`
	Client  *EventClient `json:"client,omitempty" doc:"The client that sent the request. Absent if an operator or the clock ended the session."`
	Was     *EventClient `json:"was,omitempty" doc:"For client_changed: the client before."`
	Reason  string       `json:"reason,omitempty" doc:"For ended: logout, revoked, idle, absolute, evicted, theft." example:"logout"`
	Refusal string       `json:"refusal,omitempty" doc:"For refused: malformed, unknown, ended, former, ambiguous, no_key, unproven, bound."`
	AMR     []string     `json:"amr,omitempty" doc:"For authenticated and elevated: how the user authenticated (RFC 8176)."`
	Level   *int         `json:"level,omitempty" doc:"For authenticated and elevated: 0 to 3."`
	Detail  string       `json:"detail,omitempty" doc:"A few words for people."`
	Lost    int          `json:"lost,omitempty" doc:"For gap: how many events were lost, if that is known."`
}

// An EventClient is the client that sent a request.
type EventClient struct {
	_ struct{} `additionalProperties:"true"`

	IP        string `json:"ip,omitempty" example:"203.0.113.7"`
	UserAgent string `json:"user_agent,omitempty" example:"Mozilla/5.0"`
}
