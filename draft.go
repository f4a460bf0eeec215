package sojourn

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// A draft is what a request wants of its session: a list of operations, and the
// session as it will be with them. The operations are applied at once to a copy
// of the session, so that the request sees them and learns of mistakes, and
// again to the newest record if the commit meets a conflict.
//
// What a draft makes of a record depends only on the operations, the terms, and
// for new secrets on randomness. It never calls a store.
type draft struct {
	ops []op
	rec *store.Record // the session with the operations; nil: none yet

	create   bool // rec is a new session
	id       ID   // of the new session; it stays when the operations are applied again
	logout   bool // the session is to end; there are no operations
	replaced ID   // ends when rec is created, because it is another subject's
	leaves   bool // by Regenerate: the session that was found ends before rec is created
	left     bool // that was done

	next   secret // the secret of rec, if fresh
	fresh  bool
	sealed string // the text of rec, if it was sealed; empty: it is stored

	room   store.Record // for rec
	spare  store.Values // the next values of rec are built here
	opRoom [2]op        // for ops
}

// terms are what an operation depends on, besides the record.
type terms struct {
	opt     *Options
	seal    *sealer
	random  io.Reader
	found   *found
	client  Client
	arrived store.Time
	id      ID            // of the session under Request.Key; zero: there is no key
	idle    time.Duration // Request.Idle
}

// now reads the clock. Most operations don't need it.
func (t *terms) now() store.Time { return store.TimeOf(t.opt.Now()) }

// limitIdle returns the idle limit of r: Request.Idle, but at most the policy's,
// or the given one if Request.Idle is not set.
func (t *terms) limitIdle(given time.Duration, r *store.Record) time.Duration {
	if t.idle == 0 {
		return given
	}
	return min(t.idle, t.opt.Policy.lifetime(r).Idle)
}

// lifetime returns the limits for a session like r.
func (p *Policy) lifetime(r *store.Record) Lifetime {
	switch {
	case r.Remembered:
		return p.Remembered
	case r.Subject != "":
		return p.Login
	}
	return p.Anonymous
}

type opKind uint8

const (
	opSet opKind = iota
	opDelete
	opReplace
	opUpdate // Session.applyUpdate calls the application's function
	opStart  // there is to be a session, whatever is in it
	opLogin
	opElevate
	opRotate
	opRegenerate
)

type op struct {
	kind   opKind
	key    string
	json   []byte
	values store.Values                 // of opReplace
	fn     func([]byte) ([]byte, error) // of opUpdate
	login  *login
	level  int
	amr    string
	keep   []string // of opRegenerate: keys, in order

	// Of opRotate.
	periodic bool // the engine's own, not the application's
	done     bool // the secret was replaced
}

// idle reports whether the operation does nothing without a session.
func (o *op) idle() bool {
	switch o.kind {
	case opDelete, opRotate, opRegenerate:
		return true
	}
	return o.kind == opReplace && len(o.values) == 0
}

type login struct {
	subject  string
	methods  []string
	amr      string // methods, joined
	level    int
	remember bool
	lifetime Lifetime
	closes   bool // UntilBrowserCloses
	bearer   bool
}

// begun reports whether the request wants anything.
func (d *draft) begun() bool { return d.rec != nil || d.logout }

// reset drops what the request wants, and keeps the memory.
func (d *draft) reset() {
	clear(d.opRoom[:])
	d.ops = d.opRoom[:0]
	d.rec, d.create, d.id, d.logout, d.replaced = nil, false, ID{}, false, ID{}
	d.leaves, d.left, d.next, d.fresh, d.sealed = false, false, secret{}, false, ""
}

// loginSubject returns the user whom the request logs in; empty if it doesn't.
func (d *draft) loginSubject() string {
	ops := d.lasting()
	for i := range slices.Backward(ops) {
		if ops[i].kind == opLogin {
			return ops[i].login.subject
		}
	}
	return ""
}

// lasting returns the operations that still have an effect at the end: those since
// the last Regenerate.
func (d *draft) lasting() []op {
	for i := range slices.Backward(d.ops) {
		if d.ops[i].kind == opRegenerate {
			return d.ops[i+1:]
		}
	}
	return d.ops
}

