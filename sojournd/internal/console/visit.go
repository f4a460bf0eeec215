package console

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/webui"
)

// A visit is a request with its session and operator.
type visit struct {
	*Console
	setup    *setup
	w        http.ResponseWriter
	r        *http.Request
	session  *sojourn.Session
	operator *Operator    // nil: nobody is signed in
	app      *Application // of the path; nil: it names none
}

// passwordKey holds the fingerprint of the password that signed in.
var passwordKey = sojourn.NewKey[string]("password")

// Most pages need a sign-in. What ends more than one session needs a password
// that was entered lately.
var (
	member  = sojourn.Requirement{SignIn: "/sign-in"}
	careful = sojourn.Requirement{SignIn: "/sign-in", StepUp: "/confirm", Fresh: 10 * time.Minute}
)

const maxForm = 16 << 10

func (c *Console) serve(s *setup, w http.ResponseWriter, r *http.Request, h func(*visit) error) {
	v := &visit{Console: c, setup: s, w: w, r: r, session: sojourn.From(r.Context())}
	err := v.load()
	if err == nil {
		err = v.parseForm()
	}
	if err == nil {
		err = h(v)
	}
	if err != nil {
		v.fail(err)
	}
}

// load reads the session from the store, and finds its operator in the setup. If
// the operator is gone, or has a new password, it ends the session.
func (v *visit) load() error {
	v.session.Strict()
	if v.r.Header.Get("Sec-Fetch-Dest") == "empty" {
		v.session.Passive() // a script asks, not the operator
	}
	if err := v.session.Load(v.r.Context()); err != nil {
		return err
	}
	if v.session.Subject() == "" {
		return nil
	}
	o := v.setup.find(v.session.Subject())
	if signedBy, err := passwordKey.Get(v.session); o != nil && err == nil && signedBy == o.fingerprint() {
		v.operator = o
		return nil
	}
	if err := v.session.Logout(); err != nil {
		return err
	}
	return v.session.Commit(v.r.Context())
}

func (s *setup) find(operator string) *Operator {
	for i := range s.Operators {
		if s.Operators[i].Name == operator {
			return &s.Operators[i]
		}
	}
	return nil
}

