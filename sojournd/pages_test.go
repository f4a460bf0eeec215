package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// visit sends the bytes of a request to the internal listener, as a proxy does.
func (s *serving) visit(t *testing.T, method, target string, headers ...string) (answer *http.Response, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.internal, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	head := append([]string{method + " " + target + " HTTP/1.1", "Host: shop.example.com", "User-Agent: curl/8.5.0", "Connection: close", "Content-Length: 0"}, headers...)
	if _, err := io.WriteString(conn, strings.Join(head, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err = http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method}); err != nil {
		t.Fatalf("%s %q: %v", method, target, err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%s %q: %v", method, target, err)
	}
	return answer, string(content)
}

// Each application has the pages that its configuration names, and a reload
// changes them. Their sign-in pages may be elsewhere.
func TestPagesOfApplications(t *testing.T) {
	t.Parallel()
	const page = "Accept: text/html"
	s := startServe(t, "trusted_proxies: [127.0.0.1]\n")
	before := s.text()
	set := func(app, settings string) {
		t.Helper()
		s.write(t, strings.Replace(s.text(), "  - name: "+app+"\n", "  - name: "+app+"\n"+settings, 1))
	}
	login := func(app string) string {
		t.Helper()
		return "Cookie: __Host-" + app + "-session=" + s.ask(app, "POST", "/v1/sessions/login", `{"subject":"ann","client":{"user_agent":"curl/8.5.0"}}`, 200)["token"].(string)
	}
	shop, blog := login("shop"), login("blog")
	if answer, _ := s.visit(t, "GET", "/pages/shop/devices", page, shop); answer.StatusCode != http.StatusNotFound {
		t.Errorf("without pages: %s", answer.Status)
	}

	set("shop", "    pages: {path: /session/, site: Wayfare}\n")
	set("blog", "    pages: {path: /me/, language: de, texts: {de: {devices.title: Meine Geräte}}}\n    login_url: https://login.example.com/\n    return_origins: [https://shop.example.com]\n")
	s.reload("the configuration was reloaded")
	answer, text := s.visit(t, "GET", "/pages/shop/devices", page, shop)
	if answer.StatusCode != http.StatusOK || !strings.Contains(text, "Wayfare") || !strings.Contains(text, "Your devices") || !strings.Contains(text, "curl") || !strings.Contains(text, `"/session/`) || strings.Contains(text, "/pages/") {
		t.Errorf("the shop's page: %s\n%s", answer.Status, text)
	}
	answer, text = s.visit(t, "GET", "/pages/blog/devices", page, blog, "Accept-Language: fr")
	if answer.StatusCode != http.StatusOK || !strings.Contains(text, "Meine Geräte") || !strings.Contains(text, `"/me/`) {
		t.Errorf("the blog's page: %s\n%s", answer.Status, text)
	}
	list := s.ask("shop", "GET", "/v1/sessions?subject=ann", "", 200)["sessions"].([]any)
	if client := list[0].(map[string]any)["client"].(map[string]any); client["name"] != "curl" {
		t.Errorf("the API calls the client %v", client)
	}

	// One application's cookie is nothing to another's pages.
	for path, cookie := range map[string]string{"/pages/shop/devices": blog, "/pages/blog/devices": shop} {
		if answer, text := s.visit(t, "GET", path, "Accept: application/json", cookie); answer.StatusCode != http.StatusUnauthorized || !strings.Contains(text, "sign_in_required") {
			t.Errorf("%s with another application's cookie: %s\n%s", path, answer.Status, text)
		}
	}
	for path, want := range map[string]string{
		"/pages/shop/devices?a=b":                     "/login?return_to=%2Fsession%2Fdevices%3Fa%3Db",
		"/pages/blog/devices":                         "https://login.example.com/?return_to=" + url.QueryEscape("https://shop.example.com/me/devices"),
		"http://elsewhere.example/pages/blog/devices": "https://login.example.com/", // no listed origin
	} {
		answer, _ := s.visit(t, "GET", path, page)
		if got := answer.Header.Get("Location"); answer.StatusCode != http.StatusSeeOther || got != want {
			t.Errorf("%s: %s to %q, want %q", path, answer.Status, got, want)
		}
	}

	set("blog", "    origins: [https://blog.example.com]\n")
	s.reload("the configuration was reloaded")
	// Behind a proxy that replaces Host, a form of an older browser counts if origins
	// has its origin.
	for path, want := range map[string]int{"blog": http.StatusSeeOther, "shop": http.StatusForbidden} {
		answer, text := s.visit(t, "POST", "http://sojourn/pages/"+path+"/devices/others/end", page, shop, blog, "Origin: https://"+path+".example.com")
		if answer.StatusCode != want {
			t.Errorf("a form of the %s: %s, want %d\n%s", path, answer.Status, want, text)
		}
	}

	// Nothing in a path leads out of the pages.
	for _, target := range []string{
		"/pages", "/pages/", "/pages/nobody/devices", "/pages/shop/../../metrics", "/pages/shop/..%2f..%2fmetrics", "/pages/../metrics", "/pages/shop/../blog/devices", "/pages/shop/..%2fblog%2fdevices", "/pages/shop//metrics",
		"/pages/shop//session/devices", "/pages//shop/devices", "/pages/shop/metrics", "/pages/shop/../../check/shop/status/any", "/pages/shop/%2e%2e/%2e%2e/healthz", "/pages/shop/%00", "/pages/SHOP/devices", "//pages/shop/devices", "/pages/./shop/devices",
	} {
		answer, text := s.visit(t, "GET", target, page, shop, blog)
		if answer.StatusCode != http.StatusNotFound || answer.Header["Sojourn-Subject"] != nil || strings.Contains(text, "sojourn_sessions") {
			t.Errorf("%s: %s %.200q", target, answer.Status, text)
		}
	}

	if _, _, metrics := s.look("/metrics", ""); !strings.Contains(metrics, `sojourn_page_duration_seconds_count{app="blog",status="401"}`) || !strings.Contains(metrics, `sojourn_page_duration_seconds_count{app="shop",status="200"}`) {
		t.Errorf("the metrics lack the pages")
	}

	s.write(t, before)
	s.reload("the configuration was reloaded")
	if answer, _ := s.visit(t, "GET", "/pages/shop/devices", page, shop); answer.StatusCode != http.StatusNotFound {
		t.Errorf("after the pages were removed: %s", answer.Status)
	}
}
