package pages

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
)

// perPage is how many sessions a page has. A page of them, with the script and
// the stylesheet, has less than 40 KB.
const perPage = 25

// A device is a session, for its user. It holds nothing secret.
type device struct {
	ID         sojourn.ID `json:"id"`
	Current    bool       `json:"current"`
	Name       string     `json:"name"`
	Kind       string     `json:"kind"` // computer, phone or program
	Address    string     `json:"address,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	SignedInAt time.Time  `json:"authenticated_at,omitzero"`
	LastSeenAt time.Time  `json:"last_seen_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	Remembered bool       `json:"remembered"`
	Bound      bool       `json:"bound"` // to its browser
}

// An end is a session of the user that ended lately.
type end struct {
	ID      sojourn.ID     `json:"id"`
	Name    string         `json:"name"`
	Kind    string         `json:"kind"`
	Address string         `json:"address,omitempty"`
	EndedAt time.Time      `json:"ended_at"`
	Reason  sojourn.Reason `json:"reason"`
}

// device describes a session.
func (v *view) device(info sojourn.Info) device {
	agent := info.LastSeen.UserAgent
	return device{
		ID: info.ID, Current: info.ID == v.session.ID(), Name: v.name(agent), Kind: kindOf(agent),
		CreatedAt: info.CreatedAt, SignedInAt: info.AuthenticatedAt, LastSeenAt: info.LastSeenAt, ExpiresAt: info.ExpiresAt,
		Remembered: info.Remembered, Bound: info.Bound, Address: address(info.LastSeen),
	}
}

// address returns the IP address of a client, or "" if it is not known.
func address(c sojourn.Client) string {
	if !c.IP.IsValid() {
		return ""
	}
	return c.IP.String()
}

// maxEnds is how many of the sessions that ended lately are shown.
const maxEnds = 10

// ends returns the user's sessions that ended lately, the last one first.
func (v *view) ends() ([]end, error) {
	infos, err := v.h.sessions.ListEnded(v.r.Context(), v.session.Subject(), maxEnds)
	if errors.Is(err, sojourn.ErrUnsupported) {
		return nil, nil
	}
	ends := make([]end, len(infos))
	for i, info := range infos {
		agent := info.LastSeen.UserAgent
		ends[i] = end{info.ID, v.name(agent), kindOf(agent), address(info.LastSeen), info.EndedAt, info.Reason}
	}
	return ends, err
}

// current describes the session of the request, which may not be stored as seen
// yet.
func (v *view) current() *device {
	info := v.session.Info()
	info.LastSeen = v.h.sessions.RequestFrom(v.r).Client
	if !v.passive {
		info.LastSeenAt = v.now
	}
	d := v.device(info)
	return &d
}

// name names a device in the language of the page.
func (v *view) name(agent string) string {
	name := cleanName(v.h.opt.Device(agent))
	if name == "" {
		return v.T("client.unknown")
	}
	if browser, system, ok := strings.Cut(name, " on "); ok {
		return v.T("client.on", browser, system)
	}
	return name
}

// A list is a page of a user's devices.
type list struct {
	Current *device  // on the first page
	Others  []device // by last activity
	Next    string   // the cursor of the next page; empty: this is the last
	Later   bool     // it isn't the first page
	Alone   bool     // the others can't be listed, because all sessions are sealed
	Ended   []end    // on the first page
	Notice  string
}

