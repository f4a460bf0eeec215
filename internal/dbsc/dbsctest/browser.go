package dbsctest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sojourn-go/sojourn/internal/dbsc"
)

// A Browser binds one session, and renews its proof, as browsers with Device Bound
// Session Credentials do. It is for one goroutine.
type Browser struct {
	Key *Key

	// Post sends a request without a body, with the browser's cookies and these
	// headers. The caller of Browser keeps cookies, except those of proofs.
	Post func(path string, header http.Header) *http.Response

	session, refresh string // of the instructions
	challenge        string // signed next
}

// Register heeds a header Secure-Session-Registration.
func (b *Browser) Register(header string) error {
	path, challenge := parameter(header, "path"), parameter(header, "challenge")
	answer := b.Post(path, http.Header{dbsc.HeaderResponse: {b.Key.Registration(challenge)}})
	defer answer.Body.Close() //nolint:errcheck // was read
	var in struct {
		Session string `json:"session_identifier"`
		Refresh string `json:"refresh_url"`
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("dbsctest: the registration %q: %s", header, answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(&in); err != nil {
		return fmt.Errorf("dbsctest: the instructions: %w", err)
	}
	if in.Session == "" {
		return fmt.Errorf("dbsctest: the instructions name no session: %+v", in)
	}
	b.session, b.refresh = in.Session, in.Refresh
	b.Heed(answer.Header)
	return nil
}

// Refresh gets a new proof, and returns its cookie: name=value.
func (b *Browser) Refresh() (cookie string, err error) {
	for range 3 {
		header := http.Header{dbsc.HeaderSessionID: {b.session}}
		if b.challenge != "" {
			header.Set(dbsc.HeaderResponse, b.Key.Refresh(b.challenge))
		}
		answer := b.Post(b.refresh, header)
		answer.Body.Close() //nolint:errcheck // nothing was sent
		b.challenge = ""
		b.Heed(answer.Header)
		switch answer.StatusCode {
		case http.StatusOK:
			for _, c := range answer.Cookies() {
				if strings.Contains(c.Name, "-bound-") {
					return c.Name + "=" + c.Value, nil
				}
			}
			return "", fmt.Errorf("dbsctest: the refresh sets the cookies %v", answer.Cookies())
		case http.StatusForbidden:
		default:
			return "", fmt.Errorf("dbsctest: the refresh: %s", answer.Status)
		}
	}
	return "", errors.New("dbsctest: a signed challenge is answered with another one")
}

// Heed takes the challenge of an answer.
func (b *Browser) Heed(h http.Header) {
	if value := h.Get(dbsc.HeaderChallenge); parameter(value, "id") == b.session {
		b.challenge, _, _ = strings.Cut(strings.TrimPrefix(value, `"`), `"`)
	}
}

// parameter returns a parameter of the first item of a list (RFC 9651).
func parameter(header, name string) string {
	_, after, _ := strings.Cut(header, ";"+name+`="`)
	value, _, _ := strings.Cut(after, `"`)
	return value
}
