package pgstore

import (
	"strconv"
	"strings"
)

// statements are the store's SQL statements, with its schema's name.
type statements struct {
	list, listSubject                                                             [2]string // without and with the values
	get, count, barrier, listEnded                                                string
	searchEnds, searchChunk, searchMatch                                          string
	create, update, replace, touch, confirm, end, endSubject, endAll              string
	sweepDue, sweepEndedAll, sweepBarriers, sweepKeys                             string
	notify, heartbeat, poll, begin, listen, keepUp, prune, pruneForeign, estimate string
}

func statementsIn(schema string) statements {
	const (
		live   = "s.end_reason IS NULL AND (s.created_at <= a.ended_all_at) IS NOT TRUE"
		active = "$2 < least(s.last_seen_at + s.idle, s.expires_at)"
		ended  = "evicted, expired, expired_why, expired_at"
	)
	// after returns the n-th parameter after those of a record's row.
	after := func(n int) string { return "$" + strconv.Itoa(1+len(columns)+n) }
	list := func(columns string) string {
		return "SELECT " + columns + " FROM sojourn.sessions s, sojourn.apps a WHERE a.name = $1 AND a.num = s.app" +
			" AND s.app = (SELECT num FROM sojourn.apps WHERE name = $1) AND s.id > $3 AND " + live + " AND " + active + " ORDER BY s.id LIMIT $4"
	}
	listSubject := func(columns string) string {
		return "SELECT " + columns + " FROM sojourn.sessions s, sojourn.apps a WHERE a.name = $1 AND a.num = s.app + 0" +
			" AND hashtextextended(s.subject, s.app) = hashtextextended($5::text, (SELECT num FROM sojourn.apps WHERE name = $1)) AND s.subject = $5" +
			" AND s.id > $3 AND " + live + " AND " + active + " ORDER BY s.id LIMIT $4"
	}
	st := statements{
		list:        [2]string{list(headColumns), list(readColumns)},
		listSubject: [2]string{listSubject(headColumns), listSubject(readColumns)},
		searchEnds: "SELECT (SELECT s.id FROM sojourn.sessions s WHERE s.app = a.num ORDER BY s.id LIMIT 1)," +
			" (SELECT s.id FROM sojourn.sessions s WHERE s.app = a.num ORDER BY s.id DESC LIMIT 1) FROM sojourn.apps a WHERE a.name = $1",
		searchChunk: "WITH c AS MATERIALIZED (SELECT s.id FROM sojourn.sessions s WHERE s.app = (SELECT num FROM sojourn.apps WHERE name = $1)" +
			" AND s.id >= $2 AND s.id < $3 ORDER BY s.id DESC LIMIT $4) SELECT count(*), (SELECT c.id FROM c ORDER BY c.id LIMIT 1) FROM c",
		// NULL stands for no condition. It admits what matches, and perhaps more.
		searchMatch: "SELECT " + headColumns + " FROM sojourn.sessions s, sojourn.apps a WHERE a.name = $1 AND a.num = s.app" +
			" AND s.app = (SELECT num FROM sojourn.apps WHERE name = $1) AND s.id >= $3 AND s.id < $4 AND " + live + " AND " + active +
			" AND ($5::boolean IS NULL OR (s.subject IS NOT NULL) = $5)" +
			" AND ($6::boolean IS NULL OR s.remembered = $6)" +
			" AND ($7::smallint IS NULL OR s.level >= $7)" +
			" AND ($8::bigint IS NULL OR s.last_seen_at >= $8)" +
			" AND ($9::bigint IS NULL OR s.last_seen_at < $9)" +
			" AND ($10::text IS NULL OR starts_with(s.ip, $10) OR starts_with(s.last_ip, $10))" +
			` AND ($11::text IS NULL OR strpos(lower(s.user_agent COLLATE "C"), $11) > 0 OR strpos(lower(s.last_user_agent COLLATE "C"), $11) > 0)` +
			" AND ($12::text IS NULL OR starts_with(s.subject, $12))" +
			" AND ($13::boolean IS NULL OR (s.binding IS NOT NULL) = $13)" +
			" ORDER BY s.id DESC",
		listEnded: "SELECT s.id, s.created_at, s.ended_at, s.end_reason, s.ip, s.user_agent FROM sojourn.sessions s" +
			" WHERE hashtextextended(s.ended_subject, s.app) = hashtextextended($2::text, (SELECT num FROM sojourn.apps WHERE name = $1))" +
			" AND s.app + 0 = (SELECT num FROM sojourn.apps WHERE name = $1) AND s.ended_subject = $2 AND s.ended_at >= $3" +
			" ORDER BY s.ended_at DESC, s.id DESC LIMIT $4",
		get:   "SELECT " + readColumns + " FROM sojourn.apps a JOIN sojourn.sessions s ON s.app = a.num WHERE a.name = $1 AND s.id = $2",
		count: "SELECT sessions, logged_in FROM sojourn.count_sessions($1)",
		barrier: "SELECT greatest(0, (SELECT ended_all_at FROM sojourn.apps WHERE name = $1), (SELECT max(b.raised_at) FROM sojourn.barriers b" +
			" WHERE hashtextextended(b.subject, b.app) = hashtextextended($2::text, (SELECT num FROM sojourn.apps WHERE name = $1))" +
			" AND b.app + 0 = (SELECT num FROM sojourn.apps WHERE name = $1) AND b.subject = $2))",

		create: "SELECT outcome, " + ended + ", existing FROM sojourn.create_session($1, " + rowValue(2) + ", " +
			after(1) + ", " + after(2) + ", " + after(3) + ", " + after(4) + ", " + after(5) + ", " + after(6) + ", " + after(7) + ", " + after(8) + ")",
		update: "SELECT outcome, " + ended + " FROM sojourn.update_session($1, " + rowValue(2) + ", " +
			after(1) + ", " + after(2) + ", " + after(3) + ", " + after(4) + ", " + after(5) + ", " + after(6) + ", " + after(7) + ")",
		replace:    replaceStatement(),
		touch:      "SELECT sojourn.touch_session($1, $2, $3, $4, $5, $6)",
		confirm:    "SELECT sojourn.confirm_session($1, $2, $3, $4, $5, $6)",
		end:        "SELECT outcome, coalesce(whose, '') FROM sojourn.end_session($1, $2, $3, $4)",
		endSubject: "SELECT sojourn.end_subject($1, $2, $3, $4, $5)",
		endAll:     "SELECT 'done' FROM sojourn.end_all($1, $2)",

		sweepDue:      "SELECT examined, ids, subjects, reasons, ats FROM sojourn.sweep_due($1, $2, $3)",
		sweepEndedAll: "SELECT sojourn.sweep_ended_all($1, $2, $3)",
		sweepBarriers: "SELECT sojourn.sweep_barriers($1, $2, $3)",
		sweepKeys:     "SELECT sojourn.sweep_keys($1, $2, $3)",

		listen: `LISTEN "` + schema + `"`,
		// A commit with a notification holds a lock of the whole cluster, so it
		// must not wait for the disk. Nobody needs a notification that a crash
		// undoes.
		notify:    "SELECT set_config('synchronous_commit', 'off', true), pg_notify('" + schema + "', $1::text)",
		heartbeat: "SELECT " + microseconds("pg_postmaster_start_time()") + ", " + microseconds("clock_timestamp()"),
		poll:      poll,
		begin:     "INSERT INTO sojourn.changes_life SELECT gen_random_uuid() WHERE NOT EXISTS (SELECT FROM sojourn.changes_life)",

		keepUp:       "SELECT pg_snapshot_xmin(pg_current_snapshot())::text, " + microseconds("clock_timestamp()"),
		prune:        "DELETE FROM sojourn.changes WHERE ctid = ANY (ARRAY(SELECT ctid FROM sojourn.changes WHERE xid < $1::text::xid8 ORDER BY xid LIMIT $2 FOR UPDATE SKIP LOCKED))",
		pruneForeign: "DELETE FROM sojourn.changes WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())",
		estimate:     "SELECT sojourn.estimated_bytes()",
	}
	for _, text := range []*string{&st.get, &st.list[0], &st.list[1], &st.listSubject[0], &st.listSubject[1], &st.listEnded, &st.searchEnds, &st.searchChunk, &st.searchMatch, &st.count, &st.barrier, &st.create, &st.update, &st.replace, &st.touch, &st.confirm, &st.end, &st.endSubject, &st.endAll,
		&st.sweepDue, &st.sweepEndedAll, &st.sweepBarriers, &st.sweepKeys, &st.poll, &st.begin, &st.prune, &st.pruneForeign, &st.estimate} {
		*text = in(schema, *text)
	}
	return st
}

