package pgstore

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A dialer makes connections to the server that takes writes.
type dialer struct {
	opt       *Options
	cancelled atomic.Int64 // the time of the last cancel request, in Unix milliseconds
}

// dial makes a connection with the current credentials and certificates.
func (d *dialer) dial(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	config, err := d.renew(ctx, config)
	if err != nil {
		return nil, err
	}
	return d.reach(ctx, config)
}

// renew reads the files that the URL names again, and calls Options.Credentials.
func (d *dialer) renew(ctx context.Context, config *pgx.ConnConfig) (*pgx.ConnConfig, error) {
	config = config.Copy()
	if fresh, err := parse(config.ConnString(), d.opt); err == nil { // parse fails while a file is being replaced
		config.TLSConfig, config.Fallbacks, config.Password = fresh.ConnConfig.TLSConfig, fresh.ConnConfig.Fallbacks, fresh.ConnConfig.Password
	}
	if d.opt.Credentials == nil {
		return config, nil
	}
	ctx, cancel := context.WithTimeout(ctx, config.ConnectTimeout)
	defer cancel()
	username, password, err := d.opt.Credentials(ctx)
	if err != nil {
		return nil, &credentialsError{err}
	}
	if config.Password = password; username != "" {
		config.User = username
	}
	return config, nil
}

// reach connects to the first server of the configuration that answers. If a
// server fails, or is silent for the timeout of a call, reach tries the next one
// at the same time.
func (d *dialer) reach(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	servers := serversOf(config)
	if len(servers) == 1 {
		return d.connect(ctx, config)
	}
	type result struct {
		conn *pgx.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	try := func(server *pgx.ConnConfig) {
		conn, err := d.connect(ctx, server)
		select {
		case results <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				closeSoon(conn)
			}
		}
	}
	var errs []error
	for begun := 0; len(errs) < len(servers); {
		if begun < len(servers) {
			go try(servers[begun])
			begun++
		}
		var next <-chan time.Time
		if begun < len(servers) {
			next = time.After(d.opt.Timeout)
		}
		select {
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			errs = append(errs, r.err)
		case <-next:
		case <-ctx.Done():
			return nil, errors.Join(append(errs, ctx.Err())...)
		}
	}
	return nil, errors.Join(errs...)
}

type credentialsError struct{ cause error }

func (e *credentialsError) Error() string { return "Options.Credentials: " + e.cause.Error() }
func (e *credentialsError) Unwrap() error { return e.cause }

// serversOf returns the configuration of each server that a configuration names.
func serversOf(config *pgx.ConnConfig) (list []*pgx.ConnConfig) {
	all := append([]*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}}, config.Fallbacks...)
	for i, f := range all {
		if i > 0 && f.Host == all[i-1].Host && f.Port == all[i-1].Port { // the same server without TLS, or the like
			last := list[len(list)-1]
			last.Fallbacks = append(last.Fallbacks, f)
			continue
		}
		c := config.Copy()
		c.Host, c.Port, c.TLSConfig, c.Fallbacks = f.Host, f.Port, f.TLSConfig, nil
		list = append(list, c)
	}
	return list
}

var errCancelled = errors.New("another statement was cancelled just now")

// connect makes a connection to one server. Later pgx uses its DialFunc for
// cancel requests, for statements whose callers have given up. connect limits
// these to ten a second, because they are a burden to a slow server.
func (d *dialer) connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	const pause = 100 // milliseconds
	config = config.Copy()
	dial := config.DialFunc
	var connected atomic.Bool
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if connected.Load() {
			now, last := time.Now().UnixMilli(), d.cancelled.Load()
			if now-last < pause || !d.cancelled.CompareAndSwap(last, now) {
				return nil, errCancelled
			}
		}
		return dial(ctx, network, address)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	connected.Store(err == nil)
	return conn, err
}

// warm makes the server prepare the most frequent statements, in one round trip.
// Otherwise the first use of each on a connection takes two round trips, and
// fails if a round trip takes more than half of the timeout.
func (s *Store) warm(ctx context.Context, conn *pgx.Conn) {
	batch := new(pgx.Batch)
	for _, text := range []string{s.sql.get, s.sql.create, s.sql.update, s.sql.replace, s.sql.touch, s.sql.confirm, s.sql.end, s.sql.heartbeat, s.sql.notify} {
		batch.Queue(text, "", "", "", "", "", "", "", "", "", "") // a wrong number of arguments
	}
	// pgx prepares the statements of a batch before it checks their arguments.
	// Their number is wrong, so nothing is executed.
	_ = conn.SendBatch(ctx, batch).Close()
}

func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
