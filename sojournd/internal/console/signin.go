package console

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
)

// entry is the data of the pages that ask for a password.
type entry struct {
	Name   string
	Back   string // where to go afterwards
	Error  string
	Notice string
}

// signInPage is GET /sign-in. With a code that signs in once, it signs in.
func (v *visit) signInPage() error {
	back := sojourn.LocalPath(v.query("return_to"), "/")
	if code := v.query("once"); code != "" {
		return v.signInOnce(code)
	}
	if v.operator != nil {
		return v.redirect(back)
	}
	e := entry{Back: back}
	if v.query("done") == "out" {
		e.Notice = "You are signed out."
	}
	v.render(http.StatusOK, "signin", e)
	return nil
}

func (v *visit) signInOnce(code string) error {
	if strings.Contains(v.r.Header.Get("Sec-Purpose"), "prefetch") {
		return errNoPage // a prefetch by the browser must not use up the code
	}
	o := v.setup.find(v.OnceAs)
	if o == nil || !v.takeOnce(code) {
		if v.operator != nil {
			return v.redirect("/")
		}
		v.render(errOnceUsed.status, "signin", entry{Back: "/", Error: errOnceUsed.Text})
		return nil
	}
	if err := v.logIn(o, "otp"); err != nil {
		return err
	}
	return v.redirect("/")
}

// signIn is POST /sign-in.
func (v *visit) signIn() error {
	name, back := v.field("name"), sojourn.LocalPath(v.field("return_to"), "/")
	o, err := v.authenticate(name, v.field("password"))
	if err != nil {
		return v.retry("signin", entry{Name: name, Back: back}, err)
	}
	if err := v.logIn(o, "pwd"); err != nil {
		return err
	}
	return v.redirect(back)
}

// confirmPage is GET /confirm, which asks for the password again.
func (v *visit) confirmPage() error {
	v.render(http.StatusOK, "confirm", entry{Name: v.operator.Name, Back: sojourn.LocalPath(v.query("return_to"), "/")})
	return nil
}

// confirm is POST /confirm. The same operator logs in again.
func (v *visit) confirm() error {
	back := sojourn.LocalPath(v.field("return_to"), "/")
	o, err := v.authenticate(v.operator.Name, v.field("password"))
	if errors.Is(err, errInvalidLogin) {
		err = &problem{errInvalidLogin.status, errInvalidLogin.code, "", "The password is wrong."}
	}
	if err != nil {
		return v.retry("confirm", entry{Name: v.operator.Name, Back: back}, err)
	}
	if err := v.logIn(o, "pwd"); err != nil {
		return err
	}
	return v.redirect(back)
}

// signOut is POST /sign-out.
func (v *visit) signOut() error {
	if err := v.session.Logout(); err != nil {
		return err
	}
	if err := v.session.Commit(v.r.Context()); err != nil {
		return err
	}
	return v.redirect("/sign-in?done=out")
}

// authenticate returns the operator of a name and a password. A wrong name and a
// wrong password take the same time and return the same error. After too many
// wrong passwords for the account, or from the address, it checks none for a
// while.
func (v *visit) authenticate(name, entered string) (*Operator, error) {
	caller := password.Caller{Address: password.AddressOf(v.setup.Sessions.RequestFrom(v.r).Client.IP), Account: name}
	o := v.setup.find(name)
	hash := ""
	if o != nil {
		hash = o.Hash
	}
	if utf8.RuneCountInString(entered) > password.MaxLength || len(name) > 255 {
		return nil, errInvalidLogin
	}
	right, undo, ok := v.attempts.Begin(v.Now(), caller)
	if !ok {
		v.signInFailed(name, errTooManyTries)
		return nil, errTooManyTries
	}
	match, err := v.Passwords.Verify(v.r.Context(), caller, entered, hash)
	switch {
	case err != nil:
		undo()
		if errors.Is(err, password.ErrBusy) {
			return nil, errBusy
		}
		return nil, err
	case !match:
		v.signInFailed(name, errInvalidLogin)
		return nil, errInvalidLogin
	}
	right()
	return o, nil
}

func (v *visit) signInFailed(name string, why *problem) {
	v.Audit(Operation{Operator: name, Action: "sign_in", Result: why.code, IP: v.address()})
}

func (v *visit) logIn(o *Operator, method string) error {
	if err := v.session.Login(o.Name, sojourn.AMR(method), sojourn.Level(1)); err != nil {
		return err
	}
	if err := passwordKey.Set(v.session, o.fingerprint()); err != nil {
		return err
	}
	err := v.session.Commit(v.r.Context())
	if err == nil {
		v.Audit(Operation{Operator: o.Name, Action: "sign_in", Result: "ok", IP: v.address()})
	}
	return err
}

// retry shows the form again, if the error is about what was entered.
func (v *visit) retry(page string, e entry, err error) error {
	var p *problem
	if !errors.As(err, &p) {
		return err
	}
	if p == errTooManyTries {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(password.Window.Seconds())))
	}
	e.Error = p.Text
	v.render(p.status, page, e)
	return nil
}
