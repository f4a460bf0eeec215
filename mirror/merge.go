package mirror

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"hash/crc32"
	"maps"
	"slices"
	"time"
)

// A seen is kept in a session. It says what the mirror stored there last, so that
// the mirror knows which values the application has changed since.
type seen struct {
	User   string          `json:"user"`
	Values map[string]mark `json:"values"`
}

type mark struct {
	Time int64  `json:"time"`
	Sum  uint32 `json:"sum"` // CRC-32 of the JSON
}

// reserved is the key under which a session keeps its seen, and an engine's profile
// its entries.
const reserved = "sojourn.mirror"

// An offer is what a browser sends: the state in its local storage.
type offer struct {
	User   string `json:"user"` // who was signed in when it was stored
	Values map[string]struct {
		Value json.RawMessage `json:"value"`
		Age   *float64        `json:"age"` // milliseconds since the change; nil: the server was told of it
	} `json:"values"`
}

// changes reports whether the offer has a change that the server doesn't know yet.
func (o *offer) changes() bool {
	for _, v := range o.Values {
		if v.Age != nil {
			return true
		}
	}
	return false
}

// longestOffline is the highest age of a change that counts. An older one counts
// as if it were that old.
const longestOffline = 400 * 24 * time.Hour

// A merger brings together what profile, session and browser have for a user.
type merger struct {
	keys    []Key
	user    string                     // mark of the user
	now     int64                      // when the request arrived
	session map[string]json.RawMessage // values of the declared keys
	seen    seen
	offer   offer
}

// merge returns what the profile's entries become, and which keys of the offer are
// refused. It changes no argument, so it can run again.
func (m *merger) merge(profile map[string]Entry) (merged map[string]Entry, refused []string) {
	merged = maps.Clone(profile) // also the entries of keys that are no longer declared
	if merged == nil {
		merged = make(map[string]Entry)
	}
	for i := range m.keys {
		delete(merged, m.keys[i].Name)
	}
	public, total := fitting(m.keys, profile)
	for name, e := range public {
		e.Time = min(e.Time, m.now) // another node's clock is fast, or this one was put back
		merged[name] = e
	}
	for i := range m.keys {
		k := &m.keys[i]
		have := k.known(merged)
		now, ok := m.fromOffer(k, have, m.fromSession(k, have))
		if more := now.size(k) - have.size(k); more > 0 && total+more > maxBytes {
			ok = false
		} else if now != nil {
			merged[k.Name] = *now
			total += more
		}
		if _, offered := m.offer.Values[k.Name]; offered && !ok {
			refused = append(refused, k.Name)
		}
	}
	for name := range m.offer.Values {
		if !slices.ContainsFunc(m.keys, func(k Key) bool { return k.Name == name }) {
			refused = append(refused, name)
		}
	}
	return merged, refused
}

// fitting returns the entries that have the declared form and together fit into
// maxBytes, and how many bytes they have. Keys that were declared first come first.
func fitting(keys []Key, entries map[string]Entry) (fit map[string]Entry, total int) {
	fit = make(map[string]Entry, len(keys))
	for i := range keys {
		k := &keys[i]
		if e := k.known(entries); e != nil && total+e.size(k) <= maxBytes {
			fit[k.Name] = *e
			total += e.size(k)
		}
	}
	return fit, total
}

// known returns the key's entry, or nil if there is none of the declared form.
func (k *Key) known(entries map[string]Entry) *Entry {
	e, ok := entries[k.Name]
	if !ok {
		return nil
	}
	var err error
	if e.Value, err = k.accept(e.Value); err != nil {
		return nil
	}
	return &e
}

// size is how many bytes of maxBytes the key and its value take.
func (e *Entry) size(k *Key) int {
	if e == nil {
		return 0
	}
	return len(k.Name) + len(e.Value)
}

// fromSession returns the session's value, if the application has changed it since
// the last exchange, or if there is no entry yet. Otherwise it returns the entry.
func (m *merger) fromSession(k *Key, have *Entry) *Entry {
	e, changed := m.sessionEntry(k)
	if e == nil || have != nil && (!changed || sum(have.Value) == sum(e.Value)) {
		return have
	}
	return e
}

// sessionEntry returns the session's value with its time, or nil if there is none
// that may belong to the user. changed reports whether the application has changed
// it since the last exchange. Then its time is that of the request.
func (m *merger) sessionEntry(k *Key) (e *Entry, changed bool) {
	value := m.inSession(k)
	last, ours := m.seen.Values[k.Name]
	switch ours = ours && m.seen.User == m.user; {
	case value == nil:
		return nil, false
	case ours && last.Sum == sum(value):
		return &Entry{value, last.Time}, false
	case ours:
		return &Entry{value, m.now}, true
	case string(value) != removed && m.mayTake(k, m.seen.User):
		return &Entry{value, m.now}, m.seen.User == m.user
	}
	return nil, false
}

// entries returns the session's values with their times.
func (m *merger) entries() map[string]Entry {
	out := make(map[string]Entry, len(m.keys))
	for i := range m.keys {
		if e, _ := m.sessionEntry(&m.keys[i]); e != nil {
			out[m.keys[i].Name] = *e
		}
	}
	return out
}

// inSession returns the session's value of a key, null if there is none, and nil
// if it hasn't the declared form.
func (m *merger) inSession(k *Key) json.RawMessage {
	raw, ok := m.session[k.Name]
	if !ok {
		return json.RawMessage(removed)
	}
	value, err := k.accept(raw)
	if err != nil {
		return nil
	}
	return value
}

// fromOffer returns the browser's value, if it is later than the entry, or if there
// is none. Otherwise it returns the value of fromSession. A change has a time only
// if the user made it. What was changed before the sign-in is taken where there is
// nothing else. ok is false if the value hasn't the declared form.
func (m *merger) fromOffer(k *Key, have, session *Entry) (now *Entry, ok bool) {
	offered, sent := m.offer.Values[k.Name]
	if !sent {
		return session, true
	}
	value, err := k.accept(offered.Value)
	if err != nil {
		return session, false
	}
	if offered.Age != nil && m.offer.User == m.user {
		age := min(max(*offered.Age, 0), float64(longestOffline.Milliseconds()))
		if at := m.now - int64(age); have == nil || at >= have.Time {
			return &Entry{value, at}, true
		}
		return session, true
	}
	if session == nil && string(value) != removed && m.mayTake(k, m.offer.User) {
		return &Entry{value, m.now}, true
	}
	return session, true
}

// mayTake reports whether a value that was left by a visitor, or by a user of the
// given mark, may become this user's.
func (m *merger) mayTake(k *Key, by string) bool { return !k.Personal || by == "" || by == m.user }

// userMark returns a mark that stands for a user in local storage. It doesn't
// reveal who that is.
func userMark(subject string) string {
	if subject == "" {
		return ""
	}
	hash := sha256.Sum256([]byte("sojourn mirror\x00" + subject))
	return base64.RawURLEncoding.EncodeToString(hash[:9])
}

// sum returns a checksum of a value's JSON, by which values are compared.
func sum(value json.RawMessage) uint32 { return crc32.ChecksumIEEE(value) }
