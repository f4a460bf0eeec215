package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
	"github.com/sojourn-go/sojourn/sojournd/internal/history"
)

// The overview shows the figures of the operator's applications, as charts and
// as tables, and those of no other application.
func TestOverview(t *testing.T) {
	w := newWorld(t)
	w.busy(62)
	ann := w.as("ann")
	page := ann.get("/?app=shop").want(200)
	page.has("node-1", `<h2><a class="cover" href="/?app=shop" aria-current="true">shop</a></h2>`, `href="/?app=blog"`, `<path class="curve s1" d="M`, `<path class="bars s`,
		`<th scope="col">anonymous</th>`, "Checks per second", "Ended per minute, by reason", "logout", "idle", "calls failed", `href="/apps/shop/events"`)
	if !strings.Contains(page.body, "<dt>Logged in</dt><dd>9</dd>") || !strings.Contains(page.body, "<dt>Anonymous</dt><dd>3</dd>") {
		t.Error("the live sessions are missing")
	}
	ann.get("/?app=shop&span=hour").want(200).has(`data-every="15"`, `<path class="bars s`)
	ann.get("/?app=nobody").want(200).has(`aria-current="true">shop`)
	sam := w.as("sam")
	for _, path := range []string{"/", "/?app=blog", "/figures?app=blog"} {
		sam.get(path).want(200).has(`aria-current="true">shop`).lacks("blog")
	}
	w.operators[2].Roles = nil
	w.reload()
	sam.get("/").want(200).has("no application").lacks("calls failed", "node-1 alone</")
	sam.get("/figures").want(200).lacks("calls failed")
	w.browser().get("/figures").want(303)
}

// A page that refreshes itself keeps no operator signed in.
func TestFiguresAreNoActivity(t *testing.T) {
	w := newWorld(t)
	b := w.as("ann")
	seen := func() time.Time {
		t.Helper()
		if err := w.sessions.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, _, err := w.sessions.List(t.Context(), "ann", "", 1)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		return list[0].LastSeenAt
	}
	before := seen()
	w.pass(10 * time.Minute)
	b.get("/figures").want(200)
	if now := seen(); !now.Equal(before) {
		t.Errorf("the script's request moved it from %v to %v", before, now)
	}
	b.get("/").want(200)
	if now := seen(); now.Equal(before) {
		t.Error("a page that the operator opened moved nothing")
	}
}

// Charts leave gaps where nothing was recorded. A bar never takes figures from
// its neighbour while time passes.
func TestCharts(t *testing.T) {
	gap := math.NaN()
	for _, c := range []struct {
		figures []float64
		want    string
	}{
		{[]float64{0, 10}, "M0 120L600 0"},
		{[]float64{10, 10, 10, 10, 0}, "M0 0L450 0L600 120"},
		{[]float64{gap, 5, gap, 10, 0}, "M150 60h.01M450 0L600 120"},
		{[]float64{gap, gap}, ""},
	} {
		if got := curve(c.figures, 10); got != c.want {
			t.Errorf("%v is drawn as %s, want %s", c.figures, got, c.want)
		}
	}
	base := []float64{5, 0}
	if got, want := bars([]float64{5, gap}, base, 10), "M30 0h240v60h-240z"; got != want || base[0] != 10 {
		t.Errorf("a bar is drawn as %s on %v, want %s", got, base, want)
	}
	for f, want := range map[float64]float64{0: 1, 1: 1, 3: 5, 7: 10, 20: 20, 21: 50, 99999: 100000, .0003: .0005} {
		if got := ceiling(f); math.Abs(got/want-1) > 1e-9 {
			t.Errorf("the top above %v is %v, want %v", f, got, want)
		}
	}
	points := make([]history.Point, 300)
	for i := range points {
		points[i] = history.Point{Recorded: i >= 100, Created: [2]uint32{1}}
	}
	for leave := range 5 {
		list := perMinute(points, leave, time.Second, func(p *history.Point) uint32 { return p.Created[0] })
		if len(list) != 60 || list[59] != 60 || !math.IsNaN(list[0]) {
			t.Errorf("with %d left out: %v", leave, list)
		}
	}
	for f, want := range map[float64]string{0: "0", 3: "3", .05: "<0.1", 2.25: "2.2", 1234567: "1\u202f234\u202f567"} {
		if got := number(f); got != want {
			t.Errorf("%v is written %q, want %q", f, got, want)
		}
	}
	for f, want := range map[float64]string{0: "0", 12e-6: "12 µs", .0015: "1.5 ms", .25: "250 ms", 1.5: "1.5 s"} {
		if got := seconds(f); got != want {
			t.Errorf("%v s is written %q, want %q", f, got, want)
		}
	}
}

