package console

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/history"
)

// overview is the data of the page of figures.
type overview struct {
	App    string // whose charts are shown; empty: the operator sees no application
	Span   history.Span
	Spans  []choice
	Cards  []card
	Lamps  []lamp
	Charts []chart
	Every  int // seconds until the script asks again
	Live   string
}

// A choice is a link of several, of which one is chosen.
type choice struct {
	Name, Path string
	Chosen     bool
}

// A card is an application with its live sessions.
type card struct {
	choice
	LoggedIn, Anonymous string
	Checks              string // per second
	Spark               string // the path of the logged in
	Alerts              int
}

// A lamp says how a part of the node is.
type lamp struct {
	Name, State string
	Bad         bool
	Notes       []string
}

// overviewPage is GET /. It shows the live figures of the operator's
// applications on this node, and charts of one of them.
func (v *visit) overviewPage() error {
	v.render(http.StatusOK, "overview", v.overview())
	return nil
}

// overviewLive is GET /figures, the part of the page that changes. A script asks
// for it again and again, so it is no activity of the operator.
func (v *visit) overviewLive() error {
	v.session.Passive()
	v.write(http.StatusOK, "overview", "parts", v.overview())
	return nil
}

func (v *visit) overview() *overview {
	o := &overview{Every: 1}
	if v.query("span") == "hour" {
		o.Span, o.Every = history.Hour, 15
	}
	apps := v.Apps()
	for _, a := range apps {
		if o.App == "" || a.Name == v.query("app") {
			o.App = a.Name
		}
	}
	path := func(at, app string, span history.Span) string {
		q := url.Values{"app": {app}}
		if span == history.Hour {
			q.Set("span", "hour")
		}
		return at + "?" + q.Encode()
	}
	o.Live = path("/figures", o.App, o.Span)
	o.Spans = []choice{
		{"5 minutes", path("/", o.App, history.Live), o.Span == history.Live},
		{"1 hour", path("/", o.App, history.Hour), o.Span == history.Hour},
	}
	for _, a := range apps {
		f := v.History.Read(a.Name, history.Live)
		o.Cards = append(o.Cards, v.card(choice{a.Name, path("/", a.Name, o.Span), a.Name == o.App}, &f))
	}
	if o.App == "" {
		return o
	}
	f := v.History.Read(o.App, o.Span)
	o.Lamps = lamps(v.History.Read(o.App, history.Live))
	o.Charts = v.charts(&f)
	return o
}

func (v *visit) card(c choice, f *history.Figures) card {
	users := gauge(f.Points, func(p *history.Point) int64 { return p.LoggedIn })
	out := card{choice: c, LoggedIn: "–", Anonymous: "–", Checks: "–", Alerts: len(v.History.Incidents(c.Name))}
	last := f.Points[len(f.Points)-1]
	if last.Recorded {
		out.Checks = grouped(int64(last.Checks.N))
		if last.LoggedIn >= 0 {
			out.LoggedIn, out.Anonymous = grouped(last.LoggedIn), grouped(last.Anonymous)
		}
	}
	top := 1.0
	for _, u := range users {
		top = max(top, u)
	}
	out.Spark = curve(users, top*1.1)
	return out
}

