package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// none is the body of a request or answer without one.
type none struct{}

// id returns the session ID in the path.
func (c *call) id() (sojourn.ID, error) {
	id, err := sojourn.ParseID(c.r.PathValue("id"))
	if err != nil {
		return id, problemOf(codeNoSession)
	}
	return id, nil
}

// found answers with a session. Its revision is the entity tag.
func (c *call) found(snap *sojourn.Snapshot) *v1.Session {
	c.w.Header().Set("ETag", etag(snap.Revision))
	return sessionOf(snap)
}

func etag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

func get(ctx context.Context, c *call, _ *none) (*v1.Session, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	snap, err := c.key.app.Sessions.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.found(&snap), nil
}

func end(ctx context.Context, c *call, _ *none) (*none, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	if len(c.r.Header["If-Match"]) > 0 {
		return nil, invalid("If-Match", "has no meaning here: a session ends whatever its revision")
	}
	err = c.key.app.Sessions.End(ctx, id)
	c.audit("end", id.String(), err)
	if err != nil {
		return nil, err
	}
	return c.noContent()
}

// noContent answers 204.
func (c *call) noContent() (*none, error) {
	c.w.Header().Set("Cache-Control", "no-store")
	c.WriteHeader(http.StatusNoContent)
	return nil, nil
}

func touch(ctx context.Context, c *call, _ *none) (*v1.Session, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	info, err := c.key.app.Sessions.Touch(ctx, id)
	if err != nil {
		return nil, err
	}
	c.w.Header().Set("ETag", etag(info.Revision))
	return infoOf(&info), nil
}

func patch(ctx context.Context, c *call, in *v1.Patch) (*v1.Session, error) {
	if err := checkKeys("", len(*in)); err != nil {
		return nil, err
	}
	return c.changeValues(ctx, func(id sojourn.ID, now *sojourn.Snapshot, _ uint64) (sojourn.Snapshot, error) {
		changes, err := mergeValues(now.Values, *in)
		if err != nil {
			return sojourn.Snapshot{}, err
		}
		return c.key.app.Sessions.SetValues(ctx, id, now.Revision, changes)
	})
}

func replace(ctx context.Context, c *call, in *v1.Patch) (*v1.Session, error) {
	if err := checkKeys("", len(*in)); err != nil {
		return nil, err
	}
	return c.changeValues(ctx, func(id sojourn.ID, _ *sojourn.Snapshot, revision uint64) (sojourn.Snapshot, error) {
		return c.key.app.Sessions.ReplaceValues(ctx, id, revision, *in)
	})
}

func setValue(ctx context.Context, c *call, in *v1.Value) (*v1.Session, error) {
	value := map[string]json.RawMessage{c.r.PathValue("key"): json.RawMessage(*in)}
	return c.changeValues(ctx, func(id sojourn.ID, _ *sojourn.Snapshot, revision uint64) (sojourn.Snapshot, error) {
		return c.key.app.Sessions.SetValues(ctx, id, revision, value)
	})
}

// changeValues changes the session in the path, if the condition of If-Match is
// true for it. Change gets the session as it is, and the revision that the
// session must be at, 0 for any. A change of any revision is tried again if
// another request comes first.
func (c *call) changeValues(ctx context.Context, change func(id sojourn.ID, now *sojourn.Snapshot, revision uint64) (sojourn.Snapshot, error)) (*v1.Session, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	match, err := c.ifMatch()
	if err != nil {
		return nil, err
	}
	for range maxPatches {
		snap, err := c.key.app.Sessions.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if !match.revision(snap.Revision) {
			return nil, problemOf(codeRevision)
		}
		revision := snap.Revision
		if match.any {
			revision = 0
		}
		snap, err = change(id, &snap, revision)
		if match.any && (errors.Is(err, sojourn.ErrRevision) || errors.Is(err, sojourn.ErrSuperseded)) {
			continue // change the newer session
		}
		c.audit("set_values", id.String(), err)
		if err != nil {
			return nil, err
		}
		return c.found(&snap), nil
	}
	c.audit("set_values", id.String(), sojourn.ErrConflict)
	return nil, sojourn.ErrConflict
}

// maxPatches is how often a change of any revision is tried while other requests
// change the same session.
const maxPatches = 50

// An ifMatch is the condition of an If-Match header.
type ifMatch struct {
	any  bool     // "*"
	tags []string // with their quotes
}

// revision reports whether the condition is true for a revision. The comparison
// is strong, so a weak tag never matches.
func (m ifMatch) revision(n uint64) bool {
	return m.any || slices.Contains(m.tags, etag(n))
}

// ifMatch parses the If-Match header (RFC 9110, section 13.1.1).
func (c *call) ifMatch() (m ifMatch, err error) {
	h := c.r.Header["If-Match"]
	if len(h) == 0 {
		return m, problemOf(codeNoRevision)
	}
	list := strings.Trim(strings.Join(h, ","), " \t,")
	if list == "*" {
		return ifMatch{any: true}, nil
	}
	for list != "" {
		tag, rest, ok := cutTag(list)
		if !ok || rest != "" && rest[0] != ',' {
			return m, problemOf(codeIfMatch)
		}
		m.tags = append(m.tags, tag)
		list = strings.TrimLeft(rest, " \t,")
	}
	if len(m.tags) == 0 {
		return m, problemOf(codeIfMatch)
	}
	return m, nil
}