const hostileText = "<script>alert(1)</script>\u202e\nevent: row\ndata: x"

// Each alert leads to what it is about, and is seen by operators of its
// application only.
func TestAlertsPage(t *testing.T) {
	w := newWorld(t)
	lou, sam := w.as("lou"), w.as("sam")
	lou.get("/alerts").want(200).has("Nothing went wrong").lacks("tally")
	thief := sojourn.Client{IP: netip.MustParseAddr("192.0.2.66"), UserAgent: hostileText}
	id := sojourn.ID{1, 2, 3}
	w.history.Observe(sojourn.Event{App: "shop", Kind: sojourn.EventEnded, Reason: sojourn.ReasonTheft, Time: w.time(), Session: id, Subject: hostileText, Client: thief})
	for range 2 {
		w.history.Observe(sojourn.Event{App: "shop", Kind: sojourn.EventThrottled, Time: w.time(), Client: thief})
	}
	w.history.Barred("blog", "limit", "linus", sojourn.Client{})
	w.history.Called("end_subject", time.Second, false)
	page := lou.get("/alerts").want(200)
	page.has("A stolen token was used", "An address guesses tokens", `2 times since <time datetime="2026-11-29`, "too many sessions", "The store failed: end subject", "192.0.2.66",
		`href="`+sessionPath("shop", id)+`"`, `href="/apps/shop/sessions?network=192.0.2.66"`, `href="/apps/shop/events?address=192.0.2.66"`, `href="/apps/blog/subject?subject=linus"`, `href="/apps/blog/events?subject=linus"`, `<span class="tally">4`)
	page.lacks("<script>alert", "\u202e")
	sam.get("/alerts").want(200).has("A stolen token", "The store failed", `<span class="tally">3`).lacks("linus", "blog", "too many sessions")
	lou.get(subjectPath("shop", hostileText)[:60]).want(200)
	w.pass(25 * time.Hour)
	w.as("lou").get("/alerts").has("Nothing went wrong")
}

// event publishes an event of an application.
func (w *world) event(app string, kind sojourn.EventKind, change func(*sojourn.Event)) {
	e := sojourn.Event{App: app, Kind: kind, Time: w.time()}
	if change != nil {
		change(&e)
	}
	w.hub.Observer(app)(e)
}

