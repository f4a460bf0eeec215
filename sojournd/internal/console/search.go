package console

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// A query is what the form of the sessions' list asks for, as in the address. An
// empty field is no condition.
type query struct {
	Subject, Match string // Match "prefix": the subject begins with Subject
	Network        string // an address, or a prefix such as 192.0.2.0/24
	Browser        string // a part of the user agent
	Kind           string // "user" or "anonymous"
	Remembered     string // "yes" or "no"
	Bound          string // "yes" or "no"
	Level          string // the lowest level: "1" to "3"
	Created, Seen  string // a key of ages

	CreatedFrom, CreatedTo, SeenFrom, SeenTo string // a date, or a time in RFC 3339

	at time.Time
}

// fields returns the fields by their names in the address.
func (q *query) fields() map[string]*string {
	return map[string]*string{
		"subject": &q.Subject, "match": &q.Match, "network": &q.Network, "browser": &q.Browser, "kind": &q.Kind,
		"remembered": &q.Remembered, "bound": &q.Bound, "level": &q.Level, "created": &q.Created, "seen": &q.Seen,
		"created_from": &q.CreatedFrom, "created_to": &q.CreatedTo, "seen_from": &q.SeenFrom, "seen_to": &q.SeenTo,
	}
}

// ages are the choices for a time, in the order of the form.
var ages = []struct {
	Key, Label string
	least      time.Duration // so long ago or longer; 0: no limit
	most       time.Duration // so long ago or less; 0: no limit
}{
	{"hour", "in the last hour", 0, time.Hour},
	{"day", "in the last day", 0, day},
	{"week", "in the last 7 days", 0, 7 * day},
	{"month", "in the last 30 days", 0, 30 * day},
	{"hour-ago", "more than an hour ago", time.Hour, 0},
	{"day-ago", "more than a day ago", day, 0},
	{"week-ago", "more than 7 days ago", 7 * day, 0},
	{"month-ago", "more than 30 days ago", 30 * day, 0},
}

const day = 24 * time.Hour

// searchQuery returns what the address asks for. All pages of a search use the
// time at which its first page was made.
func (v *visit) searchQuery() query {
	var q query
	for name, field := range q.fields() {
		*field = strings.TrimSpace(v.query(name))
	}
	q.Subject = v.query("subject") // blanks are part of a subject
	q.at = v.now()
	if ms, err := strconv.ParseInt(v.query("at"), 10, 64); err == nil && v.query("cursor") != "" {
		if at := time.UnixMilli(ms).UTC(); at.Before(q.at) && q.at.Sub(at) < day {
			q.at = at
		}
	}
	return q
}

// values returns the query for an address.
func (q *query) values() url.Values {
	values := url.Values{}
	for name, field := range q.fields() {
		if *field != "" {
			values.Set(name, *field)
		}
	}
	return values
}

// Searches reports whether the query asks for more than all sessions, or those of
// one subject, which are listed at once.
func (q *query) Searches() bool {
	rest := *q
	rest.Subject, rest.at = "", time.Time{}
	return rest != query{}
}

// Filters reports whether the query asks for more than a subject.
func (q *query) Filters() bool {
	rest := *q
	rest.Match = ""
	return rest.Searches()
}

// filter returns the query for the engine, or what is wrong with it.
func (q *query) filter() (f sojourn.Filter, wrong string) {
	switch q.Match {
	case "":
		f.Subject = q.Subject
	case "prefix":
		f.SubjectPrefix = q.Subject
	default:
		return f, "A subject can only be equal, or begin with the text."
	}
	if q.Network != "" {
		network, err := netip.ParsePrefix(q.Network)
		if ip, ipErr := netip.ParseAddr(q.Network); ipErr == nil {
			ip = ip.Unmap().WithZone("")
			network, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return f, "That is no address: write one like 192.0.2.7, or a prefix like 192.0.2.0/24 or 2001:db8::/48."
		}
		f.Network = network.Masked()
	}
	f.UserAgent = q.Browser
	var ok [6]bool
	f.LoggedIn, ok[0] = chosen(q.Kind, "user", "anonymous")
	f.Remembered, ok[1] = chosen(q.Remembered, "yes", "no")
	ok[2] = true
	if q.Level != "" {
		level, err := strconv.Atoi(q.Level)
		f.MinLevel, ok[2] = level, err == nil && level >= 0 && level <= 3
	}
	f.CreatedFrom, f.CreatedTo, ok[3] = q.age(q.Created)
	f.SeenFrom, f.SeenTo, ok[4] = q.age(q.Seen)
	f.Bound, ok[5] = chosen(q.Bound, "yes", "no")
	for _, is := range ok {
		if !is {
			return f, "The address asks for something that the form doesn't offer."
		}
	}
	for _, is := range []struct {
		text         string
		limit        *time.Time
		moreNarrowly func(limit, at time.Time) bool
	}{
		{q.CreatedFrom, &f.CreatedFrom, time.Time.Before}, {q.CreatedTo, &f.CreatedTo, time.Time.After},
		{q.SeenFrom, &f.SeenFrom, time.Time.Before}, {q.SeenTo, &f.SeenTo, time.Time.After},
	} {
		if is.text == "" {
			continue
		}
		at, err := v1.ParseMoment(is.text)
		if err != nil {
			return f, "That is no date: write one like 2026-11-29, or a time like 2026-11-29T09:30:00Z."
		}
		if is.limit.IsZero() || is.moreNarrowly(*is.limit, at) {
			*is.limit = at
		}
	}
	return f, ""
}

func chosen(text, only, not string) (sojourn.Choice, bool) {
	switch text {
	case only:
		return sojourn.Only, true
	case not:
		return sojourn.Not, true
	}
	return sojourn.Either, text == ""
}

// age returns the limits of a time.
func (q *query) age(key string) (from, to time.Time, ok bool) {
	for _, age := range ages {
		if age.Key == key {
			if age.most > 0 {
				from = q.at.Add(-age.most)
			}
			if age.least > 0 {
				to = q.at.Add(-age.least)
			}
			return from, to, true
		}
	}
	return from, to, key == ""
}

// progress is how far a search is.
type progress struct {
	Examined int64
	Percent  int
	Done     bool
}

// search fills the data with a page of a search.
func (v *visit) search(data *sessionsView) error {
	f, wrong := data.Query.filter()
	if data.Wrong = wrong; wrong != "" {
		return nil
	}
	page, err := v.app.Sessions.Search(v.r.Context(), f, v.query("cursor"), pageSize)
	if err != nil {
		return err
	}
	data.Rows = v.rows(page.Sessions)
	data.Progress = &progress{page.Examined, int(100 * page.Share), page.Cursor == ""}
	data.next(v, page.Cursor)
	return nil
}

// An option is a choice of a select.
type option struct {
	Value, Label string
	Selected     bool
}

// Options returns the choices of one of the form's fields.
func (s *sessionsView) Options(field string) (list []option) {
	now := *s.Query.fields()[field]
	add := func(value, label string) { list = append(list, option{value, label, value == now}) }
	switch field {
	case "match":
		add("", "is")
		add("prefix", "begins with")
		return list
	}
	add("", "any")
	switch field {
	case "kind":
		add("user", "logged in")
		add("anonymous", "anonymous")
	case "remembered", "bound":
		add("yes", "yes")
		add("no", "no")
	case "level":
		for _, level := range []string{"1", "2", "3"} {
			add(level, level+" or higher")
		}
	case "created", "seen":
		for _, age := range ages {
			add(age.Key, age.Label)
		}
	}
	return list
}
