package shop

import (
	"context"
	"errors"
	"sync"

	"github.com/sojourn-go/sojourn"
)

// A User is an account of the shop. The ID never changes, so it is the subject of the user's sessions; the e-mail address may.
type User struct {
	ID           string
	Email        string // normalised, see normaliseEmail
	PasswordHash string // argon2id, as a PHC string
	Cart         []Line
	Preferences  Preferences
}

// Preferences are how a visitor wants to see the shop. An empty field is no choice.
type Preferences struct {
	Theme    string `json:"theme,omitempty"`    // light, dark, auto
	Language string `json:"language,omitempty"` // a key of languages
}

// or takes what p leaves open from q.
func (p Preferences) or(q Preferences) Preferences {
	if p.Theme == "" {
		p.Theme = q.Theme
	}
	if p.Language == "" {
		p.Language = q.Language
	}
	return p
}

// A CartVersion says which state of which session a saved cart comes from.
type CartVersion struct {
	Session  sojourn.ID
	Revision uint64
}

// before reports whether v is older than w and of the same session. Of different sessions the last to save wins.
func (v CartVersion) before(w CartVersion) bool {
	return v.Session == w.Session && v.Revision < w.Revision
}

// Users keeps the accounts. Its methods may be called concurrently.
type Users interface {
	// Add stores a new user: ErrEmailTaken if another has the address, ErrUsersFull if there is no room.
	Add(ctx context.Context, u User) error

	// ByID and ByEmail return a user, or ErrNoUser.
	ByID(ctx context.Context, id string) (User, error)
	ByEmail(ctx context.Context, email string) (User, error)

	// SetEmail changes the address: ErrNoUser, or ErrEmailTaken.
	SetEmail(ctx context.Context, id, email string) error

	// SetCart saves the cart, unless a later one of the same session is saved already: requests of one session may
	// arrive here in another order than they were committed in. ErrNoUser.
	SetCart(ctx context.Context, id string, items []Line, version CartVersion) error

	// SetPreferences changes the preferences that are not empty. ErrNoUser.
	SetPreferences(ctx context.Context, id string, p Preferences) error
}

// The errors of Users.
var (
	ErrNoUser     = errors.New("shop: no such user")
	ErrEmailTaken = errors.New("shop: the e-mail address belongs to another account")
	ErrUsersFull  = errors.New("shop: no room for another account")
)

// maxUsers bounds the memory that sign-ups can take.
const maxUsers = 100_000

// memoryUsers are users that last as long as the process.
type memoryUsers struct {
	mu      sync.RWMutex
	byID    map[string]*memoryUser
	byEmail map[string]*memoryUser
}

type memoryUser struct {
	User
	version CartVersion
}

// NewMemoryUsers returns an empty set of users that lasts as long as the process.
func NewMemoryUsers() Users {
	return &memoryUsers{byID: map[string]*memoryUser{}, byEmail: map[string]*memoryUser{}}
}

func (m *memoryUsers) Add(_ context.Context, u User) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byEmail[u.Email] != nil {
		return ErrEmailTaken
	}
	if len(m.byID) >= maxUsers {
		return ErrUsersFull
	}
	stored := &memoryUser{User: u}
	m.byID[u.ID], m.byEmail[u.Email] = stored, stored
	return nil
}

func (m *memoryUsers) ByID(_ context.Context, id string) (User, error) {
	return m.get(m.byID, id)
}

func (m *memoryUsers) ByEmail(_ context.Context, email string) (User, error) {
	return m.get(m.byEmail, email)
}

// get returns a copy. A saved cart is replaced and never changed, so that sharing it is safe.
func (m *memoryUsers) get(by map[string]*memoryUser, key string) (User, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if u := by[key]; u != nil {
		return u.User, nil
	}
	return User{}, ErrNoUser
}

func (m *memoryUsers) change(id string, fn func(*memoryUser) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.byID[id]
	if u == nil {
		return ErrNoUser
	}
	return fn(u)
}

func (m *memoryUsers) SetEmail(_ context.Context, id, email string) error {
	return m.change(id, func(u *memoryUser) error {
		if other := m.byEmail[email]; other != nil && other != u {
			return ErrEmailTaken
		}
		delete(m.byEmail, u.Email)
		u.Email = email
		m.byEmail[email] = u
		return nil
	})
}

func (m *memoryUsers) SetCart(_ context.Context, id string, items []Line, version CartVersion) error {
	items = append([]Line(nil), items...)
	return m.change(id, func(u *memoryUser) error {
		if !version.before(u.version) {
			u.Cart, u.version = items, version
		}
		return nil
	})
}

func (m *memoryUsers) SetPreferences(_ context.Context, id string, p Preferences) error {
	return m.change(id, func(u *memoryUser) error {
		u.Preferences = p.or(u.Preferences)
		return nil
	})
}
