package servertest

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// PgBouncerOptions are the options of a PgBouncer.
type PgBouncerOptions struct {
	PoolMode string   // default "transaction"
	PoolSize int      // connections to the server; default 20
	Via      string   // host and port, for example of a proxy, to connect to the server through; empty: directly
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

// StartPgBouncer starts a PgBouncer in front of a server without TLS. It
// returns ErrMissing if PgBouncer is not installed.
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

// URL is the URL of the server, through this PgBouncer.
func (b *PgBouncerServer) URL() string {
	return pgURL(b.Port(), b.postgres.opt.Password, "sslmode=disable")
}

// Waiting returns PgBouncer's names of the clients that wait for a connection
// to the server. The server must have no password.
func (b *PgBouncerServer) Waiting() (clients []string, err error) {
	list, err := b.postgres.output(patience, "psql", "-X", "-A", "-h", "127.0.0.1", "-p", fmt.Sprint(b.port), "-U", pgUser, "-d", "pgbouncer", "-c", "SHOW CLIENTS")
	header, rows, _ := strings.Cut(list, "\n")
	columns := strings.Split(header, "|")
	state, name := slices.Index(columns, "state"), slices.Index(columns, "ptr")
	for row := range strings.Lines(rows) {
		if f := strings.Split(row, "|"); len(f) == len(columns) && f[state] == "waiting" {
			clients = append(clients, f[name])
		}
	}
	return clients, err
}