// start begins with a copy of base, or with a new anonymous session if base is
// nil. Operations are not applied.
func (d *draft) start(base *store.Record, t *terms) error {
	r := &d.room
	if base != nil && t.found.sealed && !t.seals(base) {
		return d.unseal(base, t)
	}
	if base != nil {
		r.CopyFrom(base)
		d.rec, d.create = r, false
		r.Idle = t.limitIdle(r.Idle, r)
		return nil
	}
	now := t.now()
	id, next, err := newSession(t.random, now)
	if err != nil {
		return err
	}
	switch {
	case !t.id.IsZero():
		id = t.id
	case !d.id.IsZero():
		id = d.id
	}
	d.id = id
	*r = store.Record{ID: id, Good: r.Good[:0], Spent: r.Spent[:0], Epochs: r.Epochs[:0], Halves: r.Halves[:0], Values: r.Values[:0], Binding: r.Binding[:0]}
	d.rec, d.create, d.next, d.fresh = r, true, next, true
	life := t.opt.Policy.lifetime(r)
	r.Secret = store.Secret{Hash: next.hash(), IssuedAt: now, FirstSeenAt: now, ConfirmedAt: now}
	r.EpochHash = next.halfHash()
	r.CreatedAt, r.LastSeenAt = now, now
	r.Idle, r.ExpiresAt = t.limitIdle(life.Idle, r), now.Add(life.Absolute)
	r.UntilBrowserCloses = t.opt.Cookie.UntilBrowserCloses
	r.Client, r.LastClient = t.client, t.client
	return nil
}

// apply applies one operation to rec. An opUpdate must be resolved first, to the
// opSet of what its function returned.
func (d *draft) apply(o *op, t *terms) error {
	r := d.rec
	switch o.kind {
	case opSet:
		return d.put(o.key, o.json, t)
	case opDelete:
		d.remove(o.key)
	case opReplace:
		if err := t.fits(r, o.values); err != nil {
			return err
		}
		r.Values = append(r.Values[:0], o.values...)
	case opLogin:
		return d.login(o.login, t)
	case opElevate:
		if r.Subject == "" {
			return ErrAnonymous
		}
		if !d.create { // else this request has logged in, and the secret is new
			if err := d.renew(false, t); err != nil {
				return err
			}
			newEpoch(r, &d.next, t.now(), false, false, t.opt.Policy.Grace)
		}
		r.Level, r.AMR = uint8(o.level), mergeAMR(r.AMR, o.amr)
	case opRotate:
		if o.done = !d.fresh && d.mayRotate(o.periodic, t); !o.done {
			return nil
		}
		if err := d.renew(true, t); err != nil {
			return err
		}
		rotate(r, &d.next, t.found.secret.hash(), t.now(), t.opt.Policy.Grace)
	case opRegenerate:
		return d.regenerate(o.keep, t)
	case opStart, opUpdate:
	}
	return nil
}

// mayRotate reports whether a rotation is due, or, if the application asks for
// one, possible. During a rotation a further one would only push out a secret
// that a browser may hold.
func (d *draft) mayRotate(periodic bool, t *terms) bool {
	switch {
	case periodic:
		return rotationDue(d.rec, t.found.verdict, t.arrived, &t.opt.Policy)
	case t.found.verdict == current && d.rec.Secret.ConfirmedAt != 0:
		return true
	}
	return t.found.verdict >= held && t.arrived >= d.rec.Secret.IssuedAt.Add(repeatAfter)
}

func (d *draft) login(l *login, t *terms) error {
	f := t.found
	if l.bearer && !d.rec.Bearer && f.rec != nil { // beside the browser's session, not in its place
		if len(d.ops) > 0 {
			return fmt.Errorf("%w: log in before other changes, which are made to the session of the cookie", ErrBearer)
		}
		if err := d.start(nil, t); err != nil {
			return err
		}
	}
	if d.rec.Subject != "" && d.rec.Subject != l.subject && t.id.IsZero() {
		mine := f.rec != nil && f.rec.Epoch == f.epoch && f.verdict >= good
		if err := d.start(nil, t); err != nil {
			return err
		}
		if mine {
			d.replaced = f.rec.ID
		}
	}
	if f.sealed && !d.create && !t.seal.covers(true) {
		if err := d.unseal(d.rec, t); err != nil {
			return err
		}
	}
	r, now := d.rec, t.now()
	repeated := r.Subject != "" && f.verdict != current
	if !d.create {
		if err := d.renew(false, t); err != nil {
			return err
		}
	}
	r.Subject, r.AMR, r.Level, r.Remembered = l.subject, l.amr, uint8(l.level), l.remember
	r.UntilBrowserCloses = l.closes || t.opt.Cookie.UntilBrowserCloses && !l.remember
	r.Bearer = l.bearer || r.Bearer || f.rec != nil && f.rec.Bearer
	life := t.opt.Policy.lifetime(r).within(l.lifetime)
	r.LastSeenAt, r.Idle, r.ExpiresAt = now, t.limitIdle(life.Idle, r), now.Add(life.Absolute)
	r.Stale = false
	if t.client.IP.IsValid() {
		r.LastClient = t.client
	}
	if d.create {
		r.Epoch, r.AuthenticatedAt, r.Secret.Login = 1, now, true
		return nil
	}
	newEpoch(r, &d.next, now, true, repeated, t.opt.Policy.Grace)
	return nil
}

