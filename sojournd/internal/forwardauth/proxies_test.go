package forwardauth_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/forwardauth"
)

// raw sends the bytes of a request's head through a real server. They are taken
// from the proxies' sources and documentation.
func (w *world) raw(server *httptest.Server, head string) *http.Response {
	w.Helper()
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, target, _ := strings.Cut(strings.TrimSpace(lines[0]), " ")
	r, err := http.NewRequestWithContext(w.Context(), method, server.URL, nil)
	if err != nil {
		w.Fatal(err)
	}
	r.URL.Opaque = target // as it is
	r.Header.Set("User-Agent", "")
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.Fatal(err)
	}
	answer.Body.Close()
	return answer
}

// serve runs the handler in a server that trusts every peer.
func (w *world) serve() *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = proxyIP + ":4711"
		w.ServeHTTP(rw, r)
	}))
	w.Cleanup(server.Close)
	return server
}

// Traefik 3 sends a GET with the client's headers, without those of the
// connection, and five of its own. A 2xx passes. Every other answer goes to the
// client unchanged. Host is the host of the address that it asks.
func TestTraefik(t *testing.T) {
	w := newWorld(t, app(func(a *forwardauth.App) {
		a.LoginURL = "https://login.example.com/"
		a.ReturnOrigins = []string{"https://shop.example.com"}
		a.RelaysCookies = true
	}))
	server := w.serve()
	request := func(method, cookie, more string) string {
		return `GET /check/shop/redirect/login
			Host: 127.0.0.1:7082
			User-Agent: Mozilla/5.0
			Accept: text/html,application/xhtml+xml,*/*;q=0.8
			Accept-Encoding: gzip
			Cookie: theme=dark; ` + cookie + `
			X-Forwarded-For: ` + userIP + `
			X-Forwarded-Host: shop.example.com
			X-Forwarded-Method: ` + method + `
			X-Forwarded-Port: 443
			X-Forwarded-Proto: https
			X-Forwarded-Server: traefik
			X-Forwarded-Uri: /cart?a=b
			X-Real-Ip: ` + userIP + more
	}
	answer := w.raw(server, request("GET", "", ""))
	w.want("stranger", answer, http.StatusFound)
	if got := answer.Header.Get("Location"); got != "https://login.example.com/?return_to=https%3A%2F%2Fshop.example.com%2Fcart%3Fa%3Db" {
		t.Errorf("sent to %q", got)
	}
	w.want("a stranger's script", w.raw(server, request("GET", "", "\nSec-Fetch-Mode: cors")), http.StatusUnauthorized)
	w.want("a stranger's form", w.raw(server, request("POST", "", "")), http.StatusFound)
	answer = w.raw(server, request("GET", w.login("ann"), ""))
	w.want("ann", answer, http.StatusOK)
	for name, want := range map[string]string{"Sojourn-Subject": "ann", "Sojourn-Level": "1"} {
		if got := answer.Header[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q", name, got)
		}
	}
}

// Envoy's ext_authz over HTTP sends the original method, the path prefix
// followed by the original path and query, Host, and the headers that
// allowed_headers and headers_to_add name. Only 200 passes.
func TestEnvoy(t *testing.T) {
	w := newWorld(t, nil)
	server := w.serve()
	request := func(method, require, path, cookie string) string {
		return method + ` /check/shop/redirect/` + require + path + `
			Host: shop.example.com
			Content-Length: 0
			Accept: text/html
			Sec-Fetch-Mode: navigate
			Cookie: ` + cookie + `
			X-Forwarded-For: ` + userIP + `
			X-Forwarded-Host: shop.example.com
			X-Forwarded-Proto: https
			X-Forwarded-Uri: ` + path + `
			X-Envoy-Internal: true
			X-Request-Id: 0b9f9e2c`
	}
	ann := w.login("ann")
	for _, path := range []string{"/", "/cart?a=b", "/check/shop/redirect/any", "/?require=any", "/../any", "//any", "/%2e%2e/any", "/a%00b", "/%ff", "/a;b"} {
		for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
			w.want("stranger "+method+path, w.raw(server, request(method, "login", path, "a=b")), http.StatusFound)
			w.want("ann "+method+path, w.raw(server, request(method, "login", path, ann)), http.StatusOK)
			w.want("ann, level 2 "+method+path, w.raw(server, request(method, "level-2", path, ann)), http.StatusForbidden)
		}
	}
	answer := w.raw(server, request("GET", "login", "/cart?a=b", ""))
	if got := answer.Header.Get("Location"); got != "/login?return_to=%2Fcart%3Fa%3Db" {
		t.Errorf("sent to %q", got)
	}
	if got := w.raw(server, request("POST", "login", "/cart", "")).Header.Get("Location"); got != "/login" {
		t.Errorf("a form is sent to %q", got)
	}
	// OPTIONS * has no path to append to the prefix.
	w.want("OPTIONS *", w.raw(server, request("OPTIONS", "login", "*", ann)), http.StatusNotFound)
}

