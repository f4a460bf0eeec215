package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sojourn-go/sojourn/store"
)

// Errors of a server or a schema, for errors.Is. The messages say what to do.
var (
	ErrURL        = errors.New("not a URL of PostgreSQL")
	ErrUnreached  = errors.New("the server can't be reached")
	ErrDenied     = errors.New("the server denies access")
	ErrOldServer  = errors.New("the server is too old")
	ErrNotOurs    = errors.New("not a schema of Sojourn")
	ErrNewer      = errors.New("migrated by a newer version of Sojourn")
	ErrUnsuitable = errors.New("the server's settings are unsuitable")
	ErrReadOnly   = errors.New("the server takes no writes")
)

// SQLSTATEs, with their names in PostgreSQL's documentation (appendix A).
const (
	serializationFailure  = "40001"
	deadlockDetected      = "40P01"
	diskFull              = "53100"
	tooManyConnections    = "53300"
	readOnlyTransaction   = "25006"
	featureNotSupported   = "0A000" // a cached plan is out of date
	invalidStatementName  = "26000"
	duplicateStatement    = "42P05"
	insufficientPrivilege = "42501"
	invalidPassword       = "28P01"
	invalidAuthorization  = "28000"
	invalidCatalogName    = "3D000"
	undefinedTable        = "42P01"
	undefinedFunction     = "42883"
	undefinedObject       = "42704"
	invalidParameterValue = "22023"
	invalidSchemaName     = "3F000"
	connectionException   = "08" // a class
)

// isAborted reports whether the server has rolled back a statement that may
// succeed if it is sent again.
func isAborted(err error) bool {
	switch code(err) {
	case serializationFailure, deadlockDetected, featureNotSupported:
		return true
	}
	return false
}

// isCertain reports whether a failed write has changed nothing: it wasn't sent,
// or the server says so. A server that ends the connection may have committed
// before. So may a server behind a pooler, which reports a connection exception.
func isCertain(err error) bool {
	if c := code(err); c != "" {
		return isStatementError(err) && !strings.HasPrefix(c, connectionException)
	}
	return pgconn.SafeToRetry(err)
}

// isStatementError reports whether the server has answered a statement with an
// error, and has not ended the connection.
func isStatementError(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.SeverityUnlocalized == "ERROR"
}

func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// explain adds to the error of a call the store's own error, or what to do.
func explain(err error) error {
	switch code(err) {
	case diskFull:
		return fmt.Errorf("pgstore: %w: the server's disk is full: %w", store.ErrFull, err)
	case tooManyConnections:
		return fmt.Errorf("pgstore: the server has no connection left: raise its max_connections, or lower Options.MaxConns of the nodes: %w", err)
	case readOnlyTransaction:
		return fmt.Errorf("pgstore: %w: it is a standby, or read-only by its settings: point the URL to the primary: %w", ErrReadOnly, err)
	case invalidStatementName, duplicateStatement:
		return fmt.Errorf("pgstore: the store has not noticed a pooler in between: add default_query_exec_mode=cache_describe to the URL: %w", err)
	case insufficientPrivilege:
		return fmt.Errorf("pgstore: %w: let the user own the schema and what is in it, or grant it what a role that only serves needs (docs/stores.md): %w", ErrDenied, err)
	case undefinedTable, undefinedFunction, invalidSchemaName:
		return fmt.Errorf("pgstore: the schema has been changed since Open: restart to create it again: %w", err)
	}
	if errors.Is(err, errPoolClosed) {
		return store.ErrClosed
	}
	return fmt.Errorf("pgstore: %w", err)
}

// explainConnect adds what to do to the error of a first connection.
func explainConnect(err error) error {
	var connect *pgconn.ConnectError
	switch c := code(err); {
	case c == invalidPassword, c == invalidAuthorization:
		return fmt.Errorf("%w: check the user and the password, and pg_hba.conf: %w", ErrDenied, err)
	case c == invalidCatalogName:
		return fmt.Errorf("%w: there is no such database: create it, or name another in the URL: %w", ErrUnreached, err)
	case c == insufficientPrivilege:
		return fmt.Errorf("%w: let the user create schemas in the database, or own the schema, or let its owner open it first and grant what a role that only serves needs (docs/stores.md): %w", ErrDenied, err)
	case c == readOnlyTransaction, strings.Contains(err.Error(), "read only connection"): // pgx has no type for it
		return fmt.Errorf("%w: it is a standby, or read-only by its settings: point the URL to the primary: %w", ErrReadOnly, err)
	case c == undefinedObject, c == invalidParameterValue: // an unknown setting, which must be a parameter of the URL
		return fmt.Errorf("%w: the server refuses one of its parameters: %w", ErrURL, err)
	case errors.As(err, &connect), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: check that it runs, and the URL's host and port: %w", ErrUnreached, err)
	}
	return err
}
