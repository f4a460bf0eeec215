package shop

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

// A way is where a site keeps its sessions.
type way struct{ name string }

var (
	stored   = &way{"stored"}   // in the store
	visitors = &way{"visitors"} // those of visitors in their cookies
	everyone = &way{"everyone"} // all in their cookies, without a store

	ways     = []*way{stored, visitors, everyone}
	withList = []*way{stored, visitors} // the store has the users' sessions
)

// inEveryWay runs a test for each way. What differs is in TestWhatDiffers.
func inEveryWay(t *testing.T, test func(t *testing.T, w *way)) { inWays(t, ways, test) }

func inWays(t *testing.T, ways []*way, test func(t *testing.T, w *way)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { test(t, w) })
	}
}

func (w *way) newSite(t *testing.T) *site {
	t.Helper()
	if w == everyone {
		return newSiteOn(t, nil, w)
	}
	return newSiteOn(t, memstore.New(), w)
}

func (w *way) sealing(users *Users) *sojourn.Sealing {
	s := &sojourn.Sealing{Keys: [][]byte{bytes.Repeat([]byte{1}, 32)}, NotBefore: users.NotBefore}
	switch w {
	case stored:
		return nil
	case everyone:
		s.For = sojourn.SealEveryone
	}
	return s
}

// records counts what the store holds.
func (w *way) records(s *site) int64 {
	s.t.Helper()
	if w == everyone {
		return 0 // there is no store
	}
	n, _, err := s.Sessions.Count(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// The table of docs/where.md says what differs between the ways, and nothing
// that isn't so.
func TestWhatDiffers(t *testing.T) {
	text, err := os.ReadFile("../../../docs/where.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range differences {
		var cells []string
		for _, w := range ways {
			t.Run(w.name, func(t *testing.T) { cells = append(cells, row.see(w, w.newSite(t))) })
		}
		line := fmt.Sprintf("| %s | %s |\n", row.what, strings.Join(cells, " | "))
		if !strings.Contains(string(text), line) {
			t.Errorf("docs/where.md lacks:\n%s", line)
		}
	}
}

// differences are the rows of the table: see tells what a site does.
var differences = []struct {
	what string
	see  func(w *way, s *site) string
}{
	{"records of 100 visitors with a cart", func(w *way, s *site) string {
		for range 100 {
			s.program().post("/cart", "sku", "tent").want(200)
		}
		return fmt.Sprint(w.records(s))
	}},
	{"64 parallel requests put a tent each into a visitor's cart: tents in it", func(_ *way, s *site) string {
		b := s.program()
		b.post("/cart", "sku", "lantern").want(200)
		return b.tents()
	}},
	{"the same, into a user's cart", func(_ *way, s *site) string {
		b := s.program()
		b.login(ada)
		return b.tents()
	}},
	{"a login keeps the session's ID", func(_ *way, s *site) string {
		b := s.program()
		b.post("/cart", "sku", "tent").want(200)
		before := b.me().Session
		b.login(ada)
		return yes(b.me().Session == before)
	}},
	{"a login whose answer was lost, and that is sent again, adds the visitor's cart", func(_ *way, s *site) string {
		b := s.program()
		b.post("/cart", "sku", "tent").want(200)
		again := b.copy()
		b.login(ada)
		s.sleep(time.Second)
		again.login(ada)
		return map[string]string{"tent:1": "once", "tent:2": "twice"}[again.cart()]
	}},
	{"a copy of a visitor's cookie, after the login", func(_ *way, s *site) string {
		b := s.program()
		b.post("/cart", "sku", "tent").want(200)
		copy := b.copy()
		b.login(ada)
		if copy.me().Subject != "" {
			return "is signed in"
		}
		return map[string]string{"": "opens nothing", "tent:1": "opens the visitor's cart"}[copy.cart()]
	}},
	{"a copy of a user's cookie, after a new login or a logout", func(_ *way, s *site) string {
		b := s.program()
		b.login(ada)
		first := b.copy()
		s.sleep(time.Minute)
		b.post("/reauth", "password", ada.Password).want(200)
		second := b.copy()
		b.post("/logout").want(200)
		switch in := first.me().Subject; {
		case in != second.me().Subject:
			return "differs"
		case in == "":
			return "opens nothing"
		}
		s.sleep(25 * time.Hour)
		if first.me().Subject != "" || second.me().Subject != "" {
			return "is signed in for ever"
		}
		return "is signed in until its deadline"
	}},
	{"the page of the user's devices", func(_ *way, s *site) string {
		b := s.browser()
		b.login(ada)
		s.program().login(ada)
		page := b.get("/session/devices").want(200)
		if strings.Contains(page.body, "can’t list where else you are signed in") {
			return "says that there is no list"
		}
		page.has("Other devices")
		return "lists them"
	}},
	{"its button signs out", func(_ *way, s *site) string {
		b, other := s.program(), s.program()
		b.login(ada)
		other.login(ada)
		s.sleep(time.Second)
		b.post("/session/devices/others/end").want(200)
		switch here, there := b.me().Subject != "", other.me().Subject != ""; {
		case there:
			return "nobody"
		case here:
			return "all others"
		}
		return "all, this one too"
	}},
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// tents counts the tents after 64 parallel requests that add one each. They were
// all sent before the first answer came.
func (b *browser) tents() string {
	var wg sync.WaitGroup
	tabs := make([]*browser, 64)
	for i := range tabs {
		tabs[i] = b.copy()
		wg.Go(func() { tabs[i].post("/cart", "sku", "tent").want(200) })
	}
	wg.Wait()
	_, n, _ := strings.Cut(tabs[0].cart(), "tent:")
	return n
}

// Without a list, users can still sign out everywhere at once.
func TestDevicesWithoutAList(t *testing.T) {
	s := everyone.newSite(t)
	one, two, other := s.browser(), s.browser(), s.browser()
	one.login(ada)
	two.login(ada)
	other.login(ben)
	one.get("/account").has("keeps no list of your devices")
	one.get("/session/devices").has("Firefox on Linux", "can’t list where else you are signed in", "Sign out everywhere, here too").lacks("Other devices")
	program := one.copy()
	program.accept = "application/json"
	s.Log = slog.New(faultyHandler{slog.DiscardHandler}) // some answers are 501
	program.page = "https://shop.example/session/devices"
	for _, id := range []string{two.me().Session, other.me().Session} {
		program.post("/session/devices/"+id+"/end").explains(501, "unsupported")
	}
	program.get("/session/devices").want(200).has(`"alone":true`)
	one.get("/session/devices/others/end").has("Sign out everywhere?", "this one too")
	s.sleep(freshness + time.Second)
	one.post("/session/devices/others/end").to("/reauth?next=%2Fsession%2Fdevices%2Fothers%2Fend")
	one.post("/reauth", "password", ada.Password).want(303)
	s.sleep(time.Second)
	one.post("/session/devices/others/end").to("/")
	if len(one.cookies) > 0 || two.me().Subject != "" || other.me().Subject == "" {
		t.Error("the wrong sessions were ended")
	}
	two.get("/login").has("You were signed out from another device.")
	two.login(ada)
	two.post("/session/devices/" + two.me().Session + "/end").to("/") // oneself
	if two.me().Subject != "" {
		t.Error("one's own session lives")
	}
}
