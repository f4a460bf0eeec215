package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestDefaultStore(t *testing.T) {
	file := func(t *testing.T) string {
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		name        string
		state, home func(t *testing.T) string // nil: not set
		under       string                    // "home" or "state"; else the error
	}{
		{"XDG_STATE_HOME", (*testing.T).TempDir, (*testing.T).TempDir, "state"},
		{"HOME", nil, (*testing.T).TempDir, "home"},
		{"relative", func(*testing.T) string { return "state" }, (*testing.T).TempDir, "home"},
		{"empty", func(*testing.T) string { return "" }, (*testing.T).TempDir, "home"},
		{"none", nil, nil, "set HOME or XDG_STATE_HOME"},
		{"relative HOME", nil, func(*testing.T) string { return "home" }, `$HOME is "home"`},
		{"HOME that takes nothing", nil, file, "--store memory:"},
		{"XDG_STATE_HOME that takes nothing", file, (*testing.T).TempDir, "--store memory:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			places := map[string]string{}
			for variable, value := range map[string]func(*testing.T) string{"XDG_STATE_HOME": c.state, "HOME": c.home} {
				t.Setenv(variable, "") // puts it back
				if value == nil {
					_ = os.Unsetenv(variable)
					continue
				}
				places[variable] = value(t)
				t.Setenv(variable, places[variable])
			}
			t.Chdir(t.TempDir()) // nothing is made here
			want := filepath.Join(places["XDG_STATE_HOME"], "sojourn")
			if c.under == "home" {
				want = filepath.Join(places["HOME"], ".local", "state", "sojourn")
			}
			for _, args := range [][]string{{"serve"}, {"demo", "--listen", "127.0.0.1:0"}, {"serve", "--store", "sqlite:"}} {
				code, stdout, stderr := callServer(t, args...)
				if c.under != "home" && c.under != "state" {
					if code != 1 || !strings.Contains(stderr, c.under) {
						t.Errorf("%v: exit code %d, printed %q, want %q", args, code, stderr, c.under)
					}
				} else if code != 0 || !strings.Contains(stdout, filepath.Join(want, "sojourn.db")) {
					t.Errorf("%v: exit code %d, printed %q and %q, want %s", args, code, stdout, stderr, want)
				}
			}
			if left, _ := os.ReadDir("."); len(left) > 0 {
				t.Errorf("made in the working directory: %v", left)
			}
			if c.under != "home" {
				return
			}
			for name, mode := range map[string]os.FileMode{".local": 0o700, ".local/state": 0o700, ".local/state/sojourn": 0o700,
				".local/state/sojourn/sojourn.db": 0o600, ".local/state/sojourn/sojourn-shop.db": 0o600} {
				if info, err := os.Stat(filepath.Join(places["HOME"], name)); err != nil || info.Mode().Perm() != mode {
					t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, mode)
				}
			}
		})
	}
}

