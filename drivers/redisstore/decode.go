package redisstore

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/driver"
)

// decode fills rec from the texts of a record and of its touch, which may be
// empty. The strings of rec share memory with the texts. The error is ErrNewer or
// errDamaged, or errNoTouch about the touch; rec is of no use then.
func decode(id store.ID, text, seen string, rec *store.Record) error {
	d := decoder{text: text}
	d.want(`{"v":`)
	switch version := d.integer(); {
	case d.bad:
		return errDamaged
	case version > 1:
		return ErrNewer
	}
	*rec = store.Record{ID: id, Good: rec.Good[:0], Spent: rec.Spent[:0], Epochs: rec.Epochs[:0], Halves: rec.Halves[:0], Values: rec.Values[:0]}
	var reason string
	var endAt store.Time
	if d.has(`,"end":"`) {
		reason = d.rest()
		endAt = d.time(`,"end_at":`)
	}
	d.want(`,"revision":`)
	rec.Revision = d.unsigned()
	rec.CreatedAt = d.time(`,"created_at":`)
	rec.ExpiresAt = d.time(`,"expires_at":`)
	rec.Idle = time.Duration(d.time(`,"idle_ms":`)) * time.Millisecond
	rec.LastSeenAt = d.time(`,"last_seen_at":`)
	d.want(`,"ticket":"`)
	d.rest()
	rec.Epoch = uint32(d.optional(`,"epoch":`)) //nolint:gosec // as it was encoded
	d.want(`,"secret":`)
	d.secret(&rec.Secret)
	for d.more(`,"good":[`, len(rec.Good)) {
		rec.Good = append(rec.Good, store.Secret{})
		d.secret(&rec.Good[len(rec.Good)-1])
	}
	for d.more(`,"spent":[`, len(rec.Spent)) {
		var s store.Spent
		d.want(`{"print":`)
		d.hash(s.Print[:])
		s.Until = d.time(`,"until":`)
		d.want(`}`)
		rec.Spent = append(rec.Spent, s)
	}
	rec.SpentTill = d.optional(`,"spent_till":`)
	if d.has(`,"epoch_hash":`) {
		d.hash(rec.EpochHash[:])
	}
	rec.Epochs = d.prints(`,"epochs":[`, rec.Epochs)
	rec.Halves = d.prints(`,"halves":[`, rec.Halves)
	if reason == "" {
		rec.Subject = d.string(`,"subject`)
		rec.AuthenticatedAt = d.time(`,"authenticated_at":`)
		if d.begins(`,"amr`) {
			rec.AMR = d.string(`,"amr`)
		}
		rec.Level = uint8(d.optional(`,"level":`)) //nolint:gosec // as it was encoded
		rec.Remembered = d.has(`,"remembered":true`)
		rec.Stale = d.has(`,"stale":true`)
		rec.Bearer = d.has(`,"bearer":true`)
		rec.Client = d.client(`,"client":`)
		rec.LastClient = rec.Client
		if d.begins(`,"last_client":`) {
			rec.LastClient = d.client(`,"last_client":`)
		}
		rec.Values = d.values(rec.Values)
	}
	d.want(`}`)
	if d.bad || d.text != "" {
		return errDamaged
	}
	if reason != "" {
		rec.Bury(store.Reason(reason), endAt)
		return nil
	}
	if seen == "" {
		return nil
	}
	d = decoder{text: seen}
	d.want(`{`)
	at := d.time(`"last_seen_at":`)
	client := d.client(`,"last_client":`)
	d.want(`}`)
	if d.bad || d.text != "" {
		return errNoTouch
	}
	if at > rec.LastSeenAt {
		rec.LastSeenAt, rec.LastClient = at, client
	}
	return nil
}

// A decoder reads a text from its beginning. After the first mistake it is bad
// and reads nothing more.
type decoder struct {
	text string
	bad  bool
}

func (d *decoder) fail() { d.bad, d.text = true, "" }

func (d *decoder) has(literal string) bool {
	rest, ok := strings.CutPrefix(d.text, literal)
	if ok {
		d.text = rest
	}
	return ok
}

func (d *decoder) want(literal string) {
	if !d.has(literal) {
		d.fail()
	}
}

func (d *decoder) begins(literal string) bool { return strings.HasPrefix(d.text, literal) }

