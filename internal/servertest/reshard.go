package servertest

import (
	"fmt"
	"strconv"
)

// MoveSlot moves a slot with its keys from one master to another, as redis-cli
// --cluster reshard does. It calls step between any two steps. While step
// waits, clients see a slot that is half moved. Move one slot at a time: a
// master that receives one slot and gives another away may later claim both.
func (c *RedisCluster) MoveSlot(slot int, from, to *RedisServer, step func()) error {
	source, err := from.Do("CLUSTER", "MYID")
	if err != nil {
		return err
	}
	target, err := to.Do("CLUSTER", "MYID")
	if err != nil {
		return err
	}
	set := func(n *RedisServer, args ...string) error {
		_, err := n.Do(append([]string{"CLUSTER", "SETSLOT", strconv.Itoa(slot)}, args...)...)
		step()
		return err
	}
	if err := set(to, "IMPORTING", source.(string)); err != nil {
		return err
	}
	if err := set(from, "MIGRATING", target.(string)); err != nil {
		return err
	}
	for {
		keys, err := from.Do("CLUSTER", "GETKEYSINSLOT", strconv.Itoa(slot), "3")
		list, _ := keys.([]any)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		command := []string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.Port()), "", "0", "5000"}
		if c.opt.Password != "" {
			user := c.opt.User
			if user == "" {
				user = "default"
			}
			command = append(command, "AUTH2", user, c.opt.Password)
		}
		command = append(command, "KEYS")
		for _, key := range list {
			command = append(command, fmt.Sprint(key))
		}
		if _, err := from.Do(command...); err != nil {
			return err
		}
		step()
	}
	owners := []*RedisServer{to, from} // the new owner first, which announces it
	for _, m := range c.Masters() {
		if m != to && m != from {
			owners = append(owners, m)
		}
	}
	for _, m := range owners {
		if err := set(m, "NODE", target.(string)); err != nil {
			return err
		}
	}
	return nil
}
