package redisstore

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	defaultPort         = "6379"
	defaultSentinelPort = "26379"
)

// target is what a URL says.
type target struct {
	cluster  bool
	unix     bool     // the address is the path of a socket
	addrs    []string // of the sentinels, if sentinel is set
	user     string
	password string
	db       int
	tls      bool
	timeout  time.Duration
	dial     time.Duration
	name     string
	prefix   string
	sentinel sentinel
}

// A sentinel says how to ask Redis Sentinel for the master.
type sentinel struct{ set, user, password string }

// A kind is what a scheme of URLs stands for.
type kind struct{ tls, cluster, unix, sentinel bool }

var kinds = map[string]kind{
	"redis": {}, "redis-cluster": {cluster: true}, "redis-sentinel": {sentinel: true},
	"rediss": {tls: true}, "rediss-cluster": {tls: true, cluster: true}, "rediss-sentinel": {tls: true, sentinel: true},
	"valkey": {}, "valkey-cluster": {cluster: true}, "valkey-sentinel": {sentinel: true},
	"valkeys": {tls: true}, "valkeys-cluster": {tls: true, cluster: true}, "valkeys-sentinel": {tls: true, sentinel: true},
	"unix": {unix: true},
}

// IsURL reports whether a URL has a scheme of this package. CheckURL says
// whether the rest is right, too.
func IsURL(url string) bool {
	scheme, _, _ := strings.Cut(url, ":")
	_, ok := kinds[strings.ToLower(scheme)]
	return ok
}

// AsksForTLS reports whether a URL has a scheme with TLS.
func AsksForTLS(url string) bool {
	scheme, _, _ := strings.Cut(url, ":")
	return kinds[strings.ToLower(scheme)].tls
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
		return t, errors.New("the URL has no scheme: it looks like redis://host:6379/0, redis-cluster://host1:6379,host2:6379 or unix:///run/redis/redis.sock")
	}
	k, ok := kinds[strings.ToLower(scheme)]
	if !ok {
		return t, errors.New("the URL's scheme must be redis, redis-cluster, redis-sentinel, one of these with rediss (TLS), or unix")
	}
	t.tls, t.cluster, t.unix = k.tls, k.cluster, k.unix
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
	if t.addrs, err = k.addresses(hosts, path); err != nil {
		return t, err
	}
	if path != "" && !t.unix {
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
	switch {
	case t.cluster && t.db != 0:
		return t, errors.New("a Redis Cluster has one database only, 0: leave it out, and use the parameter prefix to separate stores")
	case k.sentinel && t.sentinel.set == "":
		return t, errors.New("the URL doesn't name the master that the sentinels watch: add ?master_set=mymaster, with the name in sentinel.conf")
	case !k.sentinel && t.sentinel != sentinel{}:
		return t, errors.New("the URL has a parameter for sentinels: use redis-sentinel:// or rediss-sentinel:// and the sentinels' addresses, or leave it out")
	}
	return t, nil
}

// addresses returns the addresses that a URL names, from its part between // and
// the next slash, and from the path after that.
func (k kind) addresses(hosts, path string) (list []string, err error) {
	if k.unix {
		path, err = url.PathUnescape(path)
		if hosts != "" || path == "" || err != nil {
			return nil, errors.New("the URL must have the socket's absolute path behind unix://, as in unix:///run/redis/redis.sock?db=0")
		}
		return []string{"/" + path}, nil
	}
	port := defaultPort
	if k.sentinel {
		port = defaultSentinelPort
	}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := address(host, port)
		if err != nil {
			return nil, err
		}
		list = append(list, addr)
	}
	if len(list) > 1 && !k.cluster && !k.sentinel {
		return nil, errors.New("the URL names several hosts: that is for redis-cluster:// and redis-sentinel://")
	}
	return list, nil
}

func address(host, defaultPort string) (string, error) {
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
		case "prefix":
			t.prefix = value
			if !prefixForm.MatchString(value) {
				return errPrefix
			}
		case "master_set":
			t.sentinel.set = value
		case "sentinel_user":
			t.sentinel.user = value
		case "sentinel_password":
			t.sentinel.password = value
		default:
			if values.Has("sentinel_password") { // what follows an & in it must not be shown
				return errors.New("the URL has a parameter that is not known: if the & is the sentinels' password's, write it %26")
			}
			return fmt.Errorf("the URL has the parameter %q: known are db, prefix, timeout, dial_timeout and client_name, and for sentinels master_set, sentinel_user and sentinel_password", name)
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
