package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
	"github.com/sojourn-go/sojourn/sojournd/internal/useragent"
)

const pageSize = 50

// sessionPath is the address of a session's page.
func sessionPath(app string, id sojourn.ID) string {
	return "/apps/" + url.PathEscape(app) + "/sessions/" + id.String()
}

// subjectPath is the address of a subject's page.
func subjectPath(app, subject string) string {
	return "/apps/" + url.PathEscape(app) + "/subject?" + url.Values{"subject": {subject}}.Encode()
}

// A found is what the search field found in one application.
type found struct{ App, Path string }

// foundPage is the data of the page of matches in several applications.
type foundPage struct {
	Query   string
	Matches []found
}

// find is GET /find. It looks for a session ID or a subject in the applications
// that the operator may look at, in the present one first, and goes to the only
// match.
func (v *visit) find() error {
	apps := v.Apps()
	if len(apps) == 0 {
		return errNoApp
	}
	here := max(slices.IndexFunc(apps, func(a *Application) bool { return a.Name == v.query("app") }), 0)
	q := strings.TrimSpace(v.query("q"))
	none := "/apps/" + url.PathEscape(apps[here].Name) + "/sessions?" + url.Values{"subject": {q}}.Encode()
	if q == "" {
		return v.redirect(strings.TrimSuffix(none, "?subject="))
	}
	var matches []found
	id, err := sojourn.ParseID(q)
	if isID := err == nil; isID {
		none = sessionPath(apps[here].Name, id)
		for _, a := range apps {
			_, err := a.Sessions.Get(v.r.Context(), id)
			if errors.Is(err, sojourn.ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
			matches = append(matches, found{a.Name, sessionPath(a.Name, id)})
		}
	} else if len(q) <= maxSubject {
		for _, a := range apps {
			list, _, err := a.Sessions.List(v.r.Context(), q, "", 1)
			if err != nil {
				return err
			}
			if len(list) > 0 {
				matches = append(matches, found{a.Name, subjectPath(a.Name, q)})
			}
		}
	}
	switch len(matches) {
	case 0:
		return v.redirect(none)
	case 1:
		return v.redirect(matches[0].Path)
	}
	v.render(http.StatusOK, "found", foundPage{q, matches})
	return nil
}

const maxSubject = 255 // bytes

// sessionsView is the data of the list of sessions.
type sessionsView struct {
	Query    query
	Wrong    string // what is wrong with the query
	Rows     []row
	Progress *progress // of a search; nil: the rows are a list
	Next     string    // address of the next page
	First    bool      // this is the first page
	Notice   string
}

// A row is a session in a list.
type row struct {
	*visit
	sojourn.Info
}

func (v *visit) rows(list []sojourn.Info) []row {
	rows := make([]row, len(list))
	for i := range list {
		rows[i] = row{v, list[i]}
	}
	return rows
}

func (r row) Path() string        { return sessionPath(r.app.Name, r.ID) }
func (r row) SubjectPath() string { return subjectPath(r.app.Name, r.Subject) }
func (r row) Browser() string     { return browserName(r.LastSeen) }

// browserName names a client's browser for people.
func browserName(c sojourn.Client) string {
	switch name := useragent.Name(c.UserAgent); {
	case name != "":
		return short(name, 60)
	case c.UserAgent != "":
		return short(c.UserAgent, 60)
	}
	return "unknown browser"
}

// sessionsPage is GET /apps/{app}/sessions. The query is in the address.
func (v *visit) sessionsPage() error {
	data := &sessionsView{Query: v.searchQuery(), First: v.query("cursor") == "", Notice: v.notice()}
	var err error
	switch {
	case len(data.Query.Subject) > maxSubject: // no session has it
		data.Query.Subject = strings.ToValidUTF8(data.Query.Subject[:maxSubject], "")
	case data.Query.Searches():
		err = v.search(data)
	default:
		err = v.list(data)
	}
	if err != nil {
		return err
	}
	status := http.StatusOK
	if data.Wrong != "" {
		status = http.StatusUnprocessableEntity
	}
	v.render(status, "sessions", data)
	return nil
}

// list fills the data with a page of all sessions, or of those of a subject.
func (v *visit) list(data *sessionsView) error {
	list, next, err := v.app.Sessions.List(v.r.Context(), data.Query.Subject, v.query("cursor"), pageSize)
	data.Rows = v.rows(list)
	data.next(v, next)
	return err
}

// next sets the address of the next page.
func (s *sessionsView) next(v *visit, cursor string) {
	if cursor == "" {
		return
	}
	q := s.Query.values()
	q.Set("cursor", cursor)
	if s.Progress != nil {
		q.Set("at", strconv.FormatInt(s.Query.at.UnixMilli(), 10))
	}
	s.Next = v.r.URL.EscapedPath() + "?" + q.Encode()
}

// FirstPath is the address of the first page.
func (s *sessionsView) FirstPath() string { return "?" + s.Query.values().Encode() }

// notice says what the form that led here has done.
func (v *visit) notice() string {
	switch v.query("done") {
	case "ended":
		return "The session has ended. Its browser is signed out with its next request."
	case "over":
		return "That session had ended already."
	case "ended_all":
		return "The sessions have ended. A login that was under way fails, and has to be repeated."
	}
	return ""
}

// sessionView is the data of a session's page.
type sessionView struct {
	row
	Over    bool // it has ended, or never was
	Secrets []sojourn.SecretTimes
	Values  []value // nil: not shown
	Shown   bool
	Events  []v1.Event
	Error   string
	Reason  string // that was entered
}

// A value is one of a session's values, as indented JSON.
type value struct {
	Key, JSON string
	Bytes     int
}

// sessionPage is GET /apps/{app}/sessions/{id}.
func (v *visit) sessionPage() error {
	data, _, err := v.lookAt()
	if err != nil {
		return err
	}
	status := http.StatusOK
	if data.Over {
		status = http.StatusNotFound
	}
	v.render(status, "session", data)
	return nil
}

// lookAt returns the session of the path. If there is none, it returns what is
// known of it.
func (v *visit) lookAt() (*sessionView, *sojourn.Snapshot, error) {
	id, err := sojourn.ParseID(v.r.PathValue("id"))
	if err != nil {
		return nil, nil, errGone
	}
	snap, err := v.app.Sessions.Get(v.r.Context(), id)
	data := &sessionView{row: row{v, snap.Info}, Secrets: snap.Secrets}
	if errors.Is(err, sojourn.ErrNotFound) {
		data.Over, data.Info.ID = true, id
	} else if err != nil {
		return nil, nil, err
	}
	data.Events, _ = v.wanted(&filter{Session: id.String()}, 100)
	return data, &snap, nil
}

// showValues is POST /apps/{app}/sessions/{id}/values. It shows the session with
// its values, which may be personal data: hence the audit log has it.
func (v *visit) showValues() error {
	data, snap, err := v.lookAt()
	if err == nil && data.Over {
		err = errGone
	}
	v.audit("show_values", short(v.r.PathValue("id"), 64), "", err)
	if err != nil {
		return err
	}
	data.Shown = true
	if data.Values, err = valuesOf(snap.Values); err != nil {
		return err
	}
	v.render(http.StatusOK, "session", data)
	return nil
}

// valuesOf returns the values of a session, sorted by key.
func valuesOf(object json.RawMessage) ([]value, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(object, &all); err != nil {
		return nil, err
	}
	list := make([]value, 0, len(all))
	for key, text := range all {
		list = append(list, value{key, indented(text), len(text)})
	}
	slices.SortFunc(list, func(a, b value) int { return strings.Compare(a.Key, b.Key) })
	return list, nil
}

// indented returns JSON over several lines. Deeply nested JSON, whose
// indentation would be much longer than itself, stays as it is.
func indented(text json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil || b.Len() > 4*len(text)+4096 {
		return string(text)
	}
	return b.String()
}

const maxReason = 500 // characters

// reason returns the reason in the form.
func (v *visit) reason() (string, error) {
	reason := strings.TrimSpace(v.field("reason"))
	if n := utf8.RuneCountInString(reason); n == 0 || n > maxReason {
		return reason, errNoReason
	}
	return reason, nil
}

// endSession is POST /apps/{app}/sessions/{id}/end.
func (v *visit) endSession() error {
	id, err := sojourn.ParseID(v.r.PathValue("id"))
	if err != nil {
		return errGone
	}
	reason, err := v.reason()
	if err != nil {
		data, _, lookErr := v.lookAt()
		if lookErr != nil {
			return lookErr
		}
		data.Error, data.Reason = errNoReason.Text, reason
		v.render(errNoReason.status, "session", data)
		return nil
	}
	err = v.app.Sessions.End(v.r.Context(), id)
	v.audit("end", id.String(), reason, err)
	done := "ended"
	if errors.Is(err, sojourn.ErrNotFound) {
		done = "over"
	} else if err != nil {
		return err
	}
	back := sojourn.LocalPath(v.field("back"), "/apps/"+url.PathEscape(v.app.Name)+"/sessions")
	u, err := url.Parse(back)
	if err != nil {
		return errBadForm
	}
	q := u.Query()
	q.Set("done", done)
	u.RawQuery = q.Encode()
	return v.redirect(u.String())
}

// A span is a part of a bar, in percent of its width.
type span struct{ From, To, Width float64 }

// spanOf returns the part from a to b of a bar that shows the time from begin
// to end.
func spanOf(begin, end, a, b time.Time) span {
	whole := end.Sub(begin)
	if whole <= 0 {
		return span{0, 100, 100}
	}
	at := func(t time.Time) float64 {
		return min(max(100*float64(t.Sub(begin))/float64(whole), 0), 100)
	}
	from, to := at(a), at(b)
	return span{from, to, to - from}
}

// Age is the part of the session's bar, from its creation to its absolute
// deadline, that has passed. Rest is from now to the idle deadline.
func (s *sessionView) Age() span { return spanOf(s.CreatedAt, s.ExpiresAt, s.CreatedAt, s.now()) }
func (s *sessionView) Rest() span {
	return spanOf(s.CreatedAt, s.ExpiresAt, s.now(), s.IdleExpiresAt)
}

// IdleFirst reports whether the idle deadline comes before the absolute one.
func (s *sessionView) IdleFirst() bool { return s.IdleExpiresAt.Before(s.ExpiresAt) }

// Moved reports whether the session was last seen from another client than at
// its creation.
func (s *sessionView) Moved() bool { return s.Created != s.LastSeen }

// Current reports whether a secret is the current one.
func (s *sessionView) Current(i int) bool { return i == len(s.Secrets)-1 }

// A client is where a request came from, for the template "client".
type client struct{ Title, Name, IP, Agent string }

// ClientOf returns a client for the template.
func (s *sessionView) ClientOf(title string, c sojourn.Client) client {
	is := client{title, browserName(c), "", c.UserAgent}
	if c.IP.IsValid() {
		is.IP = c.IP.String()
	}
	return is
}
