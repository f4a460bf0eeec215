package console

import (
	"net/http"
	"net/url"
	"time"

	"github.com/sojourn-go/sojourn"
)

// subjectView is the data of a subject's page, and of the form that ends its
// sessions.
type subjectView struct {
	*visit
	Subject string
	Rows    []subjectRow
	Max     int    // the limit of the subject's sessions; 0 or less: none
	Next    string // address of the next page
	First   bool
	Begin   time.Time // of the timeline
	Notice  string
	Error   string
	Reason  string // that was entered
	Keep    *row   // the session that goes on; nil: none
	Ended   []endedRow
	Barrier time.Time // when all sessions were ended lately; zero: they were not
}

// A subjectRow is a session on the timeline.
type subjectRow struct {
	row
	Bar   span // from its creation to when it was last seen
	Fresh span // from then to now
}

// An endedRow is a session that ended lately.
type endedRow struct {
	*visit
	sojourn.EndedInfo
}

func (r endedRow) Path() string    { return sessionPath(r.app.Name, r.ID) }
func (r endedRow) Browser() string { return browserName(r.LastSeen) }

func (v *visit) subjectOf(text string) (string, error) {
	if text == "" || len(text) > maxSubject {
		return "", errNoSubject
	}
	return text, nil
}

// subjectPage is GET /apps/{app}/subject?subject=….
func (v *visit) subjectPage() error {
	subject, err := v.subjectOf(v.query("subject"))
	if err != nil {
		return err
	}
	list, next, err := v.app.Sessions.List(v.r.Context(), subject, v.query("cursor"), 100)
	if err != nil {
		return err
	}
	data := v.subject(subject)
	data.First, data.Notice = v.query("cursor") == "", v.notice()
	if data.First {
		ended, err := v.app.Sessions.ListEnded(v.r.Context(), subject, 100)
		if err != nil {
			return err
		}
		if data.Barrier, err = v.app.Sessions.Barrier(v.r.Context(), subject); err != nil {
			return err
		}
		for _, e := range ended {
			data.Ended = append(data.Ended, endedRow{v, e})
		}
	}
	now := v.now()
	data.Begin = now
	for i := range list {
		if list[i].CreatedAt.Before(data.Begin) {
			data.Begin = list[i].CreatedAt
		}
	}
	for i := len(list) - 1; i >= 0; i-- { // the newest first
		info := list[i]
		data.Rows = append(data.Rows, subjectRow{
			row: row{v, info}, Bar: spanOf(data.Begin, now, info.CreatedAt, info.LastSeenAt), Fresh: spanOf(data.Begin, now, info.LastSeenAt, now),
		})
	}
	if next != "" {
		data.Next = subjectPath(v.app.Name, subject) + "&" + url.Values{"cursor": {next}}.Encode()
	}
	v.render(http.StatusOK, "subject", data)
	return nil
}

func (v *visit) subject(name string) *subjectView {
	return &subjectView{visit: v, Subject: name, Max: v.app.MaxSessions}
}

// endSubjectPage is GET /apps/{app}/subject/end?subject=…. It asks for the
// reason.
func (v *visit) endSubjectPage() error {
	data, err := v.endSubjectForm(v.query("subject"), v.query("keep"))
	if err != nil {
		return err
	}
	v.render(http.StatusOK, "end", data)
	return nil
}

func (v *visit) endSubjectForm(subject, keep string) (*subjectView, error) {
	subject, err := v.subjectOf(subject)
	if err != nil {
		return nil, err
	}
	data := v.subject(subject)
	if keep != "" {
		id, err := sojourn.ParseID(keep)
		if err != nil {
			return nil, errGone
		}
		snap, err := v.app.Sessions.Get(v.r.Context(), id)
		if err != nil {
			return nil, err
		}
		if snap.Subject != subject {
			return nil, errGone
		}
		data.Keep = &row{v, snap.Info}
	}
	return data, nil
}

// endSubject is POST /apps/{app}/subject/end. It ends all sessions of a subject,
// or all but one.
func (v *visit) endSubject() error {
	data, err := v.endSubjectForm(v.field("subject"), v.field("keep"))
	if err != nil {
		return err
	}
	if data.Reason, err = v.reason(); err != nil {
		data.Error = errNoReason.Text
		v.render(errNoReason.status, "end", data)
		return nil //nolint:nilerr // the page says what is missing
	}
	var keep sojourn.ID
	action := "end_subject"
	if data.Keep != nil {
		keep, action = data.Keep.ID, "end_others"
	}
	_, err = v.app.Sessions.EndSubject(v.r.Context(), data.Subject, keep)
	v.audit(action, data.Subject, data.Reason, err)
	if err != nil {
		return err
	}
	return v.redirect(subjectPath(v.app.Name, data.Subject) + "&done=ended_all")
}

// Path is the address of the subject's page.
func (s *subjectView) Path() string { return subjectPath(s.app.Name, s.Subject) }

// EndPath is the address of the form that ends all sessions of the subject.
func (s *subjectView) EndPath() string { return endPath(s.app.Name, s.Subject, "") }

// OthersPath is the address of the form that ends all of them but this one.
func (r row) OthersPath() string { return endPath(r.app.Name, r.Subject, r.ID.String()) }

func endPath(app, subject, keep string) string {
	q := url.Values{"subject": {subject}}
	if keep != "" {
		q.Set("keep", keep)
	}
	return "/apps/" + url.PathEscape(app) + "/subject/end?" + q.Encode()
}

// A reasonField is the field of a form for the reason of an end.
type reasonField struct{ ID, Reason, Error string }

func (s *subjectView) ReasonField() reasonField { return reasonField{"all", s.Reason, s.Error} }
func (s *sessionView) ReasonField() reasonField { return reasonField{"end", s.Reason, s.Error} }
func (r row) ReasonField() reasonField          { return reasonField{ID: r.ID.String()} }
