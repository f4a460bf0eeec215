package sqlitestore

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// The columns of a session besides its key, in the order of row.append. A
// statement without the columns of an index doesn't touch the indexes.
var (
	recordColumns = []string{
		"revision", "epoch",
		"secret", "secret_issued_at", "secret_first_seen_at", "secret_confirmed_at", "secret_until", "secret_login",
		"former_secrets", "epoch_hash", "authenticated_at", "last_seen_at", "idle", "expires_at",
		"amr", "level", "remembered", "stale", "bearer", "until_browser_closes", "ip", "user_agent", "last_ip", "last_user_agent",
		"data", "end_reason", "ended_at", "binding",
	}
	indexColumns = []string{"subject", "joined", "sweep_at", "ended_subject"}

	allColumns = strings.Join(recordColumns, ", ") + ", " + strings.Join(indexColumns, ", ")

	insertRow  = "INSERT INTO sessions (" + allColumns + ", app, id, created_at) VALUES (" + strings.Repeat("?, ", len(recordColumns)+len(indexColumns)+2) + "?)"
	updateRow  = "UPDATE sessions SET " + assign(recordColumns) + ", " + assign(indexColumns) + " WHERE app = ? AND id = ?"
	updateData = "UPDATE sessions SET " + assign(recordColumns) + " WHERE app = ? AND id = ?"

	rowColumns = allColumns + ", app, id, created_at"

	// headColumns has no values: large ones lie in pages of their own, which
	// SQLite doesn't read then.
	headColumns = strings.Replace(rowColumns, ", data, ", ", NULL, ", 1)

	selectRow = "SELECT " + rowColumns + " FROM sessions WHERE app = ? AND id = ?"
)

func assign(names []string) string { return strings.Join(names, " = ?, ") + " = ?" }

// A row is a session in the file. It shares no memory with a caller's record.
type row struct {
	store.Record // Good, Spent, Epochs, Halves, Binding and Values are empty: the next three hold them
	former       any
	binding      any
	data         any
	app          int64
	joined       int64
	sweepAt      store.Time
	endedSubject string // of a tombstone: whose session it was
}

// encode returns the row of a record.
func encode(rec *store.Record) *row {
	r := &row{Record: *rec, former: former(rec), data: encodeValues(rec.Values)}
	if len(rec.Binding) > 0 {
		r.binding = bytes.Clone(rec.Binding)
	}
	r.Good, r.Spent, r.Epochs, r.Halves, r.Binding, r.Values = nil, nil, nil, nil, nil, nil
	return r
}

func former(rec *store.Record) any { return textOrNull(string(driver.MarshalFormer(rec))) }

// deadline returns when the session expires without further activity.
func deadline(r *store.Record) store.Time { return min(r.LastSeenAt.Add(r.Idle), r.ExpiresAt) }

// append appends the values of recordColumns.
func (r *row) append(args []any) []any {
	lastIP, lastAgent := r.lastClient()
	return append(args,
		int64(r.Revision), int64(r.Epoch),
		hashOrNull(&r.Secret.Hash), timeOrNull(r.Secret.IssuedAt), timeOrNull(r.Secret.FirstSeenAt), timeOrNull(r.Secret.ConfirmedAt), timeOrNull(r.Secret.Until), flag(r.Secret.Login),
		r.former, hashOrNull(&r.EpochHash), timeOrNull(r.AuthenticatedAt), timeOrNull(r.LastSeenAt), r.Idle.Milliseconds(), timeOrNull(r.ExpiresAt),
		textOrNull(r.AMR), int64(r.Level), flag(r.Remembered), flag(r.Stale), flag(r.Bearer), flag(r.UntilBrowserCloses), ipText(r.Client.IP), r.Client.UserAgent, lastIP, lastAgent,
		r.data, textOrNull(string(r.End)), timeOrNull(r.EndAt), r.binding,
	)
}

// lastClient returns the columns of LastClient: NULL if it is the client at
// creation.
func (r *row) lastClient() (ip, userAgent any) {
	if r.LastClient == r.Client {
		return nil, nil
	}
	return ipText(r.LastClient.IP), r.LastClient.UserAgent
}

