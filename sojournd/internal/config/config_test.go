package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store/memstore"
)

const minimal = "applications:\n  - name: shop\n"

func read(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Read("sojourn.yaml", []byte(text), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The example has the defaults, and names every setting.
func TestExample(t *testing.T) {
	if got, want := read(t, Example), read(t, minimal); !reflect.DeepEqual(nonNil(got), nonNil(want)) {
		t.Errorf("the example changes a default:\n%+v\n%+v", got, want)
	}
	var named func(reflect.Type)
	named = func(typ reflect.Type) {
		if typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if isText(typ) || typ.Kind() != reflect.Struct {
			return
		}
		for _, f := range reflect.VisibleFields(typ) {
			if !f.IsExported() || f.Anonymous {
				continue
			}
			key := f.Tag.Get("yaml")
			if key == "" || !strings.Contains(Example, key+":") {
				t.Errorf("%v.%s: the example lacks %q", typ, f.Name, key)
			}
			named(f.Type)
		}
	}
	named(reflect.TypeFor[Config]())
}

// The settings that are commented out in the example are valid, too.
func TestExampleUncommented(t *testing.T) {
	var lines []string
	for line := range strings.SplitSeq(Example, "\n") {
		indent, comment, ok := strings.Cut(line, "# ")
		if ok && strings.TrimSpace(indent) == "" && strings.Contains(comment, ": ") || ok && strings.TrimSpace(indent) == "" && strings.HasSuffix(comment, ":") {
			if word, _, _ := strings.Cut(strings.TrimLeft(comment, " -"), ":"); !strings.Contains(word, " ") && word == strings.ToLower(word) && word != "" {
				line = indent + comment
			}
		}
		lines = append(lines, line)
	}
	text := strings.Join(lines, "\n")
	text = strings.NewReplacer("webhooks: []", "", "keys: []", "", "operators: []", "", "mirror: []", "", "plain_http: true", "plain_http: false",
		"__Host-", "__Secure-", ":00000000", ":01234567").Replace(text)
	c := read(t, text)
	if c.API.TLS.Key == "" || c.Internal.TLS.Key == "" || len(c.Events.Webhooks) != 1 || len(c.Applications[0].Mirror) != 1 || c.Applications[0].Pages.Path == "" || c.Applications[0].Bound == nil || !c.HasKeys() || c.Events.Audit.File == "" || len(c.Console.Operators) != 1 {
		t.Errorf("not everything was uncommented: %+v", c)
	}
}

// nonNil replaces missing lists by empty ones.
func nonNil(c *Config) *Config {
	fill := func(v reflect.Value) {}
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Field(i).CanSet() {
					fill(v.Field(i))
				}
			}
		case reflect.Slice:
			if v.IsNil() {
				v.Set(reflect.MakeSlice(v.Type(), 0, 0))
			}
			for i := range v.Len() {
				fill(v.Index(i))
			}
		}
	}
	for i := range c.Applications { // a policy that is as the preset has it
		c.Applications[i].Policy = Policy{Preset: c.Applications[i].Policy.Preset}
	}
	fill(reflect.ValueOf(c).Elem())
	return c
}

