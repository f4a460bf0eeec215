package pgstore

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgtype/zeronull"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// columns are the columns of the type session, in its order. The table has more:
// later migrations added them.
var columns = []struct{ name, kind string }{
	{"id", "uuid"}, {"created_at", "bigint"}, {"revision", "bigint"}, {"epoch", "bigint"}, {"last_seen_at", "bigint"}, {"idle", "bigint"},
	{"expires_at", "bigint"}, {"sweep_at", "bigint"}, {"joined", "bigint"}, {"authenticated_at", "bigint"}, {"ended_at", "bigint"},
	{"secret_issued_at", "bigint"}, {"secret_first_seen_at", "bigint"}, {"secret_confirmed_at", "bigint"}, {"secret_until", "bigint"},
	{"app", "integer"}, {"level", "smallint"}, {"secret_login", "boolean"}, {"remembered", "boolean"}, {"stale", "boolean"}, {"bearer", "boolean"}, {"until_browser_closes", "boolean"},
	{"secret", "bytea"}, {"epoch_hash", "bytea"}, {"subject", "text"}, {"amr", "text"}, {"ip", "text"}, {"user_agent", "text"},
	{"last_ip", "text"}, {"last_user_agent", "text"}, {"end_reason", "text"}, {"former_secrets", "json"}, {"data", "jsonb"}, {"data_packed", "bytea"},
}

// replaced are the indices of the columns that an update writes or compares. The
// server sets the others, or they never change.
var replaced = func() (list []int) {
	for i, c := range columns {
		switch c.name {
		case "created_at", "sweep_at", "joined", "ended_at", "app", "end_reason":
		default:
			list = append(list, i)
		}
	}
	return list
}()

// readColumns are the columns that a row scans: a session's, and the watermark of
// its application.
var readColumns = func() string {
	var names []string
	for _, c := range columns {
		names = append(names, "s."+c.name)
	}
	return strings.Join(names, ", ") + ", s.binding, a.ended_all_at"
}()

// headColumns is readColumns without the values, which the server then doesn't
// read.
var headColumns = strings.Replace(readColumns, "s.data, s.data_packed", "NULL::jsonb, NULL::bytea", 1)

// rowValue is the SQL text of a value of the type sessions, from the parameters
// $first and following.
func rowValue(first int) string {
	var params []string
	for i, c := range columns {
		params = append(params, "$"+strconv.Itoa(first+i)+"::"+c.kind)
	}
	return "ROW(" + strings.Join(params, ", ") + ")::sojourn.session"
}

// appendRow appends the parameters of rowValue for a record. Columns that the
// server sets are NULL.
func appendRow(args []any, rec *store.Record) []any {
	data, packed := encodeValues(rec.Values)
	lastIP, lastAgent := any(nil), any(nil)
	if rec.LastClient != rec.Client {
		lastIP, lastAgent = ipText(rec.LastClient.IP), escape(rec.LastClient.UserAgent)
	}
	return append(args,
		uuid(rec.ID), int64(rec.CreatedAt), int64(rec.Revision), int64(rec.Epoch), int64(rec.LastSeenAt), rec.Idle.Milliseconds(),
		int64(rec.ExpiresAt), int64(min(rec.LastSeenAt.Add(rec.Idle), rec.ExpiresAt)), nil, timeOrNull(rec.AuthenticatedAt), nil,
		timeOrNull(rec.Secret.IssuedAt), timeOrNull(rec.Secret.FirstSeenAt), timeOrNull(rec.Secret.ConfirmedAt), timeOrNull(rec.Secret.Until),
		nil, int16(rec.Level), rec.Secret.Login, rec.Remembered, rec.Stale, rec.Bearer, rec.UntilBrowserCloses,
		hashOrNull(&rec.Secret.Hash), hashOrNull(&rec.EpochHash), textOrNull(rec.Subject), textOrNull(rec.AMR), ipText(rec.Client.IP), escape(rec.Client.UserAgent),
		lastIP, lastAgent, nil, formerOrNull(rec), data, packed,
	)
}

// A row is a session as the server sends it.
type row struct {
	id                                                pgtype.UUID
	created, revision, epoch, lastSeen, idle, expires int64
	authenticated, ended                              zeronull.Int8
	issued, firstSeen, confirmed, until               zeronull.Int8
	level                                             int16
	login, remembered, stale, bearer, untilCloses     bool
	subject, amr, ip, userAgent, lastIP, lastAgent    text
	reason, former                                    text
	secret, epochHash                                 hashScanner
	binding                                           text
	mark                                              pgtype.Int8

	rec  *store.Record // gets the values during the scan
	data valuesScanner
	fill packedScanner

	dest []any
}

// rows is a pool, because building the list of pointers takes longer than a scan.
var rows = sync.Pool{New: func() any {
	r := new(row)
	r.data.row, r.fill.row = r, r
	r.dest = []any{
		&r.id, &r.created, &r.revision, &r.epoch, &r.lastSeen, &r.idle,
		&r.expires, nil, nil, &r.authenticated, &r.ended,
		&r.issued, &r.firstSeen, &r.confirmed, &r.until,
		nil, &r.level, &r.login, &r.remembered, &r.stale, &r.bearer, &r.untilCloses,
		&r.secret, &r.epochHash, &r.subject, &r.amr, &r.ip, &r.userAgent,
		&r.lastIP, &r.lastAgent, &r.reason, &r.former, &r.data, &r.fill,
		&r.binding, &r.mark,
	}
	return r
}}

