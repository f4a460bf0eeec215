package pages_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/pages"
)

func TestDevices(t *testing.T) {
	s := newSite(t, own)
	here := s.browser(firefox, "ann")
	s.sessions.Advance(2 * time.Hour)
	s.browser(safari, "ann?remember")
	s.browser(firefox, "ben")

	w := here.get("/session/devices")
	want(t, w, 200, "This device", "Firefox on Linux", "Safari on iOS", "Signed in <time", "2 hours ago", "192.0.2.1", "Stays signed in", "Sign out all other devices")
	page := w.Body.String()
	if strings.Index(page, "Firefox on Linux") > strings.Index(page, "Safari on iOS") || strings.Count(page, "data-session=") != 2 {
		t.Errorf("want this session first, and no other user's: %s", page)
	}
	d := here.list("/session/devices")
	if len(d.Sessions) != 2 || !d.Sessions[0].Current || d.Sessions[0].ID != here.id() || d.Sessions[0].Kind != "computer" ||
		d.Sessions[1].Current || !d.Sessions[1].Remembered || d.Sessions[1].Kind != "phone" || d.Sessions[1].Address != "192.0.2.1" || d.Next != "" {
		t.Errorf("%+v", d)
	}
}

func TestEndOne(t *testing.T) {
	s := newSite(t, own)
	there, here := s.browser(safari, "ann"), s.browser(firefox, "ann")
	path := "/session/devices/" + there.id() + "/end"
	want(t, here.get(path), 200, "Sign out this device?", "Safari on iOS", `action="`+path+`"`)
	want(t, there.get("/session/devices"), 200)
	leads(t, here.send("POST", path), "/session/devices?done=ended")
	want(t, here.get("/session/devices?done=ended"), 200, "The device is signed out.", "You are signed in nowhere else.")
	leads(t, there.get("/session/devices"), "/login?return_to=%2Fsession%2Fdevices")

	// It has ended already: in the page that was still open.
	leads(t, here.send("POST", path), "/session/devices?done=gone")
	want(t, here.get(path), 404, "not signed in, or no longer")
	want(t, here.send("DELETE", strings.TrimSuffix(path, "/end"), "Accept", "application/json"), 404, `"code":"no_such_session"`)
}

// The page tells what ended within the last hour, and why.
func TestEndedLately(t *testing.T) {
	s := newSite(t, own)
	here, one, two := s.browser(firefox, "ann"), s.browser(safari, "ann"), s.browser("curl/8.14.1", "ann")
	s.browser(safari, "ben")
	oneID, twoID := one.id(), two.id()
	if page := here.get("/session/devices").Body.String(); strings.Contains(page, "Ended lately") {
		t.Errorf("nothing has ended yet: %s", page)
	}
	leads(t, one.send("POST", "/session/devices/"+oneID+"/end"), "/")
	s.sessions.Advance(2 * time.Minute)
	leads(t, here.send("POST", "/session/devices/"+twoID+"/end"), "/session/devices?done=ended")
	s.sessions.Advance(time.Minute)

	want(t, here.get("/session/devices"), 200, "Ended lately", `data-ended="`+oneID+`"`, "Signed out there", "3 minutes ago",
		`data-ended="`+twoID+`"`, "Signed out from another device or by the site", "1 minute ago")
	d := here.list("/session/devices")
	if len(d.Sessions) != 1 || len(d.Ended) != 2 || d.Ended[0].ID != twoID || d.Ended[0].Reason != "revoked" || d.Ended[0].Name != "curl" ||
		d.Ended[1].ID != oneID || d.Ended[1].Reason != "logout" || d.Ended[1].Name != "Safari on iOS" || d.Ended[1].Kind != "phone" || d.Ended[1].Address != "192.0.2.1" {
		t.Errorf("%+v", d)
	}
	s.sessions.Advance(time.Hour)
	if d := here.list("/session/devices"); len(d.Ended) != 0 {
		t.Errorf("an hour later: %+v", d.Ended)
	}
}

