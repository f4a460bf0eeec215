// Package dbsc is the wire format of Device Bound Session Credentials (W3C
// Editor's Draft, https://w3c.github.io/webappsec-dbsc/): the JWT by which a
// browser proves that it holds a session's key, the keys, the HTTP header
// fields, and the JSON that tells a browser about its session. It knows no
// engine and keeps nothing.
package dbsc

import (
	"encoding/json"
	"strings"
)

// The header fields (section 9 of the draft). Registration and Challenge are the
// server's, the others the browser's. Scripts can't send SessionID.
const (
	HeaderRegistration = "Secure-Session-Registration"
	HeaderChallenge    = "Secure-Session-Challenge"
	HeaderResponse     = "Secure-Session-Response"
	HeaderSessionID    = "Sec-Secure-Session-Id"
)

// Registration returns the value of HeaderRegistration that asks the browser to
// make a key, and to send its public half to path with the challenge signed.
func Registration(path, challenge string) string {
	return "(ES256 RS256);path=" + quote(path) + ";challenge=" + quote(challenge)
}

// Challenge returns the value of HeaderChallenge that tells the browser what to
// sign next for the session.
func Challenge(challenge, session string) string {
	return quote(challenge) + ";id=" + quote(session)
}

// quote returns a String of RFC 9651, section 3.3.3. The text must be printable
// ASCII.
func quote(text string) string { return `"` + escapes.Replace(text) + `"` }

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// maxField limits a header field, and with it a JWT, in bytes.
const maxField = 16 << 10

// Text returns the String (RFC 9651) in the lines of HeaderResponse or
// HeaderSessionID. Parameters are ignored, as the draft says. It also takes a
// value without quotes, because Chromium sends it so. It reports false if there
// is not exactly one line, or if that is empty, malformed or longer than 16 KiB.
func Text(lines []string) (string, bool) {
	if len(lines) != 1 || len(lines[0]) > maxField {
		return "", false
	}
	text, rest, ok := cutItem(strings.Trim(lines[0], " "))
	return text, ok && text != "" && (rest == "" || rest[0] == ';')
}

// cutItem cuts a String or a bare word off the front of a field's value. A bare
// word has the characters of a JWT and of a session ID.
func cutItem(value string) (item, rest string, ok bool) {
	if !strings.HasPrefix(value, `"`) {
		end := strings.IndexFunc(value, func(r rune) bool {
			return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '_' && r != '.'
		})
		if end < 0 {
			end = len(value)
		}
		return value[:end], value[end:], end > 0
	}
	var b strings.Builder
	for i := 1; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			return b.String(), value[i+1:], true
		case c == '\\':
			if i++; i == len(value) || value[i] != '"' && value[i] != '\\' {
				return "", "", false
			}
			b.WriteByte(value[i])
		case c < ' ' || c > '~':
			return "", "", false
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// Instructions tell the browser about a session, in the answer to a registration
// (section 9.6 of the draft). An answer to a refresh without a body keeps them.
type Instructions struct {
	Session    string
	RefreshURL string // absolute, or relative to the request

	// Cookie is the cookie without which the browser holds a request back until it
	// has renewed the proof. Attributes are those of its Set-Cookie, except Max-Age.
	Cookie, Attributes string

	// Site is the origin whose registrable domain is the session's scope, such as
	// "https://example.com". Empty: the scope is the origin of the request.
	Site string

	// Links makes the browser renew the proof also before a page that another site
	// links to. Else Chromium asks for that page without a proof. With cookies that
	// are SameSite=None it would also let other sites measure whether somebody is
	// signed in (section 3.2 of the draft).
	Links bool
}

// JSON returns the answer's body.
func (i *Instructions) JSON() []byte {
	type scope struct {
		Origin      string `json:"origin,omitempty"`
		IncludeSite bool   `json:"include_site"`
	}
	type credential struct {
		Type       string `json:"type"`
		Name       string `json:"name"`
		Attributes string `json:"attributes"`
	}
	var initiators []string
	if i.Links {
		initiators = []string{"*"}
	}
	b, err := json.Marshal(struct {
		Session     string       `json:"session_identifier"`
		RefreshURL  string       `json:"refresh_url"`
		Scope       scope        `json:"scope"`
		Credentials []credential `json:"credentials"`
		Initiators  []string     `json:"allowed_refresh_initiators,omitempty"`
	}{
		i.Session, i.RefreshURL, scope{i.Site, i.Site != ""},
		[]credential{{"cookie", i.Cookie, i.Attributes}}, initiators,
	})
	if err != nil { // these types can't fail
		panic(err)
	}
	return b
}

// WellKnownPath is where a registrable domain allows the hosts below it to
// register sessions for the whole site.
const WellKnownPath = "/.well-known/device-bound-sessions"

// WellKnown returns the document at WellKnownPath: the origins that may register
// sessions for the whole site.
func WellKnown(origins []string) []byte {
	b, err := json.Marshal(struct {
		Origins []string `json:"registering_origins"`
	}{origins})
	if err != nil {
		panic(err)
	}
	return b
}
