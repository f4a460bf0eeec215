package sojourn

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/sojourn-go/sojourn/store"
)

// The errors of this package. Compare with errors.Is. StatusCode returns the HTTP
// status of each.
var (
	// ErrEnded: after the request arrived, the session ended, or all sessions of
	// its subject were ended. The changes of the request are lost. A request that
	// presents the token of an ended session also gets this error if it is neither
	// GET nor HEAD and arrives within 30 seconds after the end: what a signed-out
	// page still sends must not land in the next visitor's session.
	ErrEnded = errors.New("sojourn: the session has ended")

	// ErrSuperseded: after the request arrived, a login or elevation replaced the
	// secret that it presented. So the request may no longer write.
	ErrSuperseded = errors.New("sojourn: the session was renewed by a login or elevation after this request arrived")

	// ErrCommitted: the session was committed already, with the first byte of the
	// response or by Commit.
	ErrCommitted = errors.New("sojourn: changed after the commit: change a session before the response begins, and before Commit")

	// ErrConflict: the function given to Update failed when it was applied to a
	// newer value at the commit (the error wraps the function's), or a commit lost
	// too many races.
	ErrConflict = errors.New("sojourn: conflict with a parallel request")

	// ErrUncertain: the store didn't answer a write, so nobody knows whether it
	// happened. The engine doesn't try again, because that could apply an Update
	// twice.
	ErrUncertain = errors.New("sojourn: the outcome of the commit is unknown")

	// ErrUnavailable: the store can't answer. It wraps the store's error.
	ErrUnavailable = errors.New("sojourn: the session store is unavailable")

	// ErrFull: the store has no room for another session or a larger one.
	ErrFull = errors.New("sojourn: the session store is full")

	// ErrLimit: the subject has as many sessions as Options.MaxSessions allows.
	ErrLimit = errors.New("sojourn: the user has too many sessions")

	// ErrTooLarge: a value or the session is above its limit. The message says which.
	ErrTooLarge = errors.New("sojourn: too large")

	// ErrValue: a value can't be encoded as JSON that every store can keep, or
	// doesn't decode into the key's type. Also a bad key, level or method.
	ErrValue = errors.New("sojourn: bad value")

	// ErrSubject: see Session.Login.
	ErrSubject = errors.New("sojourn: a subject is 1 to 255 bytes of UTF-8 without control characters")

	// ErrAnonymous: the call needs a logged-in session.
	ErrAnonymous = errors.New("sojourn: nobody is logged in")

	// ErrLevel: the level of the login is below Requirement.Level.
	ErrLevel = errors.New("sojourn: the level of the login is too low")

	// ErrNotFresh: the user authenticated longer ago than Requirement.Fresh.
	ErrNotFresh = errors.New("sojourn: the user authenticated too long ago")

	// ErrUnproven: the session is bound to a browser (Options.Bound), and the request
	// carries no good proof that it comes from there.
	ErrUnproven = errors.New("sojourn: the request has no proof of the browser that the session is bound to")

	// ErrUnbound: Requirement.Bound demands a session that is bound to its browser,
	// and this one isn't.
	ErrUnbound = errors.New("sojourn: the session is not bound to its browser")

	// ErrNotFound: no live session has this ID.
	ErrNotFound = errors.New("sojourn: no such session")

	// ErrThrottled: the request's token wasn't looked up, because its address sends
	// too many bad ones. So the request can't log out or change an existing session.
	ErrThrottled = errors.New("sojourn: too many bad session tokens from this address")

	// ErrCrossOrigin: an unsafe request from a page of another origin. Behind a
	// proxy that replaces Host, requests of the site's own pages get it too:
	// see Options.Origins.
	ErrCrossOrigin = errors.New("sojourn: cross-origin request refused; see Options.Origins, Options.TrustedOrigins and AllowCrossOrigin")

	// ErrBearer: AsBearer without Options.Bearer, or after the request has changed
	// the session of its cookie.
	ErrBearer = errors.New("sojourn: AsBearer needs Options.Bearer")

	// ErrCursor: List got a cursor that it did not return, or a limit below 1 or
	// above 1000.
	ErrCursor = errors.New("sojourn: bad cursor or limit of a list")

	// ErrDevelopment: Options.Development is on, but the request shows that the site
	// is in production.
	ErrDevelopment = errors.New("sojourn: development mode (Options.Development) is on, and its cookies are not safe in production; turn it off")

	// ErrRevision: see Request.IfRevision.
	ErrRevision = errors.New("sojourn: the session is at another revision")

	// ErrKeyReused: see Request.IdempotencyKey.
	ErrKeyReused = errors.New("sojourn: the idempotency key was used for something else")

	// ErrRepeats: a creation was repeated more than sixteen times. Nothing was
	// changed: the tokens of the earlier answers stay good. See
	// Request.IdempotencyKey.
	ErrRepeats = errors.New("sojourn: too many repeats under one idempotency key")

	// ErrUnsupported: the call needs sessions in a store, and Options.Sealed keeps
	// them in cookies. The message names the call.
	ErrUnsupported = errors.New("sojourn: not supported for sealed sessions (Options.Sealed)")

	// ErrFinished: the request that the session belongs to is over.
	ErrFinished = errors.New("sojourn: the session was used after its request was over")

	// ErrClosed: the engine was closed.
	ErrClosed = errors.New("sojourn: closed")
)

