package shop

import (
	"errors"
	"net/http"
	"time"

	"github.com/sojourn-go/sojourn"
)

// accountPage is GET /account.
func (v *visit) accountPage() error {
	devices, _, err := v.shop.Sessions.List(v.r.Context(), v.session.Subject(), "", 1000)
	unlisted := errors.Is(err, sojourn.ErrUnsupported) // every session is in its cookie
	if err != nil && !unlisted {
		return err
	}
	v.render(http.StatusOK, "account", struct {
		Notice   string
		Devices  int
		Unlisted bool
		Info     sojourn.Info
	}{v.notice(), len(devices), unlisted, v.session.Info()})
	return nil
}

// notice tells what the previous action did.
func (v *visit) notice() string {
	switch done := v.r.URL.Query().Get("done"); done {
	case "email", "logout":
		return v.T("done." + done)
	}
	return ""
}

// emailPage is GET /account/email. It asks for the password before the form,
// not after it.
func (v *visit) emailPage() error {
	v.render(http.StatusOK, "email", entry{Email: v.user.Email})
	return nil
}

// changeEmail is POST /account/email.
func (v *visit) changeEmail() error {
	email, ok := normaliseEmail(v.field("email"))
	err := error(errBadEmail)
	if ok {
		err = v.shop.Users.SetEmail(v.r.Context(), v.user.ID, email)
	}
	if err != nil {
		return v.retry("email", entry{}, err)
	}
	return v.done(map[string]string{"email": email}, "/account?done=email")
}

// pingEvery keeps proxies from closing an idle stream, and detects a browser
// that is gone.
const pingEvery = 15 * time.Second

// live is GET /live: a stream of events (SSE) that ends with the session. It
// does not count as activity. Nobody who isn't signed in gets here: a status
// other than 200 keeps an EventSource from trying again.
func (v *visit) live() error {
	v.session.Passive()
	over := v.session.Done()
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.Header().Set("X-Accel-Buffering", "no")

	if v.r.Method == http.MethodHead {
		return nil
	}

	rc := http.NewResponseController(v.w)
	_ = rc.SetReadDeadline(time.Time{}) // the server's deadline is for requests; not every server has one
	send := func(text string) bool {
		// A server without deadlines, as in tests, has no slow clients either.
		if err := rc.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return false
		}
		if _, err := v.w.Write([]byte(text)); err != nil {
			return false
		}
		return rc.Flush() == nil
	}
	if !send("event: hello\ndata: {}\n\n") {
		return nil
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-over:
			send("event: signed-out\ndata: {}\n\n")
			return nil
		case <-v.shop.closing: // the browser reconnects to the next process
			return nil
		case <-v.r.Context().Done():
			return nil
		case <-ping.C:
			if !send(": ping\n\n") {
				return nil
			}
		}
	}
}