// borrow returns a row. Its scan puts the values into rec, reusing rec's slices;
// finish fills the rest of rec.
func borrow(rec *store.Record) *row {
	r := rows.Get().(*row)
	r.rec = rec
	return r
}

func (r *row) giveBack() {
	r.rec = nil
	rows.Put(r)
}

// finish fills the record from the scanned row, and reports whether it is the
// tombstone of an ended session.
func (r *row) finish() (ended bool, err error) {
	rec := r.rec
	good, spent, epochs, halves, binding, values := rec.Good[:0], rec.Spent[:0], rec.Epochs[:0], rec.Halves[:0], rec.Binding[:0], rec.Values
	*rec = store.Record{
		ID: r.id.Bytes, Revision: uint64(r.revision), Epoch: uint32(r.epoch), Subject: r.subject.String(),
		Secret: store.Secret{Hash: store.Hash(r.secret), IssuedAt: store.Time(r.issued), FirstSeenAt: store.Time(r.firstSeen),
			ConfirmedAt: store.Time(r.confirmed), Until: store.Time(r.until), Login: r.login},
		Good: good, Spent: spent, Epochs: epochs, Halves: halves, EpochHash: store.Hash(r.epochHash),
		CreatedAt: store.Time(r.created), AuthenticatedAt: store.Time(r.authenticated), LastSeenAt: store.Time(r.lastSeen),
		Idle: time.Duration(r.idle) * time.Millisecond, ExpiresAt: store.Time(r.expires),
		AMR: r.amr.String(), Level: uint8(r.level), Remembered: r.remembered, Stale: r.stale, Bearer: r.bearer, UntilBrowserCloses: r.untilCloses,
		Client:  store.Client{IP: toIP(r.ip.String()), UserAgent: r.userAgent.String()},
		Binding: append(binding, r.binding.b...), Values: values,
	}
	rec.LastClient = rec.Client
	if !r.lastIP.null {
		rec.LastClient = store.Client{IP: toIP(r.lastIP.String()), UserAgent: r.lastAgent.String()}
	}
	if err := driver.UnmarshalFormer(rec, r.former.b); err != nil {
		return false, fmt.Errorf("pgstore: the former secrets of session %v: %w", rec.ID, err)
	}
	switch {
	case !r.reason.null:
		rec.Bury(store.Reason(r.reason.String()), store.Time(r.ended))
		return true, nil
	case r.mark.Valid && r.created <= r.mark.Int64:
		rec.Bury(store.ReasonRevoked, store.Time(r.mark.Int64))
		return true, nil
	}
	return false, nil
}

// A text is a column that is scanned into the row's own memory.
type text struct {
	b    []byte
	null bool
}

func (t *text) ScanBytes(b []byte) error {
	t.b, t.null = append(t.b[:0], b...), b == nil
	return nil
}

// String returns the text before escape, or an empty text for NULL.
func (t *text) String() string { return unescape(string(t.b)) }

// A valuesScanner reads the column data into the record's values. It is scanned
// before data_packed.
type valuesScanner struct {
	row     *row
	compact []byte
}

var errBadData = errors.New("pgstore: the values of a session are not a JSON object as the store writes it")

func (s *valuesScanner) ScanBytes(text []byte) error {
	rec := s.row.rec
	rec.Values = rec.Values[:0]
	if text == nil {
		return nil
	}
	s.compact = appendCompact(s.compact[:0], text)
	values, rest, err := driver.ParseValues(rec.Values, s.compact)
	if err != nil || len(rest) > 0 {
		return errBadData
	}
	rec.Values = values
	return nil
}

type packedScanner struct{ row *row }

func (s *packedScanner) ScanBytes(packed []byte) error {
	s.row.rec.Values = append(s.row.rec.Values, packed...)
	return nil
}

// A hashScanner is a hash whose column may be NULL.
type hashScanner store.Hash

func (h *hashScanner) ScanBytes(b []byte) error {
	*h = hashScanner{}
	copy(h[:], b)
	return nil
}

// formerOrNull returns the column of a record's former secrets.
func formerOrNull(rec *store.Record) any {
	if text := driver.MarshalFormer(rec); text != nil {
		return string(text)
	}
	return nil
}

func uuid(id store.ID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }

func timeOrNull(t store.Time) any {
	if t == 0 {
		return nil
	}
	return int64(t)
}

func hashOrNull(h *store.Hash) any {
	if *h == (store.Hash{}) {
		return nil
	}
	return bytesOrNull(h[:])
}

// bytesOrNull returns a copy, because the statement may run longer than the
// record lives.
func bytesOrNull(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return bytes.Clone(b)
}

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return escape(s)
}

// ipText returns an empty text, not NULL, for no address: NULL in last_ip means
// the address at creation.
func ipText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return escape(ip.String())
}

func toIP(text string) netip.Addr {
	ip, _ := netip.ParseAddr(text)
	return ip
}
