package shop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
)

// A problem is an answer that is not a success. The code is for programs.
// People get the message "error.<code>".
type problem struct {
	status int
	code   string
	args   []any // of the message
}

func (p *problem) Error() string { return fmt.Sprintf("shop: %s (%d)", p.code, p.status) }

var (
	errNotFound       = &problem{status: http.StatusNotFound, code: "not_found"}
	errMethod         = &problem{status: http.StatusMethodNotAllowed, code: "method_not_allowed"}
	errBadForm        = &problem{status: http.StatusBadRequest, code: "bad_form"}
	errFormTooLarge   = &problem{status: http.StatusRequestEntityTooLarge, code: "form_too_large", args: []any{maxForm >> 10}}
	errUnknownSKU     = &problem{status: http.StatusBadRequest, code: "unknown_sku"}
	errBadQuantity    = &problem{status: http.StatusBadRequest, code: "bad_quantity", args: []any{maxQuantity}}
	errQuantityLimit  = &problem{status: http.StatusUnprocessableEntity, code: "quantity_limit", args: []any{maxQuantity}}
	errBadTheme       = &problem{status: http.StatusBadRequest, code: "bad_theme"}
	errBadLanguage    = &problem{status: http.StatusBadRequest, code: "bad_language"}
	errNoPreference   = &problem{status: http.StatusBadRequest, code: "no_preference"}
	errBadEmail       = &problem{status: http.StatusBadRequest, code: "bad_email"}
	errBadPassword    = &problem{status: http.StatusBadRequest, code: "bad_password", args: []any{password.MinLength, password.MaxLength}}
	errPasswordLong   = &problem{status: http.StatusBadRequest, code: "password_too_long", args: []any{password.MaxLength}}
	errEmailTaken     = &problem{status: http.StatusConflict, code: "email_taken"}
	errInvalidLogin   = &problem{status: http.StatusUnauthorized, code: "invalid_login"}
	errWrongPassword  = &problem{status: http.StatusUnauthorized, code: "wrong_password"}
	errTooManyTries   = &problem{status: http.StatusTooManyRequests, code: "too_many_tries", args: []any{int(password.Window.Minutes())}}
	errLoginRequired  = &problem{status: http.StatusUnauthorized, code: "login_required"}
	errFreshRequired  = &problem{status: http.StatusForbidden, code: "fresh_login_required"}
	errBusy           = &problem{status: http.StatusServiceUnavailable, code: "busy"}
	errShopFull       = &problem{status: http.StatusServiceUnavailable, code: "full"}
	errInternal       = &problem{status: http.StatusInternalServerError, code: "internal"}
	errSessionDefault = "session_error"
)

// sessionCodes are the codes of the library's errors. sojourn.StatusCode has
// their statuses.
var sessionCodes = []struct {
	err  error
	code string
}{
	{sojourn.ErrEnded, "session_ended"},
	{sojourn.ErrSuperseded, "session_renewed"},
	{sojourn.ErrConflict, "conflict"},
	{sojourn.ErrTooLarge, "session_too_large"},
	{sojourn.ErrLimit, "too_many_sessions"},
	{sojourn.ErrThrottled, "throttled"},
	{sojourn.ErrFull, "store_full"},
	{sojourn.ErrUncertain, "outcome_unknown"},
	{sojourn.ErrUnavailable, "store_unavailable"},
	{sojourn.ErrClosed, "store_unavailable"},
	{sojourn.ErrCrossOrigin, "cross_origin"},
}

// problemOf returns the problem for an error.
func problemOf(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, errTooMany): // before ErrConflict, which may wrap it
		return errQuantityLimit
	case errors.Is(err, ErrEmailTaken):
		return errEmailTaken
	case errors.Is(err, ErrUsersFull):
		return errShopFull
	case errors.Is(err, password.ErrBusy), errors.Is(err, context.Canceled):
		return errBusy
	case errors.Is(err, sojourn.ErrAnonymous):
		return errLoginRequired
	case errors.Is(err, sojourn.ErrNotFresh):
		return errFreshRequired
	}
	for _, c := range sessionCodes {
		if errors.Is(err, c.err) {
			return &problem{status: sojourn.StatusCode(err), code: c.code}
		}
	}
	if status := sojourn.StatusCode(err); status != http.StatusInternalServerError {
		return &problem{status: status, code: errSessionDefault}
	}
	return errInternal
}

// fail answers with an error. Programs get JSON. People are redirected to a
// page where they can sign in or confirm the password, or get an error page.
func (v *visit) fail(err error) {
	p := problemOf(err)
	if p.status >= 500 && p != errBusy {
		v.shop.Log.ErrorContext(v.r.Context(), "shop: request failed", "method", v.r.Method, "path", v.r.URL.Path, "error", err)
	}
	if (problemView{problem: p}).Over() {
		v.unreadable = true // the session shows changes that were never written
	}
	h := v.w.Header()
	if p.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(5))
	}
	switch {
	case v.json:
		v.writeJSON(p.status, map[string]string{"error": p.code, "message": v.message(p)})
	case v.session != nil && (p == errLoginRequired || p == errFreshRequired):
		careful.Refuse(v.w, v.r, err) // which has AnswerError answer what is no page view
	default:
		v.render(p.status, "error", problemView{p, v.message(p)})
	}
}

// AnswerError answers a request with an error of the session engine that did
// not reach a handler of the shop. It is for sojourn.Options.OnError.
func AnswerError(w http.ResponseWriter, r *http.Request, err error) {
	v := &visit{
		shop: &Shop{Options: Options{Log: slog.Default()}}, w: w, r: r,
		json: wantsJSON(r),
	}
	v.lang, v.other = acceptedLanguage(r.Header.Get("Accept-Language"))
	v.fail(err)
}

type problemView struct {
	*problem
	Message string
}

// Status is the HTTP status, for the template.
func (p problemView) Status() int { return p.status }

// Over reports whether the visitor's session has ended.
func (p problemView) Over() bool { return p.code == "session_ended" || p.code == "session_renewed" }

func (v *visit) message(p *problem) string { return v.T("error."+p.code, p.args...) }
