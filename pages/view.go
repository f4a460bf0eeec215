package pages

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"html/template"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
)

// A view is a request and what its answer needs.
type view struct {
	speaker
	h       *Handler
	w       http.ResponseWriter
	r       *http.Request
	session *sojourn.Session
	Theme   string // that the site has chosen: light, dark, or empty
	json    bool   // the answer is for a program
	passive bool   // the request isn't an activity of the session
	loaded  bool   // the mirror's values have been read
	now     time.Time
}

// begin prepares the answer to a request. It doesn't read the session.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request) *view {
	w.Header().Add("Vary", "Accept, Accept-Language")
	v := &view{h: h, w: w, r: r, session: h.sessions.From(r.Context()), json: wantsJSON(r.Header), now: h.opt.Now().UTC().Truncate(time.Millisecond)}
	v.prefer("", "")
	return v
}

// prefer chooses the language and the theme. The application's functions go
// before what the mirror has.
func (v *view) prefer(language, theme string) {
	o := &v.h.opt
	v.Lang = lookup(language, v.h.texts)
	if o.Language != nil {
		v.Lang = cmp.Or(lookup(o.Language(v.r), v.h.texts), v.Lang)
	}
	if v.Lang == "" {
		v.Lang = accepted(v.r.Header["Accept-Language"], v.h.texts)
	}
	v.texts = v.h.texts[v.Lang]
	v.Theme = knownTheme(theme)
	if o.Theme != nil {
		v.Theme = cmp.Or(knownTheme(o.Theme(v.r)), v.Theme)
	}
}

// knownTheme returns the theme, or "" if it is none of the pages'.
func knownTheme(theme string) string {
	if theme == "light" || theme == "dark" {
		return theme
	}
	return ""
}

// wantsJSON reports whether a request asks for JSON and not for HTML.
func wantsJSON(header http.Header) (wants bool) {
	for item := range strings.SplitSeq(strings.Join(header["Accept"], ","), ",") {
		kind, parameters, _ := strings.Cut(item, ";")
		if q, ok := quality(parameters); ok && q == 0 {
			continue
		}
		switch kind = strings.ToLower(strings.TrimSpace(kind)); {
		case kind == "text/html", kind == "application/xhtml+xml":
			return false
		case kind == "application/json", strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"):
			wants = true
		}
	}
	return wants
}

// handlers are the functions of an address, by method. That of GET answers HEAD,
// too.
type handlers map[string]func() error

// route calls the function for the request's method.
func (v *view) route(by handlers) {
	method := v.r.Method
	switch method {
	case http.MethodHead:
		method = http.MethodGet
	case http.MethodDelete: // no form sends it
		v.json = true
	}
	do := by[method]
	if do == nil {
		allowed := slices.Sorted(maps.Keys(by))
		if slices.Contains(allowed, http.MethodGet) {
			allowed = append(allowed, http.MethodHead)
		}
		v.w.Header().Set("Allow", strings.Join(allowed, ", "))
		v.failWith(http.StatusMethodNotAllowed, "method_not_allowed")
		return
	}
	if err := do(); err != nil {
		v.fail(err)
	}
}

// require returns an error unless the visitor meets a requirement.
func (v *view) require(q sojourn.Requirement) error {
	if err := q.Check(v.r.Context(), v.session); err != nil {
		return err
	}
	m := v.h.opt.Mirror
	if m == nil || v.loaded {
		return nil
	}
	v.loaded = true
	language, err := m.Attribute(v.session, "lang")
	if err != nil {
		return err
	}
	theme, err := m.Attribute(v.session, "data-theme")
	v.prefer(language, theme)
	return err
}

// codes are the codes of the errors that the pages explain. Their texts are
// those with the names "error." and the code.
var codes = []struct {
	err  error
	code string
}{
	{sojourn.ErrAnonymous, "sign_in_required"},
	{sojourn.ErrUnproven, "unproven"},
	{sojourn.ErrUnbound, "unbound"},
	{sojourn.ErrNotFresh, "fresh_sign_in_required"},
	{sojourn.ErrLevel, "level_too_low"},
	{sojourn.ErrNotFound, "no_such_session"},
	{sojourn.ErrCursor, "bad_cursor"},
	{sojourn.ErrEnded, "conflict"},
	{sojourn.ErrSuperseded, "conflict"},
	{sojourn.ErrConflict, "conflict"},
	{sojourn.ErrThrottled, "throttled"},
	{sojourn.ErrUnsupported, "unsupported"},
	{sojourn.ErrUncertain, "unavailable"},
	{sojourn.ErrUnavailable, "unavailable"},
}