func TestEndOthers(t *testing.T) {
	s := newSite(t, own)
	one, two, here := s.browser(safari, "ann"), s.browser(safari, "ann"), s.browser(firefox, "ann")
	ben := s.browser(safari, "ben")
	want(t, here.get("/session/devices/others/end"), 200, "Sign out all other devices?")
	leads(t, here.send("POST", "/session/devices/others/end"), "/session/devices?done=others")
	for _, b := range []*browser{one, two} {
		want(t, b.get("/session/devices", "Accept", "application/json"), 401, `"code":"sign_in_required"`)
	}
	want(t, here.get("/session/devices"), 200)
	want(t, ben.get("/session/devices"), 200)
}

// The own session can be ended without a fresh login, and never by somebody
// else's click.
// A link on another site can't make the page claim that something was done.
func TestNoticeIsNotForLinks(t *testing.T) {
	b := newSite(t, own).browser(firefox, "ann")
	for from, shown := range map[string]bool{"same-origin": true, "same-site": false, "cross-site": false, "none": false} {
		w := b.get("/session/devices?done=others", "Sec-Fetch-Site", from)
		if got := strings.Contains(w.Body.String(), "All other devices are signed out."); got != shown {
			t.Errorf("a request from %s: %v", from, got)
		}
	}
}

func TestEndOwn(t *testing.T) {
	s := newSite(t, own)
	b := s.browser(firefox, "ann")
	s.sessions.Advance(time.Hour)
	path := "/session/devices/" + b.id() + "/end"
	want(t, b.get(path), 200, "Sign out this device?")
	want(t, b.send("POST", path, "Sec-Fetch-Site", "cross-site"), 403)
	leads(t, b.send("POST", path, "Sec-Fetch-Site", "same-origin"), "/")
	if b.Session().Subject() != "" {
		t.Error("still signed in")
	}
}

// Who has not authenticated lately does so first, and comes back to the question.
func TestFreshSignIn(t *testing.T) {
	s := newSite(t, own)
	there, here := s.browser(safari, "ann"), s.browser(firefox, "ann")
	s.sessions.Advance(11 * time.Minute)
	for _, target := range []string{there.id(), "others"} {
		path := "/session/devices/" + target + "/end"
		back := "/confirm?return_to=" + strings.ReplaceAll(path, "/", "%2F")
		leads(t, here.get(path), back)
		leads(t, here.send("POST", path, "Referer", "https://example.com"+path), back)
		want(t, here.send("DELETE", "/session/devices/"+target, "Accept", "application/json"), 403, `"code":"fresh_sign_in_required"`)
	}
	want(t, there.get("/session/devices"), 200)
	here.signIn("ann")
	leads(t, here.send("POST", "/session/devices/"+there.id()+"/end"), "/session/devices?done=ended")

	// Without a page for that, the answer says what to do.
	s = newSite(t, pages.Options{})
	here = s.browser(firefox, "ann")
	s.sessions.Advance(11 * time.Minute)
	want(t, here.get("/session/devices/others/end"), 403, "sign out, and sign in again")

	// A negative Fresh asks for none.
	s = newSite(t, pages.Options{Require: sojourn.Requirement{Fresh: -1}})
	here = s.browser(firefox, "ann")
	s.sessions.Advance(11 * time.Hour)
	want(t, here.get("/session/devices/others/end"), 200)
}

// Nobody can end or see another user's session, whose ID isn't secret.
func TestOtherUsersSessions(t *testing.T) {
	s := newSite(t, own)
	ben, ann := s.browser(safari, "ben"), s.browser(firefox, "ann")
	path := "/session/devices/" + ben.id()
	want(t, ann.get(path+"/end"), 404)
	want(t, ann.send("DELETE", path, "Accept", "application/json"), 404)
	leads(t, ann.send("POST", path+"/end"), "/session/devices?done=gone")
	want(t, ben.get("/session/devices"), 200)
}

func TestProgramsEnd(t *testing.T) {
	s := newSite(t, own)
	one, two, here := s.browser(safari, "ann"), s.browser(safari, "ann"), s.browser(firefox, "ann")
	want(t, here.send("DELETE", "/session/devices/"+one.id(), "Accept", "*/*"), 200, `{"ended":1}`)
	here.accept = "application/json"
	want(t, here.send("POST", "/session/devices/others/end", "Content-Type", "application/json"), 200, `{"ended":1}`)
	want(t, two.get("/session/devices/live"), 401)
	want(t, here.send("DELETE", "/session/devices/"+here.id()), 200, `{"ended":1}`)
	w := here.get("/session/devices")
	want(t, w, 401, `"code":"sign_in_required"`, `"detail":"Please sign in first."`)
	if w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("WWW-Authenticate") == "" {
		t.Error(w.Header())
	}
}

