package config

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// A Reporter reports a mistake in the setting at a path, such as
// "applications[0].keys", and what to write instead. Only the first report for
// a path counts.
type Reporter func(path, format string, args ...any)

// A Check looks for mistakes that only the user of the configuration can find.
// Defaults are filled in. Settings with mistakes may have any value.
type Check func(c *Config, wrong Reporter)

// check looks for mistakes that a type of a setting cannot find.
func check(c *Config, wrong Reporter) {
	if c.Store.URL == "" {
		wrong("store", "is empty: write where sessions live, like sqlite:/var/lib/sojournd/sojourn.db")
	}
	for _, f := range []struct{ path, file string }{{"store_password_file", c.Store.PasswordFile}, {"store_ca", c.Store.CAFile}} {
		if f.file != "" && !filepath.IsAbs(f.file) {
			wrong(f.path, "is no absolute path: write one like /etc/sojournd/%s", f.path)
		}
	}
	checkWord("log.format", c.Log.Format, wrong, "text", "json")
	checkFront("api", &c.API, wrong)
	checkFront("internal", &c.Internal, wrong)
	checkFront("console", &c.Console.Front, wrong)
	for i, a := range c.API.Listen {
		if slices.Contains(c.Internal.Listen, a) && !strings.HasSuffix(a.Address, ":0") {
			wrong(fmt.Sprintf("api.listen[%d]", i), "is internal's too: /check and /metrics take a listener of their own")
		}
	}
	for i, a := range c.Console.Listen {
		if (slices.Contains(c.Internal.Listen, a) || slices.Contains(c.API.Listen, a)) && !strings.HasSuffix(a.Address, ":0") {
			wrong(fmt.Sprintf("console.listen[%d]", i), "is api's or internal's too: the console takes a listener of its own")
		}
	}
	checkLimits(&c.Limits, wrong)
	if c.Events.Audit.File != "" && !filepath.IsAbs(c.Events.Audit.File) {
		wrong("events.audit.file", "%q is no absolute path: write one like /var/log/sojournd/audit.jsonl", c.Events.Audit.File)
	}
	names := checkApplications(c.Applications, wrong)
	for i := range c.Applications {
		if c.Applications[i].RelaysCookies && len(c.TrustedProxies) == 0 {
			wrong(fmt.Sprintf("applications[%d].relays_cookies", i), "needs trusted_proxies: name the proxy there, because only a trusted proxy can tell the visitor's method, which decides whether secrets rotate")
		}
	}
	checkOperators(c.Console.Operators, names, wrong)
	for i := range c.Events.Webhooks {
		w, path := &c.Events.Webhooks[i], fmt.Sprintf("events.webhooks[%d]", i)
		checkWebhook(path, w, names, wrong)
		for j := range i {
			if other := &c.Events.Webhooks[j]; other.URL == w.URL && overlap(other.Applications, w.Applications) {
				wrong(path+".url", "is that of events.webhooks[%d] too, for the same application: merge the two", j)
			}
		}
	}
}

func checkFront(path string, f *Front, wrong Reporter) {
	hasTLS := f.TLS.Certificate != "" || f.TLS.Key != ""
	switch {
	case hasTLS && f.TLS.Key == "":
		wrong(path+".tls.key", "is missing: write the path of the certificate's key")
	case hasTLS && f.TLS.Certificate == "":
		wrong(path+".tls.certificate", "is missing: write the path of the key's certificate")
	case hasTLS && f.PlainHTTP:
		wrong(path+".plain_http", "is no use with tls: take one of them out")
	}
	for i, a := range f.Listen {
		at := fmt.Sprintf("%s.listen[%d]", path, i)
		if slices.Contains(f.Listen[:i], a) && !strings.HasSuffix(a.Address, ":0") {
			wrong(at, "is listed twice: take one out")
		}
		if !a.Loopback() && !hasTLS && !f.PlainHTTP {
			wrong(at, "other machines can reach %q, and without TLS anybody on the way can read keys and tokens: set %s.tls, listen on 127.0.0.1 or a Unix socket, or, in a network that you trust, set %s.plain_http: true", a, path, path)
		}
	}
}

