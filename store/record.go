package store

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// An ID names a session. It is not a secret. IDs are UUIDs of version 7 (RFC
// 9562), whose order is the order of creation.
type ID [16]byte

// String returns the UUID in its usual form, in lower case.
func (id ID) String() string {
	b, _ := id.AppendText(make([]byte, 0, 36))
	return string(b)
}

// AppendText appends the UUID to b.
func (id ID) AppendText(b []byte) ([]byte, error) {
	for i, c := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, hexDigits[c>>4], hexDigits[c&15])
	}
	return b, nil
}

const hexDigits = "0123456789abcdef"

// MarshalText returns the UUID in its usual form; the zero ID is empty.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return []byte{}, nil
	}
	return id.AppendText(nil)
}

// UnmarshalText is the reverse of MarshalText.
func (id *ID) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	*id, err = ParseID(string(b))
	return err
}

// IsZero reports whether id names no session.
func (id ID) IsZero() bool { return id == ID{} }

// Compare orders IDs by their bytes, which is the order of creation.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// ParseID reads the 36-character form of a UUID, in upper or lower case. It
// accepts UUIDs of every version.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, errBadID
	}
	compact := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(id[:], []byte(compact)); err != nil {
		return ID{}, errBadID
	}
	return id, nil
}

var errBadID = errors.New("store: a session ID is a UUID of 36 characters")

// A Hash is a SHA-256.
type Hash [32]byte

// Print returns the hash's fingerprint.
func (h Hash) Print() Fingerprint { return Fingerprint(h[:8]) }

// MarshalText returns the hash in base64.
func (h Hash) MarshalText() ([]byte, error) { return base64.StdEncoding.AppendEncode(nil, h[:]), nil }

// UnmarshalText is the reverse of MarshalText.
func (h *Hash) UnmarshalText(b []byte) error { return decodeBase64(h[:], b) }

// A Fingerprint is the beginning of a Hash. It recognises a secret that is no
// longer good.
type Fingerprint [8]byte

// MarshalText returns the fingerprint in base64.
func (f Fingerprint) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, f[:]), nil
}

// UnmarshalText is the reverse of MarshalText.
func (f *Fingerprint) UnmarshalText(b []byte) error { return decodeBase64(f[:], b) }

func decodeBase64(dst, text []byte) error {
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil || len(b) != len(dst) {
		return errBadBase64
	}
	copy(dst, b)
	return nil
}

var errBadBase64 = errors.New("store: not a hash or fingerprint in base64")

// Time is a time in milliseconds since the Unix epoch; 0 means never. It has no
// time zone that a store could lose, and compares with ==.
type Time int64

// TimeOf converts, rounding down to the millisecond. The zero time.Time becomes 0.
func TimeOf(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixMilli())
}

// Time converts to a time.Time in UTC; 0 becomes the zero time.Time.
func (t Time) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(t)).UTC()
}

// Add returns t+d, rounded down to the millisecond.
func (t Time) Add(d time.Duration) Time { return t + Time(d/time.Millisecond) }

// Sub returns t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Millisecond }

// A Record is what a store keeps for one session.
type Record struct {
	ID       ID
	Revision uint64 // of the record, for compare-and-set; 1 at creation
	Subject  string // empty: anonymous
	Epoch    uint32 // number of logins and elevations

	Secret    Secret        // the current one
	Good      []Secret      // earlier ones that are, or lately were, good; oldest first
	Spent     []Spent       // earlier ones of this epoch, by fingerprint; oldest first
	SpentTill Time          // secrets that Spent no longer lists may have been good until then
	EpochHash Hash          // SHA-256 of the half of the secret that lasts for the epoch
	Epochs    []Fingerprint // of the EpochHashes of earlier epochs, oldest first, at most four
	Halves    []Fingerprint // of further EpochHashes of this epoch: one for each repeat of an idempotent creation

	CreatedAt       Time
	AuthenticatedAt Time // last login or elevation; 0: never
	LastSeenAt      Time
	Idle            time.Duration // the session expires this long after LastSeenAt, in whole milliseconds
	ExpiresAt       Time          // the absolute deadline

	AMR                string // how the subject authenticated: RFC 8176 values separated by blanks
	Level              uint8  // 0 to 3
	Remembered         bool
	Stale              bool   // the last authentication no longer counts as fresh
	Bearer             bool   // the token travels in a header, not in a cookie
	UntilBrowserCloses bool   // the cookie has no Max-Age
	Client             Client // at creation
	LastClient         Client // at LastSeenAt

	Values Values

	// Binding is what the engine knows of the browser's key, at most MaxBinding
	// bytes. It means nothing to a store. Empty: the session isn't bound to a key.
	Binding []byte

	End   Reason // why the session ended; empty while it lives
	EndAt Time

	Cached bool // the record comes from memory; set by caches, never stored
}

// A Secret is one secret of a session, as far as a store may know it.
type Secret struct {
	Hash        Hash `json:"hash"`
	IssuedAt    Time `json:"issued_at,omitempty"`
	FirstSeenAt Time `json:"first_seen_at,omitempty"` // the arrival of the first request that presented it; 0: none yet
	ConfirmedAt Time `json:"confirmed_at,omitempty"`  // 0: not yet
	Until       Time `json:"until,omitempty"`         // in Good: it is refused to requests that arrive later; 0: not decided yet
	Login       bool `json:"login,omitempty"`         // issued by a login, not by a rotation or an elevation
}

