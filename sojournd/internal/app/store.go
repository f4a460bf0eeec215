package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	neturl "net/url"
	"os"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/drivers/pgstore"
	"github.com/sojourn-go/sojourn/drivers/redisstore"
	"github.com/sojourn-go/sojourn/drivers/sqlitestore"
	"github.com/sojourn-go/sojourn/sojournd/internal/config"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/memstore"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// StoreOptions say where the sessions are stored.
type StoreOptions config.Store

// An openedStore is an open store with what the server tells about it.
type openedStore struct {
	store.Store        // behind a cache, except memory:
	path        string // of its file; empty if it has none
	where       string // for people
	keeps       bool   // the sessions survive the process

	cache       *nearcache.Cache     // nil for memory:
	clockOffset func() time.Duration // the database's clock minus this machine's; nil without a database

	room     func() sqlitestore.Stats // of its file; nil if it has none
	warnings func() []store.Warning   // for /readyz, each of another code; may be nil
}

// redis and postgreSQL report whether the URL is that of such a database.
func (o StoreOptions) redis() bool { return redisstore.IsURL(o.URL) }

func (o StoreOptions) postgreSQL() bool {
	scheme, _, _ := strings.Cut(o.URL, ":")
	return scheme == "postgres" || scheme == "postgresql"
}

// mistakes returns every mistake in the options that can be found without
// opening the store. Each error begins with its flag and holds no password.
func (o StoreOptions) mistakes() (list []error) {
	wrong := func(flag string, err error) {
		if err != nil {
			list = append(list, fmt.Errorf("%s: %w", flag, err))
		}
	}
	switch {
	case o.redis():
		wrong("--store", redisstore.CheckURL(o.URL))
	case o.postgreSQL():
		wrong("--store", pgstore.CheckURL(o.URL))
	default:
		if _, err := storePath(o.URL); err != nil {
			list = append(list, err)
		}
	}
	server := o.redis() || o.postgreSQL()
	if o.PasswordFile != "" {
		_, err := o.password()
		if !server {
			err = errors.New("this store has no password: leave it out")
		}
		wrong("--store-password-file", err)
	}
	if o.CAFile != "" {
		_, err := o.trust()
		if !server {
			err = errors.New("this store is no server: leave it out")
		} else if o.redis() && !redisstore.AsksForTLS(o.URL) {
			err = errors.New("the store's URL asks for no TLS: use rediss://, rediss-cluster:// or rediss-sentinel://, or leave it out")
		}
		wrong("--store-ca", err)
	}
	if o.Feed != "" {
		err := pgstore.CheckURL(o.Feed)
		if !o.postgreSQL() {
			err = errors.New("this is for postgres:// only: leave it out")
		}
		wrong("--store-feed", err)
	}
	return list
}