// cutTag cuts off an entity tag and the blanks after it.
func cutTag(list string) (tag, rest string, ok bool) {
	begin := len(list) - len(strings.TrimPrefix(list, "W/"))
	if !strings.HasPrefix(list[begin:], `"`) {
		return "", "", false
	}
	length := strings.IndexByte(list[begin+1:], '"')
	if length < 0 {
		return "", "", false
	}
	end := begin + 1 + length + 1
	opaque := func(r rune) bool { return r <= ' ' || r == 0x7f }
	return list[:end], strings.TrimLeft(list[end:], " \t"), !strings.ContainsFunc(list[begin+1:end-1], opaque)
}

func list(ctx context.Context, c *call, _ *none) (*v1.Sessions, error) {
	limit, err := c.number("limit", 100, 1, 1000)
	if err != nil {
		return nil, err
	}
	subject, cursor, page := c.query("subject"), c.query("cursor"), &v1.Sessions{Sessions: []*v1.Session{}}
	switch c.query("values") {
	case "true":
		snaps, next, err := c.key.app.Sessions.ListSnapshots(ctx, subject, cursor, limit)
		if err != nil {
			return nil, err
		}
		page.NextCursor = next
		for i := range snaps {
			page.Sessions = append(page.Sessions, sessionOf(&snaps[i]))
		}
	case "", "false":
		infos, next, err := c.key.app.Sessions.List(ctx, subject, cursor, limit)
		if err != nil {
			return nil, err
		}
		page.NextCursor = next
		for i := range infos {
			page.Sessions = append(page.Sessions, infoOf(&infos[i]))
		}
	default:
		return nil, invalid("values", "must be true or false")
	}
	switch c.query("ended") {
	case "true":
		if subject == "" {
			return nil, invalid("ended", "needs a subject")
		}
		ended, err := c.key.app.Sessions.ListEnded(ctx, subject, 100)
		if err != nil {
			return nil, err
		}
		for _, e := range ended {
			page.Ended = append(page.Ended, &v1.EndedSession{ID: e.ID.String(), Subject: e.Subject, CreatedAt: e.CreatedAt, EndedAt: e.EndedAt,
				Reason: string(e.Reason), Client: browserOf(e.LastSeen)})
		}
	case "", "false":
	default:
		return nil, invalid("ended", "must be true or false")
	}
	return page, nil
}

// number returns a number of the query, or the default.
func (c *call) number(name string, otherwise, least, most int) (int, error) {
	text := c.query(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, invalid(name, fmt.Sprintf("must be %d to %d", least, most))
	}
	return n, nil
}

func endMany(ctx context.Context, c *call, _ *none) (*v1.Ended, error) {
	subject, all, except := c.query("subject"), c.query("all"), c.query("except")
	switch {
	case subject != "" && all != "":
		return nil, invalid("all", "and subject exclude each other")
	case subject == "" && all == "":
		return nil, invalid("subject", "is missing: name a subject, or say all=true")
	case all != "" && all != "true":
		return nil, invalid("all", "can only be true")
	case all != "" && except != "":
		return nil, invalid("except", "needs a subject")
	case all != "":
		err := c.key.app.Sessions.EndAll(ctx)
		c.audit("end_all", "", err)
		return &v1.Ended{}, err
	}
	var keep sojourn.ID
	if except != "" {
		var err error
		if keep, err = sojourn.ParseID(except); err != nil {
			return nil, invalid("except", "is no session's ID")
		}
	}
	n, err := c.key.app.Sessions.EndSubject(ctx, subject, keep)
	c.audit("end_subject", subject, err)
	return &v1.Ended{Ended: &n}, err
}

func stats(ctx context.Context, c *call, _ *none) (*v1.Stats, error) {
	sessions, loggedIn, err := c.key.app.Sessions.Count(ctx)
	return &v1.Stats{Sessions: sessions, LoggedIn: loggedIn, Anonymous: sessions - loggedIn, VisitorsSealed: c.key.app.VisitorsSealed}, err
}

// stream sends events until the client disconnects or its key is revoked.
func stream(_ context.Context, c *call, _ *none) (*none, error) {
	last := 0
	if text := c.query("last"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 10_000 {
			return nil, invalid("last", "must be 0 to 10000")
		}
		last = n
	}
	follow := c.query("follow")
	if follow != "" && follow != "true" && follow != "false" {
		return nil, invalid("follow", "must be true or false")
	}
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	defer context.AfterFunc(c.key.revoked, func() { cancel(errRevoked) })()
	err := c.api.opt.Events.Stream(c, c.r.WithContext(ctx), c.key.app.Name, c.r.Header.Get("Last-Event-ID"), last, follow != "false")
	if err != nil {
		return nil, problemOf(codeStream)
	}
	return nil, nil
}
