package redisstore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redis/rueidis"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// A record is a JSON text with its fields in a fixed order, on which the scripts
// rely. Behind the ticket, a field that is zero, empty or false is left out,
// because every byte costs Redis several times: Lua hashes each text. Exceptions
// are the subject and authenticated_at, which the scripts look for. last_client is
// left out if it equals the client. Text that is not UTF-8 is kept as base64, in a
// field of another name.
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
	c := codec{out: make([]byte, 0, 768+len(rec.Values))}
	c.times(rec)
	times := len(c.out)
	c.literal(`"`)
	c.secrets(rec)
	from := len(c.out)
	c.text(`,"subject`, &rec.Subject)
	to := len(c.out)
	c.about(rec)
	c.values(&rec.Values)
	c.literal(`}`)
	text := rueidis.BinaryString(c.out)
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
	b = strconv.AppendInt(append(b, `,"created_at":`...), int64(createdAt), 10)
	return append(append(b, e.times...), ticketField...)
}

// encodeSeen returns the text of a touch.
func encodeSeen(at store.Time, client store.Client) string {
	c := codec{out: make([]byte, 0, 128)}
	c.touch(&at, &client)
	return string(c.out)
}

// decode fills rec from the texts of a record and of its touch, which may be
// empty. The strings of rec share memory with the texts. The error is ErrNewer or
// errDamaged, or errNoTouch about the touch; rec is of no use then.
func decode(id store.ID, text, seen string, rec *store.Record) error {
	c := codec{reads: true, in: text}
	var version int64
	switch number(&c, `{"v":`, &version); {
	case c.bad:
		return errDamaged
	case version > 1:
		return ErrNewer
	}
	*rec = store.Record{ID: id, Good: rec.Good[:0], Spent: rec.Spent[:0], Epochs: rec.Epochs[:0], Halves: rec.Halves[:0], Binding: rec.Binding[:0], Values: rec.Values[:0]}
	var reason string
	var endAt store.Time
	if c.has(`,"end":"`) {
		reason = c.rest()
		number(&c, `,"end_at":`, &endAt)
	}
	number(&c, `,"revision":`, &rec.Revision)
	number(&c, `,"created_at":`, &rec.CreatedAt)
	c.times(rec)
	c.literal(ticketField)
	c.rest()
	c.secrets(rec)
	if reason == "" {
		c.text(`,"subject`, &rec.Subject)
		c.about(rec)
		c.values(&rec.Values)
	}
	c.literal(`}`)
	if c.bad || c.in != "" {
		return errDamaged
	}
	if reason != "" {
		rec.Bury(store.Reason(reason), endAt)
		return nil
	}
	if seen == "" {
		return nil
	}
	c = codec{reads: true, in: seen}
	var at store.Time
	var client store.Client
	c.touch(&at, &client)
	if c.bad || c.in != "" {
		return errNoTouch
	}
	if at > rec.LastSeenAt {
		rec.LastSeenAt, rec.LastClient = at, client
	}
	return nil
}

// decodeEnded fills rec from what common.lua remembers of an ended session.
func decodeEnded(text string, rec *store.Record) error {
	c := codec{reads: true, in: text}
	c.literal(`{"id":"`)
	id, err := store.ParseID(c.rest())
	rec.ID = id
	number(&c, `,"created_at":`, &rec.CreatedAt)
	c.literal(`,"end":"`)
	rec.End = store.Reason(c.rest())
	c.client(`,"client":`, &rec.LastClient)
	c.literal(`}`)
	if c.bad || c.in != "" || err != nil {
		return errDamaged
	}
	return nil
}

// decodeSubject decodes the field of a subject.
func decodeSubject(field string) (subject string, err error) {
	c := codec{reads: true, in: field}
	c.text(`,"subject`, &subject)
	if c.bad || c.in != "" {
		return "", errDamaged
	}
	return subject, nil
}

// The order of the fields. Reading and writing share it.

func (c *codec) times(rec *store.Record) {
	idle := rec.Idle.Milliseconds()
	number(c, `,"expires_at":`, &rec.ExpiresAt)
	number(c, `,"idle_ms":`, &idle)
	number(c, `,"last_seen_at":`, &rec.LastSeenAt)
	if c.reads {
		rec.Idle = time.Duration(idle) * time.Millisecond
	}
}