// regenerate makes rec a new anonymous session with the values of some keys.
func (d *draft) regenerate(keep []string, t *terms) error {
	if !t.id.IsZero() {
		return fmt.Errorf("%w: the session of Request.Key can't be regenerated: choose another key", ErrValue)
	}
	var kept store.Values
	for _, key := range keep {
		if json, ok := d.rec.Values.Get(key); ok {
			kept = store.Values(nil).AppendSet(kept, key, json)
		}
	}
	bearer := d.rec.Bearer
	d.leaves = d.leaves || !d.create || !d.replaced.IsZero()
	d.left = d.left || t.found.rec == nil // there is nothing to leave
	d.replaced = ID{}
	if err := d.start(nil, t); err != nil {
		return err
	}
	d.rec.Bearer, d.rec.Values = bearer, append(d.rec.Values, kept...)
	return nil
}

// renew draws the next secret of rec, for the same epoch or for a new one.
func (d *draft) renew(sameEpoch bool, t *terms) error {
	var next secret
	if err := readRandom(t.random, next[:]); err != nil {
		return err
	}
	presented := &t.found.secret
	if half := presented.halfHash(); sameEpoch && ourHalf(d.rec, &half) {
		copy(next[:halfSize], presented[:halfSize])
	}
	d.next, d.fresh = next, true
	return nil
}

// repeat makes rec the session that an earlier request under the same
// idempotency key has created, with a fresh secret beside its own.
func (d *draft) repeat(created *store.Record, t *terms) error {
	switch {
	case created.Epoch != d.rec.Epoch:
		// A login has given the session more authority since, and perhaps to
		// somebody else than who repeats the creation (I13).
		return ErrSuperseded
	case len(created.Halves) >= maxRepeats:
		return ErrRepeats
	}
	d.rec.CopyFrom(created)
	if err := d.renew(false, t); err != nil {
		return err
	}
	repeatHalf(d.rec, &d.next)
	rotate(d.rec, &d.next, store.Hash{}, t.now(), t.opt.Policy.Grace)
	return nil
}

func (d *draft) put(key string, json []byte, t *terms) error {
	if err := checkJSON(key, json, t.opt); err != nil {
		return err
	}
	values := d.rec.Values.AppendSet(d.spare[:0], key, json)
	d.spare = values // it may have grown
	err := checkSize(values, t.opt)
	if err == nil {
		err = t.fits(d.rec, values)
	}
	if err != nil {
		return fmt.Errorf("%w, with key %q", err, key)
	}
	d.swap(values)
	return nil
}

func (d *draft) remove(key string) {
	d.swap(d.rec.Values.AppendDelete(d.spare[:0], key))
}

// touches reports whether an operation concerns the value of a key.
func (d *draft) touches(key string) bool {
	return slices.ContainsFunc(d.ops, func(o op) bool { return o.kind == opReplace || o.key == key })
}

// swap gives rec the values that were built in spare. The old ones become the
// next spare.
func (d *draft) swap(values store.Values) {
	d.rec.Values, d.spare = values, d.rec.Values
}

// unchanged reports whether the operations leave the session as it was: they set
// values that are there already, delete absent ones, or rotate too early.
func (d *draft) unchanged(was *store.Record) bool {
	return !d.create && !d.fresh && d.rec.Idle == was.Idle && d.rec.Values.Equal(was.Values)
}
