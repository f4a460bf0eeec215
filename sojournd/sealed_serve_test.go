//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An application keeps its sessions in their cookies. The keys are read again on
// SIGHUP. A bad file of keys changes nothing.
func TestServeSealed(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "seal-keys")
	newKey := func() {
		t.Helper()
		if code, _, stderr := call(t, "keys", "new", "--seal", "--file", keys); code != 0 {
			t.Fatal(stderr)
		}
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	newKey()
	s := startServe(t, "log: {level: debug}\n")
	s.write(t, strings.Replace(s.text(), "  - name: shop\n", "  - name: shop\n    sealed: {for: everyone, keys_file: '"+keys+"'}\n", 1))
	s.reload("the configuration was reloaded")

	login := func() string {
		t.Helper()
		return s.ask("shop", "POST", "/v1/sessions/login", `{"subject":"ann"}`, 200)["token"].(string)
	}
	good := func(token string) bool {
		t.Helper()
		status, _, _ := s.look("/check/shop/status/login", "__Host-shop-session="+token)
		return status == 200
	}
	first := login()
	if len(first) <= 64 || !good(first) {
		t.Fatalf("a token of %d characters, good: %v", len(first), good(first))
	}
	s.ask("shop", "GET", "/v1/sessions?subject=ann", "", 501)
	s.ask("blog", "GET", "/v1/sessions?subject=ann", "", 200)

	old, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	write(string(old) + "nonsense\n")
	s.reload("was not reloaded")
	if log := s.stderr.String(); !strings.Contains(log, keys+":3: no sealing key") || strings.Contains(log, "nonsense") {
		t.Errorf("the log doesn't name the line, or shows it:\n%s", log)
	}
	if !good(first) || !good(login()) {
		t.Error("a bad file ended sessions, or keeps new ones from being made")
	}

	write(string(old))
	newKey() // it opens only
	s.reload("the configuration was reloaded")
	lines := strings.SplitAfter(strings.TrimSpace(string(old))+"\n", "\n")
	both, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	write(strings.TrimPrefix(string(both), lines[0]+lines[1]) + lines[0] + lines[1])
	s.reload("the configuration was reloaded") // now it seals
	second := login()
	if !good(first) || !good(second) {
		t.Error("a change of keys ended sessions")
	}
	write(strings.TrimPrefix(string(both), lines[0]+lines[1]))
	s.reload("the configuration was reloaded")
	if good(first) || !good(second) {
		t.Errorf("after the old key is gone, its session is good: %v, the new key's: %v", good(first), good(second))
	}
	s.eventually("the missing key is counted", func() bool {
		_, _, metrics := s.look("/metrics", "")
		return strings.Contains(metrics, `sojourn_tokens_refused_total{app="shop",refusal="no_key"} 1`+"\n") &&
			strings.Contains(metrics, `sojourn_sealed_opens_total{app="shop",result="no_key"} 1`+"\n") &&
			!strings.Contains(metrics, `sojourn_sealed_opens_total{app="shop",result="opened"} 0`+"\n") &&
			!strings.Contains(metrics, `sojourn_sealed_opens_total{app="shop",result="old_key"} 0`+"\n")
	})
	text := s.text()
	ahead := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	s.write(t, strings.Replace(text, "seal-keys'}", "seal-keys', not_before: "+ahead+"}", 1))
	s.reload("was not reloaded") // nobody could log in
	now := time.Now().UTC().Format(time.RFC3339Nano)
	s.write(t, strings.Replace(text, "seal-keys'}", "seal-keys', not_before: "+now+"}", 1))
	s.reload("the configuration was reloaded")
	if good(second) || !good(login()) {
		t.Error("not_before ended nothing, or ends new logins")
	}
	log := s.stderr.String()
	for _, line := range strings.Split(string(both), "\n") {
		if strings.HasPrefix(line, "sojourn_seal_") && strings.Contains(log, line) {
			t.Error("a key is in the log")
		}
	}
	s.stop()
}
