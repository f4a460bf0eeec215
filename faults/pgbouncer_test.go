package faults

import (
	"testing"
	"time"
)

// TestPgBouncerKilled: the feeds connect to the server and stay alive, but no
// heartbeat can be sent.
func TestPgBouncerKilled(t *testing.T) {
	long(t)
	s, p := onPgBouncer(t)
	s.suffer(fault{
		length: 1500 * time.Millisecond,
		hit:    func() { s.must(p.bouncer.Kill()) },
		heal:   func() { s.must(p.bouncer.Start()) },
	})
}

// TestPostgreSQLKilledBehindPgBouncer: the nodes' connections stay alive, but
// lead nowhere for a while.
func TestPostgreSQLKilledBehindPgBouncer(t *testing.T) {
	long(t)
	s, p := onPgBouncer(t)
	s.suffer(fault{
		length: 1500 * time.Millisecond,
		hit:    func() { s.must(p.postgres.Kill()) },
		heal:   func() { s.must(p.postgres.Start()) },
	})
}
