package redisstore

import (
	"cmp"
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

// CheckURL returns the error with which Open would refuse the URL, without
// connecting. The error contains no password.
func CheckURL(url string) error {
	if _, err := parseURL(url); err != nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	return nil
}

// parseURL parses a URL. Its errors don't quote the URL, which may contain a
// password.
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

	// In timeouts of a call: how long a connection may be silent, and the default
	// of how long it may take to connect.
	connFactor = 2
	dialFactor = 3
)

// clientOption returns what rueidis needs to connect. It disables retries: a
// write that was sent twice would be worse than a write that failed.
func (t *target) clientOption(opt *Options) rueidis.ClientOption {
	c := rueidis.ClientOption{
		InitAddress:       t.addrs,
		Username:          cmp.Or(opt.Username, t.user),
		Password:          cmp.Or(opt.Password, t.password),
		SelectDB:          t.db,
		ClientName:        t.name,
		ForceSingleClient: !t.cluster,
		DisableRetry:      true,
		DisableCache:      true,
		ConnWriteTimeout:  connFactor * cmp.Or(max(opt.Timeout, 0), t.timeout, defaultTimeout),
		DialCtxFn:         newDialer(opt).dial,

		ReadBufferEachConn:  connBuffer,
		WriteBufferEachConn: connBuffer,
	}
	if opt.Credentials != nil {
		c.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			ctx, cancel := context.WithTimeout(context.Background(), c.Dialer.Timeout)
			defer cancel()
			username, password, err := opt.Credentials(ctx)
			if err != nil {
				return rueidis.AuthCredentials{}, &dialError{fmt.Errorf("Options.Credentials: %w", err)}
			}
			return rueidis.AuthCredentials{Username: cmp.Or(username, c.Username), Password: password}, nil
		}
	}
	if t.tls {
		c.TLSConfig = cmp.Or(opt.TLSConfig, &tls.Config{MinVersion: tls.VersionTLS12})
	}
	c.Dialer.Timeout = cmp.Or(max(opt.DialTimeout, 0), t.dial, dialFactor*c.ConnWriteTimeout/connFactor)
	c.Dialer.KeepAlive = time.Second // also how often an idle connection is asked whether it lives
	c.ClusterOption.MaxMovedRedirections = 8
	c.ClusterOption.ShardsRefreshInterval = 10 * time.Second
	return c
}

const connBuffer = 64 << 10
