package app

import (
	"net"
	"os"
)

// notify sends a state to systemd, if systemd has started the server
// (sd_notify(3)).
func notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = c.Write([]byte(state))
	if closed := c.Close(); err == nil {
		err = closed
	}
	return err
}
