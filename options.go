package sojourn

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/sojourn-go/sojourn/store"
)

// Options configure an Engine. The zero value is the safe choice.
type Options struct {
	// App names the application: 1 to 64 letters, digits, '.', '_' and '-'. The
	// engine doesn't see sessions of other applications in the same store.
	// Default "default".
	App string

	// Policy sets how long sessions live and how often secrets change. A zero field
	// takes its value from DefaultPolicy. AAL1, AAL2 and AAL3 are presets.
	Policy Policy

	// Cookie shapes the two cookies. The default is right for a site on one host
	// over HTTPS, and on http://localhost.
	Cookie Cookie

	// Development is for a developer's machine. The site then works over plain HTTP
	// on any host: from a phone in the same network, and with Safari on localhost.
	// The cookies lack Secure, and "__Host-" in their names becomes "dev-". So
	// anybody in the network can read them, and any page on the host can plant them.
	// New logs a warning. Requests that came over HTTPS, or through a proxy that
	// doesn't say "X-Forwarded-Proto: http", get ErrDevelopment. New refuses it with
	// Cookie.Domain, with SameSite None, and with Origins of HTTPS. Default false.
	Development bool

	// MaxSessions is the number of sessions that a subject may have. Default 100;
	// negative: no limit. One more login ends the subject's oldest session, or
	// fails with ErrLimit if RefuseOverLimit is set.
	MaxSessions     int
	RefuseOverLimit bool

	// MaxValue limits a value, in bytes of JSON. Default 64 KiB. MaxSession limits
	// all keys and values of a session. Default 256 KiB, at most 1 MiB. A larger
	// one gets ErrTooLarge.
	MaxValue   int
	MaxSession int

	// MaxDepth limits how deep the arrays and objects of a value are nested.
	// Default 100, at most 1,000. A deeper value gets ErrValue. Deeper values that
	// are stored already can still be read.
	MaxDepth int

	// Sealed keeps sessions in their cookies, encrypted: those of visitors, or all.
	// Default nil: every session is in the store.
	Sealed *Sealing

	// Bound binds logins to the browsers where they began: a copied cookie is
	// refused after minutes. Default nil: no session is bound, and none that was
	// bound before needs its browser's proof.
	Bound *Binding

	// Adopt takes over the sessions of the library that the application used
	// before. Default: none.
	Adopt *Adoption

	// Origins are the site's own public origins: "https://shop.example.com". Most
	// sites don't need them. Name all of them if a proxy replaces the Host header,
	// as nginx does by default. WebSocket handshakes and forms of older browsers
	// tell only their origin. Default: its host must equal Host, or the request
	// gets 403.
	Origins []string

	// TrustedOrigins are other sites whose pages may send unsafe requests and open
	// WebSockets: "https://partner.example". Default: none.
	TrustedOrigins []string

	// TrustedProxies are the addresses of reverse proxies whose X-Forwarded-For is
	// believed. If there are any, a peer on a Unix socket, which has no address, is
	// believed too. Default none: the client is the peer of the connection.
	TrustedProxies []netip.Prefix

	// Bearer accepts tokens in the header "Authorization: Bearer", of sessions made
	// with the login option AsBearer. They are for programs that aren't browsers.
	Bearer bool

	// ClientChanged decides what to do when a session is presented from another
	// address or by another user agent than last time. It must not block. Default:
	// ReactionAllow. The change is an event in any case. For a sealed session it is an
	// event only if this function is set, because only then its cookie keeps the
	// client.
	ClientChanged func(was, is Client) Reaction

	// MaxBadTokens limits the dead tokens a minute from one address, or for IPv6
	// from one /64. Above it, the address counts as guessing, and EventThrottled
	// reports it. Of its tokens, the engine looks up those that this process has seen
	// live, and at most ten others a second. A request whose token isn't looked up
	// reads as a visitor's. Each dead token counts once. Default 100; negative: no
	// limit.
	MaxBadTokens int

	// OnError writes error responses: those of Error, and those of Handler to a
	// refused request or in place of a withheld response. Nothing has been written
	// when it is called. StatusCode returns the status for the error. If OnError
	// writes nothing, or calls Error, the default answers: a line of plain text.
	OnError ErrorFunc

	// ClearSiteData asks the browser to clear data at logout: "cache", "cookies",
	// "storage", "executionContexts" or "*" (the header Clear-Site-Data). Mind that
	// "cookies" clears those of sibling hosts too. Default: nothing.
	ClearSiteData []string

	// OnEvent receives the engine's events, one at a time and in order, on a
	// goroutine of its own. A slow function delays no request: events wait in a
	// queue of 4,096, and are then dropped and counted in Event.Lost. Default:
	// none. LogEvents returns a function that logs them.
	OnEvent func(Event)

	// Now is the clock, for tests. Default time.Now.
	Now func() time.Time
}

