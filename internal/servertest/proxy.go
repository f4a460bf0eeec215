package servertest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// ProxyOptions are the options of a reverse proxy.
type ProxyOptions struct {
	// Files returns the proxy's files by name, for a port of 127.0.0.1. The
	// main file is nginx.conf, Caddyfile or haproxy.cfg. Files may be called again for
	// another port.
	Files func(port int) (map[string]string, error)

	// Unprivileged runs the proxy as another user if this process runs as root.
	Unprivileged bool
}

// A ProxyServer is an nginx, a Caddy or an HAProxy.
type ProxyServer struct{ Server }

// Nginx starts an nginx for a test.
func Nginx(t TB, opt ProxyOptions) *ProxyServer {
	t.Helper()
	p, err := startProxy("nginx", opt, func(program, dir string) *exec.Cmd {
		return exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr", "-g", "daemon off;")
	})
	keep(t, err, p)
	return p
}

// Caddy starts a Caddy for a test.
func Caddy(t TB, opt ProxyOptions) *ProxyServer {
	t.Helper()
	p, err := startProxy("caddy", opt, func(program, dir string) *exec.Cmd {
		cmd := exec.Command(program, "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir) // where it writes
		return cmd
	})
	keep(t, err, p)
	return p
}

// HAProxy starts an HAProxy for a test.
func HAProxy(t TB, opt ProxyOptions) *ProxyServer {
	t.Helper()
	p, err := startProxy("haproxy", opt, func(program, dir string) *exec.Cmd {
		return exec.Command(program, "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
	})
	keep(t, err, p)
	return p
}

func startProxy(name string, opt ProxyOptions, command func(program, dir string) *exec.Cmd) (*ProxyServer, error) {
	program, err := find(name)
	if err != nil {
		return nil, err
	}
	var user *user
	if opt.Unprivileged {
		if user, err = unprivileged(); err != nil {
			return nil, err
		}
	}
	s, err := newServer(name, "", user)
	if err != nil {
		return nil, err
	}
	p := &ProxyServer{*s}
	if err := os.Chmod(p.dir, 0o755); err != nil { // the workers of nginx run as another user
		p.Close()
		return nil, err
	}
	p.orphan = syscall.SIGTERM // after SIGKILL the workers of nginx would survive
	p.command = func() *exec.Cmd { return command(program, p.dir) }
	p.answers = func() error {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)), time.Second)
		if err == nil {
			conn.Close() //nolint:errcheck // nothing was sent
		}
		return err
	}
	return p, p.launch(func() error {
		files, err := opt.Files(p.port)
		for name, text := range files {
			if err == nil {
				err = p.write(filepath.Join(p.dir, name), text)
			}
		}
		return err
	})
}

// Close ends the proxy in good order and removes its files. A second Close does
// nothing.
func (p *ProxyServer) Close() {
	if p.Running() {
		_ = p.Stop() // Close kills what is left
	}
	p.Server.Close()
}
