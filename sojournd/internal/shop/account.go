package shop

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/useragent"
	"github.com/sojourn-go/sojourn/store"
)

// accountPage is GET /account.
func (v *visit) accountPage() error {
	devices, err := v.devices()
	if err != nil {
		return err
	}
	v.render(http.StatusOK, "account", struct {
		Notice  string
		Devices int
		Info    sojourn.Info
	}{v.notice(), len(devices), v.session.Info()})
	return nil
}

// notice tells what the previous action did.
func (v *visit) notice() string {
	switch done := v.r.URL.Query().Get("done"); done {
	case "email", "ended", "others", "logout":
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

// A device is one of the user's sessions. It holds nothing secret.
type device struct {
	ID         sojourn.ID `json:"id"`
	Current    bool       `json:"current"`
	CreatedAt  time.Time  `json:"created_at"`
	LastSeenAt time.Time  `json:"last_seen_at"`
	Client     string     `json:"client"`

	SignedIn   time.Time `json:"-"`
	Remembered bool      `json:"-"`
	Mobile     bool      `json:"-"`
	Address    string    `json:"-"`
}

// devices returns the user's sessions: this one, then the others by last
// activity.
func (v *visit) devices() ([]device, error) {
	devices := []device{}
	for cursor := ""; ; {
		infos, next, err := v.shop.Sessions.List(v.r.Context(), v.session.Subject(), cursor, 1000)
		if err != nil {
			return nil, err
		}
		for _, info := range infos {
			agent := useragent.Of(info.LastSeen.UserAgent)
			d := device{
				ID: info.ID, Current: info.ID == v.session.ID(), CreatedAt: info.CreatedAt, LastSeenAt: info.LastSeenAt,
				Client: v.clientName(agent), SignedIn: info.AuthenticatedAt, Remembered: info.Remembered,
				Mobile: agent.Mobile,
			}
			if ip := info.LastSeen.IP; ip.IsValid() {
				d.Address = ip.String()
			}
			devices = append(devices, d)
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	slices.SortFunc(devices, func(a, b device) int {
		if a.Current != b.Current {
			if a.Current {
				return -1
			}
			return 1
		}
		return cmp.Or(b.LastSeenAt.Compare(a.LastSeenAt), b.ID.Compare(a.ID))
	})
	return devices, nil
}

// clientName names a client for people: "Firefox on Linux".
func (v *visit) clientName(b useragent.Browser) string {
	switch {
	case b.Name == "":
		return v.T("client.unknown")
	case b.System == "":
		return b.Name
	}
	return v.T("client.on", b.Name, b.System)
}

// sessionsPage is GET /account/sessions ("your devices") and
// /account/sessions.json.
func (v *visit) sessionsPage() error {
	devices, err := v.devices()
	if err != nil {
		return err
	}
	if v.json {
		v.writeJSON(http.StatusOK, map[string]any{"sessions": devices})
		return nil
	}
	v.render(http.StatusOK, "sessions", struct {
		Notice  string
		Devices []device
		Fresh   bool
	}{v.notice(), devices, v.session.Fresh(freshness)})
	return nil
}

// endSession is POST /account/sessions/{id}/end. It requires a recent password
// (OWASP ASVS 5.0, 7.5.2), except for the own session.
func (v *visit) endSession() error {
	id, err := store.ParseID(v.r.PathValue("id"))
	if err == nil && id == v.session.ID() {
		return v.logout()
	}
	if err := v.require(careful); err != nil {
		return err
	}
	if err != nil {
		return errNoSuchSession
	}
	if err := v.shop.Sessions.EndOwn(v.r.Context(), v.session.Subject(), id); err != nil {
		return err
	}
	return v.done(map[string]int{"ended": 1}, "/account/sessions?done=ended")
}

// endOthers is POST /account/sessions/end-others. It signs out everywhere else.
func (v *visit) endOthers() error {
	n, err := v.shop.Sessions.EndSubject(v.r.Context(), v.session.Subject(), v.session.ID())
	if err != nil {
		return err
	}
	return v.done(map[string]int{"ended": n}, "/account/sessions?done=others")
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
