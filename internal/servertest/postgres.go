package servertest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// PostgreSQLOptions are the options of a PostgreSQL server. The zero value has
// no password.
type PostgreSQLOptions struct {
	Password string   // of the user; empty: none
	TLS      bool     // accept only TLS over TCP
	Config   []string // more lines of postgresql.conf
	InitArgs []string // more arguments of initdb
	Dir      string   // the parent of its directory, open to the user postgres; empty: the directory for temporary files
}

// pgUser is the superuser and the database of every server.
const pgUser = "sojourn"

// A PostgreSQLServer is one PostgreSQL server with a database named sojourn.
type PostgreSQLServer struct {
	Server
	Certificates *Certificates // nil without TLS

	opt   PostgreSQLOptions
	extra []string // lines of postgresql.conf besides those of opt
	bin   string
	data  string
}

// PostgreSQL starts a server for a test.
func PostgreSQL(t TB, opt PostgreSQLOptions) *PostgreSQLServer {
	t.Helper()
	p, err := StartPostgreSQL(opt)
	keep(t, err, p)
	return p
}

// StartPostgreSQL starts a server, as the user postgres if this process runs as
// root. It returns ErrMissing if PostgreSQL is not installed.
func StartPostgreSQL(opt PostgreSQLOptions) (*PostgreSQLServer, error) {
	p, err := newPostgreSQL(opt)
	if err != nil {
		return nil, err
	}
	if err := p.create(); err != nil {
		p.Close()
		return nil, err
	}
	if err := p.launch(p.configure); err != nil {
		return nil, err
	}
	if err := p.SQL("postgres", "CREATE DATABASE "+pgUser); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// newPostgreSQL returns a server without data.
func newPostgreSQL(opt PostgreSQLOptions) (*PostgreSQLServer, error) {
	program, err := find("postgres")
	if err != nil {
		return nil, err
	}
	if program, err = filepath.EvalSymlinks(program); err != nil { // the other programs are in the same directory
		return nil, err
	}
	user, err := unprivileged()
	if err != nil {
		return nil, err
	}
	s, err := newServer("postgres", opt.Dir, user)
	if err != nil {
		return nil, err
	}
	p := &PostgreSQLServer{Server: *s, opt: opt, bin: filepath.Dir(program), data: filepath.Join(s.dir, "data")}
	p.quit, p.orphan = syscall.SIGINT, syscall.SIGQUIT // fast shutdown; immediate shutdown, which ends the children too
	p.command = func() *exec.Cmd { return exec.Command(program, "-D", p.data) }
	p.answers = func() error {
		return p.run(time.Second, "pg_isready", "-q", "-U", pgUser, "-h", p.dir, "-p", strconv.Itoa(p.port))
	}
	return p, nil
}

// create creates the server's data directory.
func (p *PostgreSQLServer) create() (err error) {
	if p.opt.TLS {
		if p.Certificates, err = p.certify(); err != nil {
			return err
		}
	}
	args := []string{"-D", p.data, "-U", pgUser, "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync"}
	if p.opt.Password != "" {
		file := filepath.Join(p.dir, "password")
		if err := p.write(file, p.opt.Password); err != nil {
			return err
		}
		defer os.Remove(file)
		args = append(args, "--pwfile="+file, "--auth-host=scram-sha-256")
	}
	return p.run(patience, "initdb", append(args, p.opt.InitArgs...)...)
}

func (p *PostgreSQLServer) configure() error {
	lines := []string{
		"listen_addresses = '127.0.0.1'",
		"port = " + strconv.Itoa(p.port),
		"unix_socket_directories = '" + p.dir + "'",
		"max_connections = 200",
		"shared_buffers = 64MB",
		"log_line_prefix = '%m [%p] '",
	}
	if c := p.Certificates; c != nil {
		lines = append(lines, "ssl = on", "ssl_ca_file = '"+c.CAFile+"'", "ssl_cert_file = '"+c.CertFile+"'", "ssl_key_file = '"+c.KeyFile+"'")
		method := "trust"
		if p.opt.Password != "" {
			method = "scram-sha-256"
		}
		access := "local all all trust\nhostssl all all 127.0.0.1/32 " + method + "\n"
		if err := p.write(filepath.Join(p.data, "pg_hba.conf"), access); err != nil {
			return err
		}
	}
	lines = append(append(lines, p.opt.Config...), p.extra...)
	return p.write(filepath.Join(p.data, "postgresql.auto.conf"), strings.Join(lines, "\n")+"\n")
}

// URL is postgres:// with the user, the password, the database sojourn, and
// sslmode.
func (p *PostgreSQLServer) URL() string {
	query := "sslmode=disable"
	if c := p.Certificates; c != nil {
		query = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {c.CAFile}}.Encode()
	}
	return pgURL(p.Port(), p.opt.Password, query)
}

func pgURL(port int, password, query string) string {
	u := url.URL{Scheme: "postgres", User: url.User(pgUser), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/" + pgUser, RawQuery: query}
	if password != "" {
		u.User = url.UserPassword(pgUser, password)
	}
	return u.String()
}

// SQL runs statements in a database with psql, over the server's Unix socket.
func (p *PostgreSQLServer) SQL(database string, statements ...string) error {
	_, err := p.Query(database, strings.Join(statements, ";\n"))
	return err
}

// Query is like SQL, and returns the output of psql: one row on each line, with
// bars between the columns.
func (p *PostgreSQLServer) Query(database, statement string) (string, error) {
	out, err := p.output(patience, "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
		"-h", p.dir, "-p", strconv.Itoa(p.port), "-U", pgUser, "-d", database, "-c", statement)
	return strings.TrimSuffix(out, "\n"), err
}

// Kill ends the server and all its processes with SIGKILL.
func (p *PostgreSQLServer) Kill() error {
	processes := children(p.PID())
	if err := p.Server.Kill(); err != nil {
		return err
	}
	for _, pid := range processes {
		if err := kill(pid); err != nil {
			return err
		}
	}
	return nil
}

// StopImmediately stops the server like a crash. The next start recovers from
// the log.
func (p *PostgreSQLServer) StopImmediately() error { return p.end(syscall.SIGQUIT) }

func (p *PostgreSQLServer) run(limit time.Duration, program string, args ...string) error {
	_, err := p.output(limit, program, args...)
	return err
}

// output runs one of PostgreSQL's programs.
func (p *PostgreSQLServer) output(limit time.Duration, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, program), args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=10", "HOME="+p.dir)
	setAttributes(cmd, p.user, 0)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", program, err, stderr.String())
	}
	return string(out), nil
}