// errOrigin is ErrCrossOrigin when only the Origin header showed it, so a
// missing option may be the cause.
var errOrigin = fmt.Errorf("%w", ErrCrossOrigin)

// statuses has the HTTP status of each error, and the text for the client. The
// first that matches counts.
var statuses = []struct {
	err    error
	status int
	text   string // for the client, who must not see a store's own message
}{
	{ErrUncertain, http.StatusServiceUnavailable, "it is not known whether your change was saved; look before you try again"},
	{ErrUnavailable, http.StatusServiceUnavailable, "sessions are unavailable at the moment; try again later"},
	{ErrFull, http.StatusServiceUnavailable, "there is no room for another session at the moment; try again later"},
	{ErrClosed, http.StatusServiceUnavailable, "the server is shutting down"},
	{ErrEnded, http.StatusConflict, "your session has ended; nothing was changed"},
	{ErrSuperseded, http.StatusConflict, "you have signed in again since; nothing was changed"},
	{ErrConflict, http.StatusConflict, "somebody changed the same thing; nothing was changed"},
	{ErrRevision, http.StatusPreconditionFailed, "somebody changed the session; nothing was changed"},
	{ErrKeyReused, http.StatusUnprocessableEntity, "the idempotency key was used for something else"},
	{ErrRepeats, http.StatusTooManyRequests, "the same was asked for too often; nothing was changed"},
	{ErrCommitted, http.StatusInternalServerError, ""},
	{ErrFinished, http.StatusInternalServerError, ""},
	{ErrLimit, http.StatusConflict, "you are signed in in too many places; sign out in one of them"},
	{ErrTooLarge, http.StatusRequestEntityTooLarge, "that is too much to keep in a session"},
	{ErrValue, http.StatusUnprocessableEntity, "that can't be kept in a session"},
	{ErrSubject, http.StatusUnprocessableEntity, "that is no user ID"},
	{ErrAnonymous, http.StatusUnauthorized, "sign in first"},
	{ErrLevel, http.StatusForbidden, "that takes a further factor: sign in with it"},
	{ErrNotFresh, http.StatusForbidden, "confirm that it is you: sign in again"},
	{ErrUnproven, http.StatusUnauthorized, "your browser must prove that you signed in with it; load the page again"},
	{ErrUnbound, http.StatusForbidden, "that takes a browser that can prove that you signed in with it"},
	{ErrNotFound, http.StatusNotFound, "no such session"},
	{ErrThrottled, http.StatusTooManyRequests, "too many bad session tokens from your network; wait a minute"},
	{errOrigin, http.StatusForbidden, "the request comes from another site's page, or the server doesn't know its own public address (Options.Origins)"},
	{ErrCrossOrigin, http.StatusForbidden, "the request comes from another site's page"},
	{ErrBearer, http.StatusInternalServerError, ""},
	{ErrDevelopment, http.StatusInternalServerError, "this server is in development mode, where anybody on the way can read its cookies, but the request came over HTTPS or through a proxy; turn the mode off (Options.Development)"},
	{ErrUnsupported, http.StatusNotImplemented, "that isn't supported here"},
	{ErrCursor, http.StatusBadRequest, "there is no such page of the list"},
}

// StatusCode returns the HTTP status for an error of this package: 409 for a
// conflict or an ended session, 413, 429, 503 and so on; 500 for an error that
// isn't the package's. Error answers with it.
func StatusCode(err error) int {
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

func publicText(err error) string {
	for _, s := range statuses {
		if errors.Is(err, s.err) && s.text != "" {
			return s.text
		}
	}
	return "something went wrong"
}

// wrap turns a store's error into the engine's. The caller names what it was
// doing.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrTooLarge) { // of a sealed session
		return err
	}
	to := ErrUnavailable
	for _, e := range ofStore {
		if errors.Is(err, e.store) {
			to = e.engine
			break
		}
	}
	return fmt.Errorf("%w: %s: %w", to, doing, err)
}

// ofStore are the errors of stores that have a name of their own here. Every
// other error of a store is ErrUnavailable.
var ofStore = []struct{ store, engine error }{
	{store.ErrNotFound, ErrEnded},
	{store.ErrEnded, ErrEnded},
	{store.ErrBarrier, ErrEnded},
	{store.ErrLimit, ErrLimit},
	{store.ErrFull, ErrFull},
	{store.ErrConflict, ErrConflict},
	{store.ErrUncertain, ErrUncertain},
	{store.ErrCursor, ErrCursor},
	{store.ErrKeyReused, ErrKeyReused},
}
