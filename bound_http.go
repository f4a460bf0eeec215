package sojourn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sojourn-go/sojourn/internal/dbsc"
	"github.com/sojourn-go/sojourn/store"
)

// BoundHandler serves the addresses where browsers register a session's key and
// renew its proofs (Options.Bound): register and refresh below Binding.Path. Mount
// it there:
//
//	mux.Handle("/session/bound/", sessions.BoundHandler())
//
// The handler of package pages serves them too, if its path is the parent of
// Binding.Path. It works inside Handler and alone.
//
// With Cookie.Domain it also serves /.well-known/device-bound-sessions, which
// browsers read at the domain itself before they let a host below it register.
// Mount it there too. It allows the hosts of Options.Origins and TrustedOrigins.
//
// It answers as browsers need it. 403 carries a challenge to sign. 401 says that
// the session is over, or not bound by this key, and 400 that the proof is
// malformed; both end the browser's part. An outage is always a 503, so that no
// browser gives up a session because of one.
func (e *Engine) BoundHandler() http.Handler { return http.HandlerFunc(e.serveBound) }

func (e *Engine) serveBound(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	forbidStorage(h)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	switch {
	case e.isBoundPath(r.URL.Path) && r.Method == http.MethodPost:
		e.answerBound(w, r)
	case e.isBoundPath(r.URL.Path):
		h.Set("Allow", http.MethodPost)
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
	case r.URL.Path == dbsc.WellKnownPath && e.opt.Bound != nil && e.opt.Cookie.Domain != "":
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(dbsc.WellKnown(append(e.site.own[:len(e.site.own):len(e.site.own)], e.site.trusted...)))
	default:
		http.NotFound(w, r)
	}
}

const (
	registerPath = "register"
	refreshPath  = "refresh"
)

// isBoundPath reports whether BoundHandler registers or refreshes at a path. There
// it judges by itself which origins may send a request: Handler's 403 would tell
// the browser to sign a challenge.
func (e *Engine) isBoundPath(path string) bool {
	if e.opt.Bound == nil {
		return false
	}
	rest, ok := strings.CutPrefix(path, e.opt.Bound.Path)
	return ok && (rest == registerPath || rest == refreshPath)
}

// errProof: the browser sent something else than a proof.
var errProof = errors.New("sojourn: malformed proof")

