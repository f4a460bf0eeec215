package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/sojournd/internal/browsertest"
)

// TestMain keeps the tests away from the sessions of the user who runs them.
func TestMain(m *testing.M) {
	state, err := os.MkdirTemp("", "sojournd-test-")
	if err == nil {
		err = os.Setenv("XDG_STATE_HOME", filepath.Join(state, "state"))
	}
	if err == nil { // for tests of serve that say nothing else
		config := filepath.Join(state, "sojourn.yaml")
		err = errors.Join(os.Setenv("SOJOURN_CONFIG", config), os.WriteFile(config, []byte("internal: {listen: ['127.0.0.1:0']}\napplications: [{name: shop}]\n"), 0o600))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	browsertest.Stop()
	_ = os.RemoveAll(state)
	os.Exit(code)
}

// binary builds the program once.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(os.Getenv("XDG_STATE_HOME")), "sojournd")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// A printout is the output of a program. Its methods may be called
// concurrently.
type printout struct {
	mu   sync.Mutex
	b    bytes.Buffer
	want string        // closes seen when it comes, unless it is empty
	seen chan struct{} // nil once it is closed
}

func newPrintout(want string) (p *printout, seen <-chan struct{}) {
	p = &printout{want: want, seen: make(chan struct{})}
	return p, p.seen
}

func (p *printout) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() {
		if p.seen != nil && strings.Contains(p.b.String(), p.want) {
			close(p.seen)
			p.seen = nil
		}
	}()
	return p.b.Write(text)
}

func (p *printout) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.String()
}

// A server is a running sojournd in its own process.
type server struct {
	t       *testing.T
	command *exec.Cmd
	ended   chan error
	stdout  *printout
	stderr  *printout
	url     string // of the demo
}

// start runs the program until the test ends, and waits for its greeting.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no SIGINT there")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return startCommand(t, exec.Command(path, args...))
}

// startCommand is start for a command that runs the program.
func startCommand(t *testing.T, command *exec.Cmd) *server {
	t.Helper()
	s := &server{t: t, command: command, ended: make(chan error, 1)}
	var greeted <-chan struct{}
	s.stdout, greeted = newPrintout("Ctrl-C")
	s.stderr, _ = newPrintout("never printed")
	s.command.Stdout, s.command.Stderr = s.stdout, s.stderr
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- s.command.Wait() }()
	t.Cleanup(func() { _ = s.command.Process.Kill() })
	select {
	case <-greeted:
	case err := <-s.ended:
		t.Fatalf("%v ended: %v\n%s", command, err, s.stderr)
	case <-time.After(time.Minute):
		t.Fatalf("%v printed only:\n%s%s", command, s.stdout, s.stderr)
	}
	return s
}

func startDemo(t *testing.T, args ...string) *server {
	t.Helper()
	s := start(t, append([]string{"demo", "--listen", "127.0.0.1:0"}, args...)...)
	if s.url = regexp.MustCompile(`http://localhost:[1-9]\d+`).FindString(s.stdout.String()); s.url == "" {
		t.Fatalf("no address in:\n%s", s.stdout)
	}
	return s
}

// account returns the first account that the demo shows.
func (s *server) account() (email, password string) {
	s.t.Helper()
	account := regexp.MustCompile(`(\S+@\S+)\s+(\S+)`).FindStringSubmatch(s.stdout.String())
	if account == nil {
		s.t.Fatalf("no account in:\n%s", s.stdout)
	}
	return account[1], account[2]
}

// signIn signs in with that account and returns the cookie.
func (s *server) signIn() *http.Cookie {
	s.t.Helper()
	email, password := s.account()
	res := fetch(s.t, "POST", s.url+"/login", "email="+email+"&password="+password, nil)
	if res.StatusCode != http.StatusSeeOther || len(res.Cookies()) == 0 {
		s.t.Fatalf("signing in as announced: %s", res.Status)
	}
	return res.Cookies()[0]
}

// stop sends Ctrl-C.
func (s *server) stop() {
	s.t.Helper()
	if err := s.command.Process.Signal(os.Interrupt); err != nil {
		s.t.Fatal(err)
	}
	if err := s.wait(); err != nil {
		s.t.Errorf("after Ctrl-C: %v\n%s", err, s.stderr)
	}
}

// kill sends SIGKILL.
func (s *server) kill() {
	s.t.Helper()
	if err := s.command.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.wait(); err == nil {
		s.t.Error("killed, and it succeeded")
	}
}

func (s *server) wait() error {
	select {
	case err := <-s.ended:
		return err
	case <-time.After(time.Minute):
		return errors.New("it doesn't end")
	}
}

// call runs a command in this process and returns its output.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, output{&out, &err})
	return code, out.String(), err.String()
}

// callServer runs a server in this process until it has printed its greeting.
func callServer(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, greeted := newPrintout("Ctrl-C")
	go func() {
		select {
		case <-greeted:
			cancel()
		case <-ctx.Done():
		}
	}()
	var err bytes.Buffer
	code = run(ctx, args, output{out, &err})
	return code, out.String(), err.String()
}
