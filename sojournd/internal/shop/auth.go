package shop

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/internal/peer"
	"github.com/sojourn-go/sojourn/sojournd/internal/password"
)

// normaliseEmail returns an address in the form in which it is stored and
// compared. It reports false if the text is not an address.
func normaliseEmail(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || a.Name != "" || len(s) > 254 { // 254: RFC 5321, erratum 1690
		return "", false
	}
	return s, true
}

// AddDemo creates the accounts for the sign-in page, unless they exist. It
// returns them with their current addresses.
func AddDemo(ctx context.Context, users *Users, passwords *password.Hasher, accounts []Account) ([]Account, error) {
	accounts = slices.Clone(accounts)
	for i, a := range accounts {
		name, _, _ := strings.Cut(a.Email, "@")
		id := "demo-" + name
		switch u, err := users.ByID(ctx, id); {
		case err == nil:
			accounts[i].Email = u.Email
			continue
		case !errors.Is(err, ErrNoUser):
			return nil, err
		}
		hash, err := passwords.Hash(ctx, password.Caller{}, a.Password)
		if err != nil {
			return nil, err
		}
		if err := users.Add(ctx, User{ID: id, Email: a.Email, PasswordHash: hash}); err != nil {
			if _, there := users.ByID(ctx, id); there != nil { // otherwise another process was faster
				return nil, err
			}
		}
	}
	return accounts, nil
}

// entry is the content of a form about the account.
type entry struct {
	Next    string
	Email   string
	Notice  string
	Error   string
	Demo    []Account
	Checked bool // "keep me signed in"
}

// retry shows a form again, with the error. Programs get the error itself.
func (v *visit) retry(page string, e entry, err error) error {
	p := problemOf(err)
	if v.json || p.status >= 500 || p.status == http.StatusConflict && p != errEmailTaken {
		return err
	}
	e.Error = v.message(p)
	e.Next = sojourn.LocalPath(v.field("next"), "")
	e.Email = v.field("email")
	e.Checked = v.remember()
	if page == "login" {
		e.Demo = v.shop.Demo
	}
	v.render(p.status, page, e)
	return nil
}

func (v *visit) remember() bool {
	switch v.field("remember") {
	case "", "0", "false", "off", "no":
		return false
	}
	return true
}

// loginPage is GET /login. If the visitor was signed out, it tells why.
func (v *visit) loginPage() error {
	next := sojourn.LocalPath(v.r.URL.Query().Get("next"), "")
	if v.user.ID != "" {
		v.redirect(sojourn.LocalPath(next, "/"))
		return nil
	}
	e := entry{Next: next, Demo: v.shop.Demo}
	if reason := v.session.EndReason(); reason != "" {
		e.Notice = v.T("ended." + string(reason))
	} else if next != "" {
		e.Notice = v.T("login.needed")
	}
	v.render(http.StatusOK, "login", e)
	return nil
}

// login is POST /login.
func (v *visit) login() error {
	user, err := v.authenticate(v.field("email"), v.field("password"))
	if err == nil {
		err = v.signIn(user, v.remember())
	}
	if err != nil {
		return v.retry("login", entry{}, err)
	}
	return v.done(v.whoami(), sojourn.LocalPath(v.field("next"), "/"))
}

// authenticate returns the user of an address and a password. A wrong address
// and a wrong password take the same time and return the same error. After too
// many wrong passwords it checks none for a while.
func (v *visit) authenticate(email, entered string) (User, error) {
	if utf8.RuneCountInString(entered) > password.MaxLength {
		return User{}, errPasswordLong
	}
	ctx := v.r.Context()
	caller := password.Caller{Address: password.AddressOf(peer.Of(v.r).IP), Account: strings.ToLower(strings.TrimSpace(email))}
	right, undo, ok := v.shop.attempts.Begin(v.shop.Now(), caller)
	if !ok {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(password.Window.Seconds())))
		return User{}, errTooManyTries
	}
	checked := false
	defer func() {
		if !checked {
			undo()
		}
	}()
	email, _ = normaliseEmail(email)
	user, err := v.shop.Users.ByEmail(ctx, email)
	if err != nil && !errors.Is(err, ErrNoUser) {
		return User{}, err
	}
	match, err := v.shop.Passwords.Verify(ctx, caller, entered, user.PasswordHash)
	if err != nil {
		return User{}, err
	}
	checked = true
	if !match {
		return User{}, errInvalidLogin
	}
	right()
	return user, nil
}