// appendIndexed appends the values of indexColumns.
func (r *row) appendIndexed(args []any) []any {
	joined := any(nil)
	if r.Subject != "" {
		joined = r.joined
	}
	return append(args, textOrNull(r.Subject), joined, int64(r.sweepAt), textOrNull(r.endedSubject))
}

// scan reads a row of rowColumns. It shares no memory with the statement.
func (r *row) scan(s *stmt) {
	*r = row{Record: store.Record{
		Revision: uint64(s.int(0)), Epoch: uint32(s.int(1)),
		Secret:          store.Secret{IssuedAt: s.time(3), FirstSeenAt: s.time(4), ConfirmedAt: s.time(5), Until: s.time(6), Login: s.int(7) != 0},
		AuthenticatedAt: s.time(10), LastSeenAt: s.time(11), Idle: time.Duration(s.int(12)) * time.Millisecond, ExpiresAt: s.time(13),
		AMR: s.text(14), Level: uint8(s.int(15)), Remembered: s.int(16) != 0, Stale: s.int(17) != 0, Bearer: s.int(18) != 0, UntilBrowserCloses: s.int(19) != 0,
		Client: store.Client{IP: toIP(s.text(20)), UserAgent: s.text(21)},
		End:    store.Reason(s.text(25)), EndAt: s.time(26),
		Subject: s.text(28), CreatedAt: s.time(34),
	}, former: s.value(8), data: s.value(24), binding: s.value(27), joined: s.int(29), sweepAt: s.time(30), endedSubject: s.text(31), app: s.int(32)}
	s.fill(r.Secret.Hash[:], 2)
	s.fill(r.EpochHash[:], 9)
	s.fill(r.ID[:], 33)
	r.LastClient = r.Client
	if !s.ColumnIsNull(22) {
		r.LastClient = store.Client{IP: toIP(s.text(22)), UserAgent: s.text(23)}
	}
}

// decode fills rec with the whole record, reusing the capacity of its slices.
func (r *row) decode(rec *store.Record) (err error) {
	good, spent, epochs, halves, binding, values := rec.Good[:0], rec.Spent[:0], rec.Epochs[:0], rec.Halves[:0], rec.Binding[:0], rec.Values[:0]
	*rec = r.Record
	if rec.End != "" {
		rec.Client, rec.LastClient = store.Client{}, store.Client{} // a tombstone's are for lists
	}
	rec.Good, rec.Spent, rec.Epochs, rec.Halves = good, spent, epochs, halves
	bound, _ := r.binding.([]byte)
	rec.Binding = append(binding, bound...)
	if rec.Values, err = decodeValues(values, r.data); err != nil {
		return fmt.Errorf("%w: session %v", err, r.ID)
	}
	if err := driver.UnmarshalFormer(rec, []byte(toString(r.former))); err != nil {
		return fmt.Errorf("sqlitestore: the former secrets of session %v: %w", r.ID, err)
	}
	return nil
}

// bury turns the row into the session's tombstone. A tombstone of a subject's
// session keeps what a list of ended sessions shows.
func (r *row) bury(reason store.Reason, at store.Time) {
	var rec store.Record
	if r.decode(&rec) != nil {
		rec = r.Record // a session that can't be read must end all the same
	}
	subject, client := rec.Subject, rec.LastClient
	rec.Bury(reason, at)
	*r = row{Record: rec, former: former(&rec), app: r.app, sweepAt: at.Add(store.TombstoneLife) + 1, endedSubject: subject}
	if subject != "" {
		r.Client, r.LastClient = client, client
	}
}

func timeOrNull(t store.Time) any {
	if t == 0 {
		return nil
	}
	return int64(t)
}

func toTime(v any) store.Time { return store.Time(toInt(v)) }

func hashOrNull(h *store.Hash) any {
	if *h == (store.Hash{}) {
		return nil
	}
	return h[:]
}

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// ipText returns an empty text, not NULL, for no address: NULL in last_ip means
// the address at creation.
func ipText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

func toIP(text string) netip.Addr {
	ip, _ := netip.ParseAddr(text)
	return ip
}

// fill copies a blob to dst.
func fill(dst []byte, v any) {
	b, _ := v.([]byte)
	copy(dst, b)
}