// Filters choose events by kind, subject, session and address, on the page and
// in the download. What is hostile in them is text.
func TestEventsPage(t *testing.T) {
	w := newWorld(t)
	b := w.as("sam")
	b.get("/apps/shop/events").want(200).has("No events yet")
	one, two := sojourn.ID{15: 1}, sojourn.ID{15: 2}
	at := sojourn.Client{IP: netip.MustParseAddr("2001:db8::7"), UserAgent: hostileText}
	w.event("shop", sojourn.EventCreated, func(e *sojourn.Event) { e.Session, e.Client = one, at })
	w.event("shop", sojourn.EventAuthenticated, func(e *sojourn.Event) { e.Session, e.Subject = one, hostileText })
	w.event("shop", sojourn.EventEnded, func(e *sojourn.Event) { e.Session, e.Subject, e.Reason, e.Detail = two, "anna", "theft", hostileText })
	w.event("blog", sojourn.EventCreated, func(e *sojourn.Event) { e.Subject = "of-the-blog" })
	rows := func(path string) int { return strings.Count(b.get(path).want(200).body, "<time ") }
	for query, want := range map[string]int{
		"": 3, "kind=ended": 1, "kind=rotated": 0, "subject=anna": 1, "subject=ann": 0, "session=" + one.String(): 2, "session=" + one.String() + "&kind=created": 1,
		"address=2001:0db8::7": 1, "address=192.0.2.1": 0, "subject=" + url.QueryEscape(hostileText): 1, "kind=" + url.QueryEscape(hostileText): 0,
	} {
		if got := rows("/apps/shop/events?" + query); got != want {
			t.Errorf("%q shows %d events, want %d", query, got, want)
		}
		if got := strings.Count(b.get("/apps/shop/events.jsonl?"+query).want(200).body, "\n"); got != want {
			t.Errorf("%q downloads %d events, want %d", query, got, want)
		}
	}
	b.get("/apps/shop/events").lacks("<script>alert", "\u202e", "of-the-blog").has("202E⟩", `href="`+sessionPath("shop", two)+`"`, "after=")
	file := b.get("/apps/shop/events.jsonl")
	if got := file.Header.Get("Content-Disposition"); !strings.HasPrefix(got, "attachment") {
		t.Errorf("the download is %q", got)
	}
	var first v1.Event
	if err := json.Unmarshal([]byte(strings.SplitN(file.body, "\n", 2)[0]), &first); err != nil || first.Kind != "created" || first.ID == "" || first.Client.UserAgent != hostileText {
		t.Errorf("the first line is %+v: %v", first, err)
	}
	for _, path := range []string{"/apps/blog/events", "/apps/blog/events.jsonl", "/apps/blog/events/stream", "/apps/nobody/events"} {
		b.get(path).want(404)
	}
	w.browser().get("/apps/shop/events/stream").want(303)
	for range 300 {
		w.event("shop", sojourn.EventRotated, nil)
	}
	if got := rows("/apps/shop/events"); got != shownFirst {
		t.Errorf("%d events, want %d", got, shownFirst)
	}
	b.get("/apps/shop/events").has("Older events are in the download")
	if got := strings.Count(b.get("/apps/shop/events.jsonl").body, "\n"); got != 303 {
		t.Errorf("%d events in the download, want 303", got)
	}
}

// A streamed is an event of a stream as a browser gets it.
type streamed struct{ id, kind, data string }

// follow opens a stream of the browser's operator. The channel closes with it.
func (b *browser) follow(server *httptest.Server, path, lastID string) <-chan streamed {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), "GET", server.URL+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != "text/event-stream" {
		b.Fatalf("%s: %d %s", path, res.StatusCode, got)
	}
	out := make(chan streamed, 1000)
	go func() {
		defer close(out)
		defer res.Body.Close()
		var e streamed
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.kind = value
			case "data":
				e.data += value
			case "":
				if e != (streamed{}) {
					out <- e
				}
				e = streamed{}
			}
		}
	}()
	return out
}

// next returns the next row of a stream.
func (w *world) next(from <-chan streamed) streamed {
	w.Helper()
	for {
		select {
		case e, open := <-from:
			if !open {
				w.Fatal("the stream has ended")
			}
			if e.kind != "" {
				return e
			}
		case <-time.After(time.Minute):
			w.Fatal("no event came")
		}
	}
}

// over waits for the end of a stream.
func (w *world) over(from <-chan streamed) {
	w.Helper()
	for {
		select {
		case _, open := <-from:
			if !open {
				return
			}
		case <-time.After(time.Minute):
			w.Fatal("the stream goes on")
		}
	}
}

// An event that comes while the page is made is in its stream.
func TestEventsPageRace(t *testing.T) {
	w := newWorld(t)
	b := w.as("lou")
	w.event("shop", sojourn.EventCreated, nil)
	_, first := w.hub.Find("shop", "", 1)
	w.found = func() { w.found = nil; w.event("shop", sojourn.EventRotated, nil) }
	b.get("/apps/shop/events?kind=rotated").lacks("<time ").has("after=" + first + "&amp;")
	if _, newest := w.hub.Find("shop", "", 1); newest == first {
		t.Error("no event came")
	}
}

