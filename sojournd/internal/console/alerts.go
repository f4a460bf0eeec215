package console

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/history"
)

// An alertView is an incident with what an operator can do.
type alertView struct {
	Kind, App   string // App is empty for the node's store
	Title, Text string
	Count       string
	Last, First *moment
	Address     string
	Browser     string
	Links       []choice
	at          time.Time
}

// alertsPage is GET /alerts. It shows what went wrong in the last day on this
// node, with the operator's applications and with the store.
func (v *visit) alertsPage() error {
	var list []alertView
	for _, a := range v.Apps() {
		for _, in := range v.History.Incidents(a.Name) {
			list = append(list, v.alert(a, &in))
		}
	}
	if len(v.Apps()) > 0 {
		for _, in := range v.History.Incidents("") {
			list = append(list, v.alert(nil, &in))
		}
	}
	slices.SortStableFunc(list, func(a, b alertView) int { return b.at.Compare(a.at) })
	v.render(http.StatusOK, "alerts", list)
	return nil
}

// alert says what an incident is. The application is nil for the store.
func (v *visit) alert(a *Application, in *history.Incident) alertView {
	out := alertView{First: v.Time(in.First), Last: v.Time(in.Last), at: in.Last, Browser: in.Client.UserAgent}
	if in.Client.UserAgent != "" {
		out.Browser = browserName(in.Client)
	}
	if in.Client.IP.IsValid() {
		out.Address = in.Client.IP.String()
	}
	if in.Count > 1 {
		out.Count = grouped(int64(in.Count)) + " times"
	}
	link := func(name, path string) { out.Links = append(out.Links, choice{Name: name, Path: path}) }
	if a != nil {
		out.App = a.Name
	}
	subject := func() {
		if in.Subject != "" {
			link("Sessions of "+short(in.Subject, 40), subjectPath(a.Name, in.Subject))
		}
	}
	events := func(name, key, value string) {
		link(name, eventsPath(a.Name, url.Values{key: {value}}))
	}
	switch in.Kind {
	case history.Theft:
		out.Kind, out.Title = "theft", "A stolen token was used"
		out.Text = "Somebody used a token that a newer one had replaced, so two browsers had this session. It has ended. " +
			"Tell the user, end their other sessions, and ask them to change the password. If many users are affected, the application leaks cookies: end all sessions when the leak is closed."
		subject()
		link("The session", sessionPathOf(a.Name, in.Session))
		events("Its events", "session", in.Session)
	case history.Guessing:
		out.Kind, out.Title = "guessing", "An address guesses tokens"
		out.Text = "It sent more bad tokens in a minute than the application allows, and is slowed down. A token can't be guessed. " +
			"Block the address at the proxy if it costs you something. If it is your own proxy's, add that to trusted_proxies."
		if out.Address != "" {
			link("Sessions from this address", sessionsPath(a.Name, url.Values{"network": {out.Address}}))
			events("Events of this address", "address", out.Address)
		}
	case history.Limit:
		out.Kind, out.Title = "limit", "A login was refused: too many sessions"
		out.Text = "The subject has as many sessions as max_sessions allows. End some that are not needed. " +
			"If a program signs in again and again, it should keep its cookie."
		subject()
		events("Events of the subject", "subject", in.Subject)
	default:
		out.Kind, out.Title = "store", "The store failed: "+words(in.Call)
		out.Text = "Requests that needed it got 503, and nothing that was acknowledged is lost. The node recovers by itself when the store answers. " +
			"The server's log and /readyz say why it failed."
		link("Figures of the store", "/#store")
	}
	return out
}

func sessionsPath(app string, q url.Values) string {
	return "/apps/" + url.PathEscape(app) + "/sessions?" + q.Encode()
}

func sessionPathOf(app, id string) string {
	return "/apps/" + url.PathEscape(app) + "/sessions/" + url.PathEscape(id)
}

// Alerts is the number of incidents of the last day that the operator may see,
// or empty if there are none.
func (v *visit) Alerts() string {
	n := 0
	for _, a := range v.Apps() {
		n += len(v.History.Incidents(a.Name))
	}
	if len(v.Apps()) > 0 {
		n += len(v.History.Incidents(""))
	}
	if n == 0 {
		return ""
	}
	return grouped(int64(n))
}
