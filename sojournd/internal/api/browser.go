package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// begin returns the session of a browser, or none if the browser presents
// nothing.
func (c *call) begin(ctx context.Context, in *v1.Presented, revision uint64) (*sojourn.Session, error) {
	r, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r.IfRevision = revision
	return c.key.app.Sessions.Begin(ctx, r), nil
}

// request returns what a browser presents.
func (c *call) request(in *v1.Presented) (r sojourn.Request, err error) {
	client, err := clientOf(in.Client)
	if err != nil {
		return r, err
	}
	if in.Age < 0 || in.Age > maxAge {
		return r, invalid("/age", fmt.Sprintf("must be 0 to %d", maxAge))
	}
	switch {
	case in.Token != nil && in.Cookie != nil:
		return r, invalid("/cookie", "and token exclude each other")
	case in.Cookie != nil && in.Proofs != nil:
		return r, invalid("/proofs", "and cookie exclude each other: the server finds them in the cookie")
	case len(in.Proofs) > maxProofs:
		return r, invalid("/proofs", fmt.Sprintf("has %d proofs: send at most %d", len(in.Proofs), maxProofs))
	case in.Cookie != nil:
		method := http.MethodPost
		if in.Safe {
			method = http.MethodGet
		}
		r = c.key.app.Sessions.RequestFrom(&http.Request{Method: method, Header: http.Header{"Cookie": {*in.Cookie}}})
	case in.Token != nil && *in.Token == "":
		return r, invalid("/token", "is empty")
	case in.Token != nil:
		r.Token, r.Proofs = *in.Token, in.Proofs
	}
	r.Old = nil // only the application may name an old token, and no Cookie header
	r.Client, r.Arrived = client, c.arrived.Add(-time.Duration(in.Age)*time.Millisecond)
	return r, nil
}

const (
	maxAge    = 24 * 60 * 60 * 1000 // milliseconds
	maxProofs = 8                   // all that the engine looks at
)

// text returns a required member that must not be empty.
func text(where string, member *string) (string, error) {
	switch {
	case member == nil:
		return "", invalid(where, "is missing")
	case *member == "":
		return "", invalid(where, "is empty")
	}
	return *member, nil
}

// present returns the session of a browser that presents something.
func (c *call) present(ctx context.Context, in *v1.Presented, revision uint64) (*sojourn.Session, error) {
	if in.Cookie == nil && in.Token == nil {
		return nil, invalid("/token", "is missing")
	}
	return c.begin(ctx, in, revision)
}

// live returns the live session of a browser.
func (c *call) live(ctx context.Context, in *v1.Presented, revision uint64) (*sojourn.Session, error) {
	s, err := c.present(ctx, in, revision)
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
		return nil, notLive(s)
	}
	return s, nil
}

// notLive returns the problem of a token that belongs to no live session.
func notLive(s *sojourn.Session) *v1.Problem {
	p := problemOf(codeNotLive)
	p.Why, p.Headers = why(s), headersOf(s)
	return p
}

// headersOf returns the headers for the browser about bound sessions.
func headersOf(s *sojourn.Session) v1.Headers {
	var list v1.Headers
	for name, values := range s.BoundHeaders() {
		if list == nil {
			list = v1.Headers{}
		}
		list[name] = strings.Join(values, ", ") // each is a list (RFC 9651)
	}
	return list
}

// sent returns the token that was presented. It is empty for a cookie.
func sent(in *v1.Presented) string {
	if in.Token == nil {
		return ""
	}
	return *in.Token
}

// why returns the reason why the token does not belong to a live session.
func why(s *sojourn.Session) string {
	if reason := s.EndReason(); reason != "" {
		return string(reason)
	}
	switch s.RefusalReason() {
	case sojourn.RefusedFormer:
		return "superseded"
	case sojourn.RefusedThrottled:
		return "throttled"
	case sojourn.RefusedUnproven:
		return "unproven"
	}
	return "unknown"
}

// issued commits, and returns the session with the token that is now valid.
func issued(ctx context.Context, s *sojourn.Session, token string) (*v1.Issued, error) {
	if err := s.Commit(ctx); err != nil {
		return nil, err
	}
	if fresh := s.Token(); fresh != "" {
		token = fresh
	}
	snap := s.Snapshot()
	return &v1.Issued{Session: sessionOf(&snap), Token: token, SetCookie: setCookies(s), Headers: headersOf(s)}, nil
}