// openFreeStore is like openStore. But if another process uses the store's file, it
// waits, because that process may be stopping, as in a restart. When patience is
// over, it returns the error of openStore.
func openFreeStore(ctx context.Context, o StoreOptions, patience time.Duration, log *slog.Logger) (*openedStore, error) {
	over := time.After(patience)
	for waits := false; ; waits = true {
		st, err := openStore(ctx, o, log)
		if !errors.Is(err, sqlitestore.ErrInUse) {
			return st, err
		}
		if !waits {
			log.Info("waiting for the process that uses the store's file", "at_most", patience, "err", err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-over:
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
	}
}

// openStore opens a store. The log gets its warnings while it is open.
func openStore(ctx context.Context, o StoreOptions, log *slog.Logger) (*openedStore, error) {
	if err := errors.Join(o.mistakes()...); err != nil {
		return nil, usage(err)
	}
	switch {
	case o.redis():
		return openRedis(ctx, o, log)
	case o.postgreSQL():
		return openPostgreSQL(ctx, o, log)
	}
	path, err := storePath(o.URL)
	if err != nil {
		return nil, err
	}
	if path == "" {
		return &openedStore{Store: memstore.New(), where: "in memory, and gone when this ends"}, nil
	}
	file, err := sqlitestore.Open(ctx, path, sqlitestore.Options{})
	if errors.Is(err, sqlitestore.ErrInUse) {
		return nil, fmt.Errorf("%w, or choose another store: %s", err, exampleStores)
	} else if err != nil {
		return nil, fmt.Errorf("%w (to choose another: %s)", err, exampleStores)
	}
	cache := nearcache.New(file, nearcache.Options{})
	return &openedStore{Store: cache, path: file.Path(), where: "in " + file.Path(), keeps: true, cache: cache,
		room: file.Stats, warnings: func() []store.Warning { return roomWarnings(file.Stats()) }}, nil
}

// roomWarnings say what a store refuses when its disk is almost full.
func roomWarnings(s sqlitestore.Stats) []store.Warning {
	switch {
	case s.Reserve < s.ReserveWanted:
		return []store.Warning{{Code: "reserve", Text: "the disk is full: sessions can be read and ended, and nothing else is stored; make room"}}
	case s.Full:
		return []store.Warning{{Code: "full", Text: "the store is full: new sessions are refused; make room on its disk"}}
	case s.NearlyFull:
		return []store.Warning{{Code: "nearly_full", Text: "the store is nearly full: new anonymous sessions are refused; make room on its disk"}}
	}
	return nil
}

func openRedis(ctx context.Context, o StoreOptions, log *slog.Logger) (*openedStore, error) {
	password, err := o.password()
	if err != nil {
		return nil, err
	}
	trust, err := o.trust()
	if err != nil {
		return nil, err
	}
	server, err := redisstore.Open(ctx, o.URL, redisstore.Options{Password: password, Credentials: o.credentials(), TLSConfig: trust, Logger: log})
	if err != nil {
		return nil, err
	}
	return shared(server, "in Redis at "+hostOf(o.URL), func() time.Duration { return server.Stats().ClockOffset }), nil
}

func openPostgreSQL(ctx context.Context, o StoreOptions, log *slog.Logger) (*openedStore, error) {
	password, err := o.password()
	if err != nil {
		return nil, err
	}
	url, feed := o.URL, o.Feed
	if o.CAFile != "" {
		url, feed = withTrust(url, o.CAFile), withTrust(feed, o.CAFile)
	}
	server, err := pgstore.Open(ctx, url, pgstore.Options{Password: password, Credentials: o.credentials(), FeedURL: feed, Logger: log})
	if err != nil {
		return nil, err
	}
	where := "in PostgreSQL on this machine"
	if host := hostOf(o.URL); host != "" {
		where = "in PostgreSQL at " + host
	}
	return shared(server, where, func() time.Duration { return server.Stats().ClockOffset }), nil
}

// shared puts a cache in front of a store that several processes share.
func shared(server interface {
	store.Store
	store.Feeder
	store.Warner
}, where string, clockOffset func() time.Duration) *openedStore {
	cache := nearcache.NewShared(server, nearcache.Options{})
	return &openedStore{Store: cache, where: where, keeps: true, cache: cache, clockOffset: clockOffset, warnings: server.Warnings}
}

// password returns the password from the file or the environment. If it is
// empty, the URL's password counts.
func (o StoreOptions) password() (string, error) {
	if o.PasswordFile == "" {
		return os.Getenv(config.StorePasswordVariable), nil
	}
	b, err := os.ReadFile(o.PasswordFile)
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(string(b), "\r\n")
	switch {
	case password == "":
		return "", fmt.Errorf("%s is empty: write the password into its first line", o.PasswordFile)
	case strings.ContainsAny(password, "\r\n"):
		return "", fmt.Errorf("%s has several lines: it holds the password and nothing else", o.PasswordFile)
	}
	return password, nil
}

// credentials returns a function that reads the password's file for each new
// connection, so a new password needs no restart. It is nil without a file.
func (o StoreOptions) credentials() func(context.Context) (username, password string, err error) {
	if o.PasswordFile == "" {
		return nil
	}
	return func(context.Context) (string, string, error) {
		password, err := o.password()
		return "", password, err
	}
}

// trust returns a TLS configuration that trusts the authorities in the file.
// The file is read for each new connection. It is nil without a file.
func (o StoreOptions) trust() (*tls.Config, error) {
	if o.CAFile == "" {
		return nil, nil
	}
	if _, err := o.roots(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies by the file as it is now
		VerifyConnection: func(state tls.ConnectionState) error {
			roots, err := o.roots()
			if err != nil {
				return err
			}
			opt := x509.VerifyOptions{Roots: roots, DNSName: state.ServerName, Intermediates: x509.NewCertPool()}
			for _, c := range state.PeerCertificates[1:] {
				opt.Intermediates.AddCert(c)
			}
			_, err = state.PeerCertificates[0].Verify(opt)
			return err
		},
	}, nil
}

func (o StoreOptions) roots() (*x509.CertPool, error) {
	b, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", o.CAFile)
	}
	return roots, nil
}

// withTrust adds the file of authorities to PostgreSQL's URL. It adds
// sslmode=verify-full unless the URL has an sslmode.
func withTrust(url, file string) string {
	if url == "" {
		return ""
	}
	_, query, found := strings.Cut(url, "?")
	switch {
	case !found:
		url += "?"
	case query != "":
		url += "&"
	}
	if !strings.Contains(query, "sslmode=") {
		url += "sslmode=verify-full&"
	}
	return url + "sslrootcert=" + neturl.QueryEscape(file)
}

// hostOf returns the hosts of a URL, or the path of a Unix socket, without user
// and password. A password may contain unescaped characters, so everything
// before the last @ is left out.
func hostOf(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	if scheme == "unix" {
		path, _, _ := strings.Cut(rest, "?")
		return path
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}