// nginx's auth_request, with the shipped configuration: the subrequest is a GET
// with all of the visitor's headers. An answer other than 2xx, 401 and 403
// becomes a 500, so there must be none.
func TestNginx(t *testing.T) {
	w := newWorld(t, nil)
	server := w.serve()
	for _, cookie := range []string{"", "__Host-session=", "__Host-session=x; __Host-session=y", "=;;=", strings.Repeat("a=b; ", 3000), w.login("ann")} {
		for _, require := range []string{"any", "login", "fresh-10m", "level-2"} {
			answer := w.raw(server, `GET /check/shop/status/`+require+`
				Host: shop.example.com
				Content-Type: application/x-www-form-urlencoded
				Accept: text/html
				Sec-Fetch-Mode: navigate
				Cookie: `+cookie+`
				X-Forwarded-For: `+userIP+`
				X-Forwarded-Host: shop.example.com
				X-Forwarded-Method: POST
				X-Forwarded-Proto: https
				X-Forwarded-Uri: /\"<script>`)
			if answer.StatusCode != 200 && answer.StatusCode != 401 && answer.StatusCode != 403 {
				t.Errorf("%s with %.40q: %s", require, cookie, answer.Status)
			}
		}
	}
}

// No request makes the handler panic, answers with a 5xx, redirects to another
// site, or passes without a login.
func FuzzHeaders(f *testing.F) {
	for _, uri := range hostile {
		f.Add("status/login", "GET", uri, "https", "shop.example.com", "text/html", "navigate", "__Host-session=x", userIP, "Bearer x")
	}
	f.Add("redirect/fresh-10m/..", "POST", "/a?b", "http", "[::1]:80", "*/*;q=0", "", "__Host-session="+strings.Repeat("A", 64)+"; __Host-visitor=", "1.2.3.4, unknown", "")
	f.Add("redirect/level-3", "", "/", "", "", ",;,text/html;q=", "cors", "\"a\"=b;;;", ",,,", "Basic")
	path := newWorld(f, func(_ *forwardauth.App, o *sojourn.Options) { o.MaxBadTokens = -1 })
	whole := newWorld(f, func(a *forwardauth.App, o *sojourn.Options) {
		a.LoginURL, a.ReturnOrigins = "https://login.example.com/", []string{"https://shop.example.com"}
		o.MaxBadTokens = -1
	})
	f.Fuzz(func(t *testing.T, check, method, uri, proto, host, accept, fetch, cookie, forwarded, authorization string) {
		for _, w := range []*world{path, whole} {
			r := httptest.NewRequest("GET", "/", nil)
			r.URL.Path = "/check/shop/" + check
			r.RemoteAddr = proxyIP + ":1"
			r.Header = http.Header{
				"X-Forwarded-Method": {method}, "X-Forwarded-Uri": {uri}, "X-Forwarded-Proto": {proto}, "X-Forwarded-Host": {host}, "X-Forwarded-For": {forwarded},
				"Accept": {accept}, "Sec-Fetch-Mode": {fetch}, "Cookie": {cookie}, "Authorization": {authorization},
			}
			out := httptest.NewRecorder()
			w.ServeHTTP(out, r)
			if out.Code >= 500 {
				t.Errorf("%d", out.Code)
			}
			if _, require, _ := strings.Cut(check, "/"); out.Code == 200 && require != "any" && !strings.HasPrefix(require, "any/") {
				t.Error("a stranger passed")
			}
			to := out.Header().Get("Location") + out.Header().Get("Sojourn-Login")
			switch {
			case to == "", to == "/login", to == "https://login.example.com/":
			case w == path && strings.HasPrefix(to, "/login?return_to=%2F") && !strings.HasPrefix(to, "/login?return_to=%2F%2F"):
			case w == whole && strings.HasPrefix(to, "https://login.example.com/?return_to=https%3A%2F%2Fshop.example.com%2F"):
			default:
				t.Errorf("sent to %q", to)
			}
			if strings.ContainsAny(to, "\r\n\\<>\"' ") {
				t.Errorf("sent to %q", to)
			}
		}
	})
}

