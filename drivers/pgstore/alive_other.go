//go:build !unix

package pgstore

import (
	"time"

	"github.com/jackc/pgx/v5"
)

// mustTry reports whether a connection that was idle must be tried before use.
func mustTry(_ *pgx.Conn, idle time.Duration) bool { return idle > time.Second }
