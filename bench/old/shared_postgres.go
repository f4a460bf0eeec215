package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	pgDriver  = "pgstore"
	rawSelect = "raw SELECT"
	rawUpdate = "raw UPDATE"
)

// pgSpent adds up the CPU time of PostgreSQL's processes, of those that have ended too.
func (s *servers) pgSpent(ctx context.Context) (r spent, err error) {
	if err := s.pool.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&r.log); err != nil {
		return r, err
	}
	server := s.pg.PID()
	own, ended, err := processCPU(server)
	if err != nil {
		return r, err
	}
	r.cpu = own + ended
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", server, server))
	if err != nil {
		return r, err
	}
	for pid := range strings.FieldsSeq(string(children)) {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return r, err
		}
		if own, _, err := processCPU(n); err == nil { // else it has ended meanwhile
			r.cpu += own
		}
	}
	return r, nil
}

// processCPU returns the CPU time of a process, and that of its children that have ended.
func processCPU(pid int) (own, ended time.Duration, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // after the name, which may hold blanks: fields 3 and on, of proc_pid_stat(5)
	f := strings.Fields(rest)
	if len(f) < 15 {
		return 0, 0, fmt.Errorf("bench: /proc/%d/stat: %q", pid, text)
	}
	own, ended = ticks(f[11], f[12]), ticks(f[13], f[14])
	precise, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid)) // in nanoseconds; not every kernel has it
	if ns, _, ok := strings.Cut(string(precise), " "); ok && err == nil {
		if n, err := strconv.ParseInt(ns, 10, 64); err == nil {
			own = time.Duration(n)
		}
	}
	return own, ended, nil
}

func ticks(fields ...string) (d time.Duration) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	for _, x := range fields {
		n, _ := strconv.Atoi(x)
		d += time.Duration(n) * tick
	}
	return d
}

// pgKept is what the tables and indexes of a space take after a VACUUM.
func (s *servers) pgKept(ctx context.Context, space string) (bytes int64, err error) {
	if _, err := s.pool.Exec(ctx, "VACUUM (ANALYZE)"); err != nil {
		return 0, err
	}
	err = s.pool.QueryRow(ctx, `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind = 'r'`, space).Scan(&bytes)
	return bytes, err
}

// pgReads read the rows that the driver has written for the sessions, whole, by a prepared statement.
func (s *servers) pgReads(ctx context.Context, space string, smp samples, n int) ([]load, error) {
	var app int
	if err := s.pool.QueryRow(ctx, "SELECT num FROM "+pgx.Identifier{space, "apps"}.Sanitize()+" WHERE name = $1", sampleApp).Scan(&app); err != nil {
		return nil, err
	}
	query := "SELECT * FROM " + pgx.Identifier{space, "sessions"}.Sanitize() + " WHERE app = $1 AND id = $2"
	return []load{{name: rawSelect, hand: func(w int) func() error {
		random := rand.New(rand.NewPCG(uint64(w), 17))
		return func() error {
			rows, err := s.pool.Query(ctx, query, app, [16]byte(smp.id(random.IntN(n))))
			if err != nil {
				return err
			}
			found := 0
			for rows.Next() {
				found += len(rows.RawValues())
			}
			if err := rows.Err(); err != nil || found == 0 {
				return errors.Join(err, errors.New("no such row"))
			}
			return nil
		}
	}}}, nil
}

// pgWrites changes rows of the same size as the driver's.
func (s *servers) pgWrites(ctx context.Context, space string, n int) (load, error) {
	var size float64
	sessions := pgx.Identifier{space, "sessions"}.Sanitize()
	if err := s.pool.QueryRow(ctx, "SELECT avg(pg_column_size(s.*))::float8 FROM "+sessions+" s").Scan(&size); err != nil {
		return load{}, err
	}
	_, err := s.pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS raw (id int PRIMARY KEY, revision bigint NOT NULL, data bytea NOT NULL) WITH (fillfactor = 70);
		ALTER TABLE raw ALTER data SET STORAGE EXTERNAL`)
	if err != nil {
		return load{}, err
	}
	revisions := make([]int, n)
	value := func(i int) []byte {
		b := make([]byte, int(size)-60) // without the header of the row and the other columns
		noise(b, i, uint64(revisions[i]))
		return b
	}
	const upsert = "INSERT INTO raw VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET revision = $2, data = $3"
	const update = "UPDATE raw SET revision = revision + 1, data = $3 WHERE id = $1 AND revision = $2"
	return load{
		name: rawUpdate,
		ready: func(ctx context.Context, _ int) error {
			return spread(ctx, 0, n, pgConnections, func() func(int) error {
				return func(i int) error {
					_, err := s.pool.Exec(ctx, upsert, i, revisions[i], value(i))
					return err
				}
			})
		},
		hand: func(w int) func() error {
			return perWriter(w, n, func(i, _ int) error {
				tag, err := s.pool.Exec(ctx, update, i, revisions[i], value(i))
				revisions[i]++
				if err == nil && tag.RowsAffected() != 1 {
					err = errors.New("the update refused a right revision")
				}
				return err
			})
		},
	}, nil
}
