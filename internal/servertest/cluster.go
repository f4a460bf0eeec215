package servertest

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The size of a RedisCluster: the smallest that can fail over.
const (
	clusterMasters = 3
	clusterSize    = 2 * clusterMasters
	clusterSlots   = 16384
	clusterTimeout = time.Second // until a node counts as failed
)

// A RedisCluster has three masters, each with a replica.
type RedisCluster struct {
	Nodes []*RedisServer // at first three masters, then their replicas in the same order

	opt RedisOptions
}

// Cluster starts a Redis Cluster for a test. All nodes have the same options,
// and with TLS the same certificates.
func Cluster(t TB, opt RedisOptions) *RedisCluster {
	t.Helper()
	c, err := StartCluster(opt)
	keep(t, err, c)
	return c
}

// StartCluster starts a Redis Cluster and waits until every replica follows its
// master.
func StartCluster(opt RedisOptions) (*RedisCluster, error) {
	c := &RedisCluster{opt: opt}
	if err := c.start(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *RedisCluster) start() error {
	for range clusterSize {
		node, err := startRedis(c.opt, true)
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, node)
		c.opt.certificates = node.Certificates
	}
	masters, replicas := c.Nodes[:clusterMasters], c.Nodes[clusterMasters:]
	for i, m := range masters {
		first, last := clusterSlots*i/clusterMasters, clusterSlots*(i+1)/clusterMasters-1
		if _, err := m.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last)); err != nil {
			return err
		}
	}
	for i, n := range c.Nodes {
		if _, err := n.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)); err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		if _, err := n.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(masters[0].Port()), strconv.Itoa(masters[0].bus)); err != nil {
			return err
		}
	}
	err := eventually("the nodes of the cluster know each other", func() error {
		for _, n := range c.Nodes {
			if err := n.want(strconv.Itoa(clusterSize), "cluster_known_nodes", "CLUSTER", "INFO"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, r := range replicas {
		id, err := masters[i].Do("CLUSTER", "MYID")
		if err != nil {
			return err
		}
		err = eventually("a replica knows its master", func() error {
			_, err := r.Do("CLUSTER", "REPLICATE", id.(string))
			return err
		})
		if err != nil {
			return err
		}
	}
	return c.WaitHealthy()
}

// clusterConfig returns the configuration of a node.
func (r *RedisServer) clusterConfig() []string {
	user := "default"
	if r.opt.User != "" {
		user = r.opt.User
	}
	lines := []string{
		"cluster-enabled yes",
		"cluster-port " + strconv.Itoa(r.bus),
		fmt.Sprint("cluster-node-timeout ", clusterTimeout.Milliseconds()),
		"cluster-replica-validity-factor 0",
		"repl-ping-replica-period 1",
		"repl-diskless-sync-delay 0",
	}
	if r.opt.Password != "" {
		lines = append(lines, "masteruser "+user, "masterauth "+r.opt.Password)
	}
	if r.opt.TLS {
		lines = append(lines, "tls-cluster yes", "tls-replication yes")
	}
	return lines
}

// WaitHealthy waits until every node runs and sees all slots, and every replica
// follows its master.
func (c *RedisCluster) WaitHealthy() error {
	return eventually("the cluster is healthy", func() error {
		masters := 0
		for _, n := range c.Nodes {
			if err := n.want("ok", "cluster_state", "CLUSTER", "INFO"); err != nil {
				return err
			}
			if err := n.want(strconv.Itoa(clusterMasters), "cluster_size", "CLUSTER", "INFO"); err != nil {
				return err
			}
			role, err := n.line("role", "INFO", "replication")
			switch {
			case err != nil:
				return err
			case role == "master":
				masters++
				if err := n.want("1", "connected_slaves", "INFO", "replication"); err != nil {
					return err
				}
			default:
				if err := n.want("up", "master_link_status", "INFO", "replication"); err != nil {
					return err
				}
			}
		}
		if masters != clusterMasters {
			return fmt.Errorf("%d masters", masters)
		}
		return nil
	})
}

// Masters returns the masters that run.
func (c *RedisCluster) Masters() (masters []*RedisServer) {
	for _, n := range c.Nodes {
		if n.PID() == 0 {
			continue
		}
		if role, err := n.line("role", "INFO", "replication"); err == nil && role == "master" {
			masters = append(masters, n)
		}
	}
	return masters
}

// Failover kills a master and waits until its replica has taken over and all
// running nodes see all slots. Writes that the master had not sent to its
// replica are lost. If the master starts again, it follows the new one.
func (c *RedisCluster) Failover(master *RedisServer) error {
	replica, err := c.Replica(master)
	if err != nil {
		return err
	}
	if err := master.Kill(); err != nil {
		return err
	}
	return c.WaitTakeover(replica)
}

// WaitTakeover waits until a replica whose master is gone is a master, and all
// running nodes see all slots.
func (c *RedisCluster) WaitTakeover(replica *RedisServer) error {
	return eventually("a replica takes over", func() error {
		if err := replica.want("master", "role", "INFO", "replication"); err != nil {
			return err
		}
		for _, n := range c.Nodes {
			if n.PID() == 0 {
				continue
			}
			if err := n.want("ok", "cluster_state", "CLUSTER", "INFO"); err != nil {
				return err
			}
			if err := n.want("0", "cluster_slots_fail", "CLUSTER", "INFO"); err != nil {
				return err
			}
			if err := n.want(strconv.Itoa(clusterSlots), "cluster_slots_ok", "CLUSTER", "INFO"); err != nil {
				return err
			}
		}
		return nil
	})
}

// Replica returns the replica that follows a master.
func (c *RedisCluster) Replica(master *RedisServer) (*RedisServer, error) {
	for _, n := range c.Nodes {
		if n == master || n.PID() == 0 {
			continue
		}
		if n.want(strconv.Itoa(master.Port()), "master_port", "INFO", "replication") == nil &&
			n.want("up", "master_link_status", "INFO", "replication") == nil {
			return n, nil
		}
	}
	return nil, fmt.Errorf("servertest: no replica follows %s", master.Addr())
}

// URL is redis-cluster:// or rediss-cluster:// with the addresses of all nodes,
// with user and password.
func (c *RedisCluster) URL() string {
	u := url.URL{Scheme: "redis-cluster", Host: strings.Join(c.Addrs(), ",")}
	if c.opt.TLS {
		u.Scheme = "rediss-cluster"
	}
	if c.opt.Password != "" {
		u.User = url.UserPassword(c.opt.User, c.opt.Password)
	}
	return u.String()
}

// Addrs returns the addresses of all nodes.
func (c *RedisCluster) Addrs() (addrs []string) {
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	return addrs
}

// Close kills all nodes and removes their files.
func (c *RedisCluster) Close() {
	for _, n := range c.Nodes {
		n.Close()
	}
}

// LogTail returns the last lines of every node's log.
func (c *RedisCluster) LogTail() string {
	var b strings.Builder
	for _, n := range c.Nodes {
		b.WriteString(n.LogTail())
	}
	return b.String()
}
