//go:build unix

package main

import (
	"net/http"
	"strings"
	"testing"
)

// The configuration chooses headers of a check, and the header by which a
// request says that it is no activity. Both change with a reload.
func TestConfiguredHeaders(t *testing.T) {
	t.Parallel()
	s := startServe(t, "")
	good := s.text()
	configure := func(settings string) {
		t.Helper()
		s.write(t, strings.Replace(good, "name: shop\n", "name: shop\n"+settings, 1))
		s.reload("the configuration was reloaded")
	}
	login := func() string {
		t.Helper()
		return "__Host-shop-session=" + s.ask("shop", "POST", "/v1/sessions", `{"subject":"ann","values":{"email":"ada+x@example.com"}}`, 201)["token"].(string)
	}
	ann := login()
	check := func(header string) (status int, email []string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.internal+"/check/shop/status/login", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", ann)
		r.Header.Set(header, "1")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode, res.Header["X-User-Email"]
	}
	if status, email := check("X-Other"); status != 200 || email != nil {
		t.Errorf("before: %d, %q", status, email)
	}
	configure("    headers: {X-User-Email: value.email}\n")
	if status, email := check("X-Other"); status != 200 || len(email) != 1 || email[0] != "ada+x@example.com" {
		t.Errorf("%d, %q", status, email)
	}

	configure("    passive_header: X-Background\n    policy: {login: {idle: 1s}}\n")
	ann = login()
	s.eventually("polls keep no session alive", func() bool {
		status, email := check("X-Background")
		if email != nil {
			t.Errorf("the header is still sent: %q", email)
		}
		return status == 401
	})
}
