package events

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The receiver in docs/events.md accepts a real message with either secret, and
// refuses all others.
func TestDocsReceiver(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("SOJOURN_REQUIRE_ALL") != "" {
			t.Fatal("needs node: make test installs it")
		}
		t.Skip("needs node: not installed")
	}
	doc, err := os.ReadFile("../../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("(?s)```js\n(.*?)```").FindSubmatch(doc)
	if code == nil {
		t.Fatal("docs/events.md shows no receiver")
	}
	rc := make(chan post, 1)
	secrets := []string{secret(32), secret(32)}
	h := newHub(t, Options{Transport: transport(func(r *http.Request) (*http.Response, error) {
		body := make([]byte, r.ContentLength)
		_, err := r.Body.Read(body)
		rc <- post{header: r.Header, body: body}
		return &http.Response{StatusCode: 204, Body: http.NoBody, Request: r}, err
	})}, App{Name: "shop", Webhooks: []Webhook{{URL: "https://hooks.example/", Secrets: secrets}}})
	observe(h, "shop", 7, 8)
	p := <-rc

	type attempt struct {
		Secret  string            `json:"secret"`
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"`
	}
	good := func() attempt {
		a := attempt{secrets[0], map[string]string{}, string(p.body)}
		for name := range p.header {
			a.Headers[strings.ToLower(name)] = p.header.Get(name)
		}
		return a
	}
	attempts := map[string]attempt{}
	try := func(name string, change func(*attempt)) {
		a := good()
		change(&a)
		attempts[name] = a
	}
	try("good", func(*attempt) {})
	try("other secret", func(a *attempt) { a.Secret = secrets[1] })
	try("foreign secret", func(a *attempt) { a.Secret = secret(32) })
	try("other body", func(a *attempt) { a.Body += " " })
	try("other id", func(a *attempt) { a.Headers["webhook-id"] += "0" })
	try("no time", func(a *attempt) { delete(a.Headers, "webhook-timestamp") })
	try("no signature", func(a *attempt) { a.Headers["webhook-signature"] = "" })
	try("short signature", func(a *attempt) { a.Headers["webhook-signature"] = "v1,AAAA" })
	try("other version", func(a *attempt) {
		a.Headers["webhook-signature"] = strings.ReplaceAll(a.Headers["webhook-signature"], "v1,", "v2,")
	})
	old := time.Unix(1_700_000_000, 0)
	try("old", func(a *attempt) {
		key, _ := decodeSecret(secrets[0])
		a.Headers["webhook-timestamp"] = "1700000000"
		a.Headers["webhook-signature"] = sign([][]byte{key}, a.Headers["webhook-id"], old, p.body)
	})

	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("verify.mjs", string(code[1]))
	input, err := json.Marshal(attempts)
	if err != nil {
		t.Fatal(err)
	}
	write("attempts.json", string(input))
	write("main.mjs", `
import { readFileSync } from "node:fs";
import { verify } from "./verify.mjs";
const results = {};
for (const [name, a] of Object.entries(JSON.parse(readFileSync("attempts.json", "utf8")))) {
  try { results[name] = verify(a.secret, a.headers, Buffer.from(a.body)).subject; } catch (e) { results[name] = "refused"; }
}
console.log(JSON.stringify(results));
`)
	command := exec.CommandContext(t.Context(), node, "main.mjs")
	command.Dir = dir
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var results map[string]string
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name := range attempts {
		want := "refused"
		if name == "good" || name == "other secret" {
			want = "7"
		}
		if results[name] != want {
			t.Errorf("%s: %s, want %s", name, results[name], want)
		}
	}
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }
