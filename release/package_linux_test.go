package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The package is installed on a Debian, its server is started as its unit says,
// used, upgraded while sessions live, removed and purged.
func TestDebianPackage(t *testing.T) {
	skipShort(t)
	t.Parallel()
	machine := newMachine(t)
	packages := map[string]string{}
	for _, version := range []string{testVersion, "v0.1.1"} {
		packages[version] = packageOf(t, version)
	}

	machine.run("dpkg", "--install", machine.put(packages[testVersion]))
	if said := machine.run("/usr/bin/sojournd", "--version"); !strings.HasPrefix(said, "sojournd "+testVersion+"\n") {
		t.Errorf("after the installation: %s", said)
	}
	if who := machine.run("getent", "passwd", "sojournd"); !strings.Contains(who, "/var/lib/sojourn:") || !strings.Contains(who, "nologin") {
		t.Errorf("the user: %s", who)
	}
	if said := machine.run("sh", "-c", "systemd-analyze verify /usr/lib/systemd/system/sojournd.* 2>&1"); said != "" {
		t.Errorf("systemd-analyze verify: %s", said)
	}
	machine.run("systemd-analyze", "security", "--offline=true", "--threshold=15", "/usr/lib/systemd/system/sojournd.service")
	enabled := "/etc/systemd/system/multi-user.target.wants/sojournd.service"
	machine.run("test", "-L", enabled)
	machine.run("dpkg", "--verify", "sojournd")

	// It runs with the configuration that was installed.
	unit := machine.unit("/usr/lib/systemd/system/sojournd.service")
	server := unit.start()
	server.stop()

	// The administrator configures an application.
	var key struct{ Key, Hash string }
	if err := json.Unmarshal([]byte(machine.run("sojournd", "keys", "new", "--json")), &key); err != nil || key.Key == "" {
		t.Fatalf("keys new: %+v, %v", key, err)
	}
	const configuration = "/etc/sojournd/sojourn.yaml"
	configured := fmt.Sprintf("api: {listen: ['unix:/run/sojournd/api.sock']}\ninternal: {listen: []}\n"+
		"applications: [{name: shop, keys: [{name: test, hash: '%s'}]}]\n", key.Hash)
	machine.write(configuration, configured)
	machine.run("sojournd", "config", "check", "--config", configuration)
	server = unit.start()
	server.reload()
	browser := machine.client(key.Key)
	token := browser.create("ada")
	if subject := browser.resolve(token); subject != "ada" {
		t.Fatalf("a new session is %q's", subject)
	}

	// The upgrade asks nothing, and keeps the configuration. The server restarts
	// with the new program, and the session lives.
	machine.run("dpkg", "--install", machine.put(packages["v0.1.1"]))
	if kept := machine.run("cat", configuration); kept != configured {
		t.Errorf("after the upgrade the configuration is\n%s", kept)
	}
	if subject := browser.resolve(token); subject != "ada" {
		t.Errorf("after the package's upgrade the old server says that the session is %q's", subject)
	}
	server.stop()
	server = unit.start()
	if subject := browser.resolve(token); subject != "ada" {
		t.Errorf("after the upgrade the session is %q's", subject)
	}
	if said := machine.run("sojournd", "--version"); !strings.HasPrefix(said, "sojournd v0.1.1\n") {
		t.Errorf("after the upgrade: %s", said)
	}
	server.stop()

	machine.run("dpkg", "--remove", "sojournd")
	machine.run("sh", "-c", "test ! -e /usr/bin/sojournd && test ! -e /usr/lib/systemd/system/sojournd.service")
	machine.run("test", "-s", "/var/lib/sojourn/sojourn.db")
	machine.run("test", "-s", configuration)
	// Installed again, all is there as before.
	machine.run("dpkg", "--install", machine.put(packages["v0.1.1"]))
	server = unit.start()
	if subject := browser.resolve(token); subject != "ada" {
		t.Errorf("removed and installed again: the session is %q's", subject)
	}
	server.stop()
	machine.run("dpkg", "--purge", "sojournd")
	for _, gone := range []string{"/etc/sojournd", "/var/lib/sojourn", "/var/log/sojournd", enabled, "/usr/share/doc/sojournd"} {
		machine.run("sh", "-c", "test ! -e "+gone+" && test ! -L "+gone)
	}
}

// packageOf returns the .deb of a version.
func packageOf(t *testing.T, version string) string {
	t.Helper()
	dist, err := first()
	if version != testVersion && err == nil {
		dist = filepath.Join(t.TempDir(), "dist")
		err = buildRelease(dist, version, os.Environ(), here)
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dist, filesOf(version)+".deb")
}

// A machine is a copy of this one: a mount namespace, in which all writes go to an
// overlay. It has its own processes, and no network. It vanishes with the process
// that holds it, however the test ends.
type machine struct {
	t      *testing.T
	holder int    // a process outside, whose child is the first inside
	inside string // the process ID of that child
	root   string // the machine's / as this process sees it
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "root, for a file system of the package's own")
	}
	for _, program := range []string{"dpkg", "unshare", "nsenter", "setpriv", "systemd-analyze", "systemd-sysusers"} {
		if _, err := exec.LookPath(program); err != nil {
			skip(t, program)
		}
	}
	dir := t.TempDir()
	const script = `set -e
mount -t tmpfs none "$0"; mkdir "$0/upper" "$0/work" "$0/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root"
mount -t proc proc "$0/root/proc"; mount --rbind /dev "$0/root/dev"; mount -t tmpfs none "$0/root/run"; mount -t tmpfs none "$0/root/tmp"
echo ready; exec cat`
	holder := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", script, dir)
	var errs bytes.Buffer
	holder.Stderr = &errs
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // the thread that starts the holder must live as long: its end would kill the holder
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = holder.Wait()
		runtime.UnlockOSThread()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		skip(t, fmt.Sprintf("an overlay file system: %v %s", err, &errs))
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", holder.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, holder: holder.Process.Pid, inside: strings.TrimSpace(string(children))}
	m.root = "/proc/" + m.inside + "/root" + dir + "/root"
	return m
}

// command returns a command that runs in the machine.
func (m *machine) command(args ...string) *exec.Cmd {
	command := exec.CommandContext(m.t.Context(), "nsenter", append([]string{"--target", m.inside, "--mount", "--net", "--pid", "chroot", m.root[len("/proc/"+m.inside+"/root"):]}, args...)...)
	command.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"}
	return command
}

// run returns what a command in the machine printed. The command must succeed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	var out, errs bytes.Buffer
	command := m.command(args...)
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		m.t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// put copies a file into the machine, and returns its name there.
func (m *machine) put(name string) string {
	m.t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("/tmp/sojournd.deb", string(content))
	return "/tmp/sojournd.deb"
}

func (m *machine) write(name, content string) {
	m.t.Helper()
	if err := os.WriteFile(m.root+name, []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// A unit is what systemd would do for a service: its settings, as far as this
// test knows them. It fails for a kind of setting that could change what runs.
type unit struct {
	m        *machine
	settings map[string][]string
}

func (m *machine) unit(name string) *unit {
	m.t.Helper()
	u := &unit{m, map[string][]string{}}
	for _, line := range regexp.MustCompile(`(?m)^([A-Za-z]+)=(.*)$`).FindAllStringSubmatch(m.run("cat", name), -1) {
		u.settings[line[1]] = append(u.settings[line[1]], line[2])
	}
	for _, unknown := range []string{"DynamicUser", "RootDirectory", "WorkingDirectory", "EnvironmentFile", "Group", "PIDFile", "ExecStartPost"} {
		if u.settings[unknown] != nil {
			m.t.Fatalf("the unit sets %s, which this test doesn't do", unknown)
		}
	}
	for setting, lines := range u.settings {
		for _, line := range lines { // a bare Debian has no /bin/kill
			if program, _, _ := strings.Cut(line, " "); strings.HasPrefix(setting, "Exec") && program != "/usr/bin/sojournd" && program != "/bin/sh" {
				m.t.Errorf("%s=%s runs a program that may be absent", setting, line)
			}
		}
	}
	return u
}

// words returns the words of a setting, with specifiers replaced.
func (u *unit) words(name string) (words []string) {
	for _, value := range u.settings[name] {
		words = append(words, strings.Fields(strings.ReplaceAll(value, "%S", "/var/lib"))...)
	}
	return words
}

// as returns the command line that runs one of the unit's as its user.
func (u *unit) as(line string, env ...string) *exec.Cmd {
	user := strings.Join(u.words("User"), "")
	args := []string{"setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs",
		"env", "--ignore-environment", "PATH=/usr/bin:/bin"}
	args = append(append(args, u.words("Environment")...), env...)
	args = append(args, "sh", "-c", "umask "+strings.Join(u.words("UMask"), "")+"; echo $$ >/tmp/pid; exec \"$@\"", "sh")
	return u.m.command(append(args, strings.Fields(line)...)...)
}

// start makes the unit's directories, runs its commands, and waits until the
// service says that it is ready.
func (u *unit) start() *service {
	u.m.t.Helper()
	user := strings.Join(u.words("User"), "")
	for setting, base := range map[string]string{"StateDirectory": "/var/lib", "RuntimeDirectory": "/run", "LogsDirectory": "/var/log"} {
		mode := strings.Join(append(u.words(setting+"Mode"), "0755")[:1], "")
		for _, dir := range u.words(setting) {
			u.m.run("install", "--directory", "--owner="+user, "--group="+user, "--mode="+mode, base+"/"+dir)
		}
	}
	for _, line := range u.settings["ExecStartPre"] {
		if out, err := u.as(line).CombinedOutput(); err != nil {
			u.m.t.Fatalf("ExecStartPre=%s: %v\n%s", line, err, out)
		}
	}
	const socket = "/run/notify"
	_ = os.Remove(u.m.root + socket)
	notices, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: u.m.root + socket, Net: "unixgram"})
	if err != nil {
		u.m.t.Fatal(err)
	}
	defer notices.Close()
	u.m.run("chmod", "0666", socket)
	s := &service{unit: u, command: u.as(strings.Join(u.settings["ExecStart"], " "), "NOTIFY_SOCKET="+socket), ended: make(chan error, 1)}
	s.command.Stdout, s.command.Stderr = &s.output, &s.output
	if err := s.command.Start(); err != nil {
		u.m.t.Fatal(err)
	}
	go func() { s.ended <- s.command.Wait() }()
	ready := make(chan error, 1)
	go func() {
		message := make([]byte, 4096)
		for {
			n, err := notices.Read(message)
			if err != nil || strings.Contains(string(message[:n]), "READY=1") {
				ready <- err
				return
			}
		}
	}()
	select {
	case err = <-ready:
	case err = <-s.ended:
		err = errors.Join(errors.New("it ended"), err)
	case <-time.After(3 * time.Minute):
		err = errors.New("it isn't ready after three minutes")
	}
	if err != nil {
		u.m.t.Fatalf("%v: %v\n%s", s.command.Args, err, s.output.String())
	}
	s.pid = strings.TrimSpace(u.m.run("cat", "/tmp/pid"))
	return s
}

// reload runs what reloads the service.
func (s *service) reload() {
	u := s.unit
	u.m.t.Helper()
	for _, line := range u.settings["ExecReload"] {
		command := u.as("sh", "MAINPID="+s.pid) // a shell takes quotes apart as systemd does
		command.Args = append(command.Args, "-c", line)
		if out, err := command.CombinedOutput(); err != nil {
			u.m.t.Fatalf("ExecReload=%s: %v\n%s", line, err, out)
		}
	}
}

// A service is a running unit.
type service struct {
	unit    *unit
	pid     string // in the machine
	command *exec.Cmd
	output  bytes.Buffer // read it when the service has ended
	ended   chan error
}

// stop stops it as systemd does: by SIGTERM.
func (s *service) stop() {
	m := s.unit.m
	m.t.Helper()
	m.run("sh", "-c", "kill -TERM "+s.pid)
	select {
	case err := <-s.ended:
		if err != nil {
			m.t.Errorf("the service ended with %v\n%s", err, s.output.String())
		}
	case <-time.After(3 * time.Minute):
		m.t.Fatal("the service doesn't end")
	}
}

// A client is an application of the machine's server.
type client struct {
	t    *testing.T
	key  string
	http http.Client
}

func (m *machine) client(key string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", m.root+"/run/sojournd/api.sock")
	}
	return &client{m.t, key, http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: time.Minute}}
}

func (c *client) create(subject string) (token string) {
	c.t.Helper()
	return c.call("/v1/sessions", map[string]any{"subject": subject}).Token
}

// resolve returns the subject of a token's session.
func (c *client) resolve(token string) (subject string) {
	c.t.Helper()
	return c.call("/v1/sessions/resolve", map[string]any{"token": token}).Session.Subject
}

type answer struct {
	Token   string
	Session struct{ Subject string }
}

func (c *client) call(path string, body any) (a answer) {
	c.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, "http://sojournd"+path, bytes.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 || json.Unmarshal(said, &a) != nil {
		c.t.Fatalf("%s: %s %s (%v)", path, res.Status, said, err)
	}
	return a
}