func (c *codec) secrets(rec *store.Record) {
	nonzero(c, `,"epoch":`, &rec.Epoch)
	c.literal(`,"secret":`)
	c.secret(&rec.Secret)
	for i := 0; c.element(`,"good":[`, i, len(rec.Good)); i++ {
		if c.reads {
			rec.Good = append(rec.Good, store.Secret{})
		}
		c.secret(&rec.Good[i])
	}
	for i := 0; c.element(`,"spent":[`, i, len(rec.Spent)); i++ {
		if c.reads {
			rec.Spent = append(rec.Spent, store.Spent{})
		}
		c.hash(`{"print":`, rec.Spent[i].Print[:])
		number(c, `,"until":`, &rec.Spent[i].Until)
		c.literal(`}`)
	}
	nonzero(c, `,"spent_till":`, &rec.SpentTill)
	if c.present(`,"epoch_hash":`, rec.EpochHash != store.Hash{}) {
		c.hash(`,"epoch_hash":`, rec.EpochHash[:])
	}
	c.prints(`,"epochs":[`, &rec.Epochs)
	c.prints(`,"halves":[`, &rec.Halves)
}

func (c *codec) secret(s *store.Secret) {
	c.hash(`{"hash":`, s.Hash[:])
	number(c, `,"issued_at":`, &s.IssuedAt)
	nonzero(c, `,"first_seen_at":`, &s.FirstSeenAt)
	nonzero(c, `,"confirmed_at":`, &s.ConfirmedAt)
	nonzero(c, `,"until":`, &s.Until)
	c.flag(`,"login":true`, &s.Login)
	c.literal(`}`)
}

func (c *codec) about(rec *store.Record) {
	number(c, `,"authenticated_at":`, &rec.AuthenticatedAt)
	if c.present(`,"amr`, rec.AMR != "") {
		c.text(`,"amr`, &rec.AMR)
	}
	nonzero(c, `,"level":`, &rec.Level)
	c.flag(`,"remembered":true`, &rec.Remembered)
	c.flag(`,"stale":true`, &rec.Stale)
	c.flag(`,"bearer":true`, &rec.Bearer)
	c.flag(`,"until_browser_closes":true`, &rec.UntilBrowserCloses)
	if c.present(`,"binding":"`, len(rec.Binding) > 0) {
		c.binary(`,"binding":"`, &rec.Binding)
	}
	c.client(`,"client":`, &rec.Client)
	if c.reads {
		rec.LastClient = rec.Client
	}
	if c.present(`,"last_client":`, rec.LastClient != rec.Client) {
		c.client(`,"last_client":`, &rec.LastClient)
	}
}

func (c *codec) touch(at *store.Time, client *store.Client) {
	number(c, `{"last_seen_at":`, at)
	c.client(`,"last_client":`, client)
	c.literal(`}`)
}

// A codec writes fields to out, or reads them from in. After the first mistake it
// is bad and reads nothing more. What it writes it leaves unchanged.
type codec struct {
	reads bool
	out   []byte
	in    string
	bad   bool
}

func (c *codec) fail() { c.bad, c.in = true, "" }

// literal writes a text, or reads it.
func (c *codec) literal(text string) {
	if !c.reads {
		c.out = append(c.out, text...)
	} else if !c.has(text) {
		c.fail()
	}
}

// has reads a text if it comes next.
func (c *codec) has(text string) bool {
	rest, ok := strings.CutPrefix(c.in, text)
	if ok {
		c.in = rest
	}
	return ok
}

// present reports whether a field that may be left out is to be written or comes
// next.
func (c *codec) present(name string, write bool) bool {
	if c.reads {
		return strings.HasPrefix(c.in, name)
	}
	return write
}

// element begins the i-th element of an array of n, and reports whether there is
// one. A reader finds the number itself. An empty array is left out.
func (c *codec) element(name string, i, n int) bool {
	switch {
	case c.bad, !c.reads && n == 0:
		return false
	case c.reads && i == 0:
		return c.has(name)
	case i == 0:
		c.literal(name)
	case c.reads && c.has(`]`):
		return false
	case !c.reads && i == n:
		c.literal(`]`)
		return false
	default:
		c.literal(`,`)
	}
	return !c.bad
}

type integer interface {
	~int64 | ~uint64 | ~uint32 | ~uint8
}

func number[T integer](c *codec, name string, n *T) {
	if !c.reads {
		c.out = strconv.AppendInt(append(c.out, name...), int64(*n), 10) //nolint:gosec // only Revision is larger, and it is not written here
		return
	}
	c.literal(name)
	end := 0
	for end < len(c.in) && (c.in[end] >= '0' && c.in[end] <= '9' || end == 0 && c.in[end] == '-') {
		end++
	}
	var err error
	if ^T(0) > 0 {
		var value uint64
		value, err = strconv.ParseUint(c.in[:end], 10, 64)
		*n = T(value)
	} else {
		var value int64
		value, err = strconv.ParseInt(c.in[:end], 10, 64)
		*n = T(value)
	}
	if c.in = c.in[end:]; err != nil {
		c.fail()
	}
}