// fail answers with an error: a redirect to the sign-in page, a page, or JSON.
func (v *view) fail(err error) {
	if !v.json && v.leads(err) {
		r := *v.r
		r.RequestURI = "" // behind a proxy, URL has the path that browsers know
		v.h.end.Refuse(v.w, &r, err)
		return
	}
	status := sojourn.StatusCode(err)
	for _, c := range codes {
		if errors.Is(err, c.err) {
			var reason sojourn.Reason
			switch status {
			case http.StatusUnauthorized: // RFC 9110, section 15.5.2
				v.w.Header().Set("WWW-Authenticate", `Cookie realm="session"`)
				reason = v.session.EndReason()
			case http.StatusServiceUnavailable, http.StatusTooManyRequests:
				v.w.Header().Set("Retry-After", "60")
			}
			if status == http.StatusServiceUnavailable {
				v.h.logOutage(v.r.Context(), err)
			}
			v.explain(status, c.code, reason)
			return
		}
	}
	sojourn.Error(v.w, v.r, err)
}

// logOutage logs why a request got a 503. It does so once in ten seconds, because
// in an outage every open page gets one.
func (h *Handler) logOutage(ctx context.Context, err error) {
	now := time.Now().Unix()
	if last := h.lastOutage.Load(); now-last >= 10 && h.lastOutage.CompareAndSwap(last, now) {
		slog.ErrorContext(ctx, "pages: requests get 503 (this is logged once in ten seconds)", "error", err)
	}
}

// leads reports whether the site has a page where the visitor can do something
// about an error.
func (v *view) leads(err error) bool {
	switch q := v.h.end; {
	case errors.Is(err, sojourn.ErrAnonymous):
		return q.SignIn != ""
	case errors.Is(err, sojourn.ErrNotFresh), errors.Is(err, sojourn.ErrLevel):
		return q.StepUp != ""
	case errors.Is(err, sojourn.ErrUnproven), errors.Is(err, sojourn.ErrUnbound):
		return v.h.bound != nil
	}
	return false
}

// failWith answers with the error of a code.
func (v *view) failWith(status int, code string) { v.explain(status, code, "") }

// explain answers with the error of a code. The reason tells why the visitor's
// session has ended, if that is known.
func (v *view) explain(status int, code string, reason sojourn.Reason) {
	text := v.T("error." + code)
	if reason != "" {
		text = v.T("live.signed_out") + " " + v.T("ended."+string(reason)) + "."
	}
	if v.json {
		problem := map[string]any{"title": http.StatusText(status), "status": status, "code": code, "detail": text}
		if reason != "" {
			problem["reason"] = reason
		}
		v.w.Header().Set("Content-Type", "application/problem+json")
		v.writeJSON(status, problem)
		return
	}
	v.render(status, "error.html", text)
}

func (v *view) writeJSON(status int, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // all types can be encoded
	}
	if v.w.Header().Get("Content-Type") == "" {
		v.w.Header().Set("Content-Type", "application/json")
	}
	write(v.w, status, append(body, '\n'))
}

// done answers what was done: programs get JSON, browsers a redirect.
func (v *view) done(answer any, next string) error {
	if v.json {
		v.writeJSON(http.StatusOK, answer)
	} else {
		v.redirect(next)
	}
	return nil
}

func (v *view) redirect(to string) {
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
}

// A page is what a template gets.
type page struct {
	*view
	Data any
}

// render answers with a page, or with a part of one.
func (v *view) render(status int, name string, data any) {
	v.html(status, v.execute(name, data))
}

func (v *view) execute(name string, data any) []byte {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, name, page{v, data}); err != nil {
		panic(err) // a mistake in the template; the engine's Handler changes nothing
	}
	return text.Bytes()
}

func (v *view) html(status int, content []byte) {
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Content-Language", v.Lang)
	write(v.w, status, content)
}

// write answers with a body.
func write(w http.ResponseWriter, status int, content []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	_, _ = w.Write(content) // the client may be gone
}

// What templates ask.

// Of returns the page for a template of a part.
func (p page) Of(data any) page { return page{p.view, data} }

// At returns the public path of something below Options.Path.
func (v *view) At(rest string) string { return v.h.opt.Path + rest }

// Home, Site and Stylesheet are the options.
func (v *view) Home() string       { return v.h.opt.Home }
func (v *view) Site() string       { return v.h.opt.Site }
func (v *view) Stylesheet() string { return v.h.opt.Stylesheet }

// Mirror is the element of the mirror's script, if there is a mirror. It tells what
// the session has, unless that isn't known: the store may have stopped after an
// earlier read, and then this is the page that says so.
func (v *view) Mirror() (template.HTML, error) {
	m := v.h.opt.Mirror
	if m == nil {
		return "", nil
	}
	if v.loaded {
		if tag, err := m.Tag(v.h.opt.Path, v.session); err == nil {
			return tag, nil
		}
	}
	return m.Tag(v.h.opt.Path, nil)
}

// Ago writes how long ago a time was.
func (v *view) Ago(t time.Time) string { return v.speaker.Ago(t, v.now) }

// ISO writes a time for programs.
func (v *view) ISO(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Exact writes a time for people, to the minute.
func (v *view) Exact(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
