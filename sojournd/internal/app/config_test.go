package app

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/sojournd/internal/config"
)

// A valid configuration that is probably wrong causes a warning.
func TestCheckConfigWarns(t *testing.T) {
	for proxies, warns := range map[string]bool{"": true, "trusted_proxies: [127.0.0.1]\n": false} {
		name := filepath.Join(t.TempDir(), "sojourn.yaml")
		if err := os.WriteFile(name, []byte("store: 'memory:'\n"+proxies+"applications:\n  - name: shop\n    login_url: /login\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := CheckConfig(ServeOptions{Config: name, Out: &out, Log: &out})
		if err != nil || strings.Contains(out.String(), name+": warning: trusted_proxies: is empty") != warns || !strings.Contains(out.String(), "is right") {
			t.Errorf("%q: %v\n%s", proxies, err, &out)
		}
	}
}

// Where a check can't set a cookie, it can't note the activity of a sealed session.
func TestCheckConfigWarnsOfSealed(t *testing.T) {
	dir := t.TempDir()
	keys, name := filepath.Join(dir, "seal-keys"), filepath.Join(dir, "sojourn.yaml")
	if err := NewSealKey(SealKeyOptions{File: keys, Out: io.Discard}); err != nil {
		t.Fatal(err)
	}
	for app, warns := range map[string]bool{
		"sealed: {for: everyone, keys_file: " + keys + "}":                       true,
		"sealed: {for: everyone, keys_file: " + keys + "}, relays_cookies: true": false,
		"sealed: {for: visitors, keys_file: " + keys + "}":                       false,
	} {
		if err := os.WriteFile(name, []byte("store: 'memory:'\ntrusted_proxies: [127.0.0.1]\napplications: [{name: shop, "+app+"}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := CheckConfig(ServeOptions{Config: name, Out: &out, Log: &out})
		if err != nil || strings.Contains(out.String(), "warning: applications[0].relays_cookies") != warns || !strings.Contains(out.String(), "is right") {
			t.Errorf("%s: %v\n%s", app, err, &out)
		}
	}
}

// config check finds every mistake that serve would find, all at once, with its
// place.
func TestCheckConfig(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret, weak := file("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), file("weak", "canary\nwhsec_canary\n")
	const shop = "applications:\n  - name: shop\n"
	for _, c := range []struct {
		text string
		want []string // "line:column: path: words"; none: it is right
	}{
		{"store: 'memory:'\n" + shop, nil},
		{"store: 'sqlite:/nowhere/sojourn.db'\n" + shop, nil}, // the directory may come with the service
		{"store: 'redis://u:canary@127.0.0.1:1/0'\n" + shop, nil},
		{"store: 'postgres://u:canary@127.0.0.1:1/db'\nstore_feed: 'postgres://u@127.0.0.1:2/db'\n" + shop, nil},
		{"store: 'memory:'\nevents: {audit: {file: " + dir + "/audit.jsonl}, webhooks: [{url: 'https://a.example/', secret_file: " + secret + "}]}\n" + shop +
			"    login_url: /a/b?c=d\n    step_up_url: https://login.example.com:8443/\n    return_origins: [https://a.example, 'http://localhost:3000', 'https://[::1]:8443']\n    origins: [https://a.example, 'https://[::1]:8443']\n    cookie: {domain: example.com}\n    passive_header: X-Background\n    headers: {X-User-Email: value.email, Remote-User: subject, x-city: 'value.profile#/city'}\n    pages: {path: /a/b/, fresh: never, site: Ä, home: /account?a=b, stylesheet: /site.css, language: nl, texts: {nl: {devices.title: Jouw apparaten}, en: {devices.title: Where you are signed in}}}\n    mirror: [{name: theme, attribute: data-theme, values: [light, dark]}, {name: cart, personal: true}]\n", nil},

		{"store: foo:bar\n" + shop, []string{`1:8: store: no store of the kind "foo": use sqlite:/path/to/sojourn.db`}},
		{"store: 'sqlite:relative.db'\n" + shop, []string{"1:8: store: must be absolute, so that"}},
		{"store: foo://u:canary@h\n" + shop, []string{"1:8: store: no URL of a store"}},
		{"store: redis://u:canary@h:x\n" + shop, []string{"1:8: store: port"}},
		{"store: postgres://u:canary@h:x/db\nstore_feed: redis://:canary@h\n" + shop, []string{"1:8: store: port", "2:13: store_feed: must begin with postgres://"}},
		{"store: 'memory:'\nstore_ca: /nowhere/ca.pem\nstore_password_file: /nowhere/p\nstore_feed: postgres://h\n" + shop,
			[]string{"2:11: store_ca: leave it out", "3:22: store_password_file: leave it out", "4:13: store_feed: leave it out"}},
		{"store: rediss://h\nstore_ca: " + weak + "\nstore_password_file: /nowhere/p\n" + shop,
			[]string{"2:11: store_ca: no certificate in PEM", "3:22: store_password_file: no such file"}},
		{"events: {audit: {file: /nowhere/audit.jsonl}}\n" + shop, []string{"1:24: events.audit.file: there is no directory /nowhere: make it"}},
		{"events: {audit: {file: " + secret + "}}\n" + shop, []string{"1:24: events.audit.file: name a file of its own"}},
		{"events: {audit: {file: " + dir + "}}\n" + shop, []string{"1:24: events.audit.file: name a file in it"}},
		{shop + "    login_url: /a//b\n    step_up_url: '/a#b'\n    return_origins: ['https://münchen.de', 'https://:80', 'https://*.a.example', 'https://a.example/', 'https://u@a.example']\n    origins: ['https://a.example/']\n    cookie: {domain: münchen.de}\n",
			[]string{"3:16: applications[0].login_url: no path", "4:18: step_up_url: a path like /login", "5:22: return_origins[0]: no origin", "return_origins[1]: no origin", "return_origins[2]: no origin", "return_origins[3]: no origin", "return_origins[4]: no origin", "6:15: applications[0].origins[0]: no origin", "7:22: applications[0].cookie.domain: example.com"}},
		{shop + "    passive_header: Sojourn-Passive\n    headers:\n      X-User-Email: value.email\n      X_User: subject\n      Cookie: subject\n      X-Mail: email\n      X-Mail-2:\n",
			[]string{"3:21: applications[0].passive_header: begins with Sojourn", "6:15: applications[0].headers.X_User: no name of a header", "7:15: applications[0].headers.Cookie: another name", "8:15: applications[0].headers.X-Mail: value. and the key", "9:16: applications[0].headers.X-Mail-2: no such source"}},
		{shop + "    headers: {X-A: subject, x-a: level}\n", []string{"3:14: applications[0].headers: the same header"}},
		{shop + "    headers: {X-A: subject, X-A: level}\n", []string{"3:29: applications[0].headers: already"}},
		{shop + "    headers: [X-A]\n", []string{"3:14: applications[0].headers: name: text"}},
		{shop + "    headers: {X-A: [subject]}\n", []string{"3:20: applications[0].headers.X-A: write a text"}},
		{shop + "    pages:\n      path: session\n      home: //a.example\n      stylesheet: https://a.example/a.css\n      language: tlh\n      texts: {en: {devices.titel: x}, de: {time.now: '%s'}}\n",
			[]string{"4:13: applications[0].pages.path: begins and ends with a slash", "5:13: applications[0].pages.home: a path of the site", "6:19: applications[0].pages.stylesheet: a path of the site", "7:17: applications[0].pages.language: write de, en or fr", "8:35: applications[0].pages.texts.en.devices.titel: there is no text", "8:54: applications[0].pages.texts.de.time.now: placeholders"}},
		{shop + "    pages: {path: /session/, fresh: 0s, language: DE}\n", []string{"3:37: applications[0].pages.fresh: no duration", "3:51: applications[0].pages.language: write de"}},
		{shop + "    pages: {path: /session/}\n    mirror:\n      - {name: theme, attribute: data-theme, values: [light, dark]}\n      - {name: theme}\n      - {name: language, attribute: onclick}\n      - {name: size, values: [small, small]}\n      - {attribute: dir}\n      - {name: theme2, attribute: data-theme, personal: 2, vaules: []}\n",
			[]string{"6:9: applications[0].mirror[1]: declared twice", "7:9: applications[0].mirror[2]: attribute \"onclick\"", "8:9: applications[0].mirror[3]: each value once", "9:9: applications[0].mirror[4]: use a letter", "10:9: applications[0].mirror[5]: shows another key", "10:57: applications[0].mirror[5].personal: true or false", "10:60: applications[0].mirror[5].vaules: write values"}},
		{shop + "    mirror: [{name: theme}]\n", []string{"3:13: applications[0].mirror: needs pages.path"}},
		{shop + "    pages: {site: Wayfare}\n", []string{"3:12: applications[0].pages.path: is missing"}},
		{shop + "    cookie: {domain: -x.com}\n", []string{"3:22: applications[0].cookie.domain: example.com"}},
		{"events:\n  webhooks:\n    - {url: 'https://a.example/', secret_file: " + secret + "}\n    - {url: 'https://a.example/', secret_file: " + secret + "}\n" + shop, []string{"4:13: events.webhooks[1].url: events.webhooks[0] too"}},
		{shop + "    sealed: {for: visitors, keys_file: " + file("seal-keys", "# a comment\n"+sealKeyPrefix+strings.Repeat("A", 42)+"E\n") + "}\n", nil},
		{shop + "    sealed: {for: everyone, keys_file: /nowhere/keys}\n", []string{"3:40: applications[0].sealed.keys_file: sojournd keys new --seal --file /nowhere/keys"}},
		{shop + "    sealed: {for: everyone, keys_file: " + weak + "}\n", []string{"3:40: applications[0].sealed.keys_file: weak:1: no sealing key"}},
		{shop + "    sealed: {for: everyone, keys_file: " + file("no-keys", "\n") + "}\n", []string{"3:40: applications[0].sealed.keys_file: holds no key"}},
		// One mistake of each kind. None hides another.
		{"log: {level: loud}\nlog: {}\napi: {tls: {certificate: /nowhere/cert, key: /nowhere/key}}\nevents: {webhooks: [{url: 'https://:80/', secret_file: /nowhere/secret}, {url: 'https://b.example/', secret_file: " + weak + "}]}\n" + shop + "    login_url: /über\n",
			[]string{"1:14: log.level: write debug", "2:1: already", "3:12: api.tls: /nowhere/cert", "4:27: events.webhooks[0].url: https://host/path", "4:56: events.webhooks[0].secret_file: no such file", "events.webhooks[1].secret_file: begins with", "7:16: applications[0].login_url: a path like /login"}},
	} {
		name := file("sojourn.yaml", c.text)
		var out bytes.Buffer
		err := CheckConfig(ServeOptions{Config: name, Out: &out, Log: &out})
		if strings.Contains(out.String(), "canary") || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s a secret was printed: %v", c.text, err)
		}
		if len(c.want) == 0 {
			if err != nil || !strings.Contains(out.String(), "is right") {
				t.Errorf("%s %v", c.text, err)
			}
			continue
		}
		var problems *config.Problems
		if !errors.As(err, &problems) || len(problems.List) != len(c.want) {
			t.Errorf("%s want %d mistakes: %v", c.text, len(c.want), err)
			continue
		}
		for _, want := range c.want {
			parts := strings.SplitN(want, ": ", 3)
			found := false
			for _, p := range problems.List {
				all := p.Line > 0 && p.Column > 0
				for _, part := range parts {
					all = all && strings.Contains(p.String(), part)
				}
				found = found || all
			}
			if !found {
				t.Errorf("%s no mistake %q in\n%v", c.text, want, err)
			}
		}
		// serve reports the same text.
		if served := RunServe(t.Context(), ServeOptions{Config: name, Out: &out, Log: &out}); served == nil || served.Error() != err.Error() {
			t.Errorf("%s serve says %v", c.text, served)
		}
	}
}

func TestForwardAuthPages(t *testing.T) {
	for text, good := range map[string]bool{
		"/login": true, "/a/b?c=d": true, "https://example.com/login": true, "https://example.com:8443/": true, "http://localhost:3000/login": true, "http://127.0.0.1/x": true,
		"login": false, "//h/x": false, "/\\h": false, "\\/h": false, "javascript:alert(1)": false, "https:example.com": false, "https://u:p@h/": false,
		"http://example.com/": false, "/a#b": false, "/a#": false, "/a b": false, "https:///x": false, "/a\\nb": false, "https://münchen.de/x": false, "https://exa*mple.com/": false,
	} {
		_, err := config.Read("sojourn.yaml", []byte("store: 'memory:'\napplications: [{name: shop, login_url: \""+strings.ReplaceAll(text, "\\", "\\\\")+"\"}]\n"), nil, nil, checkParts)
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
