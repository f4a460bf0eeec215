package browsertest

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// A Firefox is a run of Firefox with one tab. Its methods end the test if they
// fail. They speak WebDriver BiDi (W3C), for which Firefox has a server of its
// own.
type Firefox struct {
	t       *testing.T
	url     string
	command *exec.Cmd
	conn    *websocket.Conn
	tab     string
	last    int // the ID of the last command
}

// firefoxPrefs keep Firefox from asking its maker's servers and the user. The last
// one resolves OtherHost to this machine.
const firefoxPrefs = `
user_pref("app.update.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage", "about:blank");
user_pref("browser.safebrowsing.downloads.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("dom.ipc.processCount", 1);
user_pref("extensions.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.proxy.type", 0);
user_pref("services.settings.server", "http://127.0.0.1:9/");
user_pref("toolkit.telemetry.enabled", false);
user_pref("network.dns.localDomains", "` + OtherHost + `");
`

// OpenFirefox starts Firefox for the site at url, with the profile in a directory,
// which may be empty. Close ends it; so does the end of the test. It skips the test
// if there is no Firefox, except with SOJOURN_REQUIRE_ALL.
func OpenFirefox(t *testing.T, url, profile string) *Firefox {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser is slow")
	}
	program, err := exec.LookPath("firefox-esr")
	if err != nil {
		if program, err = exec.LookPath("firefox"); err != nil && os.Getenv("SOJOURN_REQUIRE_ALL") != "1" {
			t.Skip("needs firefox: on Debian, apt-get install firefox-esr")
		}
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(profile, "user.js"), []byte(firefoxPrefs), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := &Firefox{t: t, url: url, command: exec.Command(program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0")}
	f.command.Env = append(os.Environ(), "MOZ_CRASHREPORTER_DISABLE=1")
	stderr, err := f.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := servertest.Spawn(f.command); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // if Close has not ended it
		_ = f.command.Process.Kill()
		_ = f.command.Wait()
	})
	address, err := bidiAddress(stderr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f.conn, _, err = websocket.Dial(ctx, address+"/session", nil) //nolint:bodyclose // there is none after the upgrade
	if err != nil {
		t.Fatal(err)
	}
	f.conn.SetReadLimit(64 << 20) // pictures
	f.call("session.new", map[string]any{"capabilities": map[string]any{}}, nil)
	var created struct{ Context string }
	f.call("browsingContext.create", map[string]any{"type": "tab"}, &created)
	f.tab = created.Context
	return f
}

// bidiAddress reads the address from what Firefox prints, and then reads on, so
// that Firefox doesn't wait for a reader.
func bidiAddress(stderr io.Reader) (string, error) {
	lines := bufio.NewScanner(stderr)
	said := ""
	for lines.Scan() {
		if _, address, ok := strings.Cut(lines.Text(), "WebDriver BiDi listening on "); ok {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return strings.TrimSpace(address), nil
		}
		said += lines.Text() + "\n"
	}
	return "", fmt.Errorf("Firefox did not start: %s", said)
}

// call sends a command, and reads its result.
func (f *Firefox) call(method string, params, result any) {
	f.t.Helper()
	if err := f.try(method, params, result); err != nil {
		f.t.Fatalf("%s: %v", method, err)
	}
}

func (f *Firefox) try(method string, params, result any) error {
	ctx, cancel := context.WithTimeout(f.t.Context(), 5*time.Minute)
	defer cancel()
	f.last++
	if err := wsjson.Write(ctx, f.conn, map[string]any{"id": f.last, "method": method, "params": params}); err != nil {
		return err
	}
	for {
		var answer struct {
			ID             int
			Result         json.RawMessage
			Error, Message string
		}
		if err := wsjson.Read(ctx, f.conn, &answer); err != nil {
			return err
		}
		switch {
		case answer.ID != f.last: // an event
		case answer.Error != "":
			return errors.New(answer.Error + ": " + answer.Message)
		case result == nil:
			return nil
		default:
			return json.Unmarshal(answer.Result, result)
		}
	}
}

// Visit opens a page and waits until it is loaded.
func (f *Firefox) Visit(path string) {
	f.t.Helper()
	f.call("browsingContext.navigate", map[string]any{"context": f.tab, "url": f.url + path, "wait": "complete"}, nil)
}

// Eval runs a script and returns its result, or that of its promise, as text.
func (f *Firefox) Eval(script string) string {
	f.t.Helper()
	text, err := f.eval(script)
	if err != nil {
		f.t.Fatalf("evaluate %s: %v", script, err)
	}
	return text
}

func (f *Firefox) eval(script string) (string, error) {
	var answer struct {
		Result           struct{ Value any }
		ExceptionDetails struct{ Text string }
	}
	err := f.try("script.evaluate", map[string]any{"expression": script, "target": map[string]any{"context": f.tab}, "awaitPromise": true}, &answer)
	if err == nil && answer.ExceptionDetails.Text != "" {
		err = errors.New(answer.ExceptionDetails.Text)
	}
	return fmt.Sprint(answer.Result.Value), err
}

// Await evaluates a script until it returns true.
func (f *Firefox) Await(condition string) {
	f.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		met, err := f.eval(condition) // fails while the page changes
		if met == "true" {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("wait for %s: %s (%v)", condition, met, err)
		}
	}
}

// Picture writes the tab's page to a PNG file.
func (f *Firefox) Picture(path string) {
	f.t.Helper()
	var answer struct{ Data string }
	f.call("browsingContext.captureScreenshot", map[string]any{"context": f.tab, "origin": "document"}, &answer)
	picture, err := base64.StdEncoding.DecodeString(answer.Data)
	if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, picture, 0o644)); err != nil {
		f.t.Fatal(err)
	}
}

// Close ends Firefox as a user does, so that it writes its profile.
func (f *Firefox) Close() {
	f.t.Helper()
	f.call("browser.close", map[string]any{}, nil)
	_ = f.conn.CloseNow()
	_ = f.command.Wait()
}
