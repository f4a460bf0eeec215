package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// minServer is the first major version of PostgreSQL with the type xid8 and its
// snapshots, which the feed reads.
const minServer = 13

// A server describes the server, as the first connection finds it.
type server struct {
	version string
	pooled  bool // a pooler in transaction mode is in between
}

// examine checks that the store can use a server. It changes nothing.
func examine(ctx context.Context, conn *pgx.Conn) (server, error) {
	s := server{version: conn.PgConn().ParameterStatus("server_version")}
	var major int
	if _, err := fmt.Sscanf(s.version, "%d", &major); err == nil && major < minServer {
		return s, fmt.Errorf("%w: it is PostgreSQL %s: %d or newer is needed", ErrOldServer, s.version, minServer)
	}
	var pid uint32
	var encoding, isolation string
	err := conn.QueryRow(ctx, "SELECT pg_backend_pid(), current_setting('server_encoding'), current_setting('default_transaction_isolation')",
		pgx.QueryExecModeExec).Scan(&pid, &encoding, &isolation)
	switch {
	case err != nil:
		return s, err
	case encoding != "UTF8":
		return s, fmt.Errorf("%w: the database's encoding is %s: create it with ENCODING 'UTF8'", ErrUnsuitable, encoding)
	case isolation != "read committed":
		return s, fmt.Errorf("%w: default_transaction_isolation is %q: set it to 'read committed' for the user", ErrUnsuitable, isolation)
	}
	s.pooled = pid != conn.PgConn().PID() // a pooler reports a number of its own
	return s, nil
}

// suit chooses how pgx sends statements.
func suit(config *pgx.ConnConfig, pooled bool) {
	if !pooled {
		// A plan that was made for a small table must not scan the table when it
		// is large.
		config.RuntimeParams["enable_seqscan"] = "off"
		return
	}
	if config.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // statements without a name belong to no session
	}
}

// takesWrites returns an error if a server doesn't accept writes. PostgreSQL 14
// and newer report it without a question, which saves a round trip.
func takesWrites(ctx context.Context, conn *pgconn.PgConn) error {
	standby, readOnly := conn.ParameterStatus("in_hot_standby"), conn.ParameterStatus("default_transaction_read_only")
	if standby == "off" && readOnly == "off" {
		return nil
	}
	return pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, conn)
}

const unreplicated = "sojourn unreplicated"

// noteUnreplicated records on a connection that its transaction was committed,
// but that somebody cancelled its wait for the synchronous standby. The server
// then reports success, with a warning in its own language.
func noteUnreplicated(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.Routine == "SyncRepWaitForLSN" {
		conn.CustomData()[unreplicated] = true
	}
}

// takeUnreplicated reports whether noteUnreplicated has recorded something since
// the last call.
func takeUnreplicated(conn *pgx.Conn) bool {
	_, noted := conn.PgConn().CustomData()[unreplicated]
	delete(conn.PgConn().CustomData(), unreplicated)
	return noted
}
