package v1

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendJSON appends the JSON of the usual answer: a session, with nothing for
// the browser. Package json writes the same text, but takes longer (see
// BenchmarkResolve of package api). ok is false for all other answers, which the
// caller writes with package json.
func (r *Resolved) AppendJSON(to []byte) (text []byte, ok bool) {
	if r.Session == nil || r.Why != "" || r.Unmet != "" || r.Token != "" || len(r.SetCookie) > 0 || len(r.Headers) > 0 {
		return to, false
	}
	a := appender{text: append(to, `{"session":`...)}
	a.session(r.Session)
	a.text = append(a.text, '}')
	return a.text, a.err == nil
}

// An appender appends JSON, until there is an error.
type appender struct {
	text []byte
	err  error
}

func (a *appender) session(s *Session) {
	a.string(`{"id":`, s.ID)
	a.string(`,"subject":`, s.Subject)
	a.time(`,"created_at":`, s.CreatedAt)
	if !s.AuthenticatedAt.IsZero() {
		a.time(`,"authenticated_at":`, s.AuthenticatedAt)
	}
	a.time(`,"last_seen_at":`, s.LastSeenAt)
	a.time(`,"idle_expires_at":`, s.IdleExpiresAt)
	a.time(`,"expires_at":`, s.ExpiresAt)
	a.text = append(a.text, `,"amr":[`...)
	before := ""
	for _, method := range s.AMR {
		a.string(before, method)
		before = ","
	}
	a.text = strconv.AppendInt(append(a.text, `],"level":`...), int64(s.Level), 10)
	a.bool(`,"remembered":`, s.Remembered)
	a.bool(`,"until_browser_closes":`, s.UntilBrowserCloses)
	a.bool(`,"bound":`, s.Bound)
	if s.Sealed {
		a.bool(`,"sealed":`, true)
	}
	a.browser(&s.Client)
	a.text = strconv.AppendUint(append(a.text, `,"revision":`...), s.Revision, 10)
	if s.Values != nil {
		a.text = append(append(a.text, `,"values":`...), s.Values...)
	}
	a.text = append(a.text, '}')
}

func (a *appender) browser(b *Browser) {
	a.text = append(a.text, `,"client":{`...)
	before := ""
	for _, member := range [...]struct{ name, is string }{{`"ip":`, b.IP}, {`"user_agent":`, b.UserAgent}, {`"name":`, b.Name}} {
		if member.is != "" {
			a.text = append(a.text, before...)
			a.string(member.name, member.is)
			before = ","
		}
	}
	a.text = append(a.text, '}')
}

func (a *appender) string(before, s string) {
	text, err := jsontext.AppendQuote(append(a.text, before...), s)
	if a.text = text; err != nil { // it is not UTF-8
		a.err = err
	}
}

func (a *appender) time(before string, t time.Time) {
	a.text = append(append(a.text, before...), '"')
	a.text = append(t.AppendFormat(a.text, time.RFC3339Nano), '"')
}

func (a *appender) bool(before string, b bool) {
	a.text = strconv.AppendBool(append(a.text, before...), b)
}
