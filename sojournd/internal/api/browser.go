package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sojourn-go/sojourn"
)

// What a browser's request may do.

// Create asks for a session.
type Create struct {
	Subject  *string                    `json:"subject,omitempty" nullable:"false" minLength:"1" doc:"The user to log in, after the application has authenticated them: an ID that never changes. Default: the session is anonymous." example:"u-1815"`
	Values   map[string]json.RawMessage `json:"values,omitempty" maxProperties:"1000" doc:"The application's data: key to any JSON."`
	Client   *RequestClient             `json:"client,omitempty"`
	Remember bool                       `json:"remember,omitempty" doc:"Keep the user signed in for longer."`
}

// Issued is a session and the token that is good for it.
type Issued struct {
	_ struct{} `additionalProperties:"true"`

	Session   *Session `json:"session"`
	Token     string   `json:"token" doc:"What authenticates the browser. A secret: send it to that browser and nowhere else." example:"AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt"`
	SetCookie []string `json:"set_cookie" nullable:"false" doc:"The values of Set-Cookie headers to send to the browser, each as a header of its own, with Cache-Control: no-store." example:"[\"__Host-shop-session=AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt; Max-Age=2592000; Path=/; HttpOnly; Secure; SameSite=Lax\"]"`
}

// Resolve asks whose a token is.
type Resolve struct {
	Token   *string        `json:"token" nullable:"false" minLength:"1" doc:"The value of the browser's cookie." example:"AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt"`
	Client  *RequestClient `json:"client,omitempty"`
	Passive bool           `json:"passive,omitempty" doc:"The request is no activity of the user: a page that polls."`
}

// Resolved is the answer to Resolve.
type Resolved struct {
	_ struct{} `additionalProperties:"true"`

	Session   *Session `json:"session"`
	Why       string   `json:"why,omitempty" enum:"unknown,idle,absolute,logout,revoked,evicted,theft,superseded,throttled" doc:"Why there is none. throttled: the token was not looked up, since too many from the client's address were bad; its visitor is to be served as an anonymous one. All others but unknown are told only to a token that was good once."`
	Token     string   `json:"token,omitempty" doc:"Present when the secret was renewed: the new one, which set_cookie has too." example:"AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt"`
	SetCookie []string `json:"set_cookie,omitempty" nullable:"false" doc:"Present when the secret was renewed: send these Set-Cookie headers to the browser, with Cache-Control: no-store."`
}

// TransformSchema says that the session may be null (huma.SchemaTransformer).
func (*Resolved) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["session"] = &huma.Schema{
		OneOf:       []*huma.Schema{s.Properties["session"], {Type: "null"}},
		Description: "null: the token is not that of a live session.",
	}
	return s
}

// Update changes values.
type Update struct {
	Token      *string                    `json:"token" nullable:"false" minLength:"1" doc:"As for resolve."`
	Set        map[string]json.RawMessage `json:"set,omitempty" maxProperties:"1000" doc:"Keys to set. Parallel updates of other keys all land."`
	Delete     []string                   `json:"delete,omitempty" nullable:"false" maxItems:"1000" doc:"Keys to remove."`
	IfRevision *uint64                    `json:"if_revision,omitempty" doc:"Change nothing unless the session is at this revision." example:"3"`
	Client     *RequestClient             `json:"client,omitempty"`
}

// Updated is the answer to Update.
type Updated struct {
	_ struct{} `additionalProperties:"true"`

	Session   *Session `json:"session"`
	Token     string   `json:"token,omitempty" doc:"As for resolve." example:"AZq04nwdfjqbUo0fDGpOIUVYQU1QTEUtRVhBTVBMRS1FWEFNUExFLUVYQU1QTEUt"`
	SetCookie []string `json:"set_cookie,omitempty" nullable:"false" doc:"As for resolve."`
}

// Login logs a user in.
type Login struct {
	Token    string         `json:"token,omitempty" doc:"The browser's, if it has one: its session goes on, with its values."`
	Subject  *string        `json:"subject" nullable:"false" minLength:"1" doc:"The user, after the application has authenticated them: an ID that never changes." example:"u-1815"`
	AMR      []string       `json:"amr,omitempty" nullable:"false" doc:"How (RFC 8176)." example:"[\"pwd\"]"`
	Level    *int           `json:"level,omitempty" minimum:"0" maximum:"3" doc:"The level of the authentication. Default 1."`
	Remember bool           `json:"remember,omitempty" doc:"Keep the user signed in for longer."`
	Client   *RequestClient `json:"client,omitempty"`
}

