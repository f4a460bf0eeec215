package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// minServer is the first major version of PostgreSQL with the type xid8 and its snapshots, which the feed reads.
const minServer = 13

// How soon a connection whose other end is gone without a word is noticed: when nothing is under way, and when something
// was sent.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

const unacknowledged = 10 * time.Second

// connectFactor is the deadline of a new connection, in timeouts of a call. It
// takes several round trips, and no call waits for it alone.
const connectFactor = 5

// CheckURL returns what Open would say of the URL, without connecting: ErrURL. The error holds no password.
func CheckURL(url string) error {
	if _, err := parse(url, &Options{}); err != nil {
		return fmt.Errorf("pgstore: %w", err)
	}
	return nil
}

// parse reads a URL. Its errors never hold a password: the URL is not in them, and neither are those that hold it.
func parse(text string, opt *Options) (*pgxpool.Config, error) {
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return nil, fmt.Errorf("%w: it begins with postgres://, as in postgres://user@host:5432/database", ErrURL)
	}
	config, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrURL, reason(err))
	}
	for name := range config.ConnConfig.RuntimeParams {
		if instead, known := foreign[strings.ToLower(name)]; known {
			return nil, fmt.Errorf("%w: it has a parameter %s, which other drivers know: %s", ErrURL, name, instead)
		}
	}
	if opt.Password != "" {
		config.ConnConfig.Password = opt.Password
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectFactor * opt.Timeout
	}
	config.ConnConfig.DialFunc = (&net.Dialer{KeepAliveConfig: keepAlive, Control: limitUnacknowledged}).DialContext
	// Of several servers the primary, whatever target_session_attrs says: a standby lags, and would have ended sessions live.
	config.ConnConfig.ValidateConnect = takesWrites
	config.ConnConfig.OnNotice = noteUnreplicated
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "sojourn"
	}
	return config, nil
}

// foreign are parameters of other drivers' URLs. pgx takes an unknown parameter
// for a setting of the server, which then refuses the connection.
var foreign = map[string]string{
	"schema":           schemaParameter,
	"currentschema":    schemaParameter,
	"pgbouncer":        "leave it out: a pooler is found out",
	"connection_limit": "leave it out",
}

// schemaParameter: the tables are in a schema that the program names, not the URL.
const schemaParameter = "the tables are in a schema of their own, whatever the URL says: leave it out"

// takesWrites reports whether a server accepts writes. PostgreSQL 14 and newer
// say so by themselves, which saves a round trip to a slow server.
func takesWrites(ctx context.Context, conn *pgconn.PgConn) error {
	standby, readOnly := conn.ParameterStatus("in_hot_standby"), conn.ParameterStatus("default_transaction_read_only")
	if standby == "off" && readOnly == "off" {
		return nil
	}
	return pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, conn)
}

const unreplicated = "sojourn unreplicated"

// noteUnreplicated notes on a connection that its transaction was committed, and that somebody has ended its wait for the synchronous standby: the server
// gives a warning then, in whatever language, and reports success.
func noteUnreplicated(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.Routine == "SyncRepWaitForLSN" {
		conn.CustomData()[unreplicated] = true
	}
}

// takeUnreplicated reports whether that was noted since it was asked last.
func takeUnreplicated(conn *pgx.Conn) bool {
	_, noted := conn.PgConn().CustomData()[unreplicated]
	delete(conn.PgConn().CustomData(), unreplicated)
	return noted
}

var quoted = regexp.MustCompile("`.*`|\"[^\"]*\"")

// reason returns what an error says about a URL, without what it quotes of it.
func reason(err error) string {
	said := err.Error()
	var bad *url.Error
	if errors.As(err, &bad) {
		said = bad.Err.Error()
	} else if i := strings.LastIndex(said, "`: "); i >= 0 { // before it is the URL
		said = said[i+len("`: "):]
	}
	return quoted.ReplaceAllString(said, "...")
}

// A server is what a first connection finds out.
type server struct {
	version string
	pooled  bool // a pooler is in between, which may hand out another session for each transaction
}

// examine looks whether a server will do. It changes nothing.
func examine(ctx context.Context, conn *pgx.Conn) (server, error) {
	s := server{version: conn.PgConn().ParameterStatus("server_version")}
	if major, err := strconv.Atoi(strings.TrimRight(leading(s.version), ".")); err == nil && major < minServer {
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
	s.pooled = pid != conn.PgConn().PID() // a pooler makes up a number of its own
	return s, nil
}

// leading returns the digits that a text begins with.
func leading(s string) string {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return s[:i]
		}
	}
	return s
}

// suit chooses how statements are sent.
func suit(config *pgx.ConnConfig, pooled bool) {
	if !pooled {
		// A plan that was made when a table was small must not read all of it when it is large.
		config.RuntimeParams["enable_seqscan"] = "off"
		return
	}
	if config.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // statements without a name, which belong to no session
	}
}
