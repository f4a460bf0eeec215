package mirror

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"

	"github.com/sojourn-go/sojourn"
)

// maxBody limits an offer, in bytes. It is more than maxBytes, because JSON may
// escape characters.
const maxBody = 8 << 10

var seenKey = sojourn.NewKey[seen](reserved)

// An answer says what the server has for a user.
type answer struct {
	User    string           `json:"user"`
	Values  map[string]Entry `json:"values"`
	Refused []string         `json:"refused"`
}

// exchange answers the offer of a browser over HTTP.
func (m *Mirror) exchange(w http.ResponseWriter, r *http.Request) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		http.Error(w, "Unsupported Media Type: send application/json", http.StatusUnsupportedMediaType)
		return
	}
	var o offer
	if err := decodeOffer(http.MaxBytesReader(w, r.Body, maxBody), &o); err != nil {
		status := http.StatusBadRequest
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, http.StatusText(status), status)
		return
	}
	a, err := m.meet(r, o)
	if err != nil {
		sojourn.Error(w, r, err)
		return
	}
	body, err := json.Marshal(a)
	if err != nil {
		sojourn.Error(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(body)
}

// decodeOffer reads one JSON text. It ignores members that it doesn't know: they
// may be of a later version.
func decodeOffer(body io.Reader, o *offer) error {
	d := json.NewDecoder(body)
	if err := d.Decode(o); err != nil {
		return err
	}
	_, err := d.Token()
	if err == io.EOF {
		return nil
	}
	return cmp.Or(err, errForm)
}

// meet compares what a browser has with what the server has, stores what is newer,
// and returns the answer.
func (m *Mirror) meet(r *http.Request, o offer) (*answer, error) {
	ctx, s := r.Context(), m.sessions.From(r.Context())
	if !o.changes() {
		s.Passive()
	}
	s.Strict()
	if err := s.Load(ctx); err != nil {
		return nil, err
	}
	if s.Subject() == "" {
		return m.toVisitor(s, o)
	}
	return m.join(ctx, s, o)
}

// Refresh gives the session the values of its user, and the profile those that the
// application has changed in the session. The script's exchanges do that too. Call
// it after Session.Login, so that the first page has the user's values, and after a
// form has changed a value, so that the user's other devices get it without a
// script. It takes effect at the commit. If nobody is signed in it does nothing.
// Errors are those of Engine.UpdateProfile and of changes of the session.
func (m *Mirror) Refresh(ctx context.Context, s *sojourn.Session) error {
	if err := s.Load(ctx); err != nil || s.Subject() == "" {
		return err
	}
	_, err := m.join(ctx, s, offer{})
	return err
}

// join brings together what the browser, the session and the profile have.
func (m *Mirror) join(ctx context.Context, s *sojourn.Session, o offer) (*answer, error) {
	merger, err := m.read(s)
	if err != nil {
		return nil, err
	}
	merger.offer = o
	var merged map[string]Entry
	var refused []string
	err = m.profiles.UpdateProfile(ctx, s.Subject(), func(entries map[string]Entry) error {
		merged, refused = merger.merge(entries)
		clear(entries)
		maps.Copy(entries, merged)
		return nil
	})
	if errors.Is(err, sojourn.ErrUnsupported) || errors.Is(err, sojourn.ErrEnded) { // no profile, or an expired one
		merged, refused = merger.merge(merger.entries())
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return &answer{merger.user, m.public(merged), append([]string{}, refused...)}, m.write(s, merger, merged)
}

// toVisitor returns the answer for a browser in which nobody is signed in. The
// server keeps nothing for it.
func (m *Mirror) toVisitor(s *sojourn.Session, o offer) (*answer, error) {
	switch s.RefusalReason() {
	case sojourn.RefusedThrottled:
		return nil, sojourn.ErrThrottled
	case sojourn.RefusedFormer: // the browser has got another secret meanwhile
		return nil, sojourn.ErrSuperseded
	case sojourn.RefusedUnproven: // the browser is about to prove itself, and has the user's values
		return nil, sojourn.ErrUnproven
	}
	merger := merger{keys: m.keys, offer: o}
	_, refused := merger.merge(nil)
	return &answer{"", map[string]Entry{}, append([]string{}, refused...)}, nil
}

// read returns what the session has.
func (m *Mirror) read(s *sojourn.Session) (*merger, error) {
	out := &merger{keys: m.keys, user: userMark(s.Subject()), now: m.now().UnixMilli(), session: make(map[string]json.RawMessage)}
	for i := range m.keys {
		name := m.keys[i].Name
		raw, ok, err := s.Value(name)
		if err != nil {
			return nil, err
		}
		if ok {
			out.session[name] = raw
		}
	}
	var err error
	out.seen, err = seenKey.Get(s)
	if errors.Is(err, sojourn.ErrValue) { // the application has written another form there
		err = nil
	}
	return out, err
}

// write stores what the session lacks of the merged entries.
func (m *Mirror) write(s *sojourn.Session, was *merger, merged map[string]Entry) error {
	now := seen{User: was.user, Values: make(map[string]mark)}
	for i := range m.keys {
		k := &m.keys[i]
		e, value := k.known(merged), was.inSession(k)
		if value == nil {
			slog.Warn("mirror: the application has stored a value that hasn't the declared form; it isn't mirrored", "key", k.Name)
			continue
		}
		if e == nil {
			continue
		}
		now.Values[k.Name] = mark{e.Time, sum(e.Value)}
		if sum(value) == sum(e.Value) {
			continue
		}
		var err error
		if string(e.Value) == removed {
			err = s.DeleteValue(k.Name)
		} else {
			err = s.SetValue(k.Name, e.Value)
		}
		if err != nil {
			return err
		}
	}
	if now.User == was.seen.User && maps.Equal(now.Values, was.seen.Values) {
		return nil
	}
	return seenKey.Set(s, now)
}

// public returns the entries that a browser may have.
func (m *Mirror) public(merged map[string]Entry) map[string]Entry {
	public, _ := fitting(m.keys, merged)
	return public
}

// said returns what a page tells the script. After a sign-in, the session doesn't
// have the user's values yet, and without a proof a bound session is not read. Then
// the page names no user, so the script asks.
func (m *Mirror) said(s *sojourn.Session) ([]byte, error) {
	if err := s.Load(context.Background()); err != nil {
		return nil, err
	}
	said := struct {
		User   *string          `json:"user"`
		Values map[string]Entry `json:"values"`
	}{Values: map[string]Entry{}}
	merger, err := m.read(s)
	if err != nil {
		return nil, err
	}
	visitor := merger.user == "" && s.RefusalReason() != sojourn.RefusedUnproven
	if merger.user != "" && merger.seen.User == merger.user || visitor {
		said.User = &merger.user
	}
	if merger.seen.User == merger.user && merger.user != "" {
		said.Values = m.public(merger.entries())
	}
	return json.Marshal(said)
}
