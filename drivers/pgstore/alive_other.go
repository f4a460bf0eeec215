//go:build !unix

package pgstore

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// mustTry has a connection tried before it is used that was idle for a while.
func mustTry(p pgxpool.ShouldPingParams) bool { return p.IdleDuration > time.Second }
