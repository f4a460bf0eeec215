//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// An activator starts sojournd with sockets that it has opened, as systemd does
// (sd_listen_fds(3)).
type activator struct {
	names []string
	files []*os.File
}

// listen opens a socket that every started process gets, and returns its
// address.
func (a *activator) listen(t *testing.T, name, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	a.pass(t, name, l.(syscall.Conn))
	return l.Addr().String()
}

// pass passes a copy of the socket. File of package net would make the socket
// blocking in all processes that have it, so that a server that listens on it
// couldn't stop.
func (a *activator) pass(t *testing.T, name string, socket syscall.Conn) {
	t.Helper()
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var file *os.File
	if err := raw.Control(func(fd uintptr) {
		if copied, err := syscall.Dup(int(fd)); err == nil {
			syscall.CloseOnExec(copied)
			file = os.NewFile(uintptr(copied), name)
		}
	}); err != nil || file == nil {
		t.Fatalf("copy a socket: %v", err)
	}
	t.Cleanup(func() { _ = file.Close() })
	a.names, a.files = append(a.names, name), append(a.files, file)
}

// command returns a command that runs the program with the sockets.
func (a *activator) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", path}, args...)...)
	command.Env = append(os.Environ(), fmt.Sprint("LISTEN_FDS=", len(a.files)), "LISTEN_FDNAMES="+strings.Join(a.names, ":"))
	command.ExtraFiles = a.files
	return command
}

// With sockets from systemd, a restart on the embedded store refuses nobody:
// neither a visitor behind nginx nor a call of the API. The new process waits
// for the file of the one that leaves.
func TestRestartRefusesNobody(t *testing.T) {
	t.Parallel()
	servertest.Need(t, "nginx")
	var systemd activator
	internal, api := systemd.listen(t, "sojournd.socket", "tcp", "127.0.0.1:0"), systemd.listen(t, "sojournd.socket", "tcp", "127.0.0.1:0")
	key, hash := newKey(t)
	file := filepath.Join(t.TempDir(), "sojourn.yaml")
	text := "store: 'sqlite:" + filepath.Join(t.TempDir(), "sojourn.db") + "'\ntrusted_proxies: [127.0.0.1]\napi: {listen: ['" + api + "']}\ninternal: {listen: ['" + internal + "']}\n" +
		"limits: {shutdown_timeout: 5m}\napplications:\n  - name: shop\n    keys: [{name: test, hash: '" + hash + "'}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := func() *serving {
		s := startCommand(t, systemd.command(t, "serve", "--config", file))
		return &serving{server: s, api: "http://" + api, keys: map[string]string{"shop": key}, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	}
	nginx := nginxBefore(t, internal, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "for "+r.Header.Get("Sojourn-Subject"))
	}, "proxy_read_timeout      10s", "proxy_read_timeout 5m") // this machine may be slow

	running := begin()
	cookie := "__Host-shop-session=" + running.ask("shop", "POST", "/v1/sessions/login", `{"subject":"ann"}`, 200)["token"].(string)
	restarted := make(chan *serving, 1)
	restart := func(overlap bool) {
		old := running
		if !overlap {
			old.stop()
		} else if err := old.command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		restarted <- begin()
		if overlap {
			if err := old.wait(); err != nil {
				t.Errorf("the process that left: %v\n%s", err, old.stderr)
			}
		}
	}
	const requests = 2000
	restarts := 0
	for i := range requests {
		if i%500 == 250 && restarts < 3 {
			restarts++
			go restart(restarts > 1) // while requests come
		}
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+nginx.Addr()+"/account", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", cookie)
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatalf("request %d: %v\n%s", i, err, nginx.LogTail())
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || string(body) != "for ann" {
			t.Fatalf("request %d: %s %q, %v\n%s\n%s", i, res.Status, body, err, running.stderr, nginx.LogTail())
		}
		if i%10 == 0 {
			running.ask("shop", "POST", "/v1/sessions", `{}`, 201)
		}
		if i%500 == 499 && i < 1500 {
			running = <-restarted
		}
	}
	if restarts != 3 {
		t.Errorf("%d restarts", restarts)
	}
	if got := running.ask("shop", "GET", "/v1/stats", "", 200); fmt.Sprint(got["sessions"]) != "201" {
		t.Errorf("of 201 sessions there are %v", got)
	}
	running.stop()
}