// Elevate records a further factor.
type Elevate struct {
	Token  *string        `json:"token" nullable:"false" minLength:"1" doc:"As for resolve."`
	Level  *int           `json:"level" nullable:"false" minimum:"0" maximum:"3" doc:"The level of the authentication from now on." example:"2"`
	AMR    []string       `json:"amr,omitempty" nullable:"false" doc:"The further factor (RFC 8176)." example:"[\"otp\"]"`
	Client *RequestClient `json:"client,omitempty"`
}

// Presented is a token alone.
type Presented struct {
	Token  *string        `json:"token" nullable:"false" minLength:"1" doc:"As for resolve."`
	Client *RequestClient `json:"client,omitempty"`
}

// LoggedOut is the answer to a logout.
type LoggedOut struct {
	_ struct{} `additionalProperties:"true"`

	SetCookie []string `json:"set_cookie" nullable:"false" doc:"Set-Cookie headers that clear the browser's cookies."`
}

// begin returns the session of a token.
func (c *call) begin(ctx context.Context, token string, client *RequestClient, revision uint64) (*sojourn.Session, error) {
	is, err := client.client()
	if err != nil {
		return nil, err
	}
	return c.key.app.Sessions.Begin(ctx, sojourn.Request{Token: token, Client: is, Arrived: c.arrived, IfRevision: revision}), nil
}

// text returns a member that must be there and hold something.
func text(where string, member *string) (string, error) {
	switch {
	case member == nil:
		return "", invalid(where, "is missing")
	case *member == "":
		return "", invalid(where, "is empty")
	}
	return *member, nil
}

// live returns the live session of a token.
func (c *call) live(ctx context.Context, presented *string, client *RequestClient, revision uint64) (*sojourn.Session, error) {
	token, err := text("/token", presented)
	if err != nil {
		return nil, err
	}
	s, err := c.begin(ctx, token, client, revision)
	if err != nil {
		return nil, err
	}
	if err := s.Load(ctx); err != nil {
		s.Finish()
		return nil, err
	}
	if s.ID().IsZero() {
		defer s.Finish()
		if s.RefusalReason() == sojourn.RefusedThrottled {
			return nil, sojourn.ErrThrottled
		}
		p := problemOf(codeNotLive)
		p.Why = why(s)
		return nil, p
	}
	return s, nil
}

// why says why the presented token is not that of a live session.
func why(s *sojourn.Session) string {
	if reason := s.EndReason(); reason != "" {
		return string(reason)
	}
	switch s.RefusalReason() {
	case sojourn.RefusedFormer:
		return "superseded"
	case sojourn.RefusedThrottled:
		return "throttled"
	}
	return "unknown"
}

// issued commits, and returns the session with the token that is good from now on.
func issued(ctx context.Context, s *sojourn.Session, token string) (*Issued, error) {
	if err := s.Commit(ctx); err != nil {
		return nil, err
	}
	if fresh := s.Token(); fresh != "" {
		token = fresh
	}
	snap := s.Snapshot()
	return &Issued{Session: sessionOf(&snap), Token: token, SetCookie: s.SetCookies()}, nil
}

func create(ctx context.Context, c *call, in *Create) (*Issued, error) {
	if err := checkKeys("/values", len(in.Values)); err != nil {
		return nil, err
	}
	client, err := in.Client.client()
	if err != nil {
		return nil, err
	}
	if in.Subject != nil && *in.Subject == "" {
		return nil, invalid("/subject", "is empty: name the user, or leave it out for an anonymous session")
	}
	if in.Remember && in.Subject == nil {
		return nil, invalid("/remember", "needs a subject")
	}
	key, err := c.idempotency()
	if err != nil {
		return nil, err
	}
	s := c.key.app.Sessions.Begin(ctx, sojourn.Request{Client: client, Arrived: c.arrived, IdempotencyKey: key, IdempotencyBody: sha256.Sum256(c.body)})
	defer s.Finish()
	if in.Subject != nil {
		err = s.Login(*in.Subject, remember(in.Remember)...)
	} else {
		err = s.Start()
	}
	if err != nil {
		return nil, err
	}
	if err := change(ctx, s, in.Values, nil); err != nil {
		return nil, err
	}
	out, err := issued(ctx, s, "")
	if err == nil {
		c.w.Header().Set("Location", "/v1/sessions/"+out.Session.ID)
	}
	return out, err
}

// idempotency returns the request's Idempotency-Key.
func (c *call) idempotency() (string, error) {
	h := c.r.Header["Idempotency-Key"]
	if len(h) == 0 {
		return "", nil
	}
	if len(h) > 1 || h[0] == "" || len(h[0]) > 255 {
		return "", invalid("Idempotency-Key", "must be there once, with 1 to 255 bytes")
	}
	return h[0], nil
}

func remember(yes bool) (options []sojourn.LoginOption) {
	if yes {
		options = append(options, sojourn.Remember())
	}
	return options
}

