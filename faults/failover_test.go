package faults

import (
	"testing"
	"time"
)

// TestI4PostgreSQLFailover: the primary's machine goes silent while its
// synchronous standby lags behind; then the standby takes over. What was
// acknowledged has waited for the standby, so nothing of it is lost, and no
// ended session comes back. The nodes' URL names both servers.
func TestI4PostgreSQLFailover(t *testing.T) {
	long(t)
	s, p := onPair(t)
	s.suffer(fault{
		length: 500 * time.Millisecond, cutShort: true,
		hit: func() {
			behind := nodeTimeout / 3
			if soak() {
				behind *= 6 // so that writes that wait for the standby time out
			}
			p.fallBehind(behind)
			s.must(p.primary.Pause())
			s.must(p.standby.Promote())
		},
		heal: func() { s.must(p.primary.Kill()) },
	})
}

// TestPostgreSQLFailoverUnawaited: the same with a standby that nobody waits
// for, a primary that dies, and an address that moves to the new primary, as a
// virtual IP does. What the standby had not received is lost, even an end that
// was acknowledged just before.
func TestPostgreSQLFailoverUnawaited(t *testing.T) {
	long(t)
	s, p := onAddress(t)
	s.suffer(fault{
		length: 500 * time.Millisecond, failover: true, undoes: true,
		hit: func() {
			p.fallBehind(nodeTimeout)
			s.must(p.primary.Kill())
			s.must(p.standby.Promote())
		},
		heal: func() {
			s.all().each(func(x *proxy) { x.lead(p.standby.Addr()) })
		},
	})
}

// fallBehind cuts the standby off from now on, and returns after a while.
func (p *pair) fallBehind(d time.Duration) {
	p.link.cut()
	time.Sleep(d)
}
