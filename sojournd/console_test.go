package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// addOperator makes an account by the command, and returns its hash.
func addOperator(t *testing.T, name, password string) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	add := exec.Command(path, "operators", "add", name, "--json")
	add.Stdin = strings.NewReader(password + "\n")
	out, err := add.Output()
	var made struct{ Name, Hash string }
	if err != nil || json.Unmarshal(out, &made) != nil || made.Name != name {
		t.Fatalf("operators add: %v, %s", err, out)
	}
	return made.Hash
}

// An operator signs in to the console, ends a session that the API made, with a
// reason that the audit log keeps, and loses the role by a reload.
func TestConsole(t *testing.T) {
	const password = "correct horse battery staple"
	audit := filepath.Join(t.TempDir(), "audit.jsonl")
	s := startServe(t, "events: {audit: {file: "+audit+"}}\nconsole:\n  listen: 127.0.0.1:0\n  operators:\n    - name: ada\n      hash: "+
		addOperator(t, "ada", password)+"\n      roles: {shop: end}\n")
	found := regexp.MustCompile(`console +(\S+)`).FindStringSubmatch(s.stdout.String())
	if found == nil {
		t.Fatal(s.stdout.String())
	}
	site := found[1]
	if !strings.HasPrefix(site, "http://localhost:") {
		t.Errorf("the console is said to be at %s, where browsers don't keep its cookie", site)
	}
	get := newOperator(t, site).get
	id := s.ask("shop", "POST", "/v1/sessions", `{"subject":"grace"}`, 201)["session"].(map[string]any)["id"].(string)
	if status, body := get("/sign-in", url.Values{"name": {"ada"}, "password": {password}}); status != 200 || !strings.Contains(body, "Overview") || strings.Contains(body, "blog") {
		t.Fatalf("sign in: %d, %s", status, body)
	}
	if status, body := get("/find?q=grace", nil); status != 200 || !strings.Contains(body, id) {
		t.Errorf("find: %d, %s", status, body)
	}
	if status, body := get("/apps/shop/sessions/"+id, nil); status != 200 || !strings.Contains(body, "authenticated") {
		t.Errorf("the session's events are missing: %d, %s", status, body)
	}
	if status, body := get("/apps/shop/sessions/"+id+"/end", url.Values{"reason": {"ticket 4711"}}); status != 200 || !strings.Contains(body, "The session has ended.") {
		t.Errorf("end: %d, %s", status, body)
	}
	s.ask("shop", "GET", "/v1/sessions/"+id, "", 404)
	lines, err := os.ReadFile(audit)
	if err != nil || !strings.Contains(string(lines), `"operator":"ada","action":"end","target":"`+id+`","reason":"ticket 4711","result":"ok"`) ||
		!strings.Contains(string(lines), `sojournd.console`) {
		t.Errorf("the audit log: %v\n%s", err, lines)
	}
	second := s.ask("shop", "POST", "/v1/sessions", `{"subject":"grace"}`, 201)["session"].(map[string]any)["id"].(string)
	s.write(t, strings.Replace(s.text(), "roles: {shop: end}", "roles: {shop: look}", 1))
	s.reload("the configuration was reloaded")
	if status, _ := get("/apps/shop/sessions/"+second+"/end", url.Values{"reason": {"x"}}); status != 403 {
		t.Errorf("the role is gone, and the end is %d", status)
	}
	s.ask("shop", "GET", "/v1/sessions/"+second, "", 200)
	if code, out, _ := call(t, "operators", "list", "--config", s.file); code != 0 || !strings.Contains(out, `ada`) || !strings.Contains(out, `{"shop":"look"}`) {
		t.Errorf("operators list: %d, %s", code, out)
	}
	for name, want := range map[string]string{"ada": "from line ", "bob": `no operator "bob"`} {
		code, out, stderr := call(t, "operators", "remove", name, "--config", s.file)
		if (code == 0) != (name == "ada") || !strings.Contains(out+stderr, want) || name == "ada" && !strings.Contains(out, "    - name: ada\n      hash: ") {
			t.Errorf("operators remove %s: %d, %s%s", name, code, out, stderr)
		}
	}
	if s.stop(); strings.Contains(s.stdout.String()+s.stderr.String()+string(lines), password) {
		t.Error("the password was printed")
	}
}

// An operator is a browser at a console.
type operator struct {
	t      *testing.T
	site   string
	client *http.Client
}

func newOperator(t *testing.T, site string) *operator {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	// The jar keeps no Secure cookie over http, as browsers do on localhost.
	return &operator{t, site, &http.Client{Jar: secureJar{jar}}}
}

// get opens a page, or sends a form, and returns the status and the page.
func (o *operator) get(path string, form url.Values) (int, string) {
	o.t.Helper()
	var res *http.Response
	var err error
	if form == nil {
		res, err = o.client.Get(o.site + path)
	} else {
		res, err = o.client.PostForm(o.site+path, form)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// A secureJar sends Secure cookies over http too, as browsers do on localhost.
type secureJar struct{ http.CookieJar }

func (j secureJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		c.Secure = false
	}
	j.CookieJar.SetCookies(u, cookies)
}

// A password that is too short, and a bad name, are refused.
func TestOperatorsAdd(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, password, want string }{
		{"ada", "short", "use 15 to 200"},
		{"ada", "", "use 15 to 200"},
		{"a b", "correct horse battery staple", "is no name"},
	} {
		add := exec.Command(path, "operators", "add", c.name)
		add.Stdin = strings.NewReader(c.password)
		if out, err := add.CombinedOutput(); err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%q: %v, %s", c, err, out)
		}
	}
	// Two mistakes in the configuration of the console.
	for text, want := range map[string]string{
		"console: {operators: [{name: ada, hash: secret, roles: {shop: end}}]}": "is no hash of a password",
		"console: {operators: [{name: ada, roles: {nowhere: end}}]}":            `there is no application "nowhere"`,
		"console: {operators: [{name: ada, roles: {shop: owner}}]}":             "is no role",
		"console: {listen: 0.0.0.0:7083}":                                       "set console.tls",
		"applications: [{name: sojournd.console}]":                              "is the console's own",
	} {
		file := filepath.Join(t.TempDir(), "sojourn.yaml")
		if !strings.HasPrefix(text, "applications") {
			text += "\napplications: [{name: shop}]"
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := call(t, "config", "check", "--config", file); code != 1 || !strings.Contains(stderr, want) || strings.Contains(stderr, "hash: secret") {
			t.Errorf("%s: %d, %s", text, code, stderr)
		}
	}
}
