package faults

import (
	"testing"
	"time"
)

// TestPgBouncerKilled: the feeds, which go to the server, live on, but no heartbeat can be sent.
func TestPgBouncerKilled(t *testing.T) {
	long(t)
	s, p := onPgBouncer(t)
	s.suffer(fault{
		length: 1500 * time.Millisecond,
		hit:    func() { s.must(p.bouncer.Kill()) },
		heal:   func() { s.must(p.bouncer.Start()) },
	})
}

// TestPostgreSQLKilledBehindPgBouncer: the nodes' connections live on, and lead nowhere for a while.
func TestPostgreSQLKilledBehindPgBouncer(t *testing.T) {
	long(t)
	s, p := onPgBouncer(t)
	s.suffer(fault{
		length: 1500 * time.Millisecond,
		hit:    func() { s.must(p.postgres.Kill()) },
		heal:   func() { s.must(p.postgres.Start()) },
	})
}