// A Policy sets how long sessions live and how often secrets change.
type Policy struct {
	Anonymous  Lifetime // default: idle 14 days, absolute 90 days from creation
	Login      Lifetime // default: idle 24 hours, absolute 30 days from login
	Remembered Lifetime // after a login with Remember; default: idle 30 days, absolute 90 days from login

	// RotateEvery is the age at which the secret of a logged-in cookie session is
	// replaced. Default 15 minutes, at least 5; negative: never.
	RotateEvery time.Duration

	// Grace is how long earlier secrets stay good after the current one is
	// confirmed. Default 10 minutes, because a proxy that buffers uploads delivers
	// them late. 2 minutes suffice without such a proxy. At least 1 minute, at most
	// 30.
	Grace time.Duration
}

// A Lifetime limits a session. Both limits are enforced on the server.
type Lifetime struct {
	Idle     time.Duration // since the last activity
	Absolute time.Duration // since login, or creation while anonymous
}

// within returns p with the limits of l that are set and shorter.
func (p Lifetime) within(l Lifetime) Lifetime {
	if l.Absolute > 0 {
		p.Absolute = min(p.Absolute, l.Absolute)
	}
	if l.Idle > 0 {
		p.Idle = min(p.Idle, l.Idle)
	}
	p.Idle = min(p.Idle, p.Absolute).Truncate(time.Millisecond)
	return p
}

const day = 24 * time.Hour

// DefaultPolicy returns the policy of the zero Options.
func DefaultPolicy() Policy {
	return Policy{
		Anonymous:   Lifetime{14 * day, 90 * day},
		Login:       Lifetime{24 * time.Hour, 30 * day},
		Remembered:  Lifetime{30 * day, 90 * day},
		RotateEvery: 15 * time.Minute,
		Grace:       10 * time.Minute,
	}
}

// AAL1 returns limits that meet NIST SP 800-63B-4, section 2.1.3, for
// authentication assurance level 1: reauthentication at least every 30 days.
// Remembering a login prolongs nothing.
func AAL1() Policy { return nist(Lifetime{24 * time.Hour, 30 * day}) }

// AAL2 returns limits that meet NIST SP 800-63B-4, section 2.2.3, for level 2:
// at least every 24 hours, and after 1 hour of inactivity.
func AAL2() Policy { return nist(Lifetime{time.Hour, 24 * time.Hour}) }

// AAL3 returns limits that meet NIST SP 800-63B-4, section 2.3.3, for level 3:
// at least every 12 hours, and after 15 minutes of inactivity.
func AAL3() Policy { return nist(Lifetime{15 * time.Minute, 12 * time.Hour}) }

func nist(login Lifetime) Policy {
	p := DefaultPolicy()
	p.Login, p.Remembered = login, login
	return p
}

// A Reaction says what to do about a changed client. See Options.ClientChanged.
type Reaction int

const (
	// ReactionAllow goes on.
	ReactionAllow Reaction = iota

	// ReactionStepUp makes Session.Fresh report false until the user authenticates
	// again. That is stored at once, whatever the handler answers.
	ReactionStepUp

	// ReactionEnd ends the session.
	ReactionEnd
)

// withDefaults returns the options with every unset field set, or an error that
// says what to change.
func (o Options) withDefaults() (Options, error) {
	if o.App == "" {
		o.App = "default"
	}
	def := DefaultPolicy()
	p := &o.Policy
	for _, l := range []struct {
		name     string
		set, def *Lifetime
	}{
		{"Anonymous", &p.Anonymous, &def.Anonymous},
		{"Login", &p.Login, &def.Login},
		{"Remembered", &p.Remembered, &def.Remembered},
	} {
		setDefault(&l.set.Absolute, l.def.Absolute)
		setDefault(&l.set.Idle, min(l.def.Idle, l.set.Absolute))
		if l.set.Idle < time.Second || l.set.Absolute < l.set.Idle {
			return o, fmt.Errorf("sojourn: Policy.%s: Idle must be at least a second and Absolute at least Idle; they are %v and %v", l.name, l.set.Idle, l.set.Absolute)
		}
	}
	setDefault(&p.RotateEvery, def.RotateEvery)
	setDefault(&p.Grace, def.Grace)
	setDefault(&o.MaxSessions, 100)
	setDefault(&o.MaxValue, 64<<10)
	setDefault(&o.MaxSession, 256<<10)
	setDefault(&o.MaxDepth, 100)
	setDefault(&o.MaxBadTokens, 100)
	o.MaxBadTokens = min(o.MaxBadTokens, math.MaxInt32) // it is compared in 32 bits
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case !validApp(o.App):
		return o, fmt.Errorf("sojourn: App %q: use 1 to 64 letters, digits, '.', '_' and '-'", o.App)
	case p.RotateEvery > 0 && p.RotateEvery < repeatAfter:
		return o, fmt.Errorf("sojourn: Policy.RotateEvery is %v: use at least %v, or a negative value for never", p.RotateEvery, repeatAfter)
	case p.Grace < time.Minute || p.Grace > 30*time.Minute:
		return o, fmt.Errorf("sojourn: Policy.Grace is %v: use 1 to 30 minutes", p.Grace)
	case o.MaxSession > maxSession || o.MaxSession < 0:
		return o, fmt.Errorf("sojourn: MaxSession is %d: use at most %d", o.MaxSession, maxSession)
	case o.MaxValue < 0 || o.MaxValue > o.MaxSession:
		return o, errors.New("sojourn: MaxValue: use at most MaxSession")
	case o.MaxDepth < 0 || o.MaxDepth > maxDepth:
		return o, fmt.Errorf("sojourn: MaxDepth is %d: use at most %d", o.MaxDepth, maxDepth)
	}
	for _, prefix := range o.TrustedProxies {
		if !prefix.IsValid() {
			return o, errors.New("sojourn: TrustedProxies holds an invalid prefix; netip.ParsePrefix makes valid ones")
		}
	}
	for _, data := range o.ClearSiteData {
		if !slices.Contains([]string{"cache", "cookies", "storage", "executionContexts", "*"}, data) {
			return o, fmt.Errorf("sojourn: ClearSiteData: %q: use cache, cookies, storage, executionContexts or *", data)
		}
	}
	var err error
	if o.Cookie, err = o.Cookie.withDefaults(o.Development); err != nil {
		return o, err
	}
	if o.Sealed, err = o.Sealed.withDefaults(); err != nil {
		return o, err
	}
	if o.Bound, err = o.Bound.withDefaults(); err != nil {
		return o, err
	}
	o.Adopt, err = o.Adopt.withDefaults(&o.Cookie)
	return o, err
}

const maxDepth = 1000 // far from the 10,000 above which decoders of JSON give up

const maxSession = store.MaxRecord - 1024 // what a store must take, less a subject

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
