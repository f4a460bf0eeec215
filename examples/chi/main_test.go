package main

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojourntest"
)

func TestGuestBook(t *testing.T) {
	sessions := sojourntest.New(t, sojourn.Options{})
	b := sessions.Browser(routes(sessions.Engine))
	check := func(w *httptest.ResponseRecorder, status int, location string) string {
		t.Helper()
		if w.Code != status || w.Header().Get("Location") != location {
			t.Fatalf("%d to %q, want %d to %q: %s", w.Code, w.Header().Get("Location"), status, location, w.Body)
		}
		return w.Body.String()
	}
	check(b.Post("/sign", url.Values{"line": {"before <b>"}}), 303, "/")
	check(b.Post("/sign", nil), 422, "")

	check(b.Get("/devices"), 303, "/?return_to=%2Fdevices")
	if page := check(b.Get("/?return_to=%2Fdevices"), 200, ""); !strings.Contains(page, `name="return_to" value="/devices"`) {
		t.Errorf("the sign-in form doesn't lead back: %s", page)
	}
	check(b.Post("/login", nil), 422, "")
	check(b.Post("/login", url.Values{"user": {"ann"}, "return_to": {"/devices"}}), 303, "/devices")
	if page := check(b.Get("/devices"), 200, ""); !strings.Contains(page, b.Session().ID().String()) {
		t.Errorf("this device isn't listed: %s", page)
	}

	check(b.Post("/sign", url.Values{"line": {"after"}}), 303, "/")
	page := check(b.Get("/"), 200, "")
	for _, want := range []string{`You are "ann"`, "<li>before &lt;b&gt;", "<li>after"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in %s", want, page)
		}
	}

	check(b.Post("/logout", nil), 303, "/")
	if page := check(b.Get("/"), 200, ""); strings.Contains(page, "before") {
		t.Error("the values survived the logout")
	}
	check(b.Get("/devices"), 303, "/?return_to=%2Fdevices")
	check(b.Post("/login", url.Values{"user": {"ann"}, "return_to": {"//elsewhere.example"}}), 303, "/")
}
