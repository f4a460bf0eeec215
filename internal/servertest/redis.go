package servertest

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// RedisOptions are the options of a Redis server. The zero value has no
// password and keeps nothing on disk.
type RedisOptions struct {
	User       string   // an ACL user with Password and all rights; disables the default user
	Password   string   // of User, or of the default user
	TLS        bool     // accept only TLS
	MaxMemory  string   // such as "16mb"; the policy is noeviction unless Config sets another
	AppendOnly bool     // write to disk before the answer (appendfsync always)
	Config     []string // more lines of redis.conf
	Dir        string   // the parent of its directory; empty: the directory for temporary files

	certificates *Certificates // of the cluster's first node
}

// A RedisServer is one redis-server.
type RedisServer struct {
	Server
	Certificates *Certificates // nil without TLS

	opt RedisOptions
	bus int // the port for the other nodes of a cluster; 0: there are none
}

// Redis starts a server for a test.
func Redis(t TB, opt RedisOptions) *RedisServer {
	t.Helper()
	r, err := StartRedis(opt)
	keep(t, err, r)
	return r
}

// StartRedis starts a server. It returns ErrMissing if Redis is not installed.
func StartRedis(opt RedisOptions) (*RedisServer, error) { return startRedis(opt, false) }

func startRedis(opt RedisOptions, cluster bool) (*RedisServer, error) {
	program, err := find("redis-server")
	if err != nil {
		return nil, err
	}
	s, err := newServer("redis", opt.Dir, nil)
	if err != nil {
		return nil, err
	}
	r := &RedisServer{Server: *s, opt: opt}
	if r.Certificates = opt.certificates; opt.TLS && r.Certificates == nil {
		if r.Certificates, err = r.certify(); err != nil {
			r.Close()
			return nil, err
		}
	}
	config := filepath.Join(r.dir, "redis.conf")
	r.command = func() *exec.Cmd { return exec.Command(program, config) }
	r.answers = func() error {
		if _, err := r.do(time.Second, "PING"); err != nil { // it may still be loading
			return err
		}
		return r.want(strconv.Itoa(r.PID()), "process_id", "INFO", "server")
	}
	return r, r.launch(func() (err error) {
		if cluster {
			if r.bus, err = FreePort(); err != nil {
				return err
			}
		}
		return r.write(config, r.config())
	})
}

func (r *RedisServer) config() string {
	lines := []string{
		"bind 127.0.0.1",
		"dir " + r.dir,
		`save ""`,
		"maxmemory-policy noeviction",
		"enable-debug-command yes",
	}
	lines = append(lines, r.portConfig()...)
	switch {
	case r.opt.User != "":
		lines = append(lines, "user default off", "user "+r.opt.User+" on >"+r.opt.Password+" ~* &* +@all")
	case r.opt.Password != "":
		lines = append(lines, "requirepass "+r.opt.Password)
	}
	if r.opt.MaxMemory != "" {
		lines = append(lines, "maxmemory "+r.opt.MaxMemory)
	}
	if r.opt.AppendOnly {
		lines = append(lines, "appendonly yes", "appendfsync always")
	}
	if r.bus != 0 {
		lines = append(lines, r.clusterConfig()...)
	}
	return strings.Join(append(lines, r.opt.Config...), "\n") + "\n"
}

func (r *RedisServer) portConfig() []string {
	port, c := strconv.Itoa(r.port), r.Certificates
	if c == nil {
		return []string{"port " + port}
	}
	return []string{"port 0", "tls-port " + port, "tls-auth-clients no", "tls-ca-cert-file " + c.CAFile, "tls-cert-file " + c.CertFile, "tls-key-file " + c.KeyFile}
}

// URL is redis:// or rediss://, with user and password.
func (r *RedisServer) URL() string {
	u := url.URL{Scheme: "redis", Host: r.Addr(), Path: "/0"}
	if r.Certificates != nil {
		u.Scheme = "rediss"
	}
	if r.opt.Password != "" {
		u.User = url.UserPassword(r.opt.User, r.opt.Password)
	}
	return u.String()
}

// RestartEmpty kills the server and starts it without its data.
func (r *RedisServer) RestartEmpty() error {
	if r.running != nil {
		if err := r.Kill(); err != nil {
			return err
		}
	}
	for _, name := range []string{"dump.rdb", "appendonlydir", "nodes.conf"} {
		if err := os.RemoveAll(filepath.Join(r.dir, name)); err != nil {
			return err
		}
	}
	return r.Start()
}

// Do sends one command on a new connection. The answer is a string, an int64,
// nil, or a list of these. If Redis answers with an error, it is a RedisError.
func (r *RedisServer) Do(args ...string) (any, error) {
	return r.do(10*time.Second, args...)
}

func (r *RedisServer) do(limit time.Duration, args ...string) (any, error) {
	var config *tls.Config
	if r.Certificates != nil {
		config = r.Certificates.Config()
	}
	c, err := dialRedis(r.Addr(), config, limit)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if r.opt.Password != "" {
		user := r.opt.User
		if user == "" {
			user = "default"
		}
		if _, err := c.do("AUTH", user, r.opt.Password); err != nil {
			return nil, err
		}
	}
	return c.do(args...)
}

// Info returns one line of INFO, such as used_memory.
func (r *RedisServer) Info(name string) (string, error) { return r.line(name, "INFO", "everything") }

// line returns the value of one line of the answer.
func (r *RedisServer) line(name string, command ...string) (string, error) {
	answer, err := r.do(time.Second, command...)
	if err != nil {
		return "", err
	}
	text, _ := answer.(string)
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimRight(value, "\r\n"), nil
		}
	}
	return "", fmt.Errorf("redis: no %s in the answer", name)
}

// want returns an error unless a line of the answer has a value.
func (r *RedisServer) want(value, name string, command ...string) error {
	got, err := r.line(name, command...)
	if err == nil && got != value {
		err = fmt.Errorf("%s of %s is %s, not %s", name, r.Addr(), got, value)
	}
	return err
}
