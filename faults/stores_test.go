package faults

import (
	"net"
	"net/url"
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
	for i := range nodeCount {
		command, feed := newProxy(s, p.Addr()), newProxy(s, p.Addr())
		s.commands[i], s.feeds[i] = proxies{command}, proxies{feed}
		s.addNode(nodeConfig{Store: "postgres", URL: through(p.URL(), command), FeedURL: through(p.URL(), feed)})
	}
	return s, p
}

// through returns a URL with a proxy's port.
func through(text string, p *proxy) string {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	_, port, err := net.SplitHostPort(p.Listen)
	if err != nil {
		panic(err)
	}
	u.Host = net.JoinHostPort("127.0.0.1", port)
	return u.String()
}