// Every mistake is reported at once, with its place and what to write instead.
func TestEveryMistake(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string // "line:column: path: words"
	}{
		{"", []string{"1:1: applications: list at least one"}},
		{"# nothing\n", []string{"1:1: applications: list at least one"}},
		{"applications: []\n", []string{"1:15: applications: list at least one"}},
		{"- a\n", []string{"1:1: key: value"}},
		{"store: [\n", []string{"1:"}},
		{"store: a\nstore: b\n", []string{"2:1: already", "1:1: applications: list at least one"}},
		{minimal + "store: [1]\nstore: b\n<<: {}\nlog: {level: loud}\n---\n", []string{"3:8: store: a list", "4:1: already", "5:1: no name of a setting", "6:14: log.level: write debug", "7:1: second document"}},
		{minimal + "store: memory:\n", []string{"3:14: in quotes"}},
		{minimal + "log: &x {level: info}\nlimits: *x\nstroe: *x\n", []string{"4:9: limits: aliases", "5:1: stroe: write store"}},
		{minimal + "log: &x {level: loud}\nstore: *x\nevents: {webhooks: *x}\napi: {listen: [*x], socket_mode: *x}\n",
			[]string{"3:17: log.level: write debug", "4:8: store: aliases", "5:20: events.webhooks: aliases", "6:16: api.listen[0]: aliases", "6:34: api.socket_mode: aliases"}},
		{"applications: &x [{name: *x}]\n", []string{"1:26: applications[0].name: aliases"}},
		{minimal + "---\n" + minimal, []string{"3:1: second document"}},
		{minimal + "stroe: x\n", []string{"3:1: stroe: write store"}},
		{minimal + "nonsense: 1\n", []string{"3:1: nonsense: there are api,"}},
		{minimal + "log:\n  level: loud\n  format: xml\n", []string{"4:10: log.level: write debug, info, warn or error", "5:11: log.format: write text or json"}},
		{minimal + "log: loud\n", []string{"3:6: log: as key: value"}},
		{minimal + "log: {level: [debug]}\n", []string{"log.level: a single value"}},
		{minimal + "store_ca: ca.pem\nstore_password_file: ../x\n", []string{"3:11: store_ca: /etc/sojournd", "store_password_file: absolute"}},
		{minimal + "store: 12\n", []string{"3:8: store: in quotes"}},
		{minimal + "store: \"\"\n", []string{"3:8: store: sqlite:/var/lib"}},
		{minimal + "api: {listen: [0.0.0.0:80]}\n", []string{"3:16: api.listen[0]: api.plain_http: true"}},
		{minimal + "api:\n  listen: [':80', '[::]:81', 192.0.2.1:80]\n", []string{"4:12: api.listen[0]: without TLS", "api.listen[1]: without TLS", "api.listen[2]: without TLS"}},
		{minimal + "api: {listen: [127.0.0.1, example.com:1, unix:api.sock, 127.0.0.1:1, 127.0.0.1:1]}\n", []string{"api.listen[0]: host:port", "api.listen[1]: the IP address", "api.listen[2]: unix:/run", "api.listen[4]: twice"}},
		{minimal + "api: {listen: [127.0.0.1:7082], socket_mode: 0666}\n", []string{"api.listen[0]: of their own", "api.socket_mode: \"0660\""}},
		{minimal + "internal:\n  tls: {certificate: /a}\n", []string{"4:8: internal.tls.key: the certificate's key"}},
		{minimal + "internal:\n  tls: {key: /a}\n  plain_http: yes please\n", []string{"internal.tls.certificate: the key's", "5:15: internal.plain_http: true or false"}},
		{minimal + "internal: {tls: {key: /a, certificate: /b}, plain_http: true}\n", []string{"internal.plain_http: no use"}},
		{minimal + "trusted_proxies: [0.0.0.0/0, 10.0.0.1/8, x, 10.0.0.0/8, ::1]\n", []string{"[0]: could forge", "[1]: write 10.0.0.0/8", "[2]: 10.0.0.0/8"}},
		{minimal + "limits: {body: 1, header: big, read_timeout: 1h30m, idle_timeout: -1s, shutdown_timeout: never, read_header_timeout: 1ms}\n",
			[]string{"limits.body: 1KiB", "limits.header: 64KiB", "limits.read_timeout: to 1h", "limits.idle_timeout: 14d", "limits.shutdown_timeout: to 1h", "limits.read_header_timeout: 100ms"}},
		{minimal + "events:\n  audit: {file: audit.log, keep: -1}\n  webhooks:\n    - url: http://example.com\n      applications: [shop, shpo]\n      events: [ended, logout]\n",
			[]string{"4:17: events.audit.file: /var/log", "events.audit.keep: from 0 on", "6:12: events.webhooks[0].url: webhooks[0].plain_http: true", "6:7: events.webhooks[0].secret_file: whsec_", "events.webhooks[0].applications[1]: \"shpo\"", "8:23: events.webhooks[0].events[1]: created, authenticated"}},
		{"applications:\n  - keys: []\n  - name: a/b\n  - name: ..\n  - name: 7\n  - name: shop\n  - name: shop\n",
			[]string{"2:5: applications[0].name: is missing", "3:11: applications[1].name: letters, digits", "4:11: applications[2].name: beginning", "5:11: applications[3].name: in quotes", "7:11: applications[5].name: choose another"}},
		{minimal + "    cookie:\n      name: session\n      domain: localhost\n      same_site: Lax\n      partitioned: true\n",
			[]string{"4:13: applications[0].cookie.name: planted", "5:15: applications[0].cookie.domain: example.com", "6:18: applications[0].cookie.same_site: lax", "7:20: applications[0].cookie.partitioned: same_site: none"}},
		{minimal + "    development: true\n    origins: [https://shop.example.com, http://10.0.0.7:80]\n    cookie: {domain: example.com, same_site: none}\n",
			[]string{"4:15: applications[0].origins[0]: isn't in development", "applications[0].origins[1]: no origin", "5:22: applications[0].cookie.domain: take one of them out", "5:46: applications[0].cookie.same_site: refuse none"}},
		{minimal + "    login_url: http://10.0.0.7/login\n    origins: ['http://10.0.0.7:8080']\n", []string{"3:16: applications[0].login_url: isn't https", "applications[0].origins[0]: no origin"}},
		{minimal + "    cookie: {name: __Host-a, visitor: __Host-a}\n", []string{"applications[0].cookie.visitor: has its own"}},
		{minimal + "    cookie: {domain: example.com, name: __host-a, visitor: 'a b'}\n", []string{"applications[0].cookie.name: __Secure-", "applications[0].cookie.visitor: letters"}},
		{minimal + "  - name: other\n    cookie: {name: __Host-shop-session}\n", []string{"applications[1].cookie.name: __Host-shop-session"}},
		{minimal + "    policy: {login: {idle: 31d}, remembered: {idle: 90m, absolute: 80m30s}}\n",
			[]string{"3:28: policy.login.idle: is 31d, longer than absolute, which is 30d, as the preset has it", "policy.remembered.idle: is 1h30m, longer than absolute, which is 1h20m30s"}},
		{minimal + "    cookie: {same_site: None}\n    over_limit: Refuse\n    clear_site_data: [executioncontexts]\n    policy: {preset: AAL2}\nlog: {format: JSON, level: Info}\n",
			[]string{"same_site: capital letters count: write none", "over_limit: write refuse", "clear_site_data[0]: write executionContexts", "preset: write aal2", "log.format: write json", "log.level: small letters"}},
		{minimal + "\tkeys: []\n", []string{"3:1: indented with a tab: write spaces"}},
		{"# x\n\napplications:\n  - name: shop\n  \tkeys: []\n", []string{"5:3: indented with a tab: write spaces"}},
		{"applications:\n\t- name: shop\n", []string{"2:1: indented with a tab: write spaces"}},
		{minimal + "store: @x\n", []string{"3:8: put the value in quotes"}},
		{minimal + "    keys: [{name: a, hash: " + strings.Repeat("ab", 32) + "}]\n", []string{"hash: write sha256: before the 64 digits"}},
		{minimal + "    keys: [{name: a, hash: sojourn_secret}, {name: a, hash: 'sha256:00'}, {name: 'b c'}]\n",
			[]string{"applications[0].keys[0].hash: is an API key itself", "applications[0].keys[1].name: another key", "applications[0].keys[1].hash: 64 digits", "applications[0].keys[2].name: blanks", "applications[0].keys[2].hash: missing"}},
		{minimal + "    keys: [{name: a, hash: " + hash('a') + "}]\n  - name: other\n    keys: [{name: a, hash: " + hash('a') + "}]\n", []string{"applications[1].keys[0].hash: for one application"}},
		{minimal + "    sealed: {for: guests, keys_file: keys, not_before: yesterday}\n",
			[]string{"3:19: applications[0].sealed.for: visitors, everyone or nobody", "3:38: applications[0].sealed.keys_file: /etc/sojournd/seal-keys", "3:56: applications[0].sealed.not_before: 2026-11-29T12:00:00Z"}},
		{minimal + "    sealed: {for: Everyone}\n", []string{"3:19: applications[0].sealed.for: write everyone", "3:13: applications[0].sealed.keys_file: sojournd keys new --seal"}},
		{minimal + "    sealed: {keys_file: /etc/sojournd/seal-keys}\n", []string{"3:13: applications[0].sealed.for: is missing"}},
		{minimal + "    sealed: {for: everyone, keys_file: /keys}\n    max_sessions: 5\n    over_limit: refuse\n", []string{"4:19: applications[0].max_sessions: nothing counts", "5:17: applications[0].over_limit: no meaning"}},
		{minimal + "    bound: {}\n", []string{"3:12: applications[0].bound: needs pages.path"}},
		{minimal + "    pages: {path: /session/}\n    bound:\n", []string{"applications[0].bound: write {}"}},
		{minimal + "    pages: {path: /session/}\n    bound: true\n", []string{"4:12: applications[0].bound: as key: value"}},
		{minimal + "    pages: {path: /session/}\n    bound: {scripts: true}\n", []string{"4:13: applications[0].bound.scripts: write script"}},
		{minimal + "    pages: {path: /me/}\n    bound: {proof_life: 30s, grace: 31m, require_level: 4, script: maybe}\n",
			[]string{"4:25: applications[0].bound.proof_life: use 5m to 1h", "4:37: applications[0].bound.grace: use 1s to 30m", "4:57: applications[0].bound.require_level: use 1 to 3", "4:68: applications[0].bound.script: true or false"}},
		{minimal + "    pages: {path: /müde/}\n    bound: {}\n", []string{"4:12: applications[0].bound: such as /session/"}},
		{minimal + "    pages: {path: /a/../}\n    bound: {}\n", []string{"4:12: applications[0].bound: such as /session/"}},
		{minimal + "    pages: {path: /session/}\n    bound: {proof_life: never}\n", []string{"4:25: applications[0].bound.proof_life: use 5m to 1h"}},
		{minimal + "    sealed: {for: everyone, keys_file: /keys}\n    pages: {path: /session/}\n    bound: {}\n", []string{"5:12: applications[0].bound: sealed.for: visitors"}},
		{minimal + "    sealed: everyone\n", []string{"3:13: applications[0].sealed: as key: value"}},
		{minimal + "    policy: {preset: aal4}\n", []string{"applications[0].policy.preset: aal1, aal2 or aal3"}},
		{minimal + "    policy: {preset: aal2, login: {absolute: 25h}}\n", []string{"applications[0].policy.login: longer than aal2"}},
		{minimal + "    policy: {login: {idle: 2h, absolute: 1h}, anonymous: {idle: never}, remembered: {idle: 10ms}, rotate_every: 1m, grace: 1h}\n",
			[]string{"policy.login.idle: is 2h, longer than absolute, which is 1h: ", "policy.anonymous.idle: some day", "policy.remembered.idle: a second", "policy.rotate_every: 5m", "policy.grace: 1m to 30m"}},
		{minimal + "    policy: {login: {idle: 5 parsecs}, rotate_every: 0s, grace: 10}\n", []string{"policy.login.idle: \"5 parsecs\"", "rotate_every: 14d", "grace: \"10\" is no duration"}},
		{minimal + "    max_sessions: 0\n    over_limit: ignore\n    max_value: 2MiB\n    max_session: 1MiB\n    max_depth: 1001\n    max_bad_tokens: -3\n",
			[]string{"3:19: applications[0].max_sessions: or unlimited", "over_limit: refuse", "max_value: max_session", "max_session: at most 1047552", "max_depth: 1 to 1000", "max_bad_tokens: or unlimited"}},
		{minimal + "    login_url: http://a.example/login\n    return_origins: [https://A.example, http://a.example, https://a.example:443, https://a.example]\n    origins: [https://a.example, http://a.example, https://A.example]\n    clear_site_data: [everything]\n    step_up_url: 'http://a.example/'\n    return_param: 'a&b'\n",
			[]string{"step_up_url: isn't https", "return_param: letters", "3:16: applications[0].login_url: a path like /login", "return_origins[0]: no origin", "return_origins[1]: no origin", "return_origins[2]: no origin", "origins[1]: no origin", "origins[2]: no origin", "clear_site_data[0]: storage"}},
		{minimal + "    cookie: {domain: com}\n  - name: a\n    cookie: {domain: .com}\n  - name: b\n    cookie: {domain: example.com.}\n",
			[]string{"applications[0].cookie.domain: example.com", "applications[1].cookie.domain: example.com", "applications[2].cookie.domain: example.com"}},
		{minimal + "    cookie: {domain: münchen.de}\n  - name: a\n    cookie: {domain: -x.com}\n  - name: b\n    cookie: {domain: .example.com}\n  - name: c\n    cookie: {domain: 192.0.2.1}\n",
			[]string{"3:22: applications[0].cookie.domain: example.com", "applications[1].cookie.domain: example.com", "applications[2].cookie.domain: example.com", "applications[3].cookie.domain: example.com"}},
		{minimal + "  - name: blog\nevents:\n  webhooks:\n    - {url: 'https://u:canary@a.example/', secret_file: /a, applications: [shop]}\n    - {url: 'https://a.example/', secret_file: /a, applications: [shop]}\n    - {url: 'https://a.example/', secret_file: /a, applications: [blog]}\n    - {url: 'https://a.example/', secret_file: /a}\n",
			[]string{"6:13: events.webhooks[0].url: has a user", "9:13: events.webhooks[3].url: is that of events.webhooks[1] too"}},
		{minimal + "    relays_cookies: true\n", []string{"3:21: applications[0].relays_cookies: needs trusted_proxies"}},
		{"applications: shop\n", []string{"1:15: applications: a list"}},
		{"applications:\n  - shop\n", []string{"2:5: applications[0]: key: value", "2:5: applications[0].name: missing"}},
	} {
		_, err := Read("sojourn.yaml", []byte(c.text), nil, nil)
		var problems *Problems
		if !errors.As(err, &problems) {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if len(problems.List) != len(c.want) {
			t.Errorf("%q: %d mistakes, want %d:\n%v", c.text, len(problems.List), len(c.want), err)
		}
		if strings.Contains(err.Error(), "sojourn_secret") || strings.Contains(err.Error(), "canary") {
			t.Errorf("a secret was printed: %v", err)
		}
		for _, want := range c.want {
			parts := strings.SplitN(want, ": ", 3)
			found := false
			for _, p := range problems.List {
				all := true
				for _, part := range parts {
					all = all && strings.Contains(p.String(), part)
				}
				found = found || all && p.Line > 0 && p.Column > 0
			}
			if !found {
				t.Errorf("%q: no mistake %q in\n%v", c.text, want, err)
			}
		}
	}
}

