package redisstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

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
		DialCtxFn:         newDialer(opt, t.unix).dial,

		ReadBufferEachConn:  connBuffer,
		WriteBufferEachConn: connBuffer,
	}
	if opt.Credentials != nil {
		c.AuthCredentialsFn = func(auth rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			if _, ok := auth.Address.(sentinelAddr); ok {
				return rueidis.AuthCredentials{Username: t.sentinel.user, Password: t.sentinel.password}, nil
			}
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
	if t.sentinel.set != "" {
		c.Sentinel = rueidis.SentinelOption{
			MasterSet: t.sentinel.set, Username: t.sentinel.user, Password: t.sentinel.password, ClientName: t.name,
			Dialer: c.Dialer, TLSConfig: c.TLSConfig, TopologyRefreshInterval: time.Second,
		}
		c.Sentinel.Dialer.ControlContext = ofSentinel
	}
	c.ClusterOption.MaxMovedRedirections = 8
	c.ClusterOption.ShardsRefreshInterval = 10 * time.Second
	return c
}

const connBuffer = 64 << 10