// signIn logs the visitor in. It adds the user's saved cart to the visitor's
// cart. The user's preferences override the visitor's.
func (v *visit) signIn(user User, remember bool) error {
	ctx := v.r.Context()
	options := []sojourn.LoginOption{sojourn.AMR("pwd")}
	if remember {
		options = append(options, sojourn.Remember())
	}
	// Login first: if another user is signed in, it starts an empty session, so
	// their cart does not mix with this user's.
	if err := v.session.Login(user.ID, options...); err != nil {
		return err
	}
	err := cartKey.Update(v.session, func(c *cart) error { c.adopt(user.ID, user.Cart); return nil })
	if errors.Is(err, sojourn.ErrValue) { // an unreadable cart must not prevent the login
		err = cartKey.Set(v.session, cart{User: user.ID, Items: user.Cart})
	}
	if err != nil {
		return err
	}
	chosen, _ := preferencesKey.Get(v.session) // ignore unreadable preferences
	if err := v.session.Commit(ctx); err != nil {
		return err
	}
	if c, err := cartKey.Get(v.session); err == nil {
		v.saveCart(c)
	}
	if prefs := user.Preferences.or(chosen); prefs != user.Preferences {
		if err := v.shop.Users.SetPreferences(ctx, user.ID, prefs, v.shop.Now()); err != nil {
			v.shop.Log.ErrorContext(ctx, "shop: save the preferences", "user", user.ID, "error", err)
		}
		user.Preferences = prefs
	}
	v.user = user
	return nil
}

// signupPage is GET /signup.
func (v *visit) signupPage() error {
	v.render(http.StatusOK, "signup", entry{Next: sojourn.LocalPath(v.r.URL.Query().Get("next"), "")})
	return nil
}

// signup is POST /signup. It creates an account and signs in.
func (v *visit) signup() error {
	err := v.signUp(v.field("email"), v.field("password"))
	if err != nil {
		return v.retry("signup", entry{}, err)
	}
	if v.json {
		v.writeJSON(http.StatusCreated, v.whoami())
		return nil
	}
	v.redirect(sojourn.LocalPath(v.field("next"), "/"))
	return nil
}

func (v *visit) signUp(email, entered string) error {
	email, ok := normaliseEmail(email)
	if !ok {
		return errBadEmail
	}
	if n := utf8.RuneCountInString(entered); n < password.MinLength || n > password.MaxLength {
		return errBadPassword
	}
	ctx := v.r.Context()
	hash, err := v.shop.Passwords.Hash(ctx, password.Caller{Address: password.AddressOf(peer.Of(v.r).IP)}, entered)
	if err != nil {
		return err
	}
	user := User{ID: "u-" + strings.ToLower(rand.Text()), Email: email, PasswordHash: hash}
	if err := v.shop.Users.Add(ctx, user); err != nil {
		return err
	}
	return v.signIn(user, v.remember())
}

// logout is POST /logout. The user keeps the cart, which was saved at each
// change.
func (v *visit) logout() error {
	next := "/"
	if v.user.ID != "" {
		next = "/?done=logout"
	}
	if err := v.session.Logout(); err != nil {
		return err
	}
	if err := v.session.Commit(v.r.Context()); err != nil {
		return err
	}
	return v.done(identity{}, next)
}

// reauthPage is GET /reauth. It asks for the password again.
func (v *visit) reauthPage() error {
	v.render(http.StatusOK, "reauth", entry{Next: sojourn.LocalPath(v.r.URL.Query().Get("next"), "")})
	return nil
}

// reauth is POST /reauth. The same user logs in again, which renews the session
// and its limits.
func (v *visit) reauth() error {
	user, err := v.authenticate(v.user.Email, v.field("password"))
	if errors.Is(err, errInvalidLogin) {
		err = errWrongPassword
	}
	if err == nil {
		err = v.signIn(user, v.session.Info().Remembered)
	}
	if err != nil {
		return v.retry("reauth", entry{}, err)
	}
	return v.done(v.whoami(), sojourn.LocalPath(v.field("next"), "/account"))
}

// identity tells to whom the session belongs.
type identity struct {
	Subject string     `json:"subject"`
	Session sojourn.ID `json:"session"`
	Level   int        `json:"level"`
}

func (v *visit) whoami() identity {
	return identity{v.session.Subject(), v.session.ID(), v.session.Level()}
}

// me is GET /me.json.
func (v *visit) me() error {
	v.writeJSON(http.StatusOK, v.whoami())
	return nil
}