func checkLimits(l *Limits, wrong Reporter) {
	if l.Body < 1<<10 || l.Body > 64<<20 {
		wrong("limits.body", "use 1KiB to 64MiB")
	}
	if l.Header < 4<<10 || l.Header > 1<<20 {
		wrong("limits.header", "use 4KiB to 1MiB")
	}
	for _, d := range []struct {
		path  string
		value Duration
	}{
		{"limits.read_header_timeout", l.ReadHeaderTimeout}, {"limits.read_timeout", l.ReadTimeout},
		{"limits.write_timeout", l.WriteTimeout}, {"limits.idle_timeout", l.IdleTimeout}, {"limits.shutdown_timeout", l.ShutdownTimeout},
	} {
		if d.value < Duration(100*time.Millisecond) || d.value > Duration(time.Hour) {
			wrong(d.path, "use 100ms to 1h")
		}
	}
}

func checkApplications(list []Application, wrong Reporter) (names []string) {
	if len(list) == 0 {
		wrong("applications", "there are none: list at least one, with its name and keys, as sojournd config example does")
	}
	cookies, keys := map[string]string{ConsoleCookie: "the console's", ConsoleVisitorCookie: "the console's"}, map[KeyHash]string{}
	for i := range list {
		a, at := &list[i], fmt.Sprintf("applications[%d]", i)
		repeated := slices.Contains(names, a.Name) // then the default names of its cookies are, too
		switch {
		case a.Name == "":
			wrong(at+".name", "is missing: write 1 to 64 letters, digits, '.', '_' and '-'")
		case !nameForm.MatchString(a.Name):
			wrong(at+".name", "%q is no name: write 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit", a.Name)
		case a.Name == ConsoleApp:
			wrong(at+".name", "%q is the console's own: choose another", a.Name)
		case repeated:
			wrong(at+".name", "%q is another application's name: choose another", a.Name)
		}
		names = append(names, a.Name)
		if nameForm.MatchString(a.Name) { // the default names contain it
			checkCookie(at+".cookie", &a.Cookie, wrong)
		}
		for _, cookie := range []struct{ path, name string }{{at + ".cookie.name", a.Cookie.Name}, {at + ".cookie.visitor", a.Cookie.Visitor}} {
			if other, ok := cookies[cookie.name]; ok && !repeated {
				wrong(cookie.path, "%q is the name of %s too: each cookie has its own", cookie.name, other)
			}
			cookies[cookie.name] = cookie.path
		}
		checkKeys(at, a, keys, wrong)
		checkPolicy(at+".policy", &a.Policy, wrong)
		checkPages(at+".pages", &a.Pages, wrong)
		if len(a.Mirror) > 0 && a.Pages.Path == "" {
			wrong(at+".mirror", "needs pages.path: the browser gets the script at mirror.js below that path")
		}
		checkSealed(at, a, wrong)
		checkBound(at, a, wrong)
		checkApplication(at, a, wrong)
	}
	return names
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// The console's own application and cookies. The store keeps its sessions beside
// those of the applications.
const (
	ConsoleApp           = "sojournd.console"
	ConsoleCookie        = "__Host-sojournd-console"
	ConsoleVisitorCookie = "__Host-sojournd-console-visitor"
)

func checkOperators(list []Operator, applications []string, wrong Reporter) {
	for i := range list {
		o, at := &list[i], fmt.Sprintf("console.operators[%d]", i)
		if !OperatorName.MatchString(o.Name) {
			wrong(at+".name", "%q is no name: write 1 to 64 letters, digits, '.', '_', '-', '@' and '+', beginning with a letter or digit", o.Name)
		}
		if slices.ContainsFunc(list[:i], func(other Operator) bool { return other.Name == o.Name }) {
			wrong(at+".name", "%q is another operator's name: choose another", o.Name)
		}
		if o.Hash == "" {
			wrong(at+".hash", "is missing: sojournd operators add %s prints it", o.Name)
		}
		if len(o.Roles) == 0 {
			wrong(at+".roles", `is missing: write {"*": look}, or {"*": end} to end sessions too`)
		}
		for app := range o.Roles {
			if app != "*" && !slices.Contains(applications, app) {
				wrong(at+".roles."+app, `there is no application %q: write one of %s, or "*" for all`, app, strings.Join(applications, ", "))
			}
		}
	}
}

// OperatorName is the form of an operator's name.
var OperatorName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$`)

func checkCookie(path string, c *Cookie, wrong Reporter) {
	checkWord(path+".same_site", c.SameSite, wrong, "lax", "strict", "none")
	if c.Partitioned && c.SameSite != "none" {
		wrong(path+".partitioned", "needs same_site: none, without which the cookie isn't sent to embedded pages at all")
	}
	if c.Domain != "" && !domainOK(c.Domain) {
		wrong(path+".domain", "%q is no domain: write one like example.com", c.Domain)
	}
	for _, one := range []struct{ path, name string }{{path + ".name", c.Name}, {path + ".visitor", c.Visitor}} {
		lower := strings.ToLower(one.name)
		switch {
		case !cookieNameForm.MatchString(one.name):
			wrong(one.path, "%q is no cookie's name: write letters, digits, '-' and '_'", one.name)
		case c.Domain != "" && strings.HasPrefix(lower, "__host-"):
			wrong(one.path, "browsers refuse %q with a domain: write a name that begins with __Secure-", one.name)
		case !strings.HasPrefix(one.name, "__Host-") && !strings.HasPrefix(one.name, "__Secure-"):
			wrong(one.path, "%q can be planted over plain HTTP: write a name that begins with __Host-, or with a domain __Secure-", one.name)
		}
	}
}

// A cookie name is a token (RFC 6265, section 4.1.1, and RFC 9110, section 5.6.2).
var cookieNameForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,255}$")

// domainOK reports whether net/http writes a cookie with the domain. Addresses and
// top-level domains are not allowed.
func domainOK(domain string) bool {
	_, err := netip.ParseAddr(domain)
	cookie := http.Cookie{Name: "a", Domain: domain}
	return err != nil && cookie.Valid() == nil && strings.Contains(strings.Trim(domain, "."), ".") && domain == strings.Trim(domain, ".")
}

func checkKeys(at string, a *Application, keys map[KeyHash]string, wrong Reporter) {
	for i, k := range a.Keys {
		path := fmt.Sprintf("%s.keys[%d]", at, i)
		if len(k.Name) > 64 || !cookieNameForm.MatchString(k.Name) {
			wrong(path+".name", "%q is no name: write one without blanks, to recognise the key in logs", k.Name)
		}
		if slices.ContainsFunc(a.Keys[:i], func(other Key) bool { return other.Name == k.Name }) {
			wrong(path+".name", "%q is another key's name: choose another", k.Name)
		}
		if k.Hash == (KeyHash{}) {
			wrong(path+".hash", "is missing: sojournd keys new prints a key and its hash")
			continue
		}
		if other, ok := keys[k.Hash]; ok {
			wrong(path+".hash", "is that of %s too: each key is for one application, once", other)
		}
		keys[k.Hash] = path
	}
}

func checkPolicy(path string, p *Policy, wrong Reporter) {
	base, ok := presets[p.Preset]
	if !ok {
		checkWord(path+".preset", p.Preset, wrong, "default", "aal1", "aal2", "aal3")
		return
	}
	limits := base()
	for _, l := range []struct {
		name string
		set  *Lifetime
		base sojourn.Lifetime
	}{{"anonymous", &p.Anonymous, limits.Anonymous}, {"login", &p.Login, limits.Login}, {"remembered", &p.Remembered, limits.Remembered}} {
		at := path + "." + l.name
		for _, d := range []struct {
			path  string
			value Duration
		}{{at + ".idle", l.set.Idle}, {at + ".absolute", l.set.Absolute}} {
			if d.value < 0 {
				wrong(d.path, "every session must end some day: write a duration like 24h or 90d")
			} else if d.value > 0 && d.value < Duration(time.Second) {
				wrong(d.path, "use a second or more")
			}
		}
		whole := l.set.over(l.base)
		if whole.Absolute < whole.Idle { // so the file sets idle
			limit := span(whole.Absolute)
			if l.set.Absolute == 0 {
				limit += ", as the preset has it"
			}
			wrong(at+".idle", "is %s, longer than absolute, which is %s: no session could be idle for so long: shorten idle, or set absolute to %[1]s or more", span(whole.Idle), limit)
		}
		if p.Preset != "default" && l.name != "anonymous" && (whole.Absolute > l.base.Absolute || whole.Idle > l.base.Idle) {
			wrong(at, "is longer than %s allows (idle %s, absolute %s): shorten it, or take another preset", p.Preset, span(l.base.Idle), span(l.base.Absolute))
		}
	}
	if p.RotateEvery > 0 && p.RotateEvery < Duration(5*time.Minute) {
		wrong(path+".rotate_every", "use 5m or more, or never")
	}
	if p.Grace < 0 || p.Grace > 0 && (p.Grace < Duration(time.Minute) || p.Grace > Duration(30*time.Minute)) {
		wrong(path+".grace", "use 1m to 30m: 2m behind a proxy that doesn't buffer uploads, else 10m")
	}
}

func checkSealed(at string, a *Application, wrong Reporter) {
	s, path := &a.Sealed, at+".sealed"
	if s.For == "" {
		if *s != (Sealed{}) {
			wrong(path+".for", "is missing: write visitors, everyone or nobody, or take sealed out")
		}
		return
	}
	checkWord(path+".for", s.For, wrong, "visitors", "everyone", "nobody")
	if s.For == "everyone" && a.MaxSessions > 0 {
		wrong(at+".max_sessions", "can't be kept with sealed.for: everyone, because nothing counts a user's sessions: take it out")
	}
	if s.For == "everyone" && a.OverLimit != "" {
		wrong(at+".over_limit", "has no meaning with sealed.for: everyone: take it out")
	}
	switch {
	case s.KeysFile == "":
		wrong(path+".keys_file", "is missing: sojournd keys new --seal --file /etc/sojournd/seal-keys makes one")
	case !filepath.IsAbs(s.KeysFile):
		wrong(path+".keys_file", "%q is no absolute path: write one like /etc/sojournd/seal-keys", s.KeysFile)
	}
}

func checkBound(at string, a *Application, wrong Reporter) {
	b, at := a.Bound, at+".bound"
	if b == nil {
		return
	}
	switch where := a.BoundPath(); {
	case a.Pages.Path == "":
		wrong(at, "needs pages.path, below which browsers bind their sessions: write pages: {path: /session/} too")
	case !boundPathForm.MatchString(where) || path.Clean(where)+"/" != where:
		wrong(at, "needs a pages.path of letters, digits, '.', '_', '~' and '-' between slashes, such as /session/: %q can't be in a header", a.Pages.Path)
	}
	if a.Sealed.For == "everyone" {
		wrong(at, "can't be kept with sealed.for: everyone, because nothing can end a copy of the cookie from before the binding: take it out, or write sealed.for: visitors, which stores logins")
	}
	if b.ProofLife < Duration(5*time.Minute) || b.ProofLife > Duration(time.Hour) {
		wrong(at+".proof_life", "use 5m to 1h")
	}
	if b.Grace < Duration(time.Second) || b.Grace > Duration(30*time.Minute) {
		wrong(at+".grace", "use 1s to 30m")
	}
	if b.RequireLevel > 3 {
		wrong(at+".require_level", "use 1 to 3, or 0 for none")
	}
}

// The path is in headers.
var boundPathForm = regexp.MustCompile(`^/([A-Za-z0-9._~-]+/)+$`)

func checkApplication(at string, a *Application, wrong Reporter) {
	if a.OverLimit != "" {
		checkWord(at+".over_limit", a.OverLimit, wrong, "end_oldest", "refuse")
	}
	if a.MaxSession > maxSession {
		wrong(at+".max_session", "use at most %d", maxSession)
	}
	if a.MaxValue > a.MaxSession {
		wrong(at+".max_value", "is more than max_session, which is %d", a.MaxSession)
	}
	if a.MaxDepth < 1 || a.MaxDepth > maxDepth {
		wrong(at+".max_depth", "use 1 to %d", maxDepth)
	}
	for _, page := range []struct{ path, text string }{{at + ".login_url", a.LoginURL}, {at + ".step_up_url", a.StepUpURL}} {
		if u, err := url.Parse(page.text); err == nil && u.Scheme == "http" && !localHost(u.Hostname()) && !a.Development {
			wrong(page.path, "%q isn't https: write a path like /login, or a URL like https://example.com/login", page.text)
		}
	}
	if !nameForm.MatchString(a.ReturnParam) {
		wrong(at+".return_param", "%q is no name: write letters, digits, '.', '_' and '-'", a.ReturnParam)
	}
	for _, list := range []struct {
		name    string
		origins []string
	}{{"return_origins", a.ReturnOrigins}, {"origins", a.Origins}} {
		for i, origin := range list.origins {
			if a.Development && list.name == "origins" && strings.HasPrefix(origin, "https:") {
				wrong(fmt.Sprintf("%s.%s[%d]", at, list.name, i), "%q isn't in development, but served over HTTPS: take it out, or development: true", origin)
			}
			if !originOK(origin, a.Development) {
				wrong(fmt.Sprintf("%s.%s[%d]", at, list.name, i), "%q is no origin: write scheme, host and, if it isn't the usual one, port: https://shop.example.com", origin)
			}
		}
	}
	if a.Development && a.Cookie.Domain != "" {
		wrong(at+".cookie.domain", "with development: true browsers drop the cookie on every other host: take one of them out")
	}
	if a.Development && a.Cookie.SameSite == "none" {
		wrong(at+".cookie.same_site", "browsers refuse none over plain HTTP: take it out, or development: true")
	}
	for i, data := range a.ClearSiteData {
		checkWord(fmt.Sprintf("%s.clear_site_data[%d]", at, i), data, wrong, "cache", "cookies", "storage", "executionContexts", "*")
	}
}

func checkPages(at string, p *Pages, wrong Reporter) {
	if p.Path == "" && (p.Site != "" || p.Stylesheet != "" || p.Language != "" || len(p.Texts) > 0) {
		wrong(at+".path", "is missing: write where browsers reach the pages, such as /session/")
	}
	languages := append([]string{"de", "en", "fr"}, slices.Collect(maps.Keys(p.Texts))...)
	slices.Sort(languages)
	if p.Language != "" {
		checkWord(at+".language", p.Language, wrong, slices.Compact(languages)...)
	}
}

// The limits of sojourn.Options.
const (
	maxSession = store.MaxRecord - 1024
	maxDepth   = 1000
)

// originOK reports whether an origin is written as browsers write it, and is safe:
// HTTPS, or on this machine, or in development. Package forwardauth checks its form.
func originOK(text string, development bool) bool {
	u, err := url.Parse(text)
	return err == nil && text == strings.ToLower(text) && (u.Scheme == "https" && u.Port() != "443" || u.Scheme == "http" && (development || localHost(u.Hostname())) && u.Port() != "80")
}

func localHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}

var eventKinds = []string{
	string(sojourn.EventCreated), string(sojourn.EventAuthenticated), string(sojourn.EventElevated), string(sojourn.EventRotated), string(sojourn.EventEnded),
	string(sojourn.EventEndedAll), string(sojourn.EventRefused), string(sojourn.EventThrottled), string(sojourn.EventClientChanged), string(sojourn.EventAdopted), string(sojourn.EventWriteFailed), "gap",
}

// checkWord reports a word that is not known. If only its case is wrong, it names
// the right one.
func checkWord(path, word string, wrong Reporter, known ...string) {
	if slices.Contains(known, word) {
		return
	}
	for _, k := range known {
		if strings.EqualFold(k, word) {
			wrong(path, "%q: capital letters count: write %s", word, k)
			return
		}
	}
	last := len(known) - 1
	wrong(path, "there is no %q: write %s or %s", word, strings.Join(known[:last], ", "), known[last])
}

// overlap reports whether two lists of applications have one in common. An empty
// list means all applications.
func overlap(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(name string) bool { return slices.Contains(b, name) })
}

func checkWebhook(path string, w *Webhook, applications []string, wrong Reporter) {
	switch u, err := url.Parse(w.URL); {
	case err == nil && u.User != nil:
		wrong(path+".url", "has a user in it: take that out, because messages are signed, and write a URL like https://hooks.example.com/sojourn")
	case err == nil && u.Scheme == "http" && !w.PlainHTTP && !localHost(u.Hostname()):
		wrong(path+".url", "anybody on the way can read events that are sent over plain HTTP: write an https URL, or, in a network that you trust, set %s.plain_http: true", path)
	}
	if !filepath.IsAbs(w.SecretFile) {
		wrong(path+".secret_file", "%q is no absolute path: write the path of a file with the signing secret, whsec_ and base64", w.SecretFile)
	}
	for i, kind := range w.Events {
		checkWord(fmt.Sprintf("%s.events[%d]", path, i), kind, wrong, eventKinds...)
	}
	for i, app := range w.Applications {
		if !slices.Contains(applications, app) {
			wrong(fmt.Sprintf("%s.applications[%d]", path, i), "there is no application %q", app)
		}
	}
}