// nonzero is number for a field that is left out if it is zero.
func nonzero[T integer](c *codec, name string, n *T) {
	if c.present(name, *n != 0) {
		number(c, name, n)
	}
}

func (c *codec) flag(field string, is *bool) {
	if c.reads {
		*is = c.has(field)
	} else if *is {
		c.literal(field)
	}
}

func (c *codec) hash(name string, hash []byte) {
	if !c.reads {
		c.out = append(hex.AppendEncode(append(append(c.out, name...), '"'), hash), '"')
		return
	}
	c.literal(name)
	c.literal(`"`)
	var digits [2 * len(store.Hash{})]byte
	n := copy(digits[:2*len(hash)], c.in)
	if _, err := hex.Decode(hash, digits[:n]); err != nil || n < 2*len(hash) {
		c.fail()
		return
	}
	c.in = c.in[n:]
	c.literal(`"`)
}

// binary is a field with bytes, in base64. name includes the opening quote.
func (c *codec) binary(name string, b *[]byte) {
	c.literal(name)
	if !c.reads {
		c.out = append(base64.StdEncoding.AppendEncode(c.out, *b), '"')
		return
	}
	var err error
	if *b, err = base64.StdEncoding.AppendDecode(*b, []byte(c.rest())); err != nil {
		c.fail()
	}
}

func (c *codec) prints(name string, list *[]store.Fingerprint) {
	for i := 0; c.element(name, i, len(*list)); i++ {
		if c.reads {
			*list = append(*list, store.Fingerprint{})
		}
		c.hash("", (*list)[i][:])
	}
}

func (c *codec) client(name string, client *store.Client) {
	c.literal(name)
	c.literal(`{"ip":`)
	switch {
	case c.reads:
		c.literal(`"`)
		client.IP = netip.Addr{}
		if ip := c.rest(); ip != "" {
			var err error
			if client.IP, err = netip.ParseAddr(ip); err != nil {
				c.fail()
			}
		}
	case !client.IP.IsValid():
		c.literal(`""`)
	case client.IP.Zone() == "":
		c.out = append(client.IP.AppendTo(append(c.out, '"')), '"')
	default: // a zone may be any text
		c.out = driver.AppendString(c.out, client.IP.String())
	}
	c.text(`,"user_agent`, &client.UserAgent)
	c.literal(`}`)
}

// text is a field with a string. name lacks its closing quote.
func (c *codec) text(name string, text *string) {
	c.literal(name)
	switch {
	case !c.reads && utf8.ValidString(*text):
		c.out = driver.AppendString(append(c.out, `":`...), *text)
	case !c.reads:
		c.out = append(base64.StdEncoding.AppendEncode(append(c.out, `_base64":"`...), []byte(*text)), '"')
	case c.has(`":"`):
		*text = c.rest()
	default:
		c.literal(`_base64":"`)
		plain, err := base64.StdEncoding.DecodeString(c.rest())
		if *text = string(plain); err != nil {
			c.fail()
		}
	}
}

// rest reads a JSON string behind its opening quote.
func (c *codec) rest() string {
	end := strings.IndexByte(c.in, '"')
	if end >= 0 && strings.IndexByte(c.in[:end], '\\') < 0 {
		text := c.in[:end]
		c.in = c.in[end+1:]
		return text
	}
	for end = 0; end < len(c.in) && c.in[end] != '"'; end++ {
		if c.in[end] == '\\' {
			end++
		}
	}
	var plain string
	if end >= len(c.in) || json.Unmarshal([]byte(`"`+c.in[:end+1]), &plain) != nil {
		c.fail()
		return ""
	}
	c.in = c.in[end+1:]
	return plain
}

// values is the field of the values, a JSON object. Values that JSON can't hold,
// which the engine never writes, are kept in their packed form as base64.
func (c *codec) values(v *store.Values) {
	if !c.reads {
		out, ok := driver.AppendValues(append(c.out, `,"values":`...), *v)
		if !ok {
			out = append(base64.StdEncoding.AppendEncode(append(c.out, `,"values_base64":"`...), *v), '"')
		}
		c.out = out
		return
	}
	var err error
	if c.has(`,"values_base64":"`) {
		if *v, err = base64.StdEncoding.AppendDecode(*v, []byte(c.rest())); err == nil {
			err = v.Check()
		}
	} else {
		c.literal(`,"values":`)
		*v, c.in, err = driver.ParseValues(*v, c.in)
	}
	if err != nil {
		c.fail()
	}
}

func itoa(t store.Time) string { return strconv.FormatInt(int64(t), 10) }
