package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sojourn-go/sojourn/store"
)

// What is wrong with a server or a schema, under errors.Is. The messages say what to do.
var (
	ErrURL        = errors.New("not a URL of PostgreSQL")
	ErrUnreached  = errors.New("the server can't be reached")
	ErrDenied     = errors.New("the server denies access")
	ErrOldServer  = errors.New("the server is too old")
	ErrNotOurs    = errors.New("not a schema of Sojourn")
	ErrNewer      = errors.New("migrated by a newer version of Sojourn")
	ErrUnsuitable = errors.New("the server's settings don't do")
	ErrReadOnly   = errors.New("the server takes no writes")
)

// SQLSTATEs, by their names in PostgreSQL's documentation (appendix A).
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

// isAborted reports whether the server has rolled back a statement that may succeed if it is sent again.
func isAborted(err error) bool {
	switch code(err) {
	case serializationFailure, deadlockDetected, featureNotSupported:
		return true
	}
	return false
}

// isCertain reports whether a write that failed has changed nothing: it wasn't sent, or the server says so. A server
// that ends the connection may have committed before; so may one behind a pooler, which reports that as a connection exception.
func isCertain(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.SeverityUnlocalized == "ERROR" && !strings.HasPrefix(e.Code, connectionException)
	}
	return pgconn.SafeToRetry(err)
}

func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// explain adds to the error of a call what it means for the store, or what to do.
func explain(err error) error {
	switch code(err) {
	case diskFull:
		return fmt.Errorf("pgstore: %w: the server's disk is full: %w", store.ErrFull, err)
	case tooManyConnections:
		return fmt.Errorf("pgstore: the server has no connection left: raise its max_connections, or lower Options.MaxConns of the nodes: %w", err)
	case readOnlyTransaction:
		return fmt.Errorf("pgstore: %w: it is a standby, or read-only by its settings: let the URL lead to the primary: %w", ErrReadOnly, err)
	case invalidStatementName, duplicateStatement:
		return fmt.Errorf("pgstore: there is a pooler in between that wasn't noticed: add default_query_exec_mode=cache_describe to the URL: %w", err)
	case insufficientPrivilege:
		return fmt.Errorf("pgstore: %w: let the user own the schema and what is in it, or grant it what a role that only serves needs (docs/stores.md): %w", ErrDenied, err)
	case undefinedTable, undefinedFunction, invalidSchemaName:
		return fmt.Errorf("pgstore: the schema is not as Open left it: restart to have it made again: %w", err)
	}
	if errors.Is(err, errPoolClosed) {
		return store.ErrClosed
	}
	return fmt.Errorf("pgstore: %w", err)
}

// explainConnect adds to the error of a first connection what to do.
func explainConnect(err error) error {
	var connect *pgconn.ConnectError
	switch c := code(err); {
	case c == invalidPassword, c == invalidAuthorization:
		return fmt.Errorf("%w: check the user and the password, and pg_hba.conf: %w", ErrDenied, err)
	case c == invalidCatalogName:
		return fmt.Errorf("%w: there is no such database: create it, or name another in the URL: %w", ErrUnreached, err)
	case c == insufficientPrivilege:
		return fmt.Errorf("%w: let the user create schemas in the database, or own the schema, or let its owner open it first and grant what a role that only serves needs (docs/stores.md): %w", ErrDenied, err)
	case c == readOnlyTransaction, strings.Contains(err.Error(), "read only connection"): // the latter from pgx, without a type
		return fmt.Errorf("%w: it is a standby, or read-only by its settings: let the URL lead to the primary: %w", ErrReadOnly, err)
	case c == undefinedObject, c == invalidParameterValue: // a setting, which can only be the URL's
		return fmt.Errorf("%w: the server refuses one of its parameters: %w", ErrURL, err)
	case errors.As(err, &connect), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: check that it runs, and the URL's host and port: %w", ErrUnreached, err)
	}
	return err
}