func (e *Engine) answerBound(w http.ResponseWriter, r *http.Request) {
	s := e.Begin(r.Context(), e.RequestFrom(r))
	defer s.Finish()
	do := s.answerRefresh
	if strings.HasSuffix(r.URL.Path, registerPath) {
		do = s.answerRegister
	}
	body, err := do(r)
	status := http.StatusServiceUnavailable
	switch {
	case err == nil:
		s.AddCookies(w.Header())
		if body != nil {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(body)
		return
	case errors.Is(err, errChallenge):
		s.AddCookies(w.Header())
		status = http.StatusForbidden
	case errors.Is(err, errProof):
		status = http.StatusBadRequest
	case errors.Is(err, ErrAnonymous), errors.Is(err, ErrEnded), errors.Is(err, ErrSuperseded),
		errors.Is(err, ErrUnbound), errors.Is(err, ErrUnproven), errors.Is(err, ErrCrossOrigin):
		status = http.StatusUnauthorized
	default:
		w.Header().Set("Retry-After", "5")
		if !errors.Is(err, ErrThrottled) && r.Context().Err() == nil {
			logOutage(r.Context(), err)
		}
	}
	http.Error(w, http.StatusText(status), status)
}

// answerRegister binds the session of the request's cookie to the key of its proof.
// It returns what the browser must know of the session.
func (s *Session) answerRegister(r *http.Request) ([]byte, error) {
	if err := s.e.mayBind(r); err != nil {
		return nil, err
	}
	p, err := readProof(r)
	switch {
	case err != nil:
		return nil, err
	case p.Challenge == "": // a script asks what to sign
		return nil, s.register(r.Context(), "", nil)
	case p.Key == nil:
		return nil, fmt.Errorf("%w: a registration needs a key", errProof)
	case !p.SignedBy(p.Key):
		return nil, errSignature
	}
	if err := s.register(r.Context(), p.Challenge, p.Key); err != nil {
		return nil, err
	}
	cookie := &s.e.site.cookie
	in := dbsc.Instructions{
		Session:    s.challenged.ID.String(),
		RefreshURL: s.e.opt.Bound.Path + refreshPath,
		Cookie:     cookie.proofName(s.challenged.ID),
		Attributes: strings.TrimPrefix(s.e.site.forms[0], "; "),
		Links:      cookie.SameSite != http.SameSiteNoneMode,
	}
	if cookie.Domain != "" {
		in.Site = "https://" + strings.TrimPrefix(cookie.Domain, ".")
	}
	return in.JSON(), nil
}

// answerRefresh gives a session a new proof. The browser names the session; for a
// script, which can't, the session's cookie does.
func (s *Session) answerRefresh(r *http.Request) ([]byte, error) {
	var ids []ID
	if named := r.Header[dbsc.HeaderSessionID]; named != nil {
		text, _ := dbsc.Text(named)
		id, err := ParseID(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrEnded, err)
		}
		ids = []ID{id}
	} else {
		if err := s.e.mayBind(r); err != nil {
			return nil, err
		}
		if !s.e.opt.Bound.Script {
			return nil, fmt.Errorf("%w: no browser names the session", ErrUnbound)
		}
		for _, text := range s.request.Session {
			if id, _, ok := parseToken(text); ok && len(ids) < maxSameName {
				ids = appendNew(ids, id)
			}
		}
	}
	p, err := readProof(r)
	switch {
	case err != nil:
		return nil, err
	case p.Key != nil:
		return nil, fmt.Errorf("%w: a refresh brings no key", errProof)
	case s.request.refused != nil:
		return nil, s.request.refused
	}
	err = ErrAnonymous
	for _, id := range ids { // a browser has one
		err = s.refreshKnown(r.Context(), id, p)
		if !errors.Is(err, ErrEnded) && !errors.Is(err, ErrUnbound) {
			break
		}
	}
	return nil, err
}

// refreshKnown is refresh, and bounds what unknown IDs cost the store, as for
// tokens. ErrThrottled: the ID wasn't looked up.
func (s *Session) refreshKnown(ctx context.Context, id ID, p *dbsc.Proof) error {
	e, now, text := s.e, s.e.now(), id.String()
	dead := presented{text: text, sum: e.bad.sum(text), id: id, refusal: RefusedUnknown, final: true}
	switch {
	case e.bad.find(text, dead.sum).fresh(now):
		return ErrEnded
	case !e.bad.mayRead(dead.sum, s.request.Client.IP, now, e.opt.MaxBadTokens, &e.bad.reads):
		return ErrThrottled
	}
	err := s.refresh(ctx, id, p.Challenge, func(key []byte) bool { return p.SignedBy(key) })
	switch {
	case errors.Is(err, store.ErrNotFound):
		e.refused(&query{Request: &s.request, now: now}, &dead)
	case err == nil:
		e.bad.live(dead.sum)
	}
	return err
}

// mayBind reports whether the sender of a request may register or refresh: no page
// of another origin, and no script unless Binding.Script allows it. A browser that
// does it by itself sends no-cors, which forbids scripts the header of the proof.
func (e *Engine) mayBind(r *http.Request) error {
	if err := e.CheckOrigin(r); err != nil {
		return err
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); !e.opt.Bound.Script && mode != "" && mode != "no-cors" {
		return fmt.Errorf("%w: a script sends this (Binding.Script)", ErrUnbound)
	}
	return nil
}

// readProof reads the proof of a request. A request without one has no challenge.
func readProof(r *http.Request) (*dbsc.Proof, error) {
	lines := r.Header[dbsc.HeaderResponse]
	if len(lines) == 0 {
		return new(dbsc.Proof), nil
	}
	text, ok := dbsc.Text(lines)
	if !ok {
		return nil, fmt.Errorf("%w: %s must be one string", errProof, dbsc.HeaderResponse)
	}
	p, err := dbsc.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProof, err)
	}
	return p, nil
}