func hash(c byte) string { return "sha256:" + strings.Repeat(fmt.Sprintf("%02x", c), 32) }

// Flags override the environment, which overrides the file. A mistake names the
// place where it was made.
func TestOverrides(t *testing.T) {
	text := minimal + "store: 'memory:'\nlog: {level: warn, format: json}\napi: {listen: [127.0.0.1:1]}\nlimits: {body: 2MiB}\n"
	env := Environment{"SOJOURN_LOG_LEVEL=error", "SOJOURN_API_LISTEN=127.0.0.1:2, unix:/run/a.sock", "SOJOURN_API_PLAIN_HTTP=true",
		"SOJOURN_TRUSTED_PROXIES=10.0.0.1", "SOJOURN_STORE=", "SOJOURN_LIMITS_READ_TIMEOUT=5s", "SOJOURN_STROE=x", "SOJOURN_KEY=known", "PATH=/bin"}
	c, err := Read("sojourn.yaml", []byte(text), env, Flags{"log.level": "debug", "internal.listen": "127.0.0.1:3"})
	if err != nil {
		t.Fatal(err)
	}
	if c.URL != "memory:" || c.Log.Level != Level(slog.LevelDebug) || c.Log.Format != "json" || !c.API.PlainHTTP || c.Limits.Body != 2<<20 ||
		c.Limits.ReadTimeout != Duration(5*time.Second) || fmt.Sprint(c.API.Listen) != "[127.0.0.1:2 unix:/run/a.sock]" ||
		fmt.Sprint(c.TrustedProxies) != "[10.0.0.1/32]" || fmt.Sprint(c.Internal.Listen) != "[127.0.0.1:3]" {
		t.Errorf("%+v", c)
	}
	if got := fmt.Sprint(env.Unknown("SOJOURN_KEY")); got != "[SOJOURN_STROE]" {
		t.Errorf("unknown variables: %s", got)
	}
	for name, want := range map[string]string{"SOJOURN_STROE": "write SOJOURN_STORE", "SOJOURN_LOG_LEVL": "write SOJOURN_LOG_LEVEL", "SOJOURN_NONSENSE": "sojournd config example"} {
		if got := MeantVariable(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}

	_, err = Read("sojourn.yaml", []byte(minimal), Environment{"SOJOURN_LOG_LEVEL=loud", "SOJOURN_LIMITS_BODY=none"}, Flags{"log.format": "xml", "log.fromat": "x"})
	for _, want := range []string{"$SOJOURN_LOG_LEVEL: log.level:", "$SOJOURN_LIMITS_BODY: limits.body:", "the command line: log.format:", "the command line: log.fromat:", "4 mistakes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}

// The error for a mistyped flag suggests the right one.
func TestUnknownFlags(t *testing.T) {
	for path, want := range map[string]string{
		"log.levle": "write log.level", "LOG.LEVEL": "write log.level", "api-listen": "write api.listen", "api.socket-mode": "write api.socket_mode",
		"level": "write log.level", "read_timeout": "write limits.read_timeout", "log": "write one of log.level, log.format",
		"applications[0].name": "in the file only", "applications.name": "in the file only", "events.webhooks[0].url": "in the file only",
		"nonsense": "sojournd config example", "": "sojournd config example",
	} {
		_, err := Read("sojourn.yaml", []byte(minimal), nil, Flags{path: "x"})
		var problems *Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), "there is no such setting: ") || !strings.Contains(err.Error(), want) || !problems.OnCommandLine() {
			t.Errorf("%q: %v, want %q", path, err, want)
		}
	}
	_, err := Read("sojourn.yaml", []byte(minimal), Environment{"SOJOURN_API_LISTEN=nowhere"}, Flags{"internal.listen": "127.0.0.1:1,nowhere"})
	var problems *Problems
	if !errors.As(err, &problems) || !problems.OnCommandLine() || !strings.Contains(err.Error(), "the command line: internal.listen[1]:") || !strings.Contains(err.Error(), "$SOJOURN_API_LISTEN: api.listen[0]:") {
		t.Errorf("mistakes in lists: %v", err)
	}
	_, err = Read("sojourn.yaml", []byte("stroe: x\n"), Environment{"SOJOURN_LOG_LEVEL=loud"}, Flags{"log.format": "json"})
	if !errors.As(err, &problems) || problems.OnCommandLine() {
		t.Errorf("mistakes elsewhere are on the command line: %v", err)
	}
}

func TestLoad(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sojourn.yaml")
	if _, err := Load(name, nil, nil); !errors.Is(err, ErrNoFile) || !strings.Contains(err.Error(), "sojournd config example") {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(name, []byte(minimal+"stroe: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(name, nil, nil); err == nil || !strings.Contains(err.Error(), name+":3:1: stroe:") {
		t.Errorf("a mistake: %v", err)
	}
}

// An engine accepts every configuration that Read accepts.
func TestOptions(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for text, want := range map[string]func(o *sojourn.Options){
		"": func(*sojourn.Options) {},
		"    policy: {preset: aal3, login: {idle: 10m}, rotate_every: never, grace: 2m}\n": func(o *sojourn.Options) {
			o.Policy = sojourn.AAL3()
			o.Policy.Login.Idle, o.Policy.RotateEvery, o.Policy.Grace = 10*time.Minute, -1, 2*time.Minute
		},
		"    policy: {login: {absolute: 1h}}\n": func(o *sojourn.Options) {
			o.Policy.Login = sojourn.Lifetime{Idle: time.Hour, Absolute: time.Hour}
		},
		"    max_sessions: unlimited\n    over_limit: refuse\n    max_bad_tokens: 5\n    max_value: 1KiB\n    max_session: 2KiB\n    max_depth: 7\n    clear_site_data: [storage]\n": func(o *sojourn.Options) {
			o.MaxSessions, o.RefuseOverLimit, o.MaxBadTokens, o.MaxValue, o.MaxSession, o.MaxDepth, o.ClearSiteData = -1, true, 5, 1024, 2048, 7, []string{"storage"}
		},
		"    pages: {path: /me/}\n    bound: {}\n": func(o *sojourn.Options) {
			o.Bound = &sojourn.Binding{Path: "/me/bound/", ProofLife: 10 * time.Minute, Grace: time.Minute}
		},
		"    pages: {path: /session/}\n    bound: {proof_life: 1h, grace: 30m, require_level: 3, script: true}\n": func(o *sojourn.Options) {
			o.Bound = &sojourn.Binding{Path: "/session/bound/", ProofLife: time.Hour, Grace: 30 * time.Minute, RequireLevel: 3, Script: true}
		},
		"    origins: [https://shop.example.com]\n": func(o *sojourn.Options) { o.Origins = []string{"https://shop.example.com"} },
		"    cookie: {domain: example.com, same_site: none, partitioned: true, until_browser_closes: true}\n": func(o *sojourn.Options) {
			o.Cookie = sojourn.Cookie{Name: "__Secure-shop-session", Visitor: "__Secure-shop-visitor", Domain: "example.com", SameSite: http.SameSiteNoneMode, Partitioned: true, UntilBrowserCloses: true}
		},
	} {
		c := read(t, minimal+text)
		got := c.Applications[0].Options(proxies)
		expected := sojourn.Options{
			App: "shop", Policy: sojourn.DefaultPolicy(), MaxSessions: 100, MaxValue: 64 << 10, MaxSession: 256 << 10, MaxDepth: 100, MaxBadTokens: 100, TrustedProxies: proxies,
			Cookie: sojourn.Cookie{Name: "__Host-shop-session", Visitor: "__Host-shop-visitor", SameSite: http.SameSiteLaxMode},
		}
		want(&expected)
		if !reflect.DeepEqual(got, expected) {
			t.Errorf("%q:\n%+v\nwant\n%+v", text, got, expected)
		}
		e, err := sojourn.New(memstore.New(), got)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(minimal)
	f.Add(minimal + "    policy: {preset: aal2, login: {idle: 1m, absolute: 1d}, rotate_every: never}\n")
	f.Add("applications: [{name: a, cookie: {domain: a.b, same_site: none}, max_value: 1KiB}]")
	f.Add("a: &x [*x]")
	f.Add("applications: [{name: a, <<: {}}]")
	f.Add("applications: [{name: a, cookie: {name: __Host-a}}]")
	f.Add("applications: [{name: a, pages: {path: /s/}, bound: {proof_life: 5m, grace: 1s, require_level: 3, script: true}}]")
	st := memstore.New()
	f.Cleanup(func() { _ = st.Close() })
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Read("f", []byte(text), nil, nil)
		if err != nil {
			return
		}
		for i := range c.Applications {
			e, err := sojourn.New(st, c.Applications[i].Options(c.Proxies()))
			if err != nil {
				t.Fatalf("accepted, and no engine's: %v", err)
			}
			_ = e.Close(t.Context())
		}
	})
}

// There is a warning if a proxy that asks for checks is not trusted.
func TestWarnings(t *testing.T) {
	key := "    keys: [{name: a, hash: 'sha256:" + strings.Repeat("1", 64) + "'}]\n"
	for _, test := range []struct {
		text string
		want int
	}{
		{minimal, 1},
		{minimal + key, 0},
		{minimal + key + "    login_url: /login\n", 1},
		{minimal + key + "    login_url: /login\ntrusted_proxies: [127.0.0.1]\n", 0},
		{minimal + key + "    step_up_url: /confirm\n", 1},
		{minimal + key + "    return_origins: [https://a.example]\n", 1},
		{minimal + key + "    return_origins: []\n", 0},
		{minimal + key + "    pages: {path: /session/}\n", 1},
		{minimal + "trusted_proxies: [10.0.0.0/8]\n", 0},
		{minimal + "internal: {listen: []}\n", 0},
		{minimal + "internal: {listen: ['unix:/run/sojournd/internal.sock']}\n", 1},
		{minimal + "  - name: blog\n", 2},
	} {
		c, err := Read("sojourn.yaml", []byte(test.text), nil, nil)
		if err != nil {
			t.Errorf("%s %v", test.text, err)
			continue
		}
		warnings := c.Warnings()
		if len(warnings) != test.want {
			t.Errorf("%s want %d: %q", test.text, test.want, warnings)
		}
		for _, one := range warnings {
			if !strings.HasPrefix(one, "trusted_proxies: ") || !strings.Contains(one, "write the proxy's address") {
				t.Errorf("%q", one)
			}
		}
	}
}

func TestCheckVisible(t *testing.T) {
	for _, url := range []string{
		"redis://:canary@host:6379/0", "redis://user:canary@host", "rediss://u:canary@[::1]:1/?x=y", "redis-cluster://u:canary@a:1,b:2",
		"postgres://u:canary@h/db", "postgresql://u:canary@h/db?sslmode=disable", "postgres://h/db?user=u&password=canary",
		"postgres://h/db?PASSWORD=canary", "postgres://u:can/ary@h/db", "postgres://u:can@ary@h/db", "postgres://h/db?sslpassword=canary",
		"redis://u:can?ary@host", "redis://:can/?ary@host/0", "postgres://u:can?ary@h:5432/db?sslmode=require", "postgres://u:can#ary@h/db",
		"host=h user=u password=canary dbname=db", "//u@h/db?password=canary",
	} {
		err := CheckVisible("--store", url)
		if err == nil || !strings.Contains(err.Error(), "--store-password-file") || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "can") && strings.Contains(err.Error(), "ary@") {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, url := range []string{"sqlite:", "sqlite:/a:b@c", "memory:", "", "redis://host:6379", "redis://user@host:6379/0", "postgres://u@h:5432/db?sslmode=require", "redis-cluster://a:1,b:2", "postgres://h:5432/db?user=u%40h"} {
		if err := CheckVisible("--store", url); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// In development addresses over plain HTTP are allowed, and the library accepts
// the options, with the usual names of cookies.
func TestDevelopment(t *testing.T) {
	c := read(t, minimal+"    development: true\n    login_url: http://10.0.0.7:3000/login\n    return_origins: ['http://10.0.0.7:8080']\n    origins: ['http://10.0.0.7:8080']\n")
	options := c.Applications[0].Options(c.Proxies())
	if !options.Development {
		t.Error("the option is off")
	}
	e, err := sojourn.New(memstore.New(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(t.Context()) //nolint:errcheck // in memory
	s := e.Begin(t.Context(), sojourn.Request{})
	defer s.Finish()
	if err := errors.Join(s.Login("ann"), s.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	if lines := s.SetCookies(); len(lines) != 1 || !strings.HasPrefix(lines[0], "dev-shop-session=") || strings.Contains(lines[0], "Secure") {
		t.Errorf("Set-Cookie: %q", lines)
	}
}