// Spent is a secret that was good until a time.
type Spent struct {
	Print Fingerprint `json:"print"`
	Until Time        `json:"until,omitempty"`
}

// A Client is where a request came from.
type Client struct {
	IP        netip.Addr
	UserAgent string
}

// A Reason says why a session ended.
type Reason string

const (
	ReasonLogout   Reason = "logout"
	ReasonRevoked  Reason = "revoked"
	ReasonIdle     Reason = "idle"
	ReasonAbsolute Reason = "absolute"
	ReasonEvicted  Reason = "evicted"
	ReasonTheft    Reason = "theft"
)

// ExpiredAt returns why the session is expired at now, and when it expired. The
// reason is empty if it is not expired.
func (r *Record) ExpiredAt(now Time) (Reason, Time) {
	idle := r.LastSeenAt.Add(r.Idle)
	switch {
	case now < idle && now < r.ExpiresAt:
		return "", 0
	case idle < r.ExpiresAt:
		return ReasonIdle, idle
	default:
		return ReasonAbsolute, r.ExpiresAt
	}
}

// Bury turns r into its tombstone. This keeps what recognises the session's
// tokens, and when and why it ended. The subject, the client, the values and the
// binding are gone.
func (r *Record) Bury(reason Reason, at Time) {
	spent := r.Spent
	for _, s := range r.Good {
		if s.Until == 0 || s.Until > at {
			s.Until = at
		}
		spent = append(spent, Spent{s.Hash.Print(), s.Until})
	}
	spent = append(spent, Spent{r.Secret.Hash.Print(), at})
	*r = Record{
		ID: r.ID, Revision: r.Revision + 1, Epoch: r.Epoch,
		Spent: spent, SpentTill: r.SpentTill, EpochHash: r.EpochHash, Epochs: r.Epochs, Halves: r.Halves,
		CreatedAt: r.CreatedAt,
		End:       reason, EndAt: at,
		Good: r.Good[:0], Values: r.Values[:0], Binding: r.Binding[:0],
	}
}

// Obituary returns what a List of ended sessions shows of r, which ends for the
// given reason.
func (r *Record) Obituary(reason Reason, at Time) Record {
	return Record{ID: r.ID, Subject: r.Subject, CreatedAt: r.CreatedAt, LastClient: r.LastClient, End: reason, EndAt: at}
}

// CopyFrom makes r a copy of src that shares no slice with it. It reuses the
// capacity of r's slices.
func (r *Record) CopyFrom(src *Record) {
	good, spent, epochs, halves, values, binding := r.Good, r.Spent, r.Epochs, r.Halves, r.Values, r.Binding
	*r = *src
	r.Good = append(good[:0], src.Good...)
	r.Spent = append(spent[:0], src.Spent...)
	r.Epochs = append(epochs[:0], src.Epochs...)
	r.Halves = append(halves[:0], src.Halves...)
	r.Values = append(values[:0], src.Values...)
	r.Binding = append(binding[:0], src.Binding...)
}

// Equal reports whether two records are equal, except for Cached.
func (r *Record) Equal(o *Record) bool {
	return r.ID == o.ID && r.Revision == o.Revision && r.Subject == o.Subject && r.Epoch == o.Epoch &&
		r.Secret == o.Secret && slices.Equal(r.Good, o.Good) && slices.Equal(r.Spent, o.Spent) &&
		r.SpentTill == o.SpentTill && r.EpochHash == o.EpochHash && slices.Equal(r.Epochs, o.Epochs) && slices.Equal(r.Halves, o.Halves) &&
		r.CreatedAt == o.CreatedAt && r.AuthenticatedAt == o.AuthenticatedAt && r.LastSeenAt == o.LastSeenAt &&
		r.Idle == o.Idle && r.ExpiresAt == o.ExpiresAt && r.AMR == o.AMR && r.Level == o.Level &&
		r.Remembered == o.Remembered && r.Stale == o.Stale && r.Bearer == o.Bearer && r.UntilBrowserCloses == o.UntilBrowserCloses && r.Client == o.Client && r.LastClient == o.LastClient &&
		bytes.Equal(r.Values, o.Values) && bytes.Equal(r.Binding, o.Binding) && r.End == o.End && r.EndAt == o.EndAt
}

// Confirm notes on r what Store.Confirm notes in a store, and reports whether
// anything changed. The caller raises the revision.
func (r *Record) Confirm(c Confirmation) bool {
	changed := false
	if r.Secret.FirstSeenAt == 0 && c.FirstSeenAt != 0 {
		r.Secret.FirstSeenAt, changed = c.FirstSeenAt, true
	}
	if r.Secret.ConfirmedAt == 0 && c.ConfirmedAt != 0 {
		r.Secret.ConfirmedAt, changed = c.ConfirmedAt, true
		for i := range r.Good {
			if r.Good[i].Until == 0 {
				r.Good[i].Until = c.Until
			}
		}
	}
	return changed
}
