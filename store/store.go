// Package store is the contract between the session engine and the places
// where sessions are kept. Applications don't call it: they choose a store and
// hand it to sojourn.New.
//
// To write a store, implement [Store], and run storetest.Run against it: every
// sentence of the comments below has a case there. Where many nodes share the
// store, run storetest.RunShared too.
//
// The engine decides, the store keeps. A store compares revisions, enforces the
// limit of sessions per subject and the barriers, and knows what has ended; it
// never judges a secret, and it takes every time from its caller, never from
// a clock of its own.
package store

import (
	"context"
	"errors"
	"time"
)

// How long a store remembers what is over, at least. Sweep removes what is
// older.
const (
	TombstoneLife   = time.Hour      // an ended session's tombstone
	BarrierLife     = time.Hour      // the barrier that EndSubject raises
	IdempotencyLife = 24 * time.Hour // an idempotency key of Create
)

// MaxRecord is the largest record that a store must take, in bytes of Subject
// and Values together. The engine's own limits are lower by default.
const MaxRecord = 1 << 20

// MaxBinding is the largest Record.Binding that a store must take, in bytes.
const MaxBinding = 2 << 10

// The limits of a page of List.
const (
	MaxPage = 1000 // the highest Limit

	// MaxPageBytes is how many bytes of Subject and Values all sessions of a
	// page may have together. A page of a single session may have more.
	MaxPageBytes = 4 << 20
)

// MaxEnded is how many of a subject's ended sessions a store must be able to list
// (ListOptions.Ended).
const MaxEnded = 100

// The errors of a store. Each is distinct under errors.Is; a driver returns
// every other failure as the raw cause.
var (
	ErrNotFound  = errors.New("store: no such session")
	ErrEnded     = errors.New("store: the session has ended")
	ErrExists    = errors.New("store: a session with this ID exists")
	ErrConflict  = errors.New("store: the session has a newer revision")
	ErrLimit     = errors.New("store: the subject has as many sessions as the limit allows")
	ErrBarrier   = errors.New("store: the subject's sessions were ended after this request arrived")
	ErrFull      = errors.New("store: full")
	ErrRepeated  = errors.New("store: a session was created under this idempotency key")
	ErrKeyReused = errors.New("store: the idempotency key was used for another session")
	ErrUncertain = errors.New("store: the outcome of the write is unknown")
	ErrCursor    = errors.New("store: List got a cursor that it did not return, or a bad limit")
	ErrClosed    = errors.New("store: closed")
)

