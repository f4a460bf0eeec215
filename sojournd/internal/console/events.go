package console

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

const (
	kept       = 10_000 // events of an application that the node knows
	shownFirst = 200
)

// eventKinds are those that an operator can choose.
var eventKinds = []sojourn.EventKind{
	sojourn.EventCreated, sojourn.EventAuthenticated, sojourn.EventElevated, sojourn.EventRotated, sojourn.EventEnded, sojourn.EventEndedAll,
	sojourn.EventRefused, sojourn.EventThrottled, sojourn.EventClientChanged, sojourn.EventAdopted, sojourn.EventWriteFailed,
}

// A filter says which events are wanted. An empty field is no condition.
type filter struct{ Kind, Subject, Session, Address string }

func (v *visit) filter() filter {
	f := filter{v.query("kind"), v.query("subject"), strings.TrimSpace(v.query("session")), strings.TrimSpace(v.query("address"))}
	if ip, err := netip.ParseAddr(f.Address); err == nil {
		f.Address = ip.String()
	}
	return f
}

// matches reports whether the event is wanted. Gaps always are.
func (f *filter) matches(e *v1.Event) bool {
	if e.Kind == v1.KindGap {
		return true
	}
	is := func(wanted, got string) bool { return wanted == "" || wanted == got }
	from := ""
	if e.Client != nil {
		from = e.Client.IP
	}
	return is(f.Kind, e.Kind) && is(f.Subject, e.Subject) && is(f.Session, e.Session) && is(f.Address, from)
}

// text is a part of the JSON of every event that is wanted.
func (f *filter) text() string {
	for _, value := range []string{f.Session, f.Subject, f.Address, f.Kind} {
		if value != "" {
			b, err := json.Marshal(value)
			if err != nil {
				panic(err) // a string can always be encoded
			}
			return string(b)
		}
	}
	return ""
}

func (f *filter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"kind": f.Kind, "subject": f.Subject, "session": f.Session, "address": f.Address} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

func eventsPath(app string, q url.Values) string {
	path := "/apps/" + url.PathEscape(app) + "/events"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return path
}

// wanted returns the last events that are wanted, the newest first. A stream after
// newest has those that come later.
func (v *visit) wanted(f *filter, most int) (list []v1.Event, newest string) {
	found, newest := v.Console.Events.Find(v.app.Name, f.text(), kept)
	for _, e := range found {
		if f.matches(&e) {
			if list = append(list, e); len(list) == most {
				break
			}
		}
	}
	return list, newest
}

// eventsView is the data of the page of events.
type eventsView struct {
	filter
	Kinds            []choice
	Apps             []choice
	Rows             []eventRow
	All              bool // the page shows every event that is wanted and kept
	Filtered         bool
	Path             string
	Stream, Download string
}

// An eventRow is an event for the template "row".
type eventRow struct{ v1.Event }

func (r eventRow) At() *moment {
	t := r.Time.UTC()
	return &moment{t.Format("15:04:05.000"), t.Format("2006-01-02 15:04:05.000 UTC"), t.Format("2006-01-02T15:04:05.000Z")}
}

func (r eventRow) Path() string        { return sessionPathOf(r.App, r.Session) }
func (r eventRow) SubjectPath() string { return subjectPath(r.App, r.Subject) }
func (r eventRow) Label() string       { return words(r.Kind) }

// Bad reports whether the event tells of an attack or a loss.
func (r eventRow) Bad() bool {
	return r.Reason == string(sojourn.ReasonTheft) || slices.Contains([]string{string(sojourn.EventThrottled), string(sojourn.EventWriteFailed), v1.KindGap}, r.Kind)
}

// Short is the end of the session's ID, which differs most.
func (r eventRow) Short() string { return r.Session[max(len(r.Session)-12, 0):] }

// From is the address of the client and the name of its browser.
func (r eventRow) From() (from client) {
	if r.Client != nil {
		from.IP = r.Client.IP
		if r.Client.UserAgent != "" {
			from.Name = browserName(sojourn.Client{UserAgent: r.Client.UserAgent})
		}
	}
	return from
}

// eventsPage is GET /apps/{app}/events. It shows the last events, and a script
// adds those that follow.
func (v *visit) eventsPage() error {
	f := v.filter()
	list, newest := v.wanted(&f, shownFirst+1)
	data := &eventsView{
		filter: f, All: len(list) <= shownFirst, Filtered: f != filter{},
		Path: eventsPath(v.app.Name, nil), Download: eventsPath(v.app.Name, nil) + ".jsonl",
	}
	for _, e := range list[:min(len(list), shownFirst)] {
		data.Rows = append(data.Rows, eventRow{e})
	}
	for _, k := range eventKinds {
		data.Kinds = append(data.Kinds, choice{words(string(k)), string(k), f.Kind == string(k)})
	}
	for _, a := range v.Apps() {
		data.Apps = append(data.Apps, choice{a.Name, eventsPath(a.Name, nil), a.Name == v.app.Name})
	}
	q := f.query()
	if len(q) > 0 {
		data.Download += "?" + q.Encode()
	}
	if newest != "" {
		q.Set("after", newest)
	}
	data.Stream = eventsPath(v.app.Name, nil) + "/stream?" + q.Encode()
	v.render(http.StatusOK, "events", data)
	return nil
}

// eventsFile is GET /apps/{app}/events.jsonl: the events that are wanted and
// kept, as lines of JSON, the oldest first.
func (v *visit) eventsFile() error {
	f := v.filter()
	h := v.w.Header()
	h.Set("Content-Type", "application/jsonl")
	h.Set("Content-Disposition", `attachment; filename="events.jsonl"`)
	out := json.NewEncoder(v.w)
	list, _ := v.wanted(&f, kept)
	for _, e := range slices.Backward(list) {
		if err := out.Encode(&e); err != nil {
			return nil //nolint:nilerr // the browser is gone
		}
	}
	return nil
}

// eventStream is GET /apps/{app}/events/stream. It sends rows of the page's list
// as server-sent events, until the browser leaves, the operator's session ends,
// or a reload may have changed the operator's roles. The browser then comes
// again with the ID of its last event.
func (v *visit) eventStream() error {
	v.session.Passive()
	f := v.filter()
	ctx, cancel := context.WithCancel(v.r.Context())
	defer cancel()
	defer context.AfterFunc(v.setup.replaced, cancel)()
	ended := v.session.Done()
	go func() {
		select {
		case <-ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	after, last := v.r.Header.Get("Last-Event-ID"), 0
	if after == "" {
		after = v.query("after")
	}
	if after == "" { // the page was made before the first event
		last = kept
	}
	if err := v.Console.Events.Stream(&rows{ResponseWriter: v.w, visit: v, filter: &f}, v.r.WithContext(ctx), v.app.Name, after, last, true); err != nil {
		return errNoStream
	}
	return nil
}
