package app

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/sojournd/internal/events"
)

func TestEventApps(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const one, two = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	read := func(webhooks string) ([]events.App, error) {
		t.Helper()
		c, err := config.Read("sojourn.yaml", []byte("applications: [{name: shop}, {name: blog}]\nevents: {webhooks: ["+webhooks+"]}\n"), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return eventApps(c)
	}
	good := file("good", one+"\n"+two+"\n", 0o600)
	apps, err := read(fmt.Sprintf("{url: 'https://a.example/', secret_file: %s}, {url: 'http://b.example/', plain_http: true, secret_file: %s, applications: [blog], events: [ended]}", good, good))
	if err != nil {
		t.Fatal(err)
	}
	hook := events.Webhook{URL: "https://a.example/", Secrets: []string{one, two}}
	only := events.Webhook{URL: "http://b.example/", PlainHTTP: true, Secrets: []string{one, two}, Events: []string{"ended"}}
	want := []events.App{{Name: "shop", Webhooks: []events.Webhook{hook}}, {Name: "blog", Webhooks: []events.Webhook{hook, only}}}
	if fmt.Sprint(apps) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", apps, want)
	}
	if err := events.New(events.Options{}).Configure(apps); err != nil {
		t.Error(err)
	}
	// The configuration knows all kinds of events and no others.
	if _, err := read(fmt.Sprintf("{url: 'https://a.example/', secret_file: %s, events: [%s]}", good, strings.Join(events.Kinds(), ", "))); err != nil {
		t.Error(err)
	}

	for path, want := range map[string]string{
		filepath.Join(dir, "nowhere"): "no such file",
		file("empty", "\n", 0o600):    "needs a secret",
		file("bad", "hunter2", 0o600): "begins with",
		file("open", one+"\n", 0o644): "chmod 600",
	} {
		if runtime.GOOS == "windows" && want == "chmod 600" {
			continue
		}
		if _, err := read(fmt.Sprintf("{url: 'https://a.example/', secret_file: %s}", path)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestOpenAudit(t *testing.T) {
	if w, err := openAudit(config.Audit{}); w != nil || err != nil {
		t.Errorf("none: %v %v", w, err)
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	w, err := openAudit(config.Audit{File: path, MaxSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("{}\n")); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); string(b) != "{}\n" || err != nil {
		t.Errorf("%q %v", b, err)
	}
}
