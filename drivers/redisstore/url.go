package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const defaultPort = "6379"

// target is what a URL says.
type target struct {
	cluster  bool
	addrs    []string
	user     string
	password string
	db       int
	tls      bool
	timeout  time.Duration
	dial     time.Duration
	name     string
}

// CheckURL returns what Open would say of the URL, without connecting. The error holds no password.
func CheckURL(url string) error {
	if _, err := parseURL(url); err != nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	return nil
}

// parseURL reads a URL. Its errors never quote it: it may hold a password.
func parseURL(text string) (t target, err error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return t, errors.New("the URL has no scheme: it looks like redis://host:6379/0 or redis-cluster://host1:6379,host2:6379")
	}
	switch strings.ToLower(scheme) {
	case "redis":
	case "rediss":
		t.tls = true
	case "redis-cluster":
		t.cluster = true
	case "rediss-cluster":
		t.tls, t.cluster = true, true
	default:
		return t, errors.New("the URL's scheme must be redis, rediss (TLS), redis-cluster or rediss-cluster")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	hosts := authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		hosts = authority[at+1:]
		user, password, _ := strings.Cut(authority[:at], ":")
		if t.user, err = url.PathUnescape(user); err == nil {
			t.password, err = url.PathUnescape(password)
		}
		if err != nil {
			return t, errors.New("the URL's user or password is not percent-encoded")
		}
	}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := address(host)
		if err != nil {
			return t, err
		}
		t.addrs = append(t.addrs, addr)
	}
	if len(t.addrs) > 1 && !t.cluster {
		return t, errors.New("the URL names several hosts: that is for redis-cluster:// and rediss-cluster://")
	}
	if path != "" {
		if t.db, err = strconv.Atoi(path); err != nil || t.db < 0 {
			return t, errors.New("what follows the URL's host must be the number of a database")
		}
	}
	if strings.Contains(query, "@") {
		return t, errors.New("the URL has an @ behind a question mark: if that is the user's or the password's, write it %3F")
	}
	if err := t.query(query); err != nil {
		return t, err
	}
	if t.cluster && t.db != 0 {
		return t, errors.New("a Redis Cluster has one database only, 0")
	}
	return t, nil
}

func address(host string) (string, error) {
	if host == "" {
		return "", errors.New("the URL names no host")
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		if name, port = host, defaultPort; strings.Contains(strings.Trim(host, "[]"), ":") && !strings.HasPrefix(host, "[") {
			return "", errors.New("the URL's host is not of the form host:port")
		}
		name = strings.Trim(name, "[]")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", errors.New("the URL's port is not a number from 1 to 65535")
	}
	return net.JoinHostPort(name, port), nil
}

func (t *target) query(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the URL's parameters are not percent-encoded")
	}
	for name, list := range values {
		value := list[len(list)-1]
		switch name {
		case "db":
			t.db, err = strconv.Atoi(value)
			if t.db < 0 {
				err = errors.New("below zero")
			}
		case "timeout":
			t.timeout, err = duration(value)
		case "dial_timeout":
			t.dial, err = duration(value)
		case "client_name":
			t.name = value
		default:
			return fmt.Errorf("the URL has the parameter %q: known are db, timeout, dial_timeout and client_name", name)
		}
		if err != nil {
			return fmt.Errorf("the URL's parameter %s must be a number, or for a timeout of a form like 5s", name)
		}
	}
	return nil
}

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("not above zero")
	}
	return d, err
}

const (
	defaultTimeout = 3 * time.Second

	// In timeouts of a call: how long a connection may be silent, and by
	// default how long it may take to make one.
	connFactor = 2
	dialFactor = 3
)

// clientOption returns what rueidis needs to connect. It retries nothing: a write that was sent twice would be worse than one that failed.
func (t *target) clientOption(opt *Options) rueidis.ClientOption {
	c := rueidis.ClientOption{
		InitAddress:       t.addrs,
		Username:          t.user,
		Password:          t.password,
		SelectDB:          t.db,
		ClientName:        t.name,
		TLSConfig:         opt.TLSConfig,
		ForceSingleClient: !t.cluster,
		DisableRetry:      true,
		DisableCache:      true,
		ConnWriteTimeout:  connFactor * firstOf(opt.Timeout, t.timeout, defaultTimeout),
		DialCtxFn:         newDialer(opt).dial,

		ReadBufferEachConn:  connBuffer,
		WriteBufferEachConn: connBuffer,
	}
	if opt.Username != "" {
		c.Username = opt.Username
	}
	if opt.Password != "" {
		c.Password = opt.Password
	}
	if opt.Credentials != nil {
		c.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			ctx, cancel := context.WithTimeout(context.Background(), c.Dialer.Timeout)
			defer cancel()
			username, password, err := opt.Credentials(ctx)
			if err != nil {
				return rueidis.AuthCredentials{}, &dialError{fmt.Errorf("Options.Credentials: %w", err)}
			}
			if username == "" {
				username = c.Username
			}
			return rueidis.AuthCredentials{Username: username, Password: password}, nil
		}
	}
	if t.tls && c.TLSConfig == nil {
		c.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if !t.tls {
		c.TLSConfig = nil
	}
	c.Dialer.Timeout = firstOf(opt.DialTimeout, t.dial, dialFactor*c.ConnWriteTimeout/connFactor)
	c.Dialer.KeepAlive = time.Second // also how often an idle connection is asked whether it lives
	c.ClusterOption.MaxMovedRedirections = 8
	c.ClusterOption.ShardsRefreshInterval = 10 * time.Second
	return c
}

const connBuffer = 64 << 10

func firstOf(list ...time.Duration) time.Duration {
	for _, d := range list {
		if d > 0 {
			return d
		}
	}
	return 0
}

// A dialError is a connection that was not made: nothing was sent.
type dialError struct{ cause error }

func (e *dialError) Error() string { return "no connection: " + e.cause.Error() }
func (e *dialError) Unwrap() error { return e.cause }

func (opt *Options) dial(ctx context.Context, addr string, d *net.Dialer, config *tls.Config) (conn net.Conn, err error) {
	switch {
	case opt.Dial != nil:
		ctx, cancel := context.WithTimeout(ctx, d.Timeout)
		defer cancel()
		if conn, err = opt.Dial(ctx, "tcp", addr); err == nil && config != nil {
			conn, err = withTLS(ctx, conn, addr, config)
		}
	case config != nil:
		conn, err = (&tls.Dialer{NetDialer: d, Config: config}).DialContext(ctx, "tcp", addr)
	default:
		conn, err = d.DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, &dialError{err}
	}
	return conn, nil
}

// withTLS does what tls.Dialer does, on a connection that is there.
func withTLS(ctx context.Context, conn net.Conn, addr string, config *tls.Config) (net.Conn, error) {
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			conn.Close()
			return nil, err
		}
		config = config.Clone()
		config.ServerName = host
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
