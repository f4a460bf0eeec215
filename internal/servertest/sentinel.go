package servertest

import (
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// MasterSet is the name of the master that the sentinels watch.
const MasterSet = "sojourn-test"

// SentinelOptions are the options of Redis Sentinel.
type SentinelOptions struct {
	Redis    RedisOptions // of the master and the replica; TLS is for the sentinels too
	Password string       // of the sentinels; empty: they have none
}

// A RedisSentinel is a master with a replica, and three sentinels that watch
// them.
type RedisSentinel struct {
	Master, Replica *RedisServer // as they were at first
	Sentinels       []*RedisServer

	opt SentinelOptions
}

// Sentinel starts a Redis Sentinel for a test.
func Sentinel(t TB, opt SentinelOptions) *RedisSentinel {
	t.Helper()
	s := &RedisSentinel{opt: opt}
	err := s.start()
	if err != nil {
		s.Close()
	}
	keep(t, err, s)
	return s
}

func (s *RedisSentinel) start() (err error) {
	opt := s.opt.Redis
	opt.Config = append(opt.Config, "masterauth "+strconv.Quote(opt.Password), "repl-diskless-sync-delay 0") // each may be master or replica
	if opt.TLS {
		opt.Config = append(opt.Config, "tls-replication yes")
	}
	if s.Master, err = StartRedis(opt); err != nil {
		return err
	}
	opt.certificates = s.Master.Certificates
	opt.Config = append(opt.Config, "replicaof 127.0.0.1 "+strconv.Itoa(s.Master.Port()))
	if s.Replica, err = StartRedis(opt); err != nil {
		return err
	}
	if err := eventually("the replica follows", func() error { return s.Replica.want("up", "master_link_status", "INFO", "replication") }); err != nil {
		return err
	}
	for range 3 {
		one, err := s.startSentinel()
		if err != nil {
			return err
		}
		s.Sentinels = append(s.Sentinels, one)
	}
	for _, one := range s.Sentinels {
		if err := eventually("a sentinel knows the others", func() error {
			for name, want := range map[string]string{"num-slaves": "1", "num-other-sentinels": "2"} {
				if got, err := one.watched(name); err != nil || got != want {
					return fmt.Errorf("%s is %q: %w", name, got, err)
				}
			}
			return nil
		}); err != nil {
			return fmt.Errorf("%w\n%s", err, one.LogTail())
		}
	}
	return nil
}

// watched returns what a sentinel says about the master.
func (r *RedisServer) watched(field string) (string, error) {
	answer, err := r.do(time.Second, "SENTINEL", "MASTER", MasterSet)
	list, _ := answer.([]any)
	for i := 0; i+1 < len(list); i += 2 {
		if list[i] == field {
			return fmt.Sprint(list[i+1]), err
		}
	}
	return "", err
}

func (s *RedisSentinel) startSentinel() (*RedisServer, error) {
	program, err := find("redis-server")
	if err != nil {
		return nil, err
	}
	server, err := newServer("sentinel", s.opt.Redis.Dir, nil)
	if err != nil {
		return nil, err
	}
	r := &RedisServer{Server: *server, Certificates: s.Master.Certificates, opt: RedisOptions{Password: s.opt.Password}}
	config := filepath.Join(r.dir, "sentinel.conf") // which the sentinel rewrites
	r.command = func() *exec.Cmd { return exec.Command(program, config, "--sentinel") }
	r.answers = func() error {
		_, err := r.do(time.Second, "PING")
		return err
	}
	lines := []string{
		"bind 127.0.0.1", "dir " + r.dir,
		"sentinel monitor " + MasterSet + " 127.0.0.1 " + strconv.Itoa(s.Master.Port()) + " 2",
		"sentinel down-after-milliseconds " + MasterSet + " 2000",
		"sentinel failover-timeout " + MasterSet + " 10000",
	}
	if password := s.opt.Redis.Password; password != "" {
		lines = append(lines, "sentinel auth-pass "+MasterSet+" "+password)
		if user := s.opt.Redis.User; user != "" {
			lines = append(lines, "sentinel auth-user "+MasterSet+" "+user)
		}
	}
	if r.Certificates != nil {
		lines = append(lines, "tls-replication yes")
	}
	if s.opt.Password != "" {
		lines = append(lines, "requirepass "+s.opt.Password, "sentinel sentinel-pass "+s.opt.Password)
	}
	return r, r.launch(func() error {
		return r.write(config, strings.Join(append(r.portConfig(), lines...), "\n")+"\n")
	})
}

// URL is redis-sentinel:// or rediss-sentinel://, with the passwords.
func (s *RedisSentinel) URL() string {
	var addrs []string
	for _, one := range s.Sentinels {
		addrs = append(addrs, one.Addr())
	}
	u := url.URL{Scheme: "redis-sentinel", Host: strings.Join(addrs, ","), Path: "/0"}
	if s.opt.Redis.TLS {
		u.Scheme = "rediss-sentinel"
	}
	if s.opt.Redis.Password != "" {
		u.User = url.UserPassword(s.opt.Redis.User, s.opt.Redis.Password)
	}
	q := url.Values{"master_set": {MasterSet}}
	if s.opt.Password != "" {
		q.Set("sentinel_password", s.opt.Password)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// LogTail returns the last lines of the servers' logs.
func (s *RedisSentinel) LogTail() (text string) {
	for _, one := range append(s.Sentinels, s.Master, s.Replica) {
		if one != nil {
			text += one.LogTail()
		}
	}
	return text
}

// Close kills all servers and removes their files.
func (s *RedisSentinel) Close() {
	for _, one := range append(s.Sentinels, s.Master, s.Replica) {
		if one != nil {
			one.Close()
		}
	}
}