// The stream has the rows that are wanted, resumes behind the last, also behind
// one that was not wanted, and says so if it can't.
func TestEventStream(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	b := w.as("lou")
	all := b.follow(server, "/apps/shop/events/stream", "") // the page was made before the first event
	w.event("shop", sojourn.EventCreated, func(e *sojourn.Event) { e.Subject = hostileText })
	first := w.next(all)
	if first.kind != "row" || !strings.HasPrefix(first.data, "<li>") || strings.Contains(first.data, "<script") || !strings.Contains(first.data, "000A⟩event: row") {
		t.Errorf("the row is %+v", first)
	}
	ended := b.follow(server, "/apps/shop/events/stream?kind=ended&after="+first.id, "")
	w.event("shop", sojourn.EventRotated, nil)
	w.event("shop", sojourn.EventEnded, func(e *sojourn.Event) { e.Reason = "logout" })
	w.event("shop", sojourn.EventRotated, nil)
	if got := w.next(ended); !strings.Contains(got.data, "logout") {
		t.Errorf("the filter lets %+v through", got)
	}
	skipped := ""
	for skipped == "" || skipped == first.id { // the ID of the second rotation, without a row
		if e := <-ended; e.kind == "" {
			skipped = e.id
		}
	}
	w.event("shop", sojourn.EventElevated, nil)
	out := httptest.NewRecorder()
	if err := w.hub.Stream(out, httptest.NewRequest("GET", "/", nil), "shop", first.id, 0, false); err != nil || strings.Count(out.Body.String(), "\nevent: rotated\n") != 2 {
		t.Errorf("the stream has harmed other subscribers' events: %v\n%s", err, out.Body)
	}
	for _, want := range []string{"rotated", "ended", "rotated", "elevated"} {
		if got := w.next(all); !strings.Contains(got.data, `<span class="kind">`+want) {
			t.Errorf("the row is %s, want %s", got.data, want)
		}
	}
	if got := w.next(b.follow(server, "/apps/shop/events/stream?after=else", skipped)); !strings.Contains(got.data, "elevated") {
		t.Errorf("behind %s comes %s", skipped, got.data)
	}
	if got := w.next(b.follow(server, "/apps/shop/events/stream?kind=ended", "otherrun-7")); !strings.Contains(got.data, "earlier run") {
		t.Errorf("behind an unknown ID comes %s", got.data)
	}
}

// A stream ends with the operator's session, and with a role that a reload takes
// away.
func TestStreamsEnd(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	sam, lou := w.as("sam"), w.as("lou")
	streams := []<-chan streamed{sam.follow(server, "/apps/shop/events/stream", ""), lou.follow(server, "/apps/shop/events/stream", "")}
	w.event("shop", sojourn.EventCreated, nil)
	for _, s := range streams {
		w.next(s)
	}
	if n, err := w.sessions.EndSubject(t.Context(), "lou", sojourn.ID{}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	w.over(streams[1])
	w.event("shop", sojourn.EventRotated, nil)
	w.next(streams[0])
	w.operators[2].Roles = map[string]Role{"blog": Look}
	w.reload()
	w.over(streams[0])
	sam.get("/apps/shop/events/stream").want(404)
	sam.get("/apps/shop/events").want(404)
	w.next(func() <-chan streamed {
		w.event("blog", sojourn.EventCreated, nil)
		return sam.follow(server, "/apps/blog/events/stream", "")
	}())
	w.hub.Close(context.Background())
	lou = w.as("ann")
	lou.get("/apps/shop/events/stream").want(503)
}

// However fast events come, a stream sends a bounded number of rows a second,
// and tells how many are missing.
func TestFloodOfEvents(t *testing.T) {
	w := newWorld(t)
	v := &visit{Console: w.Console, app: &Application{Name: "shop"}}
	f := filter{}
	out := httptest.NewRecorder()
	stream := &rows{ResponseWriter: out, visit: v, filter: &f}
	send := func(n int) {
		for i := range n {
			e, err := json.Marshal(v1.Event{ID: fmt.Sprint("r-", i), Kind: "refused", Time: w.time(), App: "shop"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Fprintf(stream, "id: r-%d\nevent: refused\ndata: %s\n\n", i, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(1000)
	if got := strings.Count(out.Body.String(), "event: row"); got != rowsPerSecond {
		t.Errorf("%d rows in a second, want %d", got, rowsPerSecond)
	}
	if got := strings.Count(out.Body.String(), "id: "); got != 1000 {
		t.Errorf("%d IDs, want 1000", got)
	}
	w.pass(time.Second)
	send(1)
	if !strings.Contains(out.Body.String(), ">800 events came faster") {
		t.Error("it doesn't say how many are missing")
	}
	send(500)
	out.Body.Reset()
	if _, err := stream.Write([]byte(": ping\n\n")); err != nil || !strings.Contains(out.Body.String(), ">301 events came faster") {
		t.Errorf("after the flood: %s", out.Body)
	}
}
