package app

import (
	"net"
	"os"
)

// notify tells systemd how the server is (sd_notify(3)), where that has started it.
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