func (v *visit) parseForm() error {
	if v.r.Method != http.MethodPost {
		return nil
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	var tooLarge *http.MaxBytesError
	switch err := v.r.ParseForm(); {
	case errors.As(err, &tooLarge):
		return errFormTooLarge
	case err != nil:
		return errBadForm
	}
	if !webui.ValidForm(v.r.PostForm) {
		return errBadForm
	}
	return nil
}

func (v *visit) field(name string) string { return v.r.PostForm.Get(name) }
func (v *visit) query(name string) string { return v.r.URL.Query().Get(name) }

// require returns an error unless an operator is signed in, meets the
// requirement, and has the role in the application of the path. If the operator
// has no role there, the error says that there is no such application.
func (v *visit) require(need sojourn.Requirement, role Role) error {
	if v.operator == nil {
		return sojourn.ErrAnonymous
	}
	if name := v.r.PathValue("app"); name != "" {
		if v.app = v.seen(name); v.app == nil {
			return errNoApp
		}
		if v.operator.role(name) < role {
			v.audit("refused", v.r.URL.Path, "", errRole)
			return errRole
		}
	}
	return need.Check(v.r.Context(), v.session)
}

// seen returns the application of a name, if the operator may look at it.
func (v *visit) seen(name string) *Application {
	for i := range v.setup.Apps {
		if a := &v.setup.Apps[i]; a.Name == name && v.operator.role(name) >= Look {
			return a
		}
	}
	return nil
}

// Apps are the applications that the operator may look at.
func (v *visit) Apps() (list []*Application) {
	for i := range v.setup.Apps {
		if a := v.seen(v.setup.Apps[i].Name); a != nil {
			list = append(list, a)
		}
	}
	return list
}

// MayEnd reports whether the operator may end sessions of this application.
func (v *visit) MayEnd() bool { return v.app != nil && v.operator.role(v.app.Name) >= End }

// audit records what the operator did in the application of the path.
func (v *visit) audit(action, target, reason string, err error) {
	op := Operation{Action: action, Target: target, Reason: reason, Result: "ok", IP: v.address()}
	if v.operator != nil {
		op.Operator = v.operator.Name
	}
	if v.app != nil {
		op.App = v.app.Name
	}
	if err != nil {
		op.Result = problemOf(err).code
	}
	v.Audit(op)
}

func (v *visit) address() string {
	if ip := v.setup.Sessions.RequestFrom(v.r).Client.IP; ip.IsValid() {
		return ip.String()
	}
	return ""
}

// A problem is an answer that is not a success.
type problem struct {
	status      int
	code        string // for the audit log
	Title, Text string // for people
}

func (p *problem) Error() string { return "console: " + p.code }
func (p *problem) Status() int   { return p.status }

var (
	errNoPage = &problem{404, "no_page", "There is no such page", "The address leads nowhere. It may have been cut off when it was copied."}
	errNoApp  = &problem{404, "no_application", "There is no such application", "Either the configuration has no application of this name, or you may not look at it."}
	errRole   = &problem{403, "forbidden", "You may only look here", "Your role in this application is look. To end sessions, you need the role end. Roles are in the server's configuration."}

	errBadForm      = &problem{400, "bad_form", "The form can't be read", "Go back, and send it again."}
	errFormTooLarge = &problem{413, "form_too_large", "That is too much text", "A form holds at most 16 KiB. Go back, and shorten the text."}
	errNoReason     = &problem{422, "no_reason", "A reason is missing", "Say in 1 to 500 characters why you end it. The audit log keeps that."}
	errNoSubject    = &problem{400, "no_subject", "No subject is named", "Find the subject's sessions first."}

	errInvalidLogin = &problem{401, "invalid_login", "", "The name or the password is wrong."}
	errTooManyTries = &problem{429, "too_many_tries", "", "Too many wrong passwords. Wait 15 minutes."}
	errBusy         = &problem{503, "busy", "", "Too many people sign in at this moment. Try again in a few seconds."}
	errOnceUsed     = &problem{410, "once_used", "", "This link has signed somebody in already, or is from an earlier run. Sign in with name and password."}

	errGone        = &problem{404, "no_session", "No such session", "It has ended, or never was."}
	errUncertain   = &problem{503, "outcome_unknown", "It is not known whether that was done", "The store was interrupted while it wrote. Look at the session before you try again."}
	errUnavailable = &problem{503, "store_unavailable", "The store doesn't answer", "Sessions can't be read or ended at the moment. This page tries again by itself."}
	errCrossOrigin = &problem{403, "cross_origin", "That came from another site", "The console takes no forms from pages of other sites. Nothing was changed."}
	errNotFresh    = &problem{403, "not_fresh", "Confirm that it is you", "To end more than one session, enter your password again."}
	errSignedOut   = &problem{401, "signed_out", "You are signed out", "Sign in to go on. Nothing was changed."}
	errEnded       = &problem{409, "session_changed", "Your own session has ended meanwhile", "Somebody signed you out, or you signed in again. Nothing was changed."}
	errNoStream    = &problem{503, "no_stream", "There are no live events now", "The server is stopping, or too many people look at them. This page tries again by itself."}
	errInternal    = &problem{500, "internal", "Something is broken", "The server's log says more."}
)

// problemOf returns the problem for an error.
func problemOf(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	for _, one := range []struct {
		err     error
		problem *problem
	}{
		{sojourn.ErrUncertain, errUncertain},
		{sojourn.ErrUnavailable, errUnavailable},
		{sojourn.ErrClosed, errUnavailable},
		{sojourn.ErrNotFound, errGone},
		{sojourn.ErrUnsupported, &problem{501, "unsupported", "These sessions are in cookies", "The application keeps its sessions in its visitors' cookies, and no store has them. So they can't be listed, found or ended here."}},
		{sojourn.ErrCrossOrigin, errCrossOrigin},
		{sojourn.ErrNotFresh, errNotFresh},
		{sojourn.ErrAnonymous, errSignedOut},
		{sojourn.ErrEnded, errEnded},
		{sojourn.ErrSuperseded, errEnded},
		{sojourn.ErrCursor, &problem{400, "bad_cursor", "There is no such page of the list", "The address was changed, or is from another version of the store."}},
		{sojourn.ErrSubject, &problem{422, "bad_subject", "That is no subject", "A subject has 1 to 255 bytes, and no control characters."}},
	} {
		if errors.Is(err, one.err) {
			return one.problem
		}
	}
	if status := sojourn.StatusCode(err); status != http.StatusInternalServerError {
		return &problem{status, "refused", "That was refused", err.Error()}
	}
	return errInternal
}

// fail answers with an error.
func (v *visit) fail(err error) {
	need := careful
	if v.operator == nil {
		need = member
	}
	if (errors.Is(err, sojourn.ErrAnonymous) || errors.Is(err, sojourn.ErrNotFresh)) && v.session != nil {
		need.Refuse(v.w, v.r, err) // redirects page views; AnswerError answers the others
		return
	}
	p := problemOf(err)
	if p == errInternal || p == errUnavailable {
		if !errors.Is(err, context.Canceled) {
			v.Log.ErrorContext(v.r.Context(), "console: a request failed", "method", v.r.Method, "path", v.r.URL.Path, "err", err)
		}
	}
	v.problemPage(p)
}

func (v *visit) problemPage(p *problem) {
	if p.status == http.StatusServiceUnavailable {
		v.w.Header().Set("Retry-After", "3")
		if v.r.Method == http.MethodGet {
			v.w.Header().Set("Refresh", "3") // a form must not be sent again
		}
	}
	v.render(p.status, "problem", p)
}

// AnswerError answers a request with an error of the operators' engine that did
// not reach a page. It is for sojourn.Options.OnError.
func AnswerError(w http.ResponseWriter, r *http.Request, err error) {
	secure(w.Header())
	v := &visit{Console: New(Options{}), w: w, r: r}
	v.problemPage(problemOf(err))
}

func (v *visit) redirect(to string) error {
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// render writes a page.
func (v *visit) render(status int, name string, data any) {
	v.write(status, name, "base.html", &view{visit: v, Page: name, Data: data})
}

// write writes a template of a page.
func (v *visit) write(status int, name, template string, data any) {
	var page bytes.Buffer
	if err := pages[name].ExecuteTemplate(&page, template, data); err != nil {
		v.Log.ErrorContext(v.r.Context(), "console: a page failed", "page", name, "err", err)
		http.Error(v.w, "This page is broken. The server's log says more.", http.StatusInternalServerError)
		return
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	v.w.WriteHeader(status)
	if v.r.Method != http.MethodHead {
		_, _ = v.w.Write(page.Bytes()) // the client may be gone
	}
}
