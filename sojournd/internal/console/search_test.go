package console

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
)

// Each filter of the form finds what it says, and the address keeps the query.
func TestSearch(t *testing.T) {
	w := newWorld(t)
	ids := map[string]sojourn.ID{}
	ids["old"] = w.user(w.shop, "anna", firefox, "192.0.2.7")
	w.pass(2 * day)
	ids["visitor"] = w.user(w.shop, "", firefox, "2001:db8::7")
	w.pass(2 * time.Hour)
	ids["new"] = w.user(w.shop, "annika", chrome, "198.51.100.1")
	s := w.shop.Begin(t.Context(), sojourn.Request{})
	if err := s.Login("bob", sojourn.Level(2), sojourn.Remember()); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids["bob"] = s.ID()
	s.Finish()
	w.bind("shop", ids["bob"])
	w.pass(time.Minute)
	b := w.as("lou")
	for query, want := range map[string]string{ // "old" has expired: its idle limit is a day
		"subject=ann&match=prefix":                          "new",
		"subject=annika":                                    "new",
		"subject=ann&match=":                                "",
		"network=192.0.2.0/24":                              "",
		"network=198.51.100.1":                              "new",
		"network=%20198.51.0.0/16%20":                       "new",
		"network=2001:db8::/32":                             "visitor",
		"browser=FIREFOX":                                   "visitor",
		"browser=chrome&kind=user":                          "new",
		"browser=chrome&kind=anonymous":                     "",
		"kind=anonymous":                                    "visitor",
		"kind=user":                                         "new bob",
		"remembered=yes":                                    "bob",
		"remembered=no&kind=user":                           "new",
		"level=2":                                           "bob",
		"bound=yes":                                         "bob",
		"bound=no&kind=user":                                "new",
		"created=hour":                                      "new bob",
		"created=hour-ago":                                  "visitor",
		"seen=hour-ago&created=day":                         "visitor",
		"seen=week":                                         "visitor new bob",
		"created_from=2026-12-01":                           "visitor new bob",
		"created_from=2026-12-02":                           "",
		"seen_to=2026-12-01":                                "",
		"seen_from=2026-12-01T15:00:00%2B02:00":             "new bob",
		"created_to=2026-12-01T13:00:00Z":                   "visitor",
		"created=hour&created_from=2026-11-01":              "new bob",
		"created_from=2026-12-01T13:00:00Z&created=week":    "new bob",
		"match=prefix&subject=&network=&kind=&level=&seen=": "visitor new bob",
	} {
		a := b.get("/apps/shop/sessions?" + query).want(200)
		for name, id := range ids {
			has, wanted := strings.Contains(a.body, sessionPath("shop", id)), strings.Contains(" "+want+" ", " "+name+" ")
			if has != wanted {
				t.Errorf("%s: %s is there: %v, want %v", query, name, has, wanted)
			}
		}
	}
	b.get("/apps/shop/sessions?level=2&created=hour&network=198.51.100.0%2F24").has(`<option value="2" selected>`, `<option value="hour" selected>`, `value="198.51.100.0/24"`, "Nothing found.")
	for _, wrong := range []string{"network=nonsense", "network=1.2.3.4/99", "match=x", "kind=x", "level=9", "level=x", "created=x", "seen=x", "seen_from=yesterday", "created_to=2026-11-31", "remembered=x", "bound=x"} {
		b.get("/apps/shop/sessions?" + wrong).want(422).has(`role="alert"`).lacks("No live sessions.")
	}
	b.get("/apps/blog/sessions?kind=anonymous").has("visitors are in their cookies")
	b.get("/apps/shop/sessions?kind=anonymous").lacks("visitors are in their cookies")
	b.get("/apps/shop/sessions?kind=user&cursor=nonsense").want(400)
	b.get("/apps/shop/sessions?kind=user&cursor=%00&at=9999999999999999999").want(400)
	w.down.Store(true)
	b.get("/apps/shop/sessions?kind=user").want(503)
}

// Sessions that are bound to their browsers are marked on each page.
func TestBoundBadge(t *testing.T) {
	w := newWorld(t)
	id, other := w.user(w.shop, "anna", firefox, "192.0.2.7"), w.user(w.shop, "ben", firefox, "192.0.2.8")
	w.bind("shop", id)
	b := w.as("lou")
	const badge = `<span class="badge good">bound</span>`
	for page, n := range map[string]int{"/apps/shop/sessions": 1, sessionPath("shop", id): 1, subjectPath("shop", "anna"): 1, sessionPath("shop", other): 0, subjectPath("shop", "ben"): 0} {
		if got := strings.Count(b.get(page).want(200).body, badge); got != n {
			t.Errorf("%s has the badge %d times, want %d", page, got, n)
		}
	}
}

// A search is continued page by page, and each session is found once.
func TestSearchGoesOn(t *testing.T) {
	w := newWorld(t)
	want := map[string]bool{}
	for i := range 3*pageSize + 5 {
		agent := chrome
		if i%2 == 0 {
			agent = firefox
		}
		if id := w.user(w.shop, fmt.Sprint("user", i), agent, "192.0.2.7"); i%2 == 0 {
			want[id.String()] = true
		}
	}
	b := w.as("lou")
	pages := 0
	for path := "/apps/shop/sessions?browser=firefox&seen=day"; path != ""; pages++ {
		a := b.get(path).want(200)
		for _, part := range strings.Split(a.body, `href="/apps/shop/sessions/`)[1:] {
			id, _, _ := strings.Cut(part, `"`)
			if !want[id] {
				t.Fatalf("%s is found twice, or doesn't match", id)
			}
			delete(want, id)
		}
		_, next, _ := strings.Cut(a.body, `rel="next" href="`)
		next, _, _ = strings.Cut(next, `"`)
		if path = strings.ReplaceAll(next, "&amp;", "&"); path == "" {
			a.has("The search is complete", fmt.Sprint(3*pageSize+5, " sessions looked at"))
		} else {
			a.has(" % searched: ", "Go on searching")
		}
		w.pass(time.Second) // the first page's time holds
	}
	if len(want) > 0 || pages < 2 {
		t.Errorf("%d sessions are missing after %d pages", len(want), pages)
	}
}