// A store in memory leaves no files.
func TestMemoryStoreMakesNoFile(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	for _, args := range [][]string{{"serve"}, {"demo", "--listen", "127.0.0.1:0"}} {
		code, stdout, stderr := callServer(t, append(args, "--store", "memory:")...)
		if code != 0 || !strings.Contains(stdout, "in memory, and gone") {
			t.Errorf("%v: exit code %d, printed %q and %q", args, code, stdout, stderr)
		}
	}
	if left, err := os.ReadDir(state); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestUnwritableHome(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	home := t.TempDir()
	if err := os.Chmod(home, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", home)
	code, _, stderr := callServer(t, "demo", "--listen", "127.0.0.1:0")
	if code != 1 || !strings.Contains(stderr, home) || !strings.Contains(stderr, "--store memory:") {
		t.Errorf("exit code %d, printed %q", code, stderr)
	}
}

func TestTwoServersOnOneStore(t *testing.T) {
	store := "sqlite:" + filepath.Join(t.TempDir(), "s.db")
	first := startDemo(t, "--store", store)
	names := fmt.Sprintf("process %d (sojournd demo)", first.command.Process.Pid)
	for _, command := range []string{"demo", "serve"} {
		code, _, stderr := call(t, command, "--store", store)
		if code != 1 || !strings.Contains(stderr, names) {
			t.Errorf("%s: exit code %d, printed %q, want %q", command, code, stderr, names)
		}
	}
	if res := fetch(t, "GET", first.url+"/", "", nil); res.StatusCode != http.StatusOK {
		t.Errorf("the first: %s", res.Status)
	}
	first.stop()
	if code, _, stderr := callServer(t, "serve", "--store", store); code != 0 {
		t.Errorf("after it: exit code %d, printed %q", code, stderr)
	}
}

// subject returns the user of a cookie, according to the demo.
func (s *server) subject(cookie *http.Cookie) string {
	s.t.Helper()
	res := fetch(s.t, "GET", s.url+"/me.json", "", cookie)
	var me struct{ Subject string }
	if err := json.NewDecoder(res.Body).Decode(&me); err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("/me.json: %s, %v", res.Status, err)
	}
	return me.Subject
}

func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "s.db"), filepath.Join(dir, "backup.db")
	onStore := func(args ...string) []string { return append(args, "--store", "sqlite:"+path) }

	demo := startDemo(t, "--store", "sqlite:"+path)
	before := demo.signIn()
	code, stdout, stderr := call(t, onStore("backup", file)...) // while it serves
	if code != 0 || !strings.Contains(stdout, "Backed up "+path+" to "+file) || stderr != "" {
		t.Fatalf("backup: exit code %d, printed %q and %q", code, stdout, stderr)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v", info.Mode(), err)
	}
	after := demo.signIn()
	if res := fetch(t, "POST", demo.url+"/logout", "x=", before); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("logout: %s", res.Status)
	}
	for _, what := range []string{path, file} {
		if code, stdout, stderr := call(t, "check", "--store", "sqlite:"+what); code != 0 || !strings.Contains(stdout, what+" is sound") {
			t.Errorf("check: exit code %d, printed %q and %q", code, stdout, stderr)
		}
	}

	wrong := func(want string, args ...string) {
		t.Helper()
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := call(t, args...); code != 1 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d, printed %q and %q, want %q", args, code, stdout, stderr, want)
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != string(content) {
			t.Errorf("%v: the backup was changed (%v)", args, err)
		}
	}
	wrong("exists", onStore("backup", file)...)
	wrong("exists", onStore("backup", path)...)
	wrong("exists", onStore("backup", dir)...)
	wrong(fmt.Sprintf("process %d (sojournd demo)", demo.command.Process.Pid), onStore("restore", file)...)
	demo.stop()

	wrong("is the store itself", onStore("restore", path)...)
	wrong("nowhere.db", onStore("restore", filepath.Join(dir, "nowhere.db"))...)
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("This is no database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong("not a store of Sojourn", onStore("restore", text)...)
	broken := damaged(t, file)
	wrong("damaged", "check", "--store", "sqlite:"+broken)
	wrong("damaged", onStore("restore", broken)...)

	look := func(path string, want map[*http.Cookie]string) {
		t.Helper()
		demo := startDemo(t, "--store", "sqlite:"+path)
		defer demo.stop()
		for cookie, subject := range want {
			if got := demo.subject(cookie); got != subject {
				t.Errorf("is %q, want %q", got, subject)
			}
		}
	}
	look(path, map[*http.Cookie]string{before: "", after: "demo-ada"}) // nothing of that has changed the store

	code, stdout, stderr = call(t, onStore("restore", file)...)
	if code != 0 || !strings.Contains(stdout, "All its sessions are ended") || stderr != "" {
		t.Fatalf("restore: exit code %d, printed %q and %q", code, stdout, stderr)
	}
	kept := regexp.MustCompile(`kept as (\S+);`).FindStringSubmatch(stdout)
	if kept == nil {
		t.Fatalf("restore doesn't say what became of the store: %q", stdout)
	}
	look(path, map[*http.Cookie]string{before: "", after: ""})

	// If there is no store, a restore creates it.
	for from, want := range map[string]map[*http.Cookie]string{
		file:    {before: "demo-ada", after: ""},
		kept[1]: {before: "", after: "demo-ada"}, // what was replaced is a store too
	} {
		elsewhere := filepath.Join(t.TempDir(), "new", "s.db")
		code, stdout, stderr = call(t, "restore", from, "--keep-sessions", "--store", "sqlite:"+elsewhere)
		if code != 0 || !strings.Contains(stdout, "Its sessions go on") || !strings.Contains(stdout, "There was no store") {
			t.Fatalf("restore --keep-sessions: exit code %d, printed %q and %q", code, stdout, stderr)
		}
		look(elsewhere, want)
	}
}

// damaged returns a copy of a store with garbage in the middle.
func damaged(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(content) / 8; i < len(content); i++ {
		content[i] ^= byte(i*7) | 1
	}
	path += "-damaged"
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