// list returns a page of the user's sessions.
func (v *view) list(text string) (*list, error) {
	from, err := parseCursor(text)
	if err != nil {
		return nil, err
	}
	l := &list{Later: text != ""}
	if !l.Later {
		l.Current = v.current()
		if l.Ended, err = v.ends(); err != nil {
			return nil, err
		}
	}
	for {
		infos, nextBlock, err := v.h.sessions.List(v.r.Context(), v.session.Subject(), from.block, 1000)
		if errors.Is(err, sojourn.ErrUnsupported) {
			l.Alone = true
			return l, nil
		}
		if err != nil {
			return nil, err
		}
		infos = slices.DeleteFunc(infos, func(info sojourn.Info) bool {
			return info.ID == v.session.ID() || !from.before(info)
		})
		slices.SortFunc(infos, func(a, b sojourn.Info) int {
			return cmp.Or(b.LastSeenAt.Compare(a.LastSeenAt), b.ID.Compare(a.ID))
		})
		if nextBlock != "" {
			l.Next = cursor{block: nextBlock}.String()
		}
		if len(infos) > perPage {
			infos = infos[:perPage]
			l.Next = cursor{from.block, infos[perPage-1].LastSeenAt.UnixMilli(), infos[perPage-1].ID}.String()
		}
		for _, info := range infos {
			l.Others = append(l.Others, v.device(info))
		}
		if len(infos) > 0 || nextBlock == "" {
			return l, nil
		}
		from, l.Next = cursor{block: nextBlock}, ""
	}
}

// A cursor says where a page begins. The engine lists sessions in blocks of a
// thousand, which are sorted by last activity here: nobody with fewer sessions
// notices the blocks.
type cursor struct {
	block  string     // the engine's cursor; empty: the first block
	seen   int64      // the last activity of the session before the page, in milliseconds since 1970
	behind sojourn.ID // its ID; zero: the page begins with the block
}

// before reports whether a session comes after the place of the cursor.
func (c cursor) before(info sojourn.Info) bool {
	if c.behind.IsZero() {
		return true
	}
	return cmp.Or(cmp.Compare(c.seen, info.LastSeenAt.UnixMilli()), c.behind.Compare(info.ID)) > 0
}

func (c cursor) String() string {
	return fmt.Sprintf("%s.%d.%s", hex.EncodeToString([]byte(c.block)), c.seen, c.behind)
}

// maxCursor limits the length of a cursor, in bytes.
const maxCursor = 1024

func parseCursor(text string) (c cursor, err error) {
	if text == "" {
		return cursor{}, nil
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || len(text) > maxCursor {
		return cursor{}, sojourn.ErrCursor
	}
	block, err1 := hex.DecodeString(parts[0])
	seen, err2 := strconv.ParseInt(parts[1], 10, 64)
	id, err3 := sojourn.ParseID(parts[2])
	if c = (cursor{string(block), seen, id}); errors.Join(err1, err2, err3) != nil || c.String() != text {
		return cursor{}, sojourn.ErrCursor
	}
	return c, nil
}

// toDevices redirects from the handler's root to the list, its only page.
func (v *view) toDevices() error {
	v.redirect(v.At("devices"))
	return nil
}

// devicesPage is GET devices.
func (v *view) devicesPage() error {
	if err := v.require(v.h.see); err != nil {
		return err
	}
	query := v.r.URL.Query()
	l, err := v.list(query.Get("cursor"))
	if err != nil {
		return err
	}
	if v.json {
		answer := struct {
			Sessions []device `json:"sessions"`
			Next     string   `json:"next,omitempty"`  // the cursor of the next page
			Alone    bool     `json:"alone,omitempty"` // other sessions can't be listed
			Ended    []end    `json:"ended,omitempty"` // lately, the last one first
		}{[]device{}, l.Next, l.Alone, l.Ended}
		if l.Current != nil {
			answer.Sessions = append(answer.Sessions, *l.Current)
		}
		answer.Sessions = append(answer.Sessions, l.Others...)
		v.writeJSON(http.StatusOK, answer)
		return nil
	}
	switch done := query.Get("done"); done {
	case "ended", "gone", "others":
		// A link on another site must not claim that something was done.
		if from := v.r.Header.Get("Sec-Fetch-Site"); from == "" || from == "same-origin" {
			l.Notice = v.T("done." + done)
		}
	}
	v.render(http.StatusOK, "devices.html", l)
	return nil
}

// live is GET devices/live: the list alone, for the script of an open page. It
// isn't an activity of the session. Its ETag changes when the list does.
func (v *view) live() error {
	v.passive = true
	v.session.Passive()
	if err := v.require(sojourn.Requirement{}); err != nil {
		v.json = true
		return err
	}
	l, err := v.list(v.r.URL.Query().Get("cursor"))
	if err != nil {
		return err
	}
	content := v.execute("list", l)
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:12]) + `"`
	v.w.Header().Set("ETag", tag)
	if v.r.Header.Get("If-None-Match") == tag {
		v.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	v.html(http.StatusOK, content)
	return nil
}