// The set-ups of Traefik and Envoy mention dots, upgrades and headers. No test
// runs these two.
func TestSetUpsThatAreNotRun(t *testing.T) {
	read := func(name string, into any) {
		t.Helper()
		text, err := os.ReadFile("../../../examples/proxies/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Load([]byte(withChosen(string(text))), into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var shop struct {
		HTTP struct {
			Routers map[string]struct {
				Rule        string
				Priority    int
				Middlewares []string
				Service     string
			}
			Middlewares map[string]struct {
				Headers struct {
					CustomRequestHeaders map[string]string `yaml:"customRequestHeaders"`
				}
				ForwardAuth struct {
					AuthResponseHeaders []string `yaml:"authResponseHeaders"`
				} `yaml:"forwardAuth"`
				ReplacePathRegex struct{ Regex, Replacement string } `yaml:"replacePathRegex"`
				IPAllowList      struct {
					SourceRange      []string `yaml:"sourceRange"`
					RejectStatusCode int      `yaml:"rejectStatusCode"`
				} `yaml:"ipAllowList"`
			}
		}
	}
	read("traefik/shop.yml", &shop)
	const websocket = "HeaderRegexp(`Upgrade`, `(?i)^websocket$`)"
	for name, router := range shop.HTTP.Routers {
		first := shop.HTTP.Middlewares[router.Middlewares[0]]
		if name == "dots" {
			if first.IPAllowList.RejectStatusCode != 400 || len(first.IPAllowList.SourceRange) != 1 || first.IPAllowList.SourceRange[0] != "255.255.255.255/32" {
				t.Errorf("dots are not refused: %+v", first)
			}
			continue
		}
		if router.Priority >= shop.HTTP.Routers["dots"].Priority {
			t.Errorf("%s goes before dots", name)
		}
		headers := first.Headers.CustomRequestHeaders
		for _, header := range []string{"Subject", "Session", "Level", "Login"} {
			for _, separator := range []string{"-", "_", "."} {
				if value, ok := headers["Sojourn"+separator+header]; !ok || value != "" {
					t.Errorf("%s lets Sojourn%s%s through", name, separator, header)
				}
			}
		}
		if value, ok := headers["X-User-Email"]; !ok || value != "" {
			t.Errorf("%s lets X-User-Email through", name)
		}
		last := shop.HTTP.Middlewares[router.Middlewares[len(router.Middlewares)-1]]
		if name == "pages" { // sojournd's own: no check, no upgrade, and every path gets the prefix
			mapped := regexp.MustCompile(last.ReplacePathRegex.Regex).ReplaceAllString("/session/devices/x/../y", last.ReplacePathRegex.Replacement)
			if router.Rule != "PathPrefix(`/session/`)" || router.Service != "sojourn" || headers["Upgrade"] != "" || mapped != "/pages/shop/devices/x/../y" {
				t.Errorf("the pages are %+v, and a path becomes %s", router, mapped)
			}
			continue
		}
		if router.Service != "application" {
			t.Errorf("%s leads to %s", name, router.Service)
		}
		check := last.ForwardAuth.AuthResponseHeaders
		if want := []string{"Sojourn-Subject", "Sojourn-Session", "Sojourn-Level", "X-User-Email"}; !slices.Equal(check, want) {
			t.Errorf("%s passes %q to the application, want %q", name, check, want)
		}
		upgrade, ok := headers["Upgrade"]
		twin, hasTwin := shop.HTTP.Routers[name+"-websocket"]
		switch {
		case !ok, upgrade != "" && (upgrade != "websocket" || !strings.HasSuffix(router.Rule, " && "+websocket)):
			t.Errorf("%s passes the upgrade %q", name, upgrade)
		case upgrade == "" && (!hasTwin || twin.Priority <= router.Priority || twin.Rule != router.Rule+" && "+websocket || !slices.Equal(twin.Middlewares[1:], router.Middlewares[1:])):
			t.Errorf("%s has no such twin for WebSockets: %+v", name, twin)
		}
	}
	_, rule, _ := strings.Cut(shop.HTTP.Routers["dots"].Rule, "`")
	dots := regexp.MustCompile(strings.TrimSuffix(rule, "`)"))
	for path, refused := range map[string]bool{
		"/x/..;/account": true, "/x/..%2Faccount": true, "/x/..%2faccount": true, "/account%2F..%2F..%2Fx": true, "/x\\..\\account": true, "/account/..": true, "/account/.;a/b": true, "/x/..%3B/account": true,
		"/..a": false, "/a..": false, "/...": false, "/a.b/.well-known/c": false, "/a%2Fb": false, "/.hidden": false, "/": false,
	} {
		if dots.MatchString(path) != refused {
			t.Errorf("%s is refused: %v", path, !refused)
		}
	}

	type envoyRoute struct {
		Match struct{ Prefix string }
		Route struct {
			Cluster        string
			PrefixRewrite  string `yaml:"prefix_rewrite"`
			UpgradeConfigs []struct {
				Type    string `yaml:"upgrade_type"`
				Enabled *bool
			} `yaml:"upgrade_configs"`
		}
	}
	type matcher struct {
		Prefix     string
		IgnoreCase bool                   `yaml:"ignore_case"`
		SafeRegex  struct{ Regex string } `yaml:"safe_regex"`
	}
	var envoy struct {
		StaticResources struct {
			Listeners []struct {
				FilterChains []struct {
					Filters []struct {
						Config struct {
							UpgradeConfigs []map[string]string `yaml:"upgrade_configs"`
							HTTPFilters    []struct {
								Name   string
								Config struct {
									Mutations struct {
										RequestMutations []struct {
											RemoveOnMatch struct {
												KeyMatcher matcher `yaml:"key_matcher"`
											} `yaml:"remove_on_match"`
										} `yaml:"request_mutations"`
									}
									HTTPService struct {
										AuthorizationResponse struct {
											AllowedUpstreamHeaders        struct{ Patterns []map[string]string } `yaml:"allowed_upstream_headers"`
											AllowedClientHeadersOnSuccess struct{ Patterns []map[string]string } `yaml:"allowed_client_headers_on_success"`
										} `yaml:"authorization_response"`
									} `yaml:"http_service"`
								} `yaml:"typed_config"`
							} `yaml:"http_filters"`
							RouteConfig struct {
								VirtualHosts []struct{ Routes []envoyRoute } `yaml:"virtual_hosts"`
							} `yaml:"route_config"`
						} `yaml:"typed_config"`
					}
				} `yaml:"filter_chains"`
			}
		} `yaml:"static_resources"`
	}
	read("envoy/envoy.yaml", &envoy)
	manager := envoy.StaticResources.Listeners[0].FilterChains[0].Filters[0].Config
	if got := manager.UpgradeConfigs; len(got) != 1 || got[0]["upgrade_type"] != "websocket" {
		t.Errorf("Envoy passes the upgrades %v", got)
	}
	for i, route := range manager.RouteConfig.VirtualHosts[0].Routes {
		upgrades := route.Route.UpgradeConfigs
		switch isPages := route.Route.Cluster == "sojourn"; {
		case isPages != (i == 0), isPages && (route.Match.Prefix != "/session/" || route.Route.PrefixRewrite != "/pages/shop/"),
			isPages && (len(upgrades) != 1 || upgrades[0].Type != "websocket" || upgrades[0].Enabled == nil || *upgrades[0].Enabled):
			t.Errorf("Envoy's route %d is %+v", i, route)
		}
	}
	first := manager.HTTPFilters[0].Config.Mutations.RequestMutations
	if len(first) != 2 || first[0].RemoveOnMatch.KeyMatcher != (matcher{Prefix: "sojourn", IgnoreCase: true}) {
		t.Fatalf("the first of Envoy's filters removes %+v", first)
	}
	spellings := regexp.MustCompile("^(?:" + first[1].RemoveOnMatch.KeyMatcher.SafeRegex.Regex + ")$")
	for name, removed := range map[string]bool{"x-user-email": true, "X-User-Email": true, "x.user-email": true, "x-user.email": true, "x-user-emails": false, "x-user": false} {
		if spellings.MatchString(name) != removed {
			t.Errorf("Envoy removes %s: %v", name, !removed)
		}
	}
	for _, filter := range manager.HTTPFilters[1 : len(manager.HTTPFilters)-1] {
		var names []string
		answer := &filter.Config.HTTPService.AuthorizationResponse
		for _, pattern := range answer.AllowedUpstreamHeaders.Patterns {
			names = append(names, pattern["exact"])
		}
		if told := answer.AllowedClientHeadersOnSuccess.Patterns; len(told) != 1 || told[0]["exact"] != "secure-session-challenge" {
			t.Errorf("%s passes %v to the visitor", filter.Name, told)
		}
		if want := []string{"sojourn-subject", "sojourn-session", "sojourn-level", "x-user-email"}; !slices.Equal(names, want) {
			t.Errorf("%s passes %q to the application, want %q", filter.Name, names, want)
		}
	}
}
