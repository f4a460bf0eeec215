package pgstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaName matches names that mean the same with and without quotes. (Only SQL's
// reserved words need quotes.)
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

func isSchemaName(name string) bool {
	return schemaName.MatchString(name) && !strings.HasPrefix(name, "pg_")
}

// in replaces the schema name sojourn in an SQL text by another.
func in(schema, text string) string { return strings.ReplaceAll(text, "sojourn.", `"`+schema+`".`) }

// prepare creates the schema, or brings it to this version. Many nodes may call
// it at once.
func prepare(ctx context.Context, config *pgx.ConnConfig, conn *pgx.Conn, schema string) error {
	// A schema that another node is just creating may look like another
	// program's. The check under the lock decides.
	if version, err := schemaVersion(ctx, conn, schema); err != nil && !errors.Is(err, ErrNotOurs) || err == nil && version == newestVersion() {
		return err
	}
	// The lock belongs to a transaction, because a pooler in transaction mode
	// would pass a session's lock on to somebody else.
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // it has written nothing
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('sojourn migrations', 0))"); err != nil {
		return err
	}
	if version, err := schemaVersion(ctx, conn, schema); err != nil || version == newestVersion() {
		return err
	}
	return migrate(ctx, config, schema)
}

// migrate brings the schema up to date, on a connection of its own.
func migrate(ctx context.Context, config *pgx.ConnConfig, schema string) error {
	config = config.Copy()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // no statement is sent twice, and a pooler may be in between
	db := stdlib.OpenDB(*config)
	defer db.Close() //nolint:errcheck // all writes are committed
	db.SetMaxOpenConns(1)
	// CREATE SCHEMA needs the right to create one, even with IF NOT EXISTS.
	var exists bool
	if err := db.QueryRowContext(ctx, "SELECT to_regnamespace($1) IS NOT NULL", `"`+schema+`"`).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := db.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS "`+schema+`"`); err != nil {
			return err
		}
	}
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	var list []*goose.Migration
	for _, f := range files {
		text, err := migrations.ReadFile("migrations/" + f.Name())
		if err != nil {
			return err
		}
		version, err := goose.NumericComponent(f.Name())
		if err != nil {
			return err
		}
		list = append(list, goose.NewGoMigration(version, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, in(schema, string(text)))
			return err
		}}, nil))
	}
	versions, err := database.NewStore(goose.DialectPostgres, in(schema, "sojourn."+versionTable))
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectCustom, db, nil,
		goose.WithGoMigrations(list...), goose.WithDisableGlobalRegistry(true), goose.WithStore(quotedVersions{versions}))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

const versionTable = "goose_db_version"

// quotedVersions are the versions in a table whose name is quoted, which goose's own store wouldn't find.
type quotedVersions struct{ database.Store }

func (v quotedVersions) TableExists(ctx context.Context, db database.DBTxConn) (exists bool, err error) {
	err = db.QueryRowContext(ctx, "SELECT to_regclass($1) IS NOT NULL", v.Tablename()).Scan(&exists)
	return exists, err
}

// schemaVersion returns the version of a schema, 0 if there is none, or an empty one, or one whose making was cut short; an error if
// it is another program's, or newer. It changes nothing.
func schemaVersion(ctx context.Context, conn *pgx.Conn, schema string) (int64, error) {
	foreign := fmt.Errorf("%w: %s holds tables of another program: choose another one by schema=NAME in the URL, or by Options.Schema", ErrNotOurs, schema)
	var versioned, complete, others bool
	err := conn.QueryRow(ctx, `SELECT
		to_regclass($2) IS NOT NULL,
		to_regclass($3) IS NOT NULL AND to_regclass($4) IS NOT NULL AND to_regclass($5) IS NOT NULL,
		EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = $1 AND c.relkind NOT IN ('i', 'S') AND c.relname <> $6)`,
		pgx.QueryExecModeExec, schema, in(schema, "sojourn."+versionTable), in(schema, "sojourn.apps"), in(schema, "sojourn.sessions"), in(schema, "sojourn.changes"), versionTable).
		Scan(&versioned, &complete, &others)
	switch {
	case err != nil:
		return 0, err
	case !versioned && !others:
		return 0, nil
	case !versioned, !complete && others:
		return 0, foreign
	}
	var version int64 // -1 if the table of versions is empty
	err = conn.QueryRow(ctx, in(schema, "SELECT coalesce(max(version_id), -1) FROM sojourn."+versionTable+" WHERE is_applied"), pgx.QueryExecModeExec).Scan(&version)
	switch newest := newestVersion(); {
	case err != nil:
		return 0, err
	case version < 0, complete != (version > 0):
		return 0, foreign
	case version > newest:
		return 0, fmt.Errorf("%w: the schema %s has version %d, this program knows up to %d: use a newer program", ErrNewer, schema, version, newest)
	}
	return version, nil
}

// newestVersion returns the number at the beginning of the last migration's
// name.
func newestVersion() int64 {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		panic(err) // they are part of the program
	}
	version, err := goose.NumericComponent(files[len(files)-1].Name())
	if err != nil {
		panic(err)
	}
	return version
}

var errSchemaName = errors.New("a schema's name is 1 to 63 lower-case letters, digits and underscores, and begins with neither a digit nor pg_")
