package shop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/webui"
)

// A visit is a request with its session and user.
type visit struct {
	shop    *Shop
	w       http.ResponseWriter
	r       *http.Request
	session *sojourn.Session // nil in AnswerError

	user  User        // zero: nobody is signed in
	prefs Preferences // of the user or the visitor
	lang  string      // a key of languages
	other bool        // the browser asks only for other languages, and the visitor chose none
	json  bool        // the answer is for a program

	unreadable bool // the session cannot be read
}

const maxForm = 64 << 10

func (sh *Shop) serve(w http.ResponseWriter, r *http.Request, h func(*visit) error, needs []sojourn.Requirement) {
	w.Header().Set("Cache-Control", "no-store") // every page may show data of the visitor
	w.Header().Set("Vary", "Accept, Accept-Language, Cookie")
	v := &visit{
		shop: sh, w: w, r: r, session: sojourn.From(r.Context()),
		json: wantsJSON(r),
	}
	v.lang, v.other = acceptedLanguage(r.Header.Get("Accept-Language"))
	err := v.load()
	if err == nil {
		err = v.parseForm()
	}
	for _, need := range needs {
		if err == nil {
			err = v.require(need)
		}
	}
	if err == nil {
		err = h(v)
	}
	if err != nil {
		v.fail(err)
	}
}

// load reads the session, the user and the preferences.
func (v *visit) load() error {
	ctx := v.r.Context()
	if err := v.session.Load(ctx); err != nil {
		v.unreadable = true
		return err
	}
	v.prefs, _ = preferencesKey.Get(v.session) // ignore unreadable preferences
	if id := v.session.Subject(); id != "" {
		user, err := v.shop.Users.ByID(ctx, id)
		if err != nil && !errors.Is(err, ErrNoUser) {
			return fmt.Errorf("shop: find the user: %w", err)
		}
		v.user = user
		v.prefs = user.Preferences.or(v.prefs)
	}
	v.speak()
	return nil
}

// speak uses the language of the preferences.
func (v *visit) speak() {
	if languages[v.prefs.Language] != nil {
		v.lang, v.other = v.prefs.Language, false
	}
}

// parseForm reads the body of a POST, up to maxForm. It ignores the query,
// which must not hold a password.
func (v *visit) parseForm() error {
	if v.r.Method != http.MethodPost {
		return nil
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	err := v.r.ParseForm()
	if kind, _, _ := mime.ParseMediaType(v.r.Header.Get("Content-Type")); err == nil && kind == "multipart/form-data" {
		err = v.r.ParseMultipartForm(maxForm)
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errFormTooLarge
	case err != nil && !errors.Is(err, io.EOF):
		return errBadForm
	}
	if !webui.ValidForm(v.r.PostForm) {
		return errBadForm
	}
	return nil
}

func (v *visit) field(name string) string { return v.r.PostForm.Get(name) }

// freshness is how recent the last login must be for important actions.
const freshness = 10 * time.Minute

// Pages of the account need a login, and important actions a recent password.
var (
	member  = sojourn.Requirement{SignIn: "/login", ReturnParam: "next"}
	careful = sojourn.Requirement{SignIn: "/login", StepUp: "/reauth", ReturnParam: "next", Fresh: freshness}
)

// require returns an error unless the visitor meets a requirement.
func (v *visit) require(need sojourn.Requirement) error {
	err := need.Check(v.r.Context(), v.session)
	if err == nil && v.user.ID == "" {
		return sojourn.ErrAnonymous // the account is gone
	}
	return err
}

// wantsJSON reports whether the answer is for a program.
func wantsJSON(r *http.Request) bool {
	if strings.HasSuffix(r.URL.Path, ".json") || r.URL.Path == "/live" {
		return true
	}
	return slices.ContainsFunc(strings.Split(r.Header.Get("Accept"), ","), func(one string) bool {
		kind, _, _ := strings.Cut(one, ";")
		return strings.EqualFold(strings.TrimSpace(kind), "application/json")
	})
}

func (v *visit) writeJSON(status int, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // all types can be encoded
	}
	v.w.Header().Set("Content-Type", "application/json")
	v.w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	v.w.WriteHeader(status)
	_, _ = v.w.Write(append(body, '\n')) // the client may be gone
}

// done answers a successful action: programs get JSON, browsers a redirect.
func (v *visit) done(answer any, next string) error {
	if v.json {
		v.writeJSON(http.StatusOK, answer)
		return nil
	}
	v.redirect(next)
	return nil
}

func (v *visit) redirect(to string) {
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
}

// render writes a page.
func (v *visit) render(status int, name string, data any) {
	var page bytes.Buffer
	if err := pageTemplates[name].ExecuteTemplate(&page, "base.html", &view{visit: v, Page: name, Data: data}); err != nil {
		v.shop.Log.ErrorContext(v.r.Context(), "shop: page failed", "page", name, "error", err)
		http.Error(v.w, "This page is broken.", http.StatusInternalServerError)
		return
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.lang)
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	v.w.WriteHeader(status)
	_, _ = v.w.Write(page.Bytes()) // the client may be gone
}