// A Store keeps sessions. All methods may be called concurrently.
//
// When a call returns, with or without an error, the store no longer uses rec or
// its slices: the caller uses them again.
//
// Every method is scoped by application: no call for one application reads,
// changes, counts or ends a session of another, even if IDs or subjects are
// equal. Names of applications and subjects compare byte for byte: case,
// trailing blanks, NUL and invalid UTF-8 are part of a name.
//
// A call with a context that is already cancelled returns the context's error
// and changes nothing. If a write may or may not have happened, because the
// context or the connection ended during it, it returns ErrUncertain.
//
// A session is live until it is ended, until one of its deadlines is at or
// before the now of a call ([Record.ExpiredAt]), or until the application's
// EndAll watermark reaches its CreatedAt.
type Store interface {
	// Create adds a live session and sets rec.Revision to 1.
	//
	// ErrExists: a session with this ID, live or ended, is known. Nothing changes.
	// ErrBarrier: the subject's barrier or the application's watermark is at or
	// after opt.Arrived, or the watermark is at or after rec.CreatedAt.
	// ErrLimit: the subject has opt.Limit.Max live sessions, and
	// opt.Limit.Refuse is set. Otherwise the session that has been the subject's
	// for longest ends with ReasonEvicted at opt.Now, and is returned. This
	// repeats until there is room. The check and the creation are one step: under
	// parallel calls the subject never has more than Max. Expired sessions don't
	// count, and this call may end them, with their own reason.
	// ErrFull: there is no room. Sessions with an empty subject get it earlier
	// than others, so that a flood of visitors can't keep logins out.
	// ErrRepeated: a Create under opt.Key, with the same opt.KeyBody, made a
	// session within IdempotencyLife. rec.ID becomes that session's ID, and
	// nothing is created. ErrKeyReused: the same, with another body. If several
	// errors apply, these two come first.
	Create(ctx context.Context, app string, rec *Record, opt CreateOptions) ([]Ended, error)

	// Get fills rec, and reuses the capacity of its slices. The strings of rec
	// are never overwritten later. Its slices belong to the caller.
	//
	// ErrNotFound: there is no such session in this application.
	// ErrEnded: it has ended within TombstoneLife, and rec is its tombstone
	// ([Record.Bury]). A session that the watermark has reached has ended with
	// ReasonRevoked at the watermark's time. The engine judges deadlines: Get
	// returns an expired session that no call has ended yet like a live one.
	//
	// A strict Get sees every write acknowledged before it began. Any other Get
	// may be answered from memory. It then sets rec.Cached, with ErrNotFound and
	// ErrEnded too.
	Get(ctx context.Context, app string, id ID, strict bool, rec *Record) error

	// Update replaces the session if its revision is still rec.Revision, and
	// sets rec.Revision to the next. ID and CreatedAt never change. LastSeenAt
	// never goes back: of the stored and the new one the later stays, with its
	// client.
	//
	// ErrNotFound, ErrEnded: as in Get. ErrEnded too if a deadline of the stored
	// session is at or before opt.Now. Update never creates a session (I4).
	// ErrConflict: the revision is another one, and neither of these applies.
	// With opt.Login, or if the subject differs from the stored one, ErrBarrier,
	// ErrLimit and eviction are as in Create. The session itself is never
	// evicted, and counts once.
	// ErrFull: there is no room for the larger record. The stored session is
	// unchanged.
	Update(ctx context.Context, app string, rec *Record, opt UpdateOptions) ([]Ended, error)

	// Touch notes activity, if the session is live at now. LastSeenAt becomes
	// the later of at and the stored one. If at is later, client becomes
	// LastClient, unless the store has no room for it. The revision stays, and
	// Watch reports nothing. ErrNotFound, ErrEnded: as in Update.
	Touch(ctx context.Context, app string, id ID, at, now Time, client Client) error

	// Confirm notes that the current secret was presented. FirstSeenAt and
	// ConfirmedAt get the given times if they were unset. If this call sets
	// ConfirmedAt, every secret in Good without an Until gets c.Until. If secret
	// is not the current one's hash, or if nothing would change, Confirm does
	// nothing and returns nil. If something changed, the revision grows by one.
	// ErrNotFound, ErrEnded: as in Get, without regard to deadlines.
	Confirm(ctx context.Context, app string, id ID, secret Hash, c Confirmation) error

	// End ends a session for good, and leaves a tombstone. It returns the session
	// if this call ended it, and nothing if it had ended before. A session that
	// is expired at the given time ends with the given reason all the same.
	// ErrNotFound: there is no such session. The reason must not be empty.
	End(ctx context.Context, app string, id ID, reason Reason, at Time) ([]Ended, error)

	// EndSubject ends all sessions of a subject, except the one with the ID
	// except, which may be zero. It raises the subject's barrier to at, even if
	// the subject has no session: a later Create or login with Arrived at or
	// before the barrier fails. Expired sessions that no call has ended yet end
	// with the given reason too. Subject and reason must not be empty.
	EndSubject(ctx context.Context, app, subject string, except ID, reason Reason, at Time) ([]Ended, error)

	// EndAll ends every session of the application that was created at or before
	// at, by a watermark: in constant time, however many there are. A Create with
	// Arrived at or before it fails with ErrBarrier. The watermark never goes
	// back. Sessions created by a caller with a fast clock may carry a later time
	// and survive. If clocks differ by d, a second call d later ends them too.
	EndAll(ctx context.Context, app string, at Time) error

	// Barrier returns the later of the subject's barrier and the application's
	// watermark: a login whose request arrived at or before it fails with
	// ErrBarrier. It is 0 if there is neither. A barrier that is older than
	// BarrierLife may be returned or not. A store that combines the barriers of
	// several subjects returns the combined one.
	Barrier(ctx context.Context, app, subject string) (Time, error)

	// List returns live sessions (as of opt.Now), a page at a time. A page has at
	// most opt.Limit sessions and MaxPageBytes. List also returns the cursor of
	// the next page, which is empty after the last page. A session that is live
	// during the whole listing appears once. The sessions of a subject come in
	// the order of their IDs, which is the order of their creation. All sessions
	// of an application come in the store's own order. Without opt.Values the
	// Values of the records are empty, and are neither decoded nor fetched: a
	// list must not take as much memory as the sessions. ErrCursor: the cursor is
	// malformed, or the limit is out of its range.
	//
	// With opt.Ended, List returns sessions of a subject that have ended instead:
	// by any call except EndAll, and within TombstoneLife before opt.Now. The
	// latest end comes first, and at equal times the highest ID. Only ID, Subject,
	// CreatedAt, LastClient, End and EndAt of these records are set. There is one
	// page, of the last MaxEnded sessions at most, and no cursor. A store that is
	// full, or that has lost a part of its data, may list fewer. ErrCursor: opt has
	// no Subject, or has a Cursor.
	List(ctx context.Context, app string, opt ListOptions) ([]Record, string, error)

	// Count returns the number of sessions that are kept and have not ended.
	// Expired sessions count until a call has ended them.
	Count(ctx context.Context, app string) (Count, error)

	// Sweep ends the application's sessions that expired at or before now, with
	// the reason and the time of ExpiredAt. It removes tombstones, barriers and
	// idempotency keys that are older than their lives. It returns the sessions
	// that this call ended: each end is returned once, to one caller on one node.
	// One call examines about max sessions, and holds no lock for more than 256
	// of them. done means that a whole round over the application is complete;
	// otherwise call again. Sessions that an EndSubject missed, because the store
	// had lost a part of its data, may end here too, with ReasonRevoked at now.
	//
	// Nothing sweeps an application that no engine serves. Its expired sessions
	// stay, unless the store removes them after a time of its own, and no
	// observer hears of their end. The next engine that serves the application
	// ends them.
	Sweep(ctx context.Context, app string, now Time, max int) (ended []Ended, done bool, err error)

	// Close releases the store. Later calls return ErrClosed. A second Close does
	// nothing.
	Close() error
}