// others, in place of an ID, stands for all sessions except this one.
const others = "others"

// confirmPage is GET devices/{id}/end and devices/others/end: it asks before the
// end. A user who has to sign in first comes back to it.
func (v *view) confirmPage(target string) error {
	if err := v.require(v.h.see); err != nil {
		return err
	}
	if target == others {
		if err := v.require(v.h.end); err != nil {
			return err
		}
		l, err := v.list("")
		if err != nil {
			return err
		}
		v.render(http.StatusOK, "confirm.html", confirmation{Target: others, All: l.Alone})
		return nil
	}
	id, err := sojourn.ParseID(target)
	switch {
	case err != nil:
		return sojourn.ErrNotFound
	case id == v.session.ID():
		v.render(http.StatusOK, "confirm.html", confirmation{Target: target, Device: v.current()})
		return nil
	}
	if err := v.require(v.h.end); err != nil {
		return err
	}
	found, err := v.h.sessions.Get(v.r.Context(), id)
	if err != nil {
		return err
	}
	if found.Subject != v.session.Subject() {
		return sojourn.ErrNotFound
	}
	d := v.device(found.Info)
	v.render(http.StatusOK, "confirm.html", confirmation{Target: target, Device: &d})
	return nil
}

// A confirmation is what the page asks about: a device, or all others.
type confirmation struct {
	Target string
	Device *device
	All    bool // this one too
}

// endDevices is DELETE devices/{id} and POST devices/{id}/end, with an ID or
// "others".
func (v *view) endDevices(target string) error {
	if err := v.require(v.h.see); err != nil {
		return err
	}
	id, err := sojourn.ParseID(target)
	if err == nil && id == v.session.ID() {
		if err := v.session.Logout(); err != nil {
			return err
		}
		return v.done(map[string]int{"ended": 1}, v.h.opt.Home)
	}
	if err := v.require(v.h.end); err != nil {
		return err
	}
	switch {
	case target == others:
		n, err := v.h.sessions.EndSubject(v.r.Context(), v.session.Subject(), v.session.ID())
		if errors.Is(err, sojourn.ErrUnsupported) && v.h.opt.EndAll != nil {
			return v.endAll()
		}
		if err != nil {
			return err
		}
		return v.done(map[string]int{"ended": n}, v.devicesWith("done", "others"))
	case err != nil:
		return sojourn.ErrNotFound
	}
	err = v.h.sessions.EndOwn(v.r.Context(), v.session.Subject(), id)
	switch {
	case errors.Is(err, sojourn.ErrNotFound) && !v.json:
		v.redirect(v.devicesWith("done", "gone"))
		return nil
	case err != nil:
		return err
	}
	return v.done(map[string]int{"ended": 1}, v.devicesWith("done", "ended"))
}

// endAll ends all sessions of a user whose sessions can't be listed.
func (v *view) endAll() error {
	if err := v.h.opt.EndAll(v.r.Context(), v.session.Subject()); err != nil {
		return err
	}
	if err := v.session.Logout(); err != nil {
		return err
	}
	return v.done(map[string]bool{"all": true}, v.h.opt.Home)
}

// EndsAll reports whether the page can end all sessions without a list.
func (v *view) EndsAll() bool { return v.h.opt.EndAll != nil }

// devicesWith returns the address of the list with a parameter.
func (v *view) devicesWith(name, value string) string {
	return v.At("devices") + "?" + url.Values{name: {value}}.Encode()
}

// More returns the address of the next page of a list.
func (v *view) More(cursor string) string { return v.devicesWith("cursor", cursor) }
