// Package config reads the server's configuration: a YAML file, which
// environment variables override, which flags override. It reports every
// mistake at once, with its place and what to write instead.
//
//	c, err := config.Read("sojourn.yaml", text, config.Environment(os.Environ()), config.Flags{"log.level": "debug"})
//
// A Config that Read returns is complete: defaults are filled in, and settings
// that depend on each other are consistent.
package config

import (
	_ "embed"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// A Config holds all settings of the server. The yaml tags are the keys in the
// file.
type Config struct {
	Store

	Log Log `yaml:"log"`

	// API serves /v1 and /openapi.json. Default 127.0.0.1:7081. It stays closed
	// until an application has a key.
	API Front `yaml:"api"`

	// Internal serves /check and /pages, for proxies, and /metrics, /healthz and
	// /readyz.
	// Default 127.0.0.1:7082.
	Internal Front `yaml:"internal"`

	// Console serves the web console, for operators. It stays closed until it has a
	// listener. Default none.
	Console Console `yaml:"console"`

	// TrustedProxies are the addresses of the reverse proxies whose X-Forwarded
	// headers are trusted. Default none.
	TrustedProxies []Prefix `yaml:"trusted_proxies"`

	Limits       Limits        `yaml:"limits"`
	Events       Events        `yaml:"events"`
	Applications []Application `yaml:"applications"`
}

// Log says what to log to standard error.
type Log struct {
	Level  Level  `yaml:"level"`  // default info
	Format string `yaml:"format"` // "text", the default, or "json"
}

// A Front is a set of listeners with one handler.
type Front struct {
	Listen []Address `yaml:"listen"`

	// TLS is for the TCP listeners. Without it they serve plain HTTP/1.1 and
	// HTTP/2.
	TLS TLS `yaml:"tls"`

	// PlainHTTP allows plain HTTP on addresses that other machines can reach.
	PlainHTTP bool `yaml:"plain_http"`

	// SocketMode is the mode of the Unix sockets. Default 0660.
	SocketMode FileMode `yaml:"socket_mode"`
}

// Console is the web console and who may use it.
type Console struct {
	Front

	// Operators are the people who may sign in. sojournd operators add makes one.
	Operators []Operator `yaml:"operators"`
}

// An Operator is a person who may use the console.
type Operator struct {
	Name string       `yaml:"name"` // 1 to 64 letters, digits, '.', '_', '-', '@' and '+'
	Hash PasswordHash `yaml:"hash"` // of the password

	// Roles say what the operator may do, by application: "look", or "end" to end
	// sessions too. "*" is every application that isn't named. Default none.
	Roles map[string]Role `yaml:"roles"`
}

// TLS names the files of a certificate chain and its key, in PEM. They are read
// again on SIGHUP.
type TLS struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Limits bound what a client can use of the server.
type Limits struct {
	Body              Size     `yaml:"body"`                // of a request; default 1 MiB
	Header            Size     `yaml:"header"`              // of a request; default 64 KiB
	ReadHeaderTimeout Duration `yaml:"read_header_timeout"` // default 10 s
	ReadTimeout       Duration `yaml:"read_timeout"`        // of a whole request; default 30 s
	WriteTimeout      Duration `yaml:"write_timeout"`       // of an answer, from the end of the request's header; default 1 min. Not for streams
	IdleTimeout       Duration `yaml:"idle_timeout"`        // between two requests of a connection; default 2 min
	ShutdownTimeout   Duration `yaml:"shutdown_timeout"`    // for requests in flight when the server stops; default 10 s
}

// Events says where events go besides /v1/events.
type Events struct {
	Audit    Audit     `yaml:"audit"`
	Webhooks []Webhook `yaml:"webhooks"`
}

// Audit is the log of every event, as JSON lines.
type Audit struct {
	File    string   `yaml:"file"`     // an absolute path; empty: no log
	MaxSize Size     `yaml:"max_size"` // of a file, before the next begins; default 100 MiB
	MaxAge  Duration `yaml:"max_age"`  // of old files, in whole days; default 90 days
	Keep    int      `yaml:"keep"`     // number of old files; default 0: as many as MaxAge allows
}

// A Webhook receives events by the Standard Webhooks specification.
type Webhook struct {
	URL          string   `yaml:"url"`
	PlainHTTP    bool     `yaml:"plain_http"`   // allows http to other machines, in a network that you trust
	SecretFile   string   `yaml:"secret_file"`  // holds whsec_ and base64 of 24 to 64 bytes; while it is replaced, two lines
	Events       []string `yaml:"events"`       // kinds of events; default all except refused, rotated, throttled and write_failed
	Applications []string `yaml:"applications"` // default all
}

// An Application is a site or product with its own sessions.
type Application struct {
	Name string `yaml:"name"` // 1 to 64 letters, digits, '.', '_' and '-'

	// Keys open the API to this application. Default none: it uses only
	// forward-auth.
	Keys []Key `yaml:"keys"`

	Cookie Cookie `yaml:"cookie"`
	Policy Policy `yaml:"policy"`
	Sealed Sealed `yaml:"sealed"`
	Bound  *Bound `yaml:"bound"` // default: no session is bound

	// MaxSessions is how many sessions a subject may have. Default 100; -1 is
	// "unlimited". OverLimit is "end_oldest", the default, or "refuse". Sealed
	// sessions for everyone have neither.
	MaxSessions Count  `yaml:"max_sessions"`
	OverLimit   string `yaml:"over_limit"`

	MaxValue   Size `yaml:"max_value"`   // of a value's JSON; default 64 KiB
	MaxSession Size `yaml:"max_session"` // of all keys and values; default 256 KiB
	MaxDepth   int  `yaml:"max_depth"`   // of nested arrays and objects in a value; default 100

	// MaxBadTokens is how many bad tokens one address may send in a minute.
	// After them further ones get 429. Default 100; -1 is "unlimited".
	MaxBadTokens Count `yaml:"max_bad_tokens"`

	// LoginURL is where forward-auth redirects page views: a path of the
	// application's host, or an https URL. Default "/login".
	LoginURL string `yaml:"login_url"`

	// ReturnParam is the query parameter of LoginURL with the address to return
	// to. Default "return_to".
	ReturnParam string `yaml:"return_param"`

	// StepUpURL is where page views go if the login is too old or its level too
	// low. Default: they get 403.
	StepUpURL string `yaml:"step_up_url"`

	// ReturnOrigins are the other origins that may be in an address to return
	// to.
	ReturnOrigins []string `yaml:"return_origins"`

	// Origins are the application's own public origins, as in
	// sojourn.Options.Origins. Name them if the proxy replaces Host. Checks for
	// proxies ignore the origin. Default: the Host header is compared.
	Origins []string `yaml:"origins"`

	// RelaysCookies says that the proxy, one of TrustedProxies, passes
	// Set-Cookie of a check's answer to the browser. Only then can a check
	// rotate secrets.
	RelaysCookies bool `yaml:"relays_cookies"`

	// PassiveHeader names a header. A visitor's request with it doesn't count as
	// activity. Default none.
	PassiveHeader string `yaml:"passive_header"`

	// Headers are further headers for the application behind a proxy: name to
	// source, such as value.email. Default none.
	Headers map[string]string `yaml:"headers"`

	Pages Pages `yaml:"pages"`

	// Mirror declares the values that are public: the browser keeps them in its
	// local storage, too. It needs Pages. Default none.
	Mirror []MirrorKey `yaml:"mirror"`

	// ClearSiteData is what the browser should clear at logout. Default
	// nothing.
	ClearSiteData []string `yaml:"clear_site_data"`

	// Development is for a developer's machine: the cookies lack Secure, and their
	// names begin with dev-, for plain HTTP on any host. See
	// sojourn.Options.Development. Default false.
	Development bool `yaml:"development"`

	namesLoginURL bool // the file has login_url
}

// A Key is an API key. The file has only its hash.
type Key struct {
	Name string  `yaml:"name"` // for logs
	Hash KeyHash `yaml:"hash"`
}

// Pages are the application's pages for browsers, such as "your devices". They
// are at /pages/{app}/ of the internal listener, for the proxy to map.
type Pages struct {
	// Path is where browsers reach them: a path of the application's site, such
	// as /session/. Default: there are no pages.
	Path string `yaml:"path"`

	// Fresh is how recent a sign-in must be to end other sessions. Default 10 min;
	// -1 is "never": any sign-in will do. StepUpURL is where the visitor confirms.
	Fresh Duration `yaml:"fresh"`

	Site       string `yaml:"site"`       // name of the site, for titles; default none
	Home       string `yaml:"home"`       // path of the site to lead back to; default "/"
	Stylesheet string `yaml:"stylesheet"` // path of a stylesheet of the site; default none
	Language   string `yaml:"language"`   // such as "de"; default: as Accept-Language asks

	// Texts replace texts: language, then the text's name.
	Texts map[string]map[string]string `yaml:"texts"`
}

// A MirrorKey is a value of sessions that is public, as in mirror.Key.
type MirrorKey struct {
	Name      string   `yaml:"name"`      // the value's key
	Attribute string   `yaml:"attribute"` // of the root element: lang, dir or data-…; default none
	Values    []string `yaml:"values"`    // all that are allowed; default any word, and without an attribute any JSON
	Personal  bool     `yaml:"personal"`  // the browser forgets it at the sign-out
}

// Cookie sets the application's two cookies. Their names default to
// __Host-NAME-session and __Host-NAME-visitor, or with a Domain
// __Secure-NAME-….
type Cookie struct {
	Name        string `yaml:"name"`
	Visitor     string `yaml:"visitor"`
	Domain      string `yaml:"domain"`
	SameSite    string `yaml:"same_site"` // "lax", the default, "strict" or "none"
	Partitioned bool   `yaml:"partitioned"`

	// UntilBrowserCloses leaves out Max-Age, except for remembered logins.
	UntilBrowserCloses bool `yaml:"until_browser_closes"`
}

// Policy sets how long sessions live. Preset gives the defaults: "default",
// "aal1", "aal2" or "aal3" (NIST SP 800-63B-4).
type Policy struct {
	Preset      string   `yaml:"preset"`
	Anonymous   Lifetime `yaml:"anonymous"`
	Login       Lifetime `yaml:"login"`
	Remembered  Lifetime `yaml:"remembered"`
	RotateEvery Duration `yaml:"rotate_every"` // "never" is -1
	Grace       Duration `yaml:"grace"`
}

// Sealed keeps sessions in their cookies, encrypted, instead of in the store.
type Sealed struct {
	// For is "visitors", for the sessions before a login, "everyone", or "nobody",
	// which stores sessions that were sealed before.
	For string `yaml:"for"`

	// KeysFile has a key on each line, as sojournd keys new --seal writes it. The
	// first seals, all open.
	KeysFile string `yaml:"keys_file"`

	// NotBefore ends all sealed sessions that are older: those that began before
	// this time and had no login since. Default none.
	NotBefore Time `yaml:"not_before"`
}

// Bound binds logins to the browsers where they began, as in sojourn.Binding. It
// needs Pages: below their path, at bound/, browsers register their keys and prove
// that they have them.
type Bound struct {
	ProofLife    Duration `yaml:"proof_life"`    // of a proof in the browser; default 10 min
	Grace        Duration `yaml:"grace"`         // how much longer it is accepted; default 1 min
	RequireLevel int      `yaml:"require_level"` // checks from this level on need a bound session; default 0: only those that say so

	// Script also binds browsers without Device Bound Session Credentials, by a
	// script that the application's pages load. Default false.
	Script bool `yaml:"script"`
}

// A Lifetime limits a session.
type Lifetime struct {
	Idle     Duration `yaml:"idle"`
	Absolute Duration `yaml:"absolute"`
}

// defaults returns the default settings.
func defaults() *Config {
	return &Config{
		Store:    Store{URL: defaultStore},
		Log:      Log{Level: Level(slog.LevelInfo), Format: "text"},
		API:      Front{Listen: []Address{{Network: "tcp", Address: "127.0.0.1:7081"}}, SocketMode: 0o660},
		Internal: Front{Listen: []Address{{Network: "tcp", Address: "127.0.0.1:7082"}}, SocketMode: 0o660},
		Console:  Console{Front: Front{SocketMode: 0o660}},
		Limits: Limits{
			Body: 1 << 20, Header: 64 << 10,
			ReadHeaderTimeout: Duration(10 * time.Second), ReadTimeout: Duration(30 * time.Second),
			WriteTimeout: Duration(time.Minute), IdleTimeout: Duration(2 * time.Minute), ShutdownTimeout: Duration(10 * time.Second),
		},
		Events: Events{Audit: Audit{MaxSize: 100 << 20, MaxAge: Duration(90 * day)}},
	}
}

// BoundPath is the path where browsers bind sessions. It is empty if none is bound.
func (a *Application) BoundPath() string {
	if a.Bound == nil {
		return ""
	}
	return a.Pages.Path + "bound/"
}

// complete fills in the defaults that depend on other settings.
func (a *Application) complete() {
	prefix := "__Host-"
	if a.Cookie.Domain != "" {
		prefix = "__Secure-"
	}
	set(&a.Cookie.Name, prefix+a.Name+"-session")
	set(&a.Cookie.Visitor, prefix+a.Name+"-visitor")
	set(&a.Cookie.SameSite, "lax")
	set(&a.Policy.Preset, "default")
	if a.Sealed.For != "everyone" { // which has no limit
		set(&a.MaxSessions, 100)
		set(&a.OverLimit, "end_oldest")
	}
	set(&a.MaxValue, 64<<10)
	set(&a.MaxSession, 256<<10)
	set(&a.MaxDepth, 100)
	set(&a.MaxBadTokens, 100)
	set(&a.LoginURL, "/login")
	set(&a.ReturnParam, "return_to")
	set(&a.Pages.Home, "/")
	set(&a.Pages.Fresh, Duration(10*time.Minute))
	if a.Bound != nil {
		set(&a.Bound.ProofLife, Duration(10*time.Minute))
		set(&a.Bound.Grace, Duration(time.Minute))
	}
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Proxies returns TrustedProxies as prefixes of net/netip.
func (c *Config) Proxies() []netip.Prefix {
	list := make([]netip.Prefix, len(c.TrustedProxies))
	for i, p := range c.TrustedProxies {
		list[i] = netip.Prefix(p)
	}
	return list
}

// Warnings returns texts about settings that are allowed but probably a
// mistake. Each begins with the path of a setting.
func (c *Config) Warnings() (list []string) {
	for i := range c.Applications {
		if a := &c.Applications[i]; a.Sealed.For == "everyone" && !a.RelaysCookies && c.asksCheck(a) {
			list = append(list, fmt.Sprintf("applications[%d].relays_cookies: is false, and the sessions of %q are sealed. Then a check can't note activity, and a session ends at its "+
				"idle limit if only checks see it: let the proxy pass Set-Cookie of a check's answer, and write true", i, a.Name))
		}
	}
	if len(c.TrustedProxies) > 0 || len(c.Internal.Listen) == 0 {
		return list
	}
	for i := range c.Applications {
		a := &c.Applications[i]
		if c.asksCheck(a) || a.Pages.Path != "" {
			list = append(list, fmt.Sprintf("trusted_proxies: is empty, but a proxy seems to ask /check or /pages for application %q. Then a sign-in can't return to the page "+
				"that was requested, and all visitors count as one address: write the proxy's address there, as sojournd sees it", a.Name))
		}
	}
	return list
}

// asksCheck reports whether a proxy seems to ask /check for an application.
func (c *Config) asksCheck(a *Application) bool {
	return len(c.Internal.Listen) > 0 && (len(a.Keys) == 0 || a.namesLoginURL || a.StepUpURL != "" || len(a.ReturnOrigins) > 0)
}

// HasKeys reports whether any application has an API key.
func (c *Config) HasKeys() bool {
	for i := range c.Applications {
		if len(c.Applications[i].Keys) > 0 {
			return true
		}
	}
	return false
}

// Example is a file with every setting, its default and its purpose.
//
//go:embed example.yaml
var Example string