// A Watcher is a Store with a change feed.
type Watcher interface {
	// Watch reports, in order, every creation, update, confirmation and end of
	// every application that is acknowledged after Watch has returned. When ctx
	// is done or the store closes, the channel is closed. A feed that lost
	// changes reports a Gap: the receiver then knows nothing about what happened
	// before. A slow receiver gets a Gap, and never delays a writer.
	Watch(ctx context.Context) (<-chan Change, error)
}

// A Feeder is the Watcher of a store that other processes write to as well. Its
// heartbeat shows how recent the feed is.
type Feeder interface {
	Watcher

	// Beat writes a heartbeat through the store, on each of its shards. When it
	// has come back from all of them, every channel of Watch that was open when
	// Beat was called reports a Change with the kind Beat and the Revision n. It
	// comes after all changes that were acknowledged, on any node, before Beat
	// was called, or after a Gap if one of these was lost. Beat need not wait for
	// that, and a heartbeat may be lost. The caller chooses numbers that no other
	// caller of this store uses. The numbers of other processes may be reported
	// or not.
	Beat(ctx context.Context, n uint64) error
}

// A Change is one message of the feed.
type Change struct {
	Kind     ChangeKind
	App      string
	ID       ID     // zero for GoneAll, Gap and Beat
	Revision uint64 // for Changed; for Beat its number
}

// ChangeKind says what a Change reports.
type ChangeKind uint8

const (
	Changed ChangeKind = iota + 1 // created, updated or confirmed
	Gone                          // ended, by whatever cause
	GoneAll                       // EndAll: every session of App created until now
	Gap                           // changes were lost: what happened before is unknown
	Beat                          // a heartbeat of Feeder came back
)

// A Warning is something about a store's server that its operator should
// change. The store works, but not as well as it should.
type Warning struct {
	Code string // names the kind: small letters and underscores
	Text string // what is wrong, and what to do; one line, without secrets
}

// A Warner is a Store that notices what is wrong with its server while it
// serves. Warnings returns what is wrong at present.
type Warner interface {
	Warnings() []Warning
}

// CreateOptions are the conditions of a Create.
type CreateOptions struct {
	Limit   Limit
	Arrived Time // when the request behind it arrived
	Now     Time
	Key     string   // idempotency key, at most 255 bytes; empty: none
	KeyBody [32]byte // hash of what was asked for under the key
}

// UpdateOptions are the conditions of an Update.
type UpdateOptions struct {
	Login   bool // the update is a login: the subject's barrier and limit apply
	Limit   Limit
	Arrived Time
	Now     Time
}

// A Limit is the number of live sessions that a subject may have.
type Limit struct {
	Max    int  // 0: no limit
	Refuse bool // refuse the new session rather than end the oldest
}

// A Confirmation is what Confirm notes about the current secret. It does not note
// a zero time.
type Confirmation struct {
	FirstSeenAt Time
	ConfirmedAt Time
	Until       Time // when the earlier secrets end; used with ConfirmedAt
}

// ListOptions choose a page of List.
type ListOptions struct {
	Subject string // empty: all sessions of the application
	Cursor  string // as returned by the call for the page before; empty: the first page
	Limit   int    // 1 to MaxPage
	Now     Time
	Values  bool // return the Values too
	Ended   bool // list what ended lately instead of what lives; Values has no effect
}

// Count is the number of sessions kept.
type Count struct {
	Sessions int64 // all
	LoggedIn int64 // of these, with a subject
}

// Ended names a session that a call has ended.
type Ended struct {
	App     string
	ID      ID
	Subject string
	Reason  Reason
	At      Time
}