func create(ctx context.Context, c *call, in *v1.Create) (*v1.Issued, error) {
	if err := checkKeys("/values", len(in.Values)); err != nil {
		return nil, err
	}
	client, err := clientOf(in.Client)
	if err != nil {
		return nil, err
	}
	if in.Subject != nil && *in.Subject == "" {
		return nil, invalid("/subject", "is empty: name the user, or leave it out for an anonymous session")
	}
	options, err := lasting(&in.Lasting, in.Subject)
	if err != nil {
		return nil, err
	}
	key, err := c.idempotency()
	if err != nil {
		return nil, err
	}
	s := c.key.app.Sessions.Begin(ctx, sojourn.Request{Client: client, Arrived: c.arrived, IdempotencyKey: key, IdempotencyBody: sha256.Sum256(c.body)})
	defer s.Finish()
	if in.Subject != nil {
		err = s.Login(*in.Subject, options...)
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

// lasting returns the options of a login, if a subject logs in.
func lasting(in *v1.Lasting, subject *string) (options []sojourn.LoginOption, err error) {
	var life sojourn.Lifetime
	for _, limit := range []struct {
		where   string
		seconds *int
		of      *time.Duration
	}{{"/expires_in", in.ExpiresIn, &life.Absolute}, {"/idle", in.Idle, &life.Idle}} {
		switch {
		case limit.seconds == nil:
			continue
		case *limit.seconds < 1:
			return nil, invalid(limit.where, "must be a number of seconds from 1 on")
		case subject == nil:
			return nil, invalid(limit.where, "needs a subject")
		}
		*limit.of = time.Duration(min(*limit.seconds, maxSeconds)) * time.Second
	}
	switch {
	case in.Remember && subject == nil:
		return nil, invalid("/remember", "needs a subject")
	case in.UntilBrowserCloses && subject == nil:
		return nil, invalid("/until_browser_closes", "needs a subject")
	case in.UntilBrowserCloses && in.Remember:
		return nil, invalid("/until_browser_closes", "and remember exclude each other")
	case in.UntilBrowserCloses:
		options = append(options, sojourn.UntilBrowserCloses())
	case in.Remember:
		options = append(options, sojourn.Remember())
	}
	return append(options, sojourn.WithLifetime(life)), nil
}

const maxSeconds = math.MaxInt32 // 68 years: more than any policy; a Duration can hold it

func checkKeys(where string, n int) error {
	if n > v1.MaxKeys {
		return invalid(where, fmt.Sprintf("has %d keys: send at most %d in one request", n, v1.MaxKeys))
	}
	return nil
}

// change applies changes until ctx is done. It begins with what makes room.
func change(ctx context.Context, s *sojourn.Session, set map[string]json.RawMessage, remove []string) error {
	_ = ctx.Done() // the time counts from now on
	for _, key := range remove {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.DeleteValue(key); err != nil {
			return err
		}
	}
	for key, value := range set {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.SetValue(key, value); err != nil {
			return err
		}
	}
	return nil
}

func resolve(ctx context.Context, c *call, in *v1.Resolve) (*v1.Resolved, error) {
	if in.Cookie == nil && in.Token == nil {
		return nil, invalid("/token", "is missing")
	}
	r, err := c.request(&in.Presented)
	if err != nil {
		return nil, err
	}
	if ctx, err = c.withOld(ctx, in, &r); err != nil {
		return nil, err
	}
	need, err := requirement(in.Require)
	if err != nil {
		return nil, err
	}
	s := c.key.app.Sessions.Begin(ctx, r)
	defer s.Finish()
	if in.Passive {
		s.Passive()
	}
	unmet, err := need(ctx, s)
	switch {
	case errors.Is(err, errNotRead):
		return &v1.Resolved{Why: "adopt"}, nil
	case err != nil:
		return nil, err
	}
	if err := s.Commit(ctx); err != nil {
		return nil, err
	}
	snap := s.Snapshot()
	if snap.ID.IsZero() {
		return &v1.Resolved{Why: why(s), Unmet: unmet, SetCookie: setCookies(s), Headers: headersOf(s)}, nil
	}
	return &v1.Resolved{Session: sessionOf(&snap), Unmet: unmet, Token: s.Token(), SetCookie: setCookies(s), Headers: headersOf(s)}, nil
}

// requirement returns a function that reads a session, and says what it lacks.
func requirement(in *v1.Require) (func(context.Context, *sojourn.Session) (unmet string, err error), error) {
	if in == nil {
		return func(ctx context.Context, s *sojourn.Session) (string, error) { return "", s.Load(ctx) }, nil
	}
	if in.Level < 0 || in.Level > 3 {
		return nil, invalid("/require/level", "must be 0 to 3")
	}
	if in.Fresh < 0 || in.Fresh > maxSeconds {
		return nil, invalid("/require/fresh", fmt.Sprintf("must be 0 to %d", maxSeconds))
	}
	q := sojourn.Requirement{Level: in.Level, Fresh: time.Duration(in.Fresh) * time.Second, Bound: in.Bound}
	return func(ctx context.Context, s *sojourn.Session) (string, error) {
		err := q.Check(ctx, s)
		for _, u := range unmet {
			if errors.Is(err, u.err) {
				return u.word, nil
			}
		}
		return "", err
	}, nil
}

var unmet = []struct {
	err  error
	word string
}{
	{sojourn.ErrAnonymous, "anonymous"}, {sojourn.ErrUnproven, "unproven"}, {sojourn.ErrLevel, "level"}, {sojourn.ErrNotFresh, "not_fresh"}, {sojourn.ErrUnbound, "unbound"},
}

func update(ctx context.Context, c *call, in *v1.Update) (*v1.Updated, error) {
	if err := checkChanges(&in.Changes); err != nil {
		return nil, err
	}
	var revision uint64
	if in.IfRevision != nil {
		revision = max(*in.IfRevision, 1) // there is no revision 0
	}
	find := c.live
	if in.Cookie != nil && len(in.Set)+len(in.Values) > 0 {
		find = c.begin // a visitor's first value starts a session
	}
	s, err := find(ctx, &in.Presented, revision)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if err := s.Load(ctx); err != nil {
		return nil, err
	}
	if !in.Safe && s.RefusalReason() == sojourn.RefusedUnproven {
		return nil, notLive(s) // its next safe request may begin a visitor's session
	}
	if in.IfRevision != nil && s.Info().Revision != *in.IfRevision {
		return nil, problemOf(codeRevision)
	}
	if err := apply(ctx, s, &in.Changes); err != nil {
		return nil, err
	}
	if err := s.Commit(ctx); err != nil {
		return nil, err
	}
	snap := s.Snapshot()
	return &v1.Updated{Session: sessionOf(&snap), Token: s.Token(), SetCookie: setCookies(s), Headers: headersOf(s)}, nil
}

func checkChanges(in *v1.Changes) error {
	if err := checkKeys("/set", len(in.Set)); err != nil {
		return err
	}
	if err := checkKeys("/delete", len(in.Delete)); err != nil {
		return err
	}
	for _, key := range in.Delete {
		if _, both := in.Set[key]; both {
			return invalid("/delete", fmt.Sprintf("has a key that is set, too: %q", key))
		}
	}
	if in.Values != nil && (in.Set != nil || in.Delete != nil) {
		return invalid("/values", "replaces all values, so set and delete have no meaning beside it")
	}
	return checkKeys("/values", len(in.Values))
}

func apply(ctx context.Context, s *sojourn.Session, in *v1.Changes) error {
	if in.Values != nil {
		return s.ReplaceValues(in.Values)
	}
	return change(ctx, s, in.Set, in.Delete)
}

func login(ctx context.Context, c *call, in *v1.Login) (*v1.Issued, error) {
	subject, err := text("/subject", in.Subject)
	if err != nil {
		return nil, err
	}
	options, err := lasting(&in.Lasting, in.Subject)
	if err != nil {
		return nil, err
	}
	if in.Level != nil {
		options = append(options, sojourn.Level(*in.Level))
	}
	if err := checkAMR(in.AMR); err != nil {
		return nil, err
	}
	options = append(options, sojourn.AMR(in.AMR...))
	s, err := c.begin(ctx, &in.Presented, 0)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if err := s.Login(subject, options...); err != nil {
		return nil, err
	}
	return issued(ctx, s, "")
}

// checkAMR refuses what the engine would refuse, but names the wrong method.
func checkAMR(list []string) error {
	for i, method := range list {
		if method == "" || strings.ContainsFunc(method, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return invalid(fmt.Sprintf("/amr/%d", i), "must be a word of visible ASCII without blanks, like pwd or otp")
		}
	}
	return nil
}

func elevate(ctx context.Context, c *call, in *v1.Elevate) (*v1.Issued, error) {
	if in.Level == nil {
		return nil, invalid("/level", "is missing")
	}
	if err := checkAMR(in.AMR); err != nil {
		return nil, err
	}
	s, err := c.live(ctx, &in.Presented, 0)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if err := s.Elevate(*in.Level, in.AMR...); err != nil {
		return nil, err
	}
	return issued(ctx, s, sent(&in.Presented))
}

func rotate(ctx context.Context, c *call, in *v1.Presented) (*v1.Issued, error) {
	s, err := c.live(ctx, in, 0)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if err := s.Rotate(); err != nil {
		return nil, err
	}
	return issued(ctx, s, sent(in)) // during another rotation the token that was sent stays valid
}

func regenerate(ctx context.Context, c *call, in *v1.Regenerate) (*v1.Issued, error) {
	if err := checkKeys("/keep", len(in.Keep)); err != nil {
		return nil, err
	}
	s, err := c.live(ctx, &in.Presented, 0)
	if err != nil {
		return nil, err
	}
	defer s.Finish()
	if err := s.Regenerate(in.Keep...); err != nil {
		return nil, err
	}
	return issued(ctx, s, "")
}

func logout(ctx context.Context, c *call, in *v1.Presented) (*v1.LoggedOut, error) {
	s, err := c.present(ctx, in, 0)
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
	return &v1.LoggedOut{SetCookie: setCookies(s)}, nil
}