// A second process waits for the store's file until the first has left, and
// says so.
func TestServeWaitsForTheFile(t *testing.T) {
	t.Parallel()
	first := startServe(t, "store: 'sqlite:"+filepath.Join(t.TempDir(), "sojourn.db")+"'\nlimits: {shutdown_timeout: 5m}\n")
	second := exec.Command(first.command.Path, "serve", "--config", first.file)
	out, greeted := newPrintout("Ctrl-C")
	log, waits := newPrintout(fmt.Sprintf("process %d (sojournd serve)", first.command.Process.Pid))
	second.Stdout, second.Stderr = out, log
	if err := servertest.Spawn(second); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Process.Kill(); _ = second.Wait() })
	wait := func(seen <-chan struct{}) {
		t.Helper()
		select {
		case <-seen:
		case <-time.After(time.Minute):
			t.Fatalf("printed only:\n%s%s", out, log)
		}
	}
	wait(waits)
	if strings.Contains(out.String(), "Ctrl-C") {
		t.Error("it serves without the file")
	}
	first.stop()
	wait(greeted)
}

// A socket that the server can't use is an error that says what to do.
func TestSocketsOfNoUse(t *testing.T) {
	t.Parallel()
	var unlisted, datagrams activator
	address := unlisted.listen(t, "sojournd.socket", "tcp", "127.0.0.1:0")
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	datagrams.pass(t, "sojournd.socket", conn)
	for _, c := range []struct {
		systemd activator
		want    string
	}{
		{unlisted, "systemd passes " + address + ", which api.listen, internal.listen and console.listen lack: name it there"},
		{datagrams, "on which nothing can listen: name it with ListenStream="},
	} {
		if out, err := c.systemd.command(t, "serve", "--store", "memory:").CombinedOutput(); err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%v, printed %s, not %q", err, out, c.want)
		}
	}
}

// A socket belongs to a listener by its name, whatever its address. Its
// connections are answered even before there is a key.
func TestSocketsByName(t *testing.T) {
	t.Parallel()
	var systemd activator
	path := filepath.Join(t.TempDir(), "api.sock")
	systemd.listen(t, "api", "unix", path)
	internal := systemd.listen(t, "internal", "tcp", "127.0.0.1:0")
	file := filepath.Join(t.TempDir(), "sojourn.yaml")
	if err := os.WriteFile(file, []byte("store: 'memory:'\napi: {listen: []}\ninternal: {listen: []}\napplications: [{name: shop}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startCommand(t, systemd.command(t, "serve", "--config", file))
	for _, c := range []struct {
		client *http.Client
		url    string
		want   int
	}{{http.DefaultClient, "http://" + internal + "/readyz", 200}, {overSocket(path), "http://unix/v1/stats", 401}} {
		res, err := c.client.Get(c.url)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s: %s", c.url, res.Status)
		}
	}
	s.stop()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the server removed systemd's socket: %v", err)
	}
}

// A connection that was accepted before SIGTERM is answered, even if its
// request comes after it.
func TestAcceptedBeforeShutdown(t *testing.T) {
	t.Parallel()
	s := startServe(t, "")
	address := strings.TrimPrefix(s.internal, "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := s.look("/healthz", ""); status != 200 { // a later connection; so the first one was accepted
		t.Fatal(status)
	}
	s.beginStop(t, address)
	if _, err := io.WriteString(conn, "Host: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 200 || !res.Close {
		t.Errorf("%v, %v", res, err)
	}
	if err := s.wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, s.stderr)
	}
}
