package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/sojourn-go/sojourn"
	"github.com/sojourn-go/sojourn/sojournd/internal/api/v1"
)

// A code is a kind of problem.
type code struct {
	name   string
	status int
	detail string // the usual one
}

var (
	codeKey         = newCode("unauthorized", http.StatusUnauthorized, "The API key is missing or not valid. Send it as Authorization: Bearer.")
	codeNotFound    = newCode("not_found", http.StatusNotFound, "There is nothing at this path: /openapi.json describes all paths.")
	codeMethod      = newCode("method_not_allowed", http.StatusMethodNotAllowed, "This path has no such method.")
	codeMedia       = newCode("unsupported_media_type", http.StatusUnsupportedMediaType, "Send JSON, with Content-Type: application/json.")
	codeBody        = newCode("body_too_large", http.StatusRequestEntityTooLarge, "The body is larger than the server accepts.")
	codeTimeout     = newCode("request_timeout", http.StatusRequestTimeout, "The body took too long to arrive.")
	codeJSON        = newCode("malformed_json", http.StatusBadRequest, "The body is not JSON.")
	codeInvalid     = newCode("invalid_request", http.StatusUnprocessableEntity, "Something in the request is wrong.")
	codeIfMatch     = newCode("malformed_if_match", http.StatusBadRequest, `If-Match is not a list of entity tags: write If-Match: "5", with the quotes, or If-Match: * for any revision.`)
	codeCursor      = newCode("invalid_cursor", http.StatusBadRequest, "The cursor is not one that a list has returned.")
	codeSubject     = newCode("invalid_subject", http.StatusUnprocessableEntity, "A subject is 1 to 255 bytes of UTF-8 without control characters.")
	codeValue       = newCode("invalid_value", http.StatusUnprocessableEntity, "A session cannot hold this value.")
	codeReused      = newCode("idempotency_key_reused", http.StatusUnprocessableEntity, "This Idempotency-Key was used with another body.")
	codeRepeats     = newCode("too_many_repeats", http.StatusTooManyRequests, "This Idempotency-Key was repeated too often. Nothing was changed: the tokens of the earlier answers stay valid.")
	codeTooLarge    = newCode("too_large", http.StatusRequestEntityTooLarge, "The value or the session is larger than its limit.")
	codeNoSession   = newCode("session_not_found", http.StatusNotFound, "There is no live session with this ID.")
	codeNotLive     = newCode("not_live", http.StatusConflict, "The token does not belong to a live session.")
	codeEnded       = newCode("ended", http.StatusConflict, "The session has ended, or its subject's sessions were ended, since the request arrived. Nothing was changed.")
	codeSuperseded  = newCode("superseded", http.StatusConflict, "A login or elevation has renewed the session since the request arrived, or since the one that it repeats. Nothing was changed.")
	codeConflict    = newCode("conflict", http.StatusConflict, "Too many other requests changed the session. Nothing was changed: try again.")
	codeAnonymous   = newCode("anonymous", http.StatusConflict, "Nobody is logged in to this session: log in first.")
	codeLimit       = newCode("too_many_sessions", http.StatusConflict, "The subject has as many sessions as the configuration allows.")
	codeRevision    = newCode("revision_mismatch", http.StatusPreconditionFailed, "The session is at another revision. Nothing was changed: read it again.")
	codeNoRevision  = newCode("revision_required", http.StatusPreconditionRequired, `Send the revision that you have read, as If-Match: "5", or If-Match: * for any.`)
	codeThrottled   = newCode("throttled", http.StatusTooManyRequests, "Too many bad tokens came from the client's address: wait a minute.")
	codeFull        = newCode("store_full", http.StatusServiceUnavailable, "The store is full.")
	codeUnavailable = newCode("unavailable", http.StatusServiceUnavailable, "The store does not answer: try again later.")
	codeUncertain   = newCode("outcome_unknown", http.StatusServiceUnavailable, "It is not known whether the change was saved: check before you try again.")
	codeStream      = newCode("stream_refused", http.StatusServiceUnavailable, "There are too many subscribers, or the server is shutting down.")
	codeUnsupported = newCode("unsupported", http.StatusNotImplemented, "This application's sessions are in their cookies (sealed), and the server has no list of them.")
	codeInternal    = newCode("internal", http.StatusInternalServerError, "The server has an error, which is in its log.")
)

// allCodes are the codes above.
var allCodes []code

func newCode(name string, status int, detail string) code {
	c := code{name, status, detail}
	allCodes = append(allCodes, c)
	return c
}

// everywhere are the problems of every operation.
var everywhere = []code{codeKey, codeUnavailable, codeInternal}

// codes are the codes of the engine's errors.
var codes = []struct {
	err  error
	code code
}{
	{sojourn.ErrUncertain, codeUncertain},
	{sojourn.ErrNotFound, codeNoSession},
	{sojourn.ErrEnded, codeEnded},
	{sojourn.ErrUnproven, codeNotLive},
	{sojourn.ErrSuperseded, codeSuperseded},
	{sojourn.ErrRevision, codeRevision},
	{sojourn.ErrConflict, codeConflict},
	{sojourn.ErrLimit, codeLimit},
	{sojourn.ErrTooLarge, codeTooLarge},
	{sojourn.ErrValue, codeValue},
	{sojourn.ErrSubject, codeSubject},
	{sojourn.ErrAnonymous, codeAnonymous},
	{sojourn.ErrKeyReused, codeReused},
	{sojourn.ErrRepeats, codeRepeats},
	{sojourn.ErrCursor, codeCursor},
	{sojourn.ErrThrottled, codeThrottled},
	{sojourn.ErrUnsupported, codeUnsupported},
	{sojourn.ErrFull, codeFull},
	{sojourn.ErrUnavailable, codeUnavailable},
	{sojourn.ErrClosed, codeUnavailable},
	{context.DeadlineExceeded, codeUnavailable},
	{context.Canceled, codeUnavailable}, // the client has disconnected
}

func problemOf(c code) *v1.Problem {
	return &v1.Problem{Title: http.StatusText(c.status), Status: c.status, Code: c.name, Detail: c.detail}
}

// toProblem returns the problem for an error.
func toProblem(err error) *v1.Problem {
	var p *v1.Problem
	if errors.As(err, &p) {
		return p
	}
	for _, known := range codes {
		if !errors.Is(err, known.err) {
			continue
		}
		p := problemOf(known.code)
		if errors.Is(err, sojourn.ErrUnproven) {
			p.Why = "unproven"
		}
		if known.code == codeTooLarge || known.code == codeValue || known.code == codeUnsupported { // the error has details and no secret
			p.Detail = strings.TrimPrefix(err.Error(), "sojourn: ") + "."
		}
		return p
	}
	return problemOf(codeInternal)
}

func invalid(where, detail string) *v1.Problem {
	p := problemOf(codeInvalid)
	p.Detail = cmp.Or(where, "The body") + " " + detail + "."
	p.Errors = []v1.Field{{Where: where, Detail: detail}}
	return p
}
