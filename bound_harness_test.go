package sojourn_test

import (
	"strings"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
)

// bound binds the sessions of a world.
func bound(_ *world, o *sojourn.Options) {
	if o.Bound == nil {
		o.Bound = &sojourn.Binding{}
	}
}

// A device is a browser that binds its sessions. Its key is any text, and it signs a
// challenge by telling that key.
type device struct {
	*jar
	w         *world
	key       string
	session   sojourn.ID // that it has registered; zero: none
	offered   string     // the challenge of the last offer to register
	challenge string     // what it signs next
}

// device returns the device of a browser that has just logged in.
func (w *world) device(subject string) *device {
	w.Helper()
	d := &device{jar: new(jar), w: w, key: "the key of " + subject + "'s browser"}
	d.login(subject)
	if d.offered == "" {
		w.Fatal("the login offers no registration")
	}
	return d
}

// bound returns a device whose session is bound and confirmed, and no longer good
// without a proof. Its proof is 2 minutes old.
func (w *world) bound(subject string) *device {
	w.Helper()
	d := w.device(subject)
	d.register()
	d.refresh()
	w.want("with the first proof", w.look(d.jar), subject)
	w.pass(2 * time.Minute)
	return d
}

func (d *device) login(subject string) {
	d.visit(func(s *sojourn.Session) error { return s.Login(subject) })
}

// visit makes a whole request, and heeds its answer.
func (d *device) visit(do func(*sojourn.Session) error) {
	d.w.Helper()
	s := d.w.begin(d.jar)
	if err := do(s); err != nil {
		d.w.Fatal(err)
	}
	d.w.answer(d.jar, s)
	d.heed(s)
}

// heed takes the challenges of an answer.
func (d *device) heed(s *sojourn.Session) {
	h := s.BoundHeaders()
	if v := h.Get("Secure-Session-Registration"); v != "" {
		_, after, _ := strings.Cut(v, `challenge="`)
		d.offered, _, _ = strings.Cut(after, `"`)
	}
	if v := h.Get("Secure-Session-Challenge"); v != "" {
		text, id, _ := strings.Cut(strings.TrimPrefix(v, `"`), `";id="`)
		if d.session.IsZero() || id == d.session.String()+`"` {
			d.challenge = text
		}
	}
}

func (d *device) register() {
	d.w.Helper()
	if err := d.tryRegister(d.w); err != nil {
		d.w.Fatalf("register: %v", err)
	}
}

// tryRegister sends the registration to a node, and heeds the answer.
func (d *device) tryRegister(node *world) error {
	s := node.begin(d.jar)
	id := s.ID()
	err := sojourn.Register(s, d.offered, []byte(d.key))
	if err == nil {
		d.session = id
	}
	node.answer(d.jar, s)
	d.heed(s)
	return err
}

// refresh gets a new proof, by one challenge or two.
func (d *device) refresh() {
	d.w.Helper()
	err := d.tryRefresh(d.w)
	if err == sojourn.ErrChallenge { //nolint:errorlint // the value itself
		err = d.tryRefresh(d.w)
	}
	if err != nil {
		d.w.Fatalf("refresh: %v", err)
	}
}

func (d *device) tryRefresh(node *world) error {
	s := node.begin(d.jar)
	err := sojourn.Refresh(s, d.session, d.challenge, d.signs)
	node.answer(d.jar, s)
	d.heed(s)
	return err
}

func (d *device) signs(key []byte) bool { return string(key) == d.key }

// forgets drops the proofs, as a browser does when their Max-Age is over.
func (d *device) forgets() { d.jar.proof = "" }

// copied returns a thief's copy of all cookies.
func (d *device) copied() *jar {
	c := *d.jar
	return &c
}

// stolen returns a thief's copy of the session's cookie alone.
func (d *device) stolen() *jar { return &jar{session: d.jar.session} }

func (d *device) record() store.Record { return d.w.record(d.id()) }

// id returns the ID of the session, which even a thief knows.
func (d *device) id() sojourn.ID {
	d.w.Helper()
	if d.session.IsZero() {
		return d.w.id(d.jar)
	}
	return d.session
}

// confirmed checks whether the session needs a proof now.
func (d *device) confirmed(want bool) {
	d.w.Helper()
	d.w.flush()
	d.w.want("refused without a proof", d.w.begin(d.stolen()).RefusalReason() == sojourn.RefusedUnproven, want)
}
