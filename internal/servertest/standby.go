package servertest

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

// StandbyOptions are the options of a standby. The zero value is asynchronous.
type StandbyOptions struct {
	Synchronous bool   // the primary acknowledges a commit only when the standby has it on disk
	Via         string // host and port, for example of a proxy, to connect to the primary through; empty: directly
}

// Standby starts a standby of a server for a test.
func (p *PostgreSQLServer) Standby(t TB, opt StandbyOptions) *PostgreSQLServer {
	t.Helper()
	s, err := p.StartStandby(opt)
	keep(t, err, s)
	return s
}

// StartStandby copies a running server without TLS, and starts the copy as a
// hot standby with the same options on another port. It returns when the
// standby follows.
func (p *PostgreSQLServer) StartStandby(opt StandbyOptions) (*PostgreSQLServer, error) {
	if p.opt.TLS {
		return nil, errors.New("servertest: a server with TLS has no standbys")
	}
	if opt.Via == "" {
		opt.Via = p.Addr()
	}
	host, port, err := net.SplitHostPort(opt.Via)
	if err != nil {
		return nil, err
	}
	s, err := newPostgreSQL(p.opt)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(s.dir)
	err = p.run(patience, "pg_basebackup", "-D", s.data, "-h", p.dir, "-p", fmt.Sprint(p.port), "-U", pgUser, "-c", "fast", "-X", "stream", "--no-sync")
	if err == nil {
		err = s.write(filepath.Join(s.data, "standby.signal"), "")
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	conninfo := fmt.Sprintf("host=%s port=%s user=%s password='%s' application_name=%s",
		host, port, pgUser, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(p.opt.Password), name)
	s.extra = []string{
		"primary_conninfo = '" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(conninfo) + "'",
		"wal_retrieve_retry_interval = '200ms'", // after its connection was lost
	}
	if err := s.launch(s.configure); err != nil {
		return nil, err
	}
	state := "async"
	if opt.Synchronous {
		state = "sync"
		err = p.SQL("postgres", `ALTER SYSTEM SET synchronous_standby_names = '"`+name+`"'`)
		if err == nil {
			err = p.SQL("postgres", "SELECT pg_reload_conf()")
		}
	}
	if err == nil {
		err = eventually("the standby follows", func() error {
			got, err := p.Query("postgres", "SELECT state, sync_state FROM pg_stat_replication WHERE application_name = '"+name+"'")
			if err == nil && got != "streaming|"+state {
				err = fmt.Errorf("it is %q", got)
			}
			return err
		})
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.LogTail())
		s.Close()
		return nil, err
	}
	return s, nil
}

// Promote makes a standby a primary. It returns when the server accepts writes.
func (p *PostgreSQLServer) Promote() error {
	promoted, err := p.Query("postgres", "SELECT pg_promote(true, 60)")
	if err == nil && promoted != "t" {
		err = fmt.Errorf("servertest: the standby was not promoted\n%s", p.LogTail())
	}
	return err
}
