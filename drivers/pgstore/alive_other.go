//go:build !unix

package pgstore

import (
	"time"

	"github.com/jackc/pgx/v5"
)

// mustTry has a connection tried before it is used that was idle for a while.
func mustTry(_ *pgx.Conn, idle time.Duration) bool { return idle > time.Second }