// A thousand sessions come in pages. No session comes twice, and the user's own
// comes first.
func TestThousandSessions(t *testing.T) {
	s := newSiteWith(t, sojourn.Options{MaxSessions: -1}, own)
	here := s.browser(firefox, "ann")
	const others = 1030 // more than one of the pages of the engine
	for range others {
		s.sessions.SignedIn(httptest.NewRequest("GET", "/", nil), "ann")
	}
	seen, pagesSeen := map[string]bool{}, 0
	for path := "/session/devices"; path != ""; {
		d := here.list(path)
		if pagesSeen++; len(d.Sessions) > 26 {
			t.Fatalf("a page of %d", len(d.Sessions))
		}
		for i, session := range d.Sessions {
			if seen[session.ID] {
				t.Fatalf("%s comes twice", session.ID)
			}
			if seen[session.ID] = true; session.Current != (pagesSeen == 1 && i == 0) {
				t.Fatalf("%s: current is %v, in row %d of page %d", session.ID, session.Current, i, pagesSeen)
			}
		}
		if path = ""; d.Next != "" {
			path = "/session/devices?cursor=" + d.Next
			if page := here.get(path); !strings.Contains(page.Body.String(), "Back to the first devices") || strings.Contains(page.Body.String(), "This device") {
				t.Fatalf("page %d: %s", pagesSeen, page.Body)
			}
		}
	}
	if len(seen) != others+1 {
		t.Errorf("the pages have %d sessions, want %d", len(seen), others+1)
	}
}

func TestCursorsOfOthers(t *testing.T) {
	s := newSite(t, own)
	b := s.browser(firefox, "ann")
	for _, cursor := range []string{"0", "..", "zz.1." + b.id(), ".1." + b.id() + ".", ".01." + b.id(), "00.0." + sojourn.ID{}.String(), strings.Repeat("0", 5000), "%00", "-1"} {
		want(t, b.get("/session/devices?cursor="+cursor), 400, "This page of the list does not exist.")
	}
}

// An open page must not keep its session from being idle.
func TestLiveIsPassive(t *testing.T) {
	s := newSite(t, own)
	b := s.browser(firefox, "ann")
	w := b.get("/session/devices/live")
	want(t, w, 200, `data-session="`+b.id())
	if strings.Contains(w.Body.String(), "<html") {
		t.Error("more than the list")
	}
	tag := w.Header().Get("ETag")
	want(t, b.get("/session/devices/live", "If-None-Match", tag), 304)
	s.browser(safari, "ann")
	want(t, b.get("/session/devices/live", "If-None-Match", tag), 200, "Safari on iOS")
	for range 25 {
		s.sessions.Advance(time.Hour)
		w = b.get("/session/devices/live")
	}
	want(t, w, 401, `"code":"sign_in_required"`, `"reason":"idle"`, "You are no longer signed in here. Not used for a while.")
}

// What a client says about itself is text, and not much of it.
func TestHostileUserAgents(t *testing.T) {
	s := newSite(t, own)
	here := s.browser(firefox, "ann")
	for _, agent := range []string{
		"<script>alert(1)</script>", "evil\u202eelbuort\u2066", strings.Repeat("W", 10<<10), strings.Repeat("ü", 10<<10), "\xff\xfe/1", " \u200b ", "",
		`"><img src=x onerror=alert(1)>/1`, "{{.}}/1", "a on b/1",
	} {
		s.browser(agent, "ann")
	}
	w := here.get("/session/devices")
	want(t, w, 200, "&lt;script&gt;", "evilelbuort", "W…", "ü…", "Unknown device", "{{.}}")
	for _, bad := range []string{"<script>alert", "\u202e", "\u2066", "\u200b", "<img", strings.Repeat("W", 61)} {
		if strings.Contains(w.Body.String(), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}
