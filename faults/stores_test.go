package faults

import (
	"net/url"
	"strings"
	"testing"

	"github.com/sojourn-go/sojourn/internal/servertest"
)

// onRedis starts a site on one Redis server.
func onRedis(t *testing.T, opt servertest.RedisOptions) (*site, *servertest.RedisServer) {
	r := servertest.Redis(t, opt)
	s := newSite(t)
	for i := range nodeCount {
		config := nodeConfig{Store: "redis", URL: r.URL()}
		s.route(i, &config, r.Addr())
		s.addNode(config)
	}
	return s, r
}

// onCluster starts a site on a Redis Cluster.
func onCluster(t *testing.T, waits int) (*site, *servertest.RedisCluster) {
	c := servertest.Cluster(t, servertest.RedisOptions{})
	s := newSite(t)
	for i := range nodeCount {
		config := nodeConfig{Store: "cluster", URL: c.URL(), Waits: waits}
		s.route(i, &config, c.Addrs()...)
		s.addNode(config)
	}
	return s, c
}

// route puts proxies between a node and the servers at addresses.
func (s *site) route(node int, config *nodeConfig, addrs ...string) {
	config.Route, config.FeedTo = map[string]string{}, map[string]string{}
	for _, addr := range addrs {
		command, feed := newProxy(s, addr), newProxy(s, addr)
		config.Route[addr], config.FeedTo[addr] = command.Listen, feed.Listen
		s.commands[node], s.feeds[node] = append(s.commands[node], command), append(s.feeds[node], feed)
	}
}

// onPostgreSQL starts a site on PostgreSQL.
func onPostgreSQL(t *testing.T, opt servertest.PostgreSQLOptions) (*site, *servertest.PostgreSQLServer) {
	p := servertest.PostgreSQL(t, opt)
	s := newSite(t)
	for range nodeCount {
		s.addPostgreSQL(nodeConfig{}, p.URL(), []string{p.Addr()}, []string{p.Addr()})
	}
	return s, p
}

// addPostgreSQL starts a node that reaches PostgreSQL through proxies: at some
// addresses, and for its feed at others.
func (s *site) addPostgreSQL(config nodeConfig, url string, commands, feeds []string) {
	i := len(s.processes)
	for _, addr := range commands {
		s.commands[i] = append(s.commands[i], newProxy(s, addr))
	}
	for _, addr := range feeds {
		s.feeds[i] = append(s.feeds[i], newProxy(s, addr))
	}
	config.Store, config.URL, config.FeedURL = "postgres", through(url, s.commands[i]), through(url, s.feeds[i])
	s.addNode(config)
}

// A pair is a primary and its standby, which replicates through a proxy.
type pair struct {
	primary, standby *servertest.PostgreSQLServer
	link             *proxy
}

func newPair(t *testing.T, synchronous bool) *pair {
	p := &pair{primary: servertest.PostgreSQL(t, servertest.PostgreSQLOptions{})}
	p.link = newProxy(t, p.primary.Addr())
	p.standby = p.primary.Standby(t, servertest.StandbyOptions{Synchronous: synchronous, Via: p.link.Listen})
	return p
}

// onPair starts a site whose nodes know both servers, and find the primary.
func onPair(t *testing.T) (*site, *pair) {
	p := newPair(t, true)
	s := newSite(t)
	addrs := []string{p.primary.Addr(), p.standby.Addr()}
	for range nodeCount {
		s.addPostgreSQL(nodeConfig{}, p.primary.URL(), addrs, addrs)
	}
	return s, p
}

// onAddress starts a site whose nodes know one address: the primary's, until it
// is moved. Nobody waits for the standby.
func onAddress(t *testing.T) (*site, *pair) {
	p := newPair(t, false)
	s := newSite(t)
	for range nodeCount {
		s.addPostgreSQL(nodeConfig{}, p.primary.URL(), []string{p.primary.Addr()}, []string{p.primary.Addr()})
	}
	return s, p
}

// A pooled is a PostgreSQL server behind a PgBouncer, with a proxy between
// them.
type pooled struct {
	postgres *servertest.PostgreSQLServer
	bouncer  *servertest.PgBouncerServer
	behind   *proxy
}

// onPgBouncer starts a site whose nodes reach PostgreSQL through a PgBouncer
// that pools by transaction, except for their feeds.
func onPgBouncer(t *testing.T) (*site, *pooled) {
	p := &pooled{postgres: servertest.PostgreSQL(t, servertest.PostgreSQLOptions{})}
	p.behind = newProxy(t, p.postgres.Addr())
	p.bouncer = servertest.PgBouncer(t, p.postgres, servertest.PgBouncerOptions{
		Via: p.behind.Listen,
		Config: []string{
			"server_login_retry = 1", // the default is to wait 15 s before it looks for the server again
			"query_wait_timeout = 4", // the default is to keep the statements of clients that have left for 120 s
		},
	})
	s := newSite(t)
	for range nodeCount {
		// A machine with so many processes is slow, and after each timeout a
		// new connection is necessary.
		s.addPostgreSQL(nodeConfig{Patient: true}, p.postgres.URL(), []string{p.bouncer.Addr()}, []string{p.postgres.Addr()})
	}
	return s, p
}

// through returns a URL that names proxies instead of the server.
func through(text string, list proxies) string {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	var hosts []string
	for _, p := range list {
		hosts = append(hosts, p.Listen)
	}
	u.Host = strings.Join(hosts, ",")
	return u.String()
}
