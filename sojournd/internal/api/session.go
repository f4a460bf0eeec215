package api

import (
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/mileusna/useragent"

	"github.com/sojourn-go/sojourn"
)

// A Session is what may be told about a session. Lists leave the values out.
type Session struct {
	_ struct{} `additionalProperties:"true"`

	ID              string    `json:"id" format:"uuid" doc:"Names the session. No secret; stays the same through login and rotation." example:"019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21"`
	Subject         string    `json:"subject" doc:"The user that the session is logged in as; empty: nobody." example:"u-1815"`
	CreatedAt       time.Time `json:"created_at" example:"2026-11-24T09:30:00Z"`
	AuthenticatedAt time.Time `json:"authenticated_at,omitzero" doc:"The last login or elevation; absent if nobody is logged in." example:"2026-11-24T09:31:00Z"`
	LastSeenAt      time.Time `json:"last_seen_at" doc:"The last activity, to about a minute." example:"2026-11-24T09:40:00Z"`
	IdleExpiresAt   time.Time `json:"idle_expires_at" doc:"When the session ends without further activity." example:"2026-11-25T09:40:00Z"`
	ExpiresAt       time.Time `json:"expires_at" doc:"When the session ends at the latest." example:"2026-12-24T09:31:00Z"`
	AMR             []string  `json:"amr" nullable:"false" doc:"How the user authenticated (RFC 8176)." example:"[\"pwd\"]"`
	Level           int       `json:"level" doc:"The level of the authentication." minimum:"0" maximum:"3" example:"1"`
	Remembered      bool      `json:"remembered" doc:"The user asked to be kept signed in."`
	Client          Browser   `json:"client" doc:"Who was seen last."`
	Revision        uint64    `json:"revision" doc:"Grows with each change." example:"3"`
	Values          object    `json:"values,omitzero" doc:"The application's data."`
}

// A Browser is the client of a session.
type Browser struct {
	_ struct{} `additionalProperties:"true"`

	IP        string `json:"ip,omitzero" example:"203.0.113.7"`
	UserAgent string `json:"user_agent,omitzero" example:"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"`
	Name      string `json:"name,omitzero" doc:"The user agent for people." example:"Firefox on Linux"`
}

// A RequestClient is who sent the browser's request to the application. It isn't
// called Client, which generators call what they make.
type RequestClient struct {
	IP        string `json:"ip,omitzero" doc:"Its address." example:"203.0.113.7"`
	UserAgent string `json:"user_agent,omitzero" doc:"Its User-Agent header." example:"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"`
}

// client returns c for the engine.
func (c *RequestClient) client() (sojourn.Client, error) {
	if c == nil {
		return sojourn.Client{}, nil
	}
	is := sojourn.Client{UserAgent: c.UserAgent}
	if c.IP != "" {
		ip, err := netip.ParseAddr(c.IP)
		if err != nil {
			return is, invalid("/client/ip", "is no IP address")
		}
		is.IP = ip.Unmap().WithZone("")
	}
	return is, nil
}

func sessionOf(snap *sojourn.Snapshot) *Session {
	s := infoOf(&snap.Info)
	s.Values = object(snap.Values)
	return s
}

func infoOf(i *sojourn.Info) *Session {
	s := &Session{
		ID: i.ID.String(), Subject: i.Subject,
		CreatedAt: i.CreatedAt, AuthenticatedAt: i.AuthenticatedAt, LastSeenAt: i.LastSeenAt,
		IdleExpiresAt: i.IdleExpiresAt, ExpiresAt: i.ExpiresAt,
		AMR: i.AMR, Level: i.Level, Remembered: i.Remembered, Revision: i.Revision,
		Client: Browser{UserAgent: i.LastSeen.UserAgent, Name: browserName(i.LastSeen.UserAgent)},
	}
	if i.LastSeen.IP.IsValid() {
		s.Client.IP = i.LastSeen.IP.String()
	}
	return s
}

// An object is a JSON object as it is.
type object json.RawMessage

// Schema describes it (huma.SchemaProvider).
func (object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// MarshalJSONTo writes it.
func (o object) MarshalJSONTo(e *jsontext.Encoder) error { return e.WriteValue(jsontext.Value(o)) }

// names remembers what browsers are called: there are few, and it takes long to find out.
var names struct {
	sync.RWMutex
	of map[string]string
}

const maxNames = 4096

func browserName(agent string) string {
	if agent == "" {
		return ""
	}
	names.RLock()
	name, ok := names.of[agent]
	names.RUnlock()
	if ok {
		return name
	}
	ua := useragent.Parse(agent)
	var parts []string
	for _, part := range []string{ua.Name, ua.OS} {
		if part != "" && utf8.ValidString(part) {
			parts = append(parts, part)
		}
	}
	name = strings.Join(parts, " on ")
	names.Lock()
	defer names.Unlock()
	if names.of == nil || len(names.of) >= maxNames {
		names.of = make(map[string]string)
	}
	names.of[agent] = name
	return name
}
