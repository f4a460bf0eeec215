package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/store"
	"github.com/sojourn-go/sojourn/store/nearcache"
)

// nodeEnv makes this program a node. Its value is a nodeConfig.
const nodeEnv = "SOJOURN_FAULTS_NODE"

type nodeConfig struct {
	Store   string            // redis, cluster or postgres
	URL     string            // of the store, through proxies
	FeedURL string            // of the feed, if it has its own
	Route   map[string]string // the real destination of connections to an address
	FeedTo  map[string]string // the same for the feed's connections, if they differ
	Waits   int               // replicas that an end waits for
	Patient bool              // twice the timeout
}

// nodeTimeout is short, so that a node gives up a dead connection during the
// test.
const nodeTimeout = time.Second

func (c *nodeConfig) timeout() time.Duration {
	if c.Patient {
		return 2 * nodeTimeout
	}
	return nodeTimeout
}

// runNode serves until its standard input is closed.
func runNode(config nodeConfig) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	st, err := openStore(ctx, config, log)
	for err != nil && ctx.Err() == nil { // nodeTimeout may be too short on a busy machine
		time.Sleep(50 * time.Millisecond)
		st, err = openStore(ctx, config, log)
	}
	if err != nil {
		return err
	}
	n, err := newNode(st)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: n}
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); server.Close() }()
	fmt.Println(l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return n.close()
}

// A node serves three applications on one store: without a limit of sessions,
// with a limit of crowdLimit that ends the oldest, and with a limit that
// refuses.
type node struct {
	http.Handler
	engines []*sojourn.Engine
	cache   *nearcache.Cache
}

const crowdLimit = 3

// newNode returns a node that closes st when it is closed.
func newNode(st interface {
	store.Store
	store.Feeder
}) (*node, error) {
	n := &node{cache: nearcache.NewShared(st, nearcache.Options{})}
	mux := http.NewServeMux()
	n.Handler = mux
	for name, opt := range map[string]sojourn.Options{
		"shop":  {MaxSessions: -1},
		"crowd": {MaxSessions: crowdLimit},
		"queue": {MaxSessions: crowdLimit, RefuseOverLimit: true},
	} {
		opt.App, opt.MaxBadTokens, opt.OnError = name, -1, answerError
		e, err := sojourn.New(n.cache, opt)
		if err != nil {
			return nil, err
		}
		n.engines = append(n.engines, e)
		mux.Handle("/"+name+"/", http.StripPrefix("/"+name, e.Handler(routes(e))))
	}
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, n.cache.Stats().Live) })
	return n, nil
}

func (n *node) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, e := range n.engines {
		_ = e.Close(ctx) // activity that can't be written is lost
	}
	return n.cache.Close()
}

// An answer is the body of every response that isn't an error.
type answer struct {
	Session string // its ID; empty: nobody is logged in
	Level   int
	List    []int
	Count   int
}

var numbers = sojourn.NewKey[[]int]("numbers")

func routes(e *sojourn.Engine) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(s *sojourn.Session, r *http.Request) (answer, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			a, err := f(sojourn.From(r.Context()), r)
			if err != nil {
				answerError(w, r, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(a) // the client notices a missing answer
		})
	}
	handle("POST /login", func(s *sojourn.Session, r *http.Request) (a answer, err error) {
		if err := s.Login(r.FormValue("subject"), sojourn.Level(1)); err != nil {
			return a, err
		}
		if err := s.Commit(r.Context()); err != nil {
			return a, err
		}
		return answer{Session: s.ID().String(), Level: 1}, nil
	})
	handle("GET /check", func(s *sojourn.Session, r *http.Request) (a answer, err error) {
		if r.FormValue("strict") != "" {
			s.Strict()
		}
		if err := s.Load(r.Context()); err != nil || s.Subject() == "" {
			return a, err
		}
		a = answer{Session: s.ID().String(), Level: s.Level()}
		a.List, err = numbers.Get(s)
		return a, err
	})
	// These need a login. The middleware commits them before the answer.
	member := func(pattern string, f func(s *sojourn.Session, r *http.Request) error) {
		handle(pattern, func(s *sojourn.Session, r *http.Request) (a answer, err error) {
			if err := s.Load(r.Context()); err != nil {
				return a, err
			}
			if s.Subject() == "" {
				return a, sojourn.ErrAnonymous
			}
			return answer{Session: s.ID().String()}, f(s, r)
		})
	}
	member("POST /add", func(s *sojourn.Session, r *http.Request) error {
		n, err := strconv.Atoi(r.FormValue("n"))
		if err != nil {
			return err
		}
		return numbers.Update(s, func(list *[]int) error { *list = append(*list, n); return nil })
	})
	member("POST /rotate", func(s *sojourn.Session, r *http.Request) error { return s.Rotate() })
	member("POST /raise", func(s *sojourn.Session, r *http.Request) error {
		level, err := strconv.Atoi(r.FormValue("level"))
		if err != nil {
			return err
		}
		return s.Elevate(level)
	})
	member("POST /logout", func(s *sojourn.Session, r *http.Request) error { return s.Logout() })
	handle("POST /end", func(_ *sojourn.Session, r *http.Request) (a answer, err error) {
		id, err := sojourn.ParseID(r.FormValue("id"))
		if err != nil {
			return a, err
		}
		return a, e.End(r.Context(), id)
	})
	handle("POST /endsubject", func(_ *sojourn.Session, r *http.Request) (a answer, err error) {
		a.Count, err = e.EndSubject(r.Context(), r.FormValue("subject"), sojourn.ID{})
		return a, err
	})
	handle("GET /count", func(_ *sojourn.Session, r *http.Request) (a answer, err error) {
		list, _, err := e.List(r.Context(), r.FormValue("subject"), "", 1000)
		return answer{Count: len(list)}, err
	})
	return mux
}

// errorHeader says what an error means for the client's history.
const errorHeader = "Faults-Outcome"

// answerError translates an error into an outcome, as Session.Commit documents
// it.
func answerError(w http.ResponseWriter, _ *http.Request, err error) {
	out := ""
	switch {
	case errors.Is(err, sojourn.ErrUncertain):
		out = "unknown"
	case errors.Is(err, sojourn.ErrUnavailable), errors.Is(err, sojourn.ErrFull), errors.Is(err, sojourn.ErrConflict):
		out = "failed"
	case errors.Is(err, sojourn.ErrEnded), errors.Is(err, sojourn.ErrSuperseded), errors.Is(err, sojourn.ErrAnonymous),
		errors.Is(err, sojourn.ErrNotFound), errors.Is(err, sojourn.ErrLimit):
		out = "refused"
	}
	w.Header().Set(errorHeader, out)
	http.Error(w, err.Error(), sojourn.StatusCode(err))
}
