package main

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

func TestGuestBook(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	sessions, err := sojourn.New(store, sojourn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close(context.Background())
	server := httptest.NewTLSServer(routes(sessions))
	defer server.Close()
	browser := server.Client()
	browser.Jar, _ = cookiejar.New(nil)

	post := func(path string, form url.Values, want int) string {
		t.Helper()
		answer, err := browser.PostForm(server.URL+path, form)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != want {
			t.Fatalf("%s: %s, want %d: %s", path, answer.Status, want, body)
		}
		return string(body)
	}
	post("/sign", url.Values{"line": {"before <b>"}}, http.StatusOK)
	post("/sign", nil, http.StatusUnprocessableEntity)
	post("/login", nil, http.StatusUnprocessableEntity)
	post("/login", url.Values{"user": {"ann"}}, http.StatusOK)
	page := post("/sign", url.Values{"line": {"after"}}, http.StatusOK)
	for _, want := range []string{`You are "ann"`, "<li>before &lt;b&gt;", "<li>after"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in %s", want, page)
		}
	}
	answer, err := browser.Get(server.URL + "/devices")
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer, err)
	}
	answer.Body.Close()
	if page = post("/logout", nil, http.StatusOK); strings.Contains(page, "before") {
		t.Error("the values survived the logout")
	}
	if answer, err = browser.Get(server.URL + "/devices"); err != nil || answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("%v %v", answer.Status, err)
	}
	answer.Body.Close()
}
