package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// formats are the files that say what a store holds.
var formats = []string{"drivers/pgstore/migrations", "drivers/sqlitestore/migrations", "drivers/redisstore/codec.go", "drivers/redisstore/keys.go"}

// previous builds the program of the last release once. Before there is a
// release, it is that of the commit that brought the present formats.
var previous = sync.OnceValues(func() (string, error) {
	git := func(args ...string) (string, error) {
		command := exec.Command("git", args...)
		command.Dir = ".."
		out, err := command.Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD")
	if err != nil {
		commit, err = git(append([]string{"log", "-1", "--format=%H", "--"}, formats...)...)
	}
	if err != nil {
		return "", fmt.Errorf("no commit to compare with: %w", err)
	}
	source := filepath.Join(filepath.Dir(os.Getenv("XDG_STATE_HOME")), "previous")
	if _, err := git("clone", "--quiet", "--shared", "--no-checkout", ".", source); err != nil {
		return "", err
	}
	if out, err := exec.Command("git", "-C", source, "checkout", "--quiet", "--detach", commit).CombinedOutput(); err != nil {
		return "", fmt.Errorf("check out %s: %w\n%s", commit, err, out)
	}
	program := filepath.Join(source, "previous-sojournd")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join(source, "sojournd")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", commit, err, out)
	}
	return program, nil
})

// A node of the previous version and one of this version share each database,
// as they do while a service is upgraded node by node. Each takes the sessions
// of the other. What ends at one has ended at the other.
func TestBesidePreviousVersion(t *testing.T) {
	for name, database := range map[string]func(testing.TB) string{
		"redis":      func(t testing.TB) string { return servertest.Redis(t, servertest.RedisOptions{}).URL() },
		"postgresql": func(t testing.TB) string { return servertest.PostgreSQL(t, servertest.PostgreSQLOptions{}).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			url := database(t)
			young := startServe(t, "")
			old := young.besides(t, url) // it can't start once the schema is this version's
			young.server.stop()
			young.server = start(t, "serve", "--config", young.file, "--store", url)
			young.api = addressOf(t, young.server)
			for _, way := range []struct {
				what     string
				from, to *serving
			}{{"from the old to the new", old, young}, {"from the new to the old", young, old}} {
				exchange(t, way.what, way.from, way.to)
			}
			young.server.stop()
			old.server.stop()
		})
	}
}

// exchange has one node make sessions, and the other read, change and end them.
func exchange(t *testing.T, what string, from, to *serving) {
	t.Helper()
	call := func(s *serving, path, format string, args ...any) map[string]any {
		t.Helper()
		return s.ask("shop", "POST", "/v1/sessions"+path, fmt.Sprintf(format, args...), 200)
	}
	visitor := from.ask("shop", "POST", "/v1/sessions", `{"values": {"cart": [1]}}`, 201)
	user := call(to, "/login", `{"token": %q, "subject": "ada", "amr": ["pwd"], "remember": true, "client": {"ip": "192.0.2.7", "user_agent": "Firefox"}}`, visitor["token"])
	call(from, "/update", `{"token": %q, "set": {"language": "de"}}`, user["token"])
	raised := call(to, "/elevate", `{"token": %q, "level": 2}`, user["token"])
	call(from, "/update", `{"token": %q, "set": {"size": 3}}`, raised["token"])
	want := "ada 2 map[cart:[1] language:de size:3]"
	eventually(t, what+": the session is "+want, func() bool {
		session, _ := call(to, "/resolve", `{"token": %q}`, raised["token"])["session"].(map[string]any)
		return fmt.Sprintf("%v %v %v", session["subject"], session["level"], session["values"]) == want
	})
	rotated := call(from, "/rotate", `{"token": %q}`, raised["token"])
	call(to, "/resolve", `{"token": %q}`, rotated["token"])
	list := to.ask("shop", "GET", "/v1/sessions?subject=ada", "", 200)
	if sessions, _ := list["sessions"].([]any); len(sessions) != 1 {
		t.Errorf("%s: ada's sessions: %v", what, list)
	}
	call(from, "/resolve", `{"token": %q}`, rotated["token"]) // both have it in memory
	call(to, "/logout", `{"token": %q}`, rotated["token"])
	eventually(t, what+": a session that has ended elsewhere is refused", func() bool {
		return call(from, "/resolve", `{"token": %q}`, rotated["token"])["session"] == nil
	})
	other := from.ask("shop", "POST", "/v1/sessions", `{"subject": "ada"}`, 201)
	call(to, "/resolve", `{"token": %q}`, other["token"])
	from.ask("shop", "DELETE", "/v1/sessions?subject=ada", "", 200)
	eventually(t, what+": so is one of a subject whose sessions have ended", func() bool {
		return call(to, "/resolve", `{"token": %q}`, other["token"])["session"] == nil
	})
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for begun := time.Now(); !holds(); {
		if time.Since(begun) > 2*time.Minute {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

// besides starts the previous version beside a server, with the configuration
// of the server.
func (s *serving) besides(t *testing.T, store string) *serving {
	t.Helper()
	if testing.Short() {
		t.Skip("builds another version")
	}
	program, err := previous()
	if err != nil {
		t.Fatal(err)
	}
	old := *s
	old.server = startCommand(t, exec.Command(program, "serve", "--config", s.file, "--store", store, "--api-listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"))
	old.api = addressOf(t, old.server)
	return &old
}

// A file that the previous version has written serves this one.
func TestFileOfPreviousVersion(t *testing.T) {
	store := "sqlite:" + filepath.Join(t.TempDir(), "sojourn.db")
	young := startServe(t, "")
	old := young.besides(t, store)
	user := old.ask("shop", "POST", "/v1/sessions", `{"subject": "ada", "values": {"cart": [1]}}`, 201)
	old.server.stop()
	young.server.stop()
	young.server = start(t, "serve", "--config", young.file, "--store", store)
	young.api = addressOf(t, young.server)
	session, _ := young.ask("shop", "POST", "/v1/sessions/resolve", fmt.Sprintf(`{"token": %q}`, user["token"]), 200)["session"].(map[string]any)
	if got, want := fmt.Sprintf("%v %v", session["subject"], session["values"]), "ada map[cart:[1]]"; got != want {
		t.Errorf("the session is %s, want %s", got, want)
	}
}

// addressOf returns where a server's API is.
func addressOf(t *testing.T, s *server) string {
	t.Helper()
	found := regexp.MustCompile(`API +(\S+)\n`).FindStringSubmatch(s.stdout.String())
	if found == nil {
		t.Fatalf("no address in:\n%s", s.stdout)
	}
	return found[1]
}
