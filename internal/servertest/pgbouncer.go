package servertest

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// PgBouncerOptions of a PgBouncer. The zero value pools by transaction.
type PgBouncerOptions struct {
	PoolMode string   // default "transaction"
	PoolSize int      // connections to the server; default 20
	Via      string   // the host and port at which it reaches the server, such as a proxy's; empty: the server's own
	Config   []string // more lines of the section [pgbouncer]
}

// A PgBouncerServer is a PgBouncer in front of a PostgreSQL server.
type PgBouncerServer struct {
	Server
	postgres *PostgreSQLServer
}

// PgBouncer starts a PgBouncer for a test.
func PgBouncer(t TB, postgres *PostgreSQLServer, opt PgBouncerOptions) *PgBouncerServer {
	t.Helper()
	b, err := StartPgBouncer(postgres, opt)
	keep(t, err, b)
	return b
}

// StartPgBouncer starts a PgBouncer in front of a server that has no TLS. An error that is ErrMissing says that the
// machine has none.
func StartPgBouncer(postgres *PostgreSQLServer, opt PgBouncerOptions) (*PgBouncerServer, error) {
	program, err := find("pgbouncer")
	if err != nil {
		return nil, err
	}
	user, err := unprivileged()
	if err != nil {
		return nil, err
	}
	if opt.PoolMode == "" {
		opt.PoolMode = "transaction"
	}
	if opt.PoolSize == 0 {
		opt.PoolSize = 20
	}
	if opt.Via == "" {
		opt.Via = postgres.Addr()
	}
	host, port, err := net.SplitHostPort(opt.Via)
	if err != nil {
		return nil, err
	}
	s, err := newServer("pgbouncer", "", user)
	if err != nil {
		return nil, err
	}
	b := &PgBouncerServer{Server: *s, postgres: postgres}
	config, users := filepath.Join(b.dir, "pgbouncer.ini"), filepath.Join(b.dir, "users.txt")
	b.command = func() *exec.Cmd { return exec.Command(program, config) }
	b.answers = func() error {
		return postgres.run(time.Second, "pg_isready", "-q", "-h", "127.0.0.1", "-p", fmt.Sprint(b.port))
	}
	if err := b.write(users, fmt.Sprintf("%q %q\n", pgUser, postgres.opt.Password)); err != nil {
		b.Close()
		return nil, err
	}
	auth := "trust"
	if postgres.opt.Password != "" {
		auth = "scram-sha-256"
	}
	return b, b.launch(func() error {
		return b.write(config, fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = %s
auth_file = %s
admin_users = %s
pool_mode = %s
default_pool_size = %d
max_client_conn = 500
%s
`, host, port, b.port, auth, users, pgUser, opt.PoolMode, opt.PoolSize, strings.Join(opt.Config, "\n")))
	})
}

// URL is postgres:// as that of the server behind.
func (b *PgBouncerServer) URL() string {
	return pgURL(b.Port(), b.postgres.opt.Password, "sslmode=disable")
}