// more reports whether an array has another element after n of them. The field is
// missing if the array is empty.
func (d *decoder) more(name string, n int) bool {
	switch {
	case d.bad:
		return false
	case n == 0:
		return d.has(name)
	case d.has(`]`):
		return false
	}
	d.want(`,`)
	return !d.bad
}

// digits reads the digits of a number.
func (d *decoder) digits() string {
	n := 0
	for n < len(d.text) && (d.text[n] >= '0' && d.text[n] <= '9' || n == 0 && d.text[n] == '-') {
		n++
	}
	number := d.text[:n]
	d.text = d.text[n:]
	return number
}

func (d *decoder) integer() int64 {
	n, err := strconv.ParseInt(d.digits(), 10, 64)
	if err != nil {
		d.fail()
	}
	return n
}

func (d *decoder) unsigned() uint64 {
	n, err := strconv.ParseUint(d.digits(), 10, 64)
	if err != nil {
		d.fail()
	}
	return n
}

func (d *decoder) time(name string) store.Time {
	if d.want(name); d.bad {
		return 0
	}
	return store.Time(d.integer())
}

// optional reads a number whose field is missing if it is zero.
func (d *decoder) optional(name string) store.Time {
	if !d.has(name) {
		return 0
	}
	return store.Time(d.integer())
}

func (d *decoder) hash(dst []byte) {
	var digits [2 * len(store.Hash{})]byte
	d.want(`"`)
	n := copy(digits[:2*len(dst)], d.text)
	if _, err := hex.Decode(dst, digits[:n]); err != nil || n < 2*len(dst) {
		d.fail()
		return
	}
	d.text = d.text[n:]
	d.want(`"`)
}

func (d *decoder) prints(name string, list []store.Fingerprint) []store.Fingerprint {
	for d.more(name, len(list)) {
		var print store.Fingerprint
		d.hash(print[:])
		list = append(list, print)
	}
	return list
}

func (d *decoder) secret(s *store.Secret) {
	d.want(`{"hash":`)
	d.hash(s.Hash[:])
	s.IssuedAt = d.time(`,"issued_at":`)
	s.FirstSeenAt = d.optional(`,"first_seen_at":`)
	s.ConfirmedAt = d.optional(`,"confirmed_at":`)
	s.Until = d.optional(`,"until":`)
	s.Login = d.has(`,"login":true`)
	d.want(`}`)
}

func (d *decoder) client(name string) (c store.Client) {
	d.want(name)
	d.want(`{"ip":"`)
	if ip := d.rest(); ip != "" {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			d.fail()
		}
		c.IP = addr
	}
	c.UserAgent = d.string(`,"user_agent`)
	d.want(`}`)
	return c
}

// string reads a field that appendText has written.
func (d *decoder) string(name string) string {
	d.want(name)
	if d.has(`":"`) {
		return d.rest()
	}
	d.want(`_base64":"`)
	text, err := base64.StdEncoding.DecodeString(d.rest())
	if err != nil {
		d.fail()
	}
	return string(text)
}

// rest reads a JSON string behind its opening quote.
func (d *decoder) rest() string {
	end := strings.IndexByte(d.text, '"')
	if end < 0 {
		d.fail()
		return ""
	}
	text := d.text[:end]
	if strings.IndexByte(text, '\\') < 0 {
		d.text = d.text[end+1:]
		return text
	}
	for end = 0; end < len(d.text) && d.text[end] != '"'; end++ {
		if d.text[end] == '\\' {
			end++
		}
	}
	if end >= len(d.text) {
		d.fail()
		return ""
	}
	var plain string
	if err := json.Unmarshal([]byte(`"`+d.text[:end+1]), &plain); err != nil {
		d.fail()
		return ""
	}
	d.text = d.text[end+1:]
	return plain
}

// values appends to dst what appendValues has written.
func (d *decoder) values(dst store.Values) store.Values {
	if d.has(`,"values_base64":"`) {
		packed, err := base64.StdEncoding.AppendDecode(dst, []byte(d.rest()))
		if err != nil || store.Values(packed).Check() != nil {
			d.fail()
			return dst
		}
		return packed
	}
	d.want(`,"values":`)
	dst, rest, err := driver.ParseValues(dst, d.text)
	if d.text = rest; err != nil {
		d.fail()
	}
	return dst
}

// decodeSubject reads the field of a subject.
func decodeSubject(field string) (string, error) {
	d := decoder{text: field}
	subject := d.string(`,"subject`)
	if d.bad || d.text != "" {
		return "", errDamaged
	}
	return subject, nil
}