// maxKeys bounds what one request changes, since each change takes time that grows with the session. The descriptions of the bodies have it too.
const maxKeys = 1000

func checkKeys(where string, n int) error {
	if n > maxKeys {
		return invalid(where, fmt.Sprintf("has %d keys: send at most %d in one request", n, maxKeys))
	}
	return nil
}

// change makes changes for as long as the request may take.
func change(ctx context.Context, s *sojourn.Session, set map[string]json.RawMessage, remove []string) error {
	for key, value := range set {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.SetValue(key, value); err != nil {
			return err
		}
	}
	for _, key := range remove {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.DeleteValue(key); err != nil {
			return err
		}
	}
	return nil
}

func resolve(ctx context.Context, c *call, in *Resolve) (*Resolved, error) {
	token, err := text("/token", in.Token)
	if err != nil {
		return nil, err
	}
	s, err := c.begin(ctx, token, in.Client, 0)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if in.Passive {
		s.Passive()
	}
	if err := s.Load(ctx); err != nil {
		return nil, err
	}
	if err := s.Commit(ctx); err != nil {
		return nil, err
	}
	snap := s.Snapshot()
	if snap.ID.IsZero() {
		return &Resolved{Why: why(s)}, nil
	}
	return &Resolved{Session: sessionOf(&snap), Token: s.Token(), SetCookie: s.SetCookies()}, nil
}

func update(ctx context.Context, c *call, in *Update) (*Updated, error) {
	if err := checkKeys("/set", len(in.Set)); err != nil {
		return nil, err
	}
	if err := checkKeys("/delete", len(in.Delete)); err != nil {
		return nil, err
	}
	for _, key := range in.Delete {
		if _, both := in.Set[key]; both {
			return nil, invalid("/delete", fmt.Sprintf("has a key that is to be set, too: %q", key))
		}
	}
	var revision uint64
	if in.IfRevision != nil {
		revision = max(*in.IfRevision, 1) // there is no revision 0
	}
	s, err := c.live(ctx, in.Token, in.Client, revision)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if in.IfRevision != nil && s.Info().Revision != *in.IfRevision {
		return nil, problemOf(codeRevision)
	}
	if err := change(ctx, s, in.Set, in.Delete); err != nil {
		return nil, err
	}
	if err := s.Commit(ctx); err != nil {
		return nil, err
	}
	snap := s.Snapshot()
	return &Updated{Session: sessionOf(&snap), Token: s.Token(), SetCookie: s.SetCookies()}, nil
}

func login(ctx context.Context, c *call, in *Login) (*Issued, error) {
	subject, err := text("/subject", in.Subject)
	if err != nil {
		return nil, err
	}
	options := remember(in.Remember)
	if in.Level != nil {
		options = append(options, sojourn.Level(*in.Level))
	}
	if err := checkAMR(in.AMR); err != nil {
		return nil, err
	}
	options = append(options, sojourn.AMR(in.AMR...))
	s, err := c.begin(ctx, in.Token, in.Client, 0)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if err := s.Login(subject, options...); err != nil {
		return nil, err
	}
	return issued(ctx, s, "")
}

// checkAMR refuses what the engine would, and names the one that is wrong.
func checkAMR(list []string) error {
	for i, method := range list {
		if method == "" || strings.ContainsFunc(method, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return invalid(fmt.Sprintf("/amr/%d", i), "must be a word of visible ASCII without blanks, like pwd or otp")
		}
	}
	return nil
}

func elevate(ctx context.Context, c *call, in *Elevate) (*Issued, error) {
	if in.Level == nil {
		return nil, invalid("/level", "is missing")
	}
	if err := checkAMR(in.AMR); err != nil {
		return nil, err
	}
	s, err := c.live(ctx, in.Token, in.Client, 0)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if err := s.Elevate(*in.Level, in.AMR...); err != nil {
		return nil, err
	}
	return issued(ctx, s, *in.Token)
}

func rotate(ctx context.Context, c *call, in *Presented) (*Issued, error) {
	s, err := c.live(ctx, in.Token, in.Client, 0)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if err := s.Rotate(); err != nil {
		return nil, err
	}
	return issued(ctx, s, *in.Token) // a rotation under way goes on, and the token that was sent stays good
}

func logout(ctx context.Context, c *call, in *Presented) (*LoggedOut, error) {
	token, err := text("/token", in.Token)
	if err != nil {
		return nil, err
	}
	s, err := c.begin(ctx, token, in.Client, 0)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if err := s.Logout(); err != nil {
		return nil, err
	}
	if err := s.Commit(ctx); err != nil {
		return nil, err
	}
	return &LoggedOut{SetCookie: s.SetCookies()}, nil
}
