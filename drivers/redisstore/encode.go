package redisstore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A record is a JSON text with its fields in a fixed order, on which the scripts
// and decode rely. Behind the ticket, a field that is zero, empty or false is left
// out, because every byte costs Redis several times: Lua hashes each text.
// Exceptions are the subject and authenticated_at, which the scripts look for.
// last_client is left out if it equals the client. Text that is not UTF-8 is kept
// as base64, in a field of another name.
//
// An encoding is the text in parts. The scripts insert what is known only when
// Redis writes: the time of creation and the ticket.
type encoding struct {
	times   string // ,"expires_at":...,"idle_ms":...,"last_seen_at":...
	subject string // ,"subject":"..."
	rest    string // ","epoch":... to the end: all behind the ticket, with its closing quote and the subject
}

// encode returns an encoding that shares no memory with rec.
func encode(rec *store.Record) encoding {
	b := make([]byte, 0, 768+len(rec.Values))
	b = appendInt(b, `,"expires_at":`, int64(rec.ExpiresAt))
	b = appendInt(b, `,"idle_ms":`, int64(rec.Idle/time.Millisecond))
	b = appendInt(b, `,"last_seen_at":`, int64(rec.LastSeenAt))
	times := len(b)

	b = appendNonzero(append(b, '"'), `,"epoch":`, int64(rec.Epoch))
	b = append(b, `,"secret":`...)
	b = appendSecret(b, &rec.Secret)
	for i := range rec.Good {
		b = appendSecret(appendBegin(b, `,"good":[`, i), &rec.Good[i])
	}
	b = appendEnd(b, len(rec.Good))
	for i, s := range rec.Spent {
		b = append(appendBegin(b, `,"spent":[`, i), `{"print":"`...)
		b = hex.AppendEncode(b, s.Print[:])
		b = append(appendInt(b, `","until":`, int64(s.Until)), '}')
	}
	b = appendEnd(b, len(rec.Spent))
	b = appendNonzero(b, `,"spent_till":`, int64(rec.SpentTill))
	if rec.EpochHash != (store.Hash{}) {
		b = append(b, `,"epoch_hash":"`...)
		b = append(hex.AppendEncode(b, rec.EpochHash[:]), '"')
	}
	b = appendPrints(b, `,"epochs":[`, rec.Epochs)
	b = appendPrints(b, `,"halves":[`, rec.Halves)

	from := len(b)
	b = appendText(b, `,"subject`, rec.Subject)
	to := len(b)
	b = appendInt(b, `,"authenticated_at":`, int64(rec.AuthenticatedAt))
	if rec.AMR != "" {
		b = appendText(b, `,"amr`, rec.AMR)
	}
	b = appendNonzero(b, `,"level":`, int64(rec.Level))
	b = appendTrue(b, `,"remembered":true`, rec.Remembered)
	b = appendTrue(b, `,"stale":true`, rec.Stale)
	b = appendTrue(b, `,"bearer":true`, rec.Bearer)
	b = appendClient(append(b, `,"client":`...), rec.Client)
	if rec.LastClient != rec.Client {
		b = appendClient(append(b, `,"last_client":`...), rec.LastClient)
	}
	b = append(appendValues(b, rec.Values), '}')

	text := rueidis.BinaryString(b)
	return encoding{text[:times], text[from:to], text[times:]}
}

// full returns the text of a new record.
func (e *encoding) full(createdAt store.Time, ticket string) string {
	b := e.appendHead(make([]byte, 0, 128+len(ticket)+len(e.rest)), 1, createdAt)
	return string(append(append(b, ticket...), e.rest...))
}

// heads returns two beginnings of a record: at its revision, up to the last
// activity, which may differ; and at the next revision, up to the ticket.
func (e *encoding) heads(rec *store.Record) (now, next string) {
	b := e.appendHead(make([]byte, 0, 320), rec.Revision, rec.CreatedAt)
	b = b[:bytes.LastIndexByte(b[:len(b)-len(ticketField)], ':')+1]
	end := len(b)
	b = e.appendHead(b, rec.Revision+1, rec.CreatedAt)
	text := rueidis.BinaryString(b)
	return text[:end], text[end:]
}

const ticketField = `,"ticket":"`

func (e *encoding) appendHead(b []byte, revision uint64, createdAt store.Time) []byte {
	b = strconv.AppendUint(append(b, `{"v":1,"revision":`...), revision, 10)
	b = appendInt(b, `,"created_at":`, int64(createdAt))
	return append(append(b, e.times...), ticketField...)
}

// encodeSeen returns the text of a touch.
func encodeSeen(at store.Time, client store.Client) string {
	b := appendInt(make([]byte, 0, 128), `{"last_seen_at":`, int64(at))
	b = appendClient(append(b, `,"last_client":`...), client)
	return string(append(b, '}'))
}

func itoa(t store.Time) string { return strconv.FormatInt(int64(t), 10) }

func appendInt(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
}

func appendNonzero(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	return appendInt(b, name, n)
}

func appendTrue(b []byte, field string, is bool) []byte {
	if is {
		b = append(b, field...)
	}
	return b
}

// appendBegin begins the i-th element of an array, and the array before the first.
func appendBegin(b []byte, name string, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return append(b, name...)
}

// appendEnd ends an array of n elements.
func appendEnd(b []byte, n int) []byte {
	if n > 0 {
		b = append(b, ']')
	}
	return b
}

func appendPrints(b []byte, name string, prints []store.Fingerprint) []byte {
	for i, print := range prints {
		b = append(appendBegin(b, name, i), '"')
		b = append(hex.AppendEncode(b, print[:]), '"')
	}
	return appendEnd(b, len(prints))
}

func appendSecret(b []byte, s *store.Secret) []byte {
	b = append(b, `{"hash":"`...)
	b = hex.AppendEncode(b, s.Hash[:])
	b = appendInt(b, `","issued_at":`, int64(s.IssuedAt))
	b = appendNonzero(b, `,"first_seen_at":`, int64(s.FirstSeenAt))
	b = appendNonzero(b, `,"confirmed_at":`, int64(s.ConfirmedAt))
	b = appendNonzero(b, `,"until":`, int64(s.Until))
	b = appendTrue(b, `,"login":true`, s.Login)
	return append(b, '}')
}

func appendClient(b []byte, c store.Client) []byte {
	b = append(b, `{"ip":`...)
	switch {
	case !c.IP.IsValid():
		b = append(b, `""`...)
	case c.IP.Zone() == "":
		b = append(c.IP.AppendTo(append(b, '"')), '"')
	default: // a zone may be any text
		b = driver.AppendString(b, c.IP.String())
	}
	return append(appendText(b, `,"user_agent`, c.UserAgent), '}')
}

// appendText appends a field. name lacks the closing quote.
func appendText(b []byte, name, text string) []byte {
	b = append(b, name...)
	if utf8.ValidString(text) {
		return driver.AppendString(append(b, `":`...), text)
	}
	return append(base64.StdEncoding.AppendEncode(append(b, `_base64":"`...), []byte(text)), '"')
}

// appendValues appends the values as a JSON object. Values that JSON can't hold,
// which the engine never writes, are kept in their packed form as base64.
func appendValues(b []byte, v store.Values) []byte {
	if out, ok := driver.AppendValues(append(b, `,"values":`...), v); ok {
		return out
	}
	return append(base64.StdEncoding.AppendEncode(append(b, `,"values_base64":"`...), v), '"')
}
