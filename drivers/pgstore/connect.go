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

// minServer is the first major version of PostgreSQL with the type xid8 and its
// snapshots, which the feed reads.
const minServer = 13

// keepAlive and unacknowledged limit how long a lost connection stays unnoticed:
// an idle one, and one with unanswered data.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

const unacknowledged = 10 * time.Second

// connectFactor times the timeout of a call is the deadline of a new connection.
// A connection takes several round trips, and no call waits only for it.
const connectFactor = 5

// CheckURL returns the ErrURL that Open would return for a URL, without
// connecting. The error contains no password.
func CheckURL(url string) error {
	if _, err := parse(url, &Options{}); err != nil {
		return fmt.Errorf("pgstore: %w", err)
	}
	return nil
}

// parse reads a URL. Its errors contain no password, because they contain no
// part of the URL.
func parse(text string, opt *Options) (*pgxpool.Config, error) {
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return nil, fmt.Errorf("%w: it must begin with postgres://, as in postgres://user@host:5432/database", ErrURL)
	}
	config, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrURL, reason(err))
	}
	for name := range config.ConnConfig.RuntimeParams {
		if instead, known := foreign[strings.ToLower(name)]; known {
			return nil, fmt.Errorf("%w: it has a parameter %s of another driver: %s", ErrURL, name, instead)
		}
	}
	if opt.Password != "" {
		config.ConnConfig.Password = opt.Password
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectFactor * opt.Timeout
	}
	config.ConnConfig.DialFunc = (&net.Dialer{KeepAliveConfig: keepAlive, Control: limitUnacknowledged}).DialContext
	// Use the primary, whatever target_session_attrs says: a standby lags, so
	// ended sessions would be live there.
	config.ConnConfig.ValidateConnect = takesWrites
	config.ConnConfig.OnNotice = noteUnreplicated
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "sojourn"
	}
	return config, nil
}

// foreign are parameters of other drivers' URLs, with advice. pgx sends an
// unknown parameter as a setting to the server, which refuses the connection.
var foreign = map[string]string{
	"schema":           schemaParameter,
	"currentschema":    schemaParameter,
	"pgbouncer":        "leave it out: the store notices a pooler",
	"connection_limit": "leave it out",
}

const schemaParameter = "leave it out: Options.Schema names the schema"

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

var quoted = regexp.MustCompile("`.*`|\"[^\"]*\"")

// reason returns the text of an error about a URL, without its quotations of the
// URL.
func reason(err error) string {
	said := err.Error()
	var bad *url.Error
	if errors.As(err, &bad) {
		said = bad.Err.Error()
	} else if i := strings.LastIndex(said, "`: "); i >= 0 { // the URL stands before it
		said = said[i+len("`: "):]
	}
	return quoted.ReplaceAllString(said, "...")
}

// A server describes the server, as the first connection finds it.
type server struct {
	version string
	pooled  bool // a pooler in transaction mode is in between
}

// examine checks that the store can use a server. It changes nothing.
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
	s.pooled = pid != conn.PgConn().PID() // a pooler reports a number of its own
	return s, nil
}

// leading returns the digits at the beginning of a text.
func leading(s string) string {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return s[:i]
		}
	}
	return s
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