// replaceStatement is the function replace of the schema as a plain statement,
// for most updates. It replaces a live session of the same revision and subject,
// and returns a row if it did. Its parameters are the application, the replaced
// columns, the present time and the binding.
func replaceStatement() string {
	param := map[string]string{} // of a column
	for i, c := range replaced {
		param[columns[c].name] = "$" + strconv.Itoa(2+i) + "::" + columns[c].kind
	}
	now, binding := "$"+strconv.Itoa(2+len(replaced))+"::bigint", "$"+strconv.Itoa(3+len(replaced))+"::bytea"
	sets := []string{
		"revision = t.revision + 1", "binding = " + binding,
		"last_seen_at = greatest(t.last_seen_at, " + param["last_seen_at"] + ")",
		"sweep_at = least(t.sweep_at, greatest(t.last_seen_at, " + param["last_seen_at"] + ") + " + param["idle"] + ", " + param["expires_at"] + ")",
	}
	for _, name := range []string{"ip", "user_agent"} {
		sets = append(sets, "last_"+name+" = CASE WHEN t.last_seen_at <= "+param["last_seen_at"]+" THEN "+param["last_"+name]+
			" WHEN (t.ip, t.user_agent) = ("+param["ip"]+", "+param["user_agent"]+") THEN t.last_"+name+" ELSE coalesce(t.last_"+name+", t."+name+") END")
	}
	for _, c := range replaced {
		switch name := columns[c].name; name {
		case "id", "revision", "subject", "last_seen_at", "last_ip", "last_user_agent":
		default:
			sets = append(sets, name+" = "+param[name])
		}
	}
	return "WITH changed AS (UPDATE sojourn.sessions t SET " + strings.Join(sets, ", ") + " FROM sojourn.apps a" +
		" WHERE a.name = $1 AND t.app = a.num AND t.id = " + param["id"] + " AND t.revision = " + param["revision"] + " AND t.end_reason IS NULL" +
		" AND (t.created_at <= a.ended_all_at) IS NOT TRUE AND " + now + " < least(t.last_seen_at + t.idle, t.expires_at)" +
		" AND t.subject IS NOT DISTINCT FROM " + param["subject"] + " RETURNING t.app, t.id, t.revision)" +
		" INSERT INTO sojourn.changes (app, session, revision, kind) SELECT c.app, c.id, c.revision, 1 FROM changed c RETURNING 'done'"
}

func microseconds(of string) string { return "(extract(epoch FROM " + of + ") * 1000000)::bigint" }