// lamps say how the store and its cache were in the last minute.
func lamps(f history.Figures) []lamp {
	store, cache := lamp{Name: "Store", State: "no calls"}, lamp{Name: "Memory", State: "no reads"}
	var calls, errors, hits, misses uint32
	var slowest time.Duration
	for _, p := range f.Node[len(f.Node)-60:] {
		calls, errors, hits, misses = calls+p.Store.N, errors+p.Errors, hits+p.Hits, misses+p.Misses
		slowest = max(slowest, p.Store.P99)
	}
	switch {
	case errors > 0:
		store.State, store.Bad = fmt.Sprintf("%s of %s calls failed", grouped(int64(errors)), grouped(int64(calls))), true
	case calls > 0:
		store.State = "answers; slowest p99 " + seconds(slowest.Seconds())
	}
	if hits+misses > 0 {
		cache.State = fmt.Sprintf("%.0f %% of reads", 100*float64(hits)/float64(hits+misses))
	}
	feed := lamp{Name: "Change feed", State: "live"}
	if !f.Health.Cache {
		cache.State, feed.State = "the store itself", "not needed"
	} else if !f.Health.Live && !f.Until.IsZero() {
		feed.State, feed.Bad = "down: each read goes to the store", true
	}
	list := []lamp{store, cache, feed}
	if len(f.Health.Warnings) > 0 {
		list = append(list, lamp{Name: "Warnings", State: fmt.Sprint(len(f.Health.Warnings)), Bad: true, Notes: f.Health.Warnings})
	}
	return list
}

func (v *visit) charts(f *history.Figures) []chart {
	points := f.Points
	group := len(points) / bucketsShown
	bar := f.Step * time.Duration(group)
	leave := int(f.Until.Sub(f.Until.Truncate(bar)) / f.Step) // points of the last bar, which isn't complete
	barsUntil := f.Until.Add(-f.Step * time.Duration(leave))
	sum := func(of []string, at func(p *history.Point, i int) uint32) (list []series) {
		for i, name := range of {
			list = append(list, series{words(name), i + 1, perMinute(points, leave, f.Step, func(p *history.Point) uint32 { return at(p, i) })})
		}
		return notEmpty(list)
	}
	checks := func(i int) history.Calls { return points[i].Checks }
	calls := func(i int) history.Calls { return f.Node[i].Store }
	return []chart{
		v.draw(chart{ID: "live", Title: "Live sessions", Note: "of all nodes, if they share the store"}, number, f.Until, f.Step,
			series{"logged in", 0, gauge(points, func(p *history.Point) int64 { return p.LoggedIn })},
			series{"anonymous", 0, gauge(points, func(p *history.Point) int64 { return p.Anonymous })}),
		v.draw(chart{ID: "checks", Title: "Checks per second"}, number, f.Until, f.Step,
			series{"checks", 0, perSecond(len(points), f.Step, func(i int) (uint32, bool) { return points[i].Checks.N, points[i].Recorded })}),
		v.draw(chart{ID: "latency", Title: "Time of a check"}, seconds, f.Until, f.Step,
			series{"p50", 0, quantile(len(points), checks, p50)}, series{"p99", 0, quantile(len(points), checks, p99)}),
		v.draw(chart{ID: "created", Title: "Created per minute", Stacked: true}, number, barsUntil, bar,
			sum(history.Created[:], func(p *history.Point, i int) uint32 { return p.Created[i] })...),
		v.draw(chart{ID: "ended", Title: "Ended per minute, by reason", Stacked: true}, number, barsUntil, bar,
			sum(history.Ended[:], func(p *history.Point, i int) uint32 { return p.Ended[i] })...),
		v.draw(chart{ID: "refused", Title: "Refused per minute, by reason", Stacked: true, Note: "tokens, and logins for which the store had a limit or a barrier"}, number, barsUntil, bar,
			sum(append(history.Refused[:len(history.Refused):len(history.Refused)], history.Barred[:]...), func(p *history.Point, i int) uint32 {
				if i < len(p.Refused) {
					return p.Refused[i]
				}
				return p.Barred[i-len(p.Refused)]
			})...),
		v.draw(chart{ID: "store", Title: "Time of a call of the store", Note: "all applications; without reads from memory"}, seconds, f.Until, f.Step,
			series{"p50", 0, quantile(len(points), calls, p50)}, series{"p99", 0, quantile(len(points), calls, p99)}),
		v.draw(chart{ID: "errors", Title: "Calls of the store that failed, per second", Note: "all applications"}, number, f.Until, f.Step,
			series{"errors", 0, perSecond(len(points), f.Step, func(i int) (uint32, bool) { return f.Node[i].Errors, f.Node[i].Recorded })}),
	}
}
