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
	detail string // as usual
}

var (
	codeKey         = code{"unauthorized", http.StatusUnauthorized, "The API key is missing, or not good (any more). Send it as Authorization: Bearer."}
	codeNotFound    = code{"not_found", http.StatusNotFound, "There is nothing at this path: /openapi.json describes what there is."}
	codeMethod      = code{"method_not_allowed", http.StatusMethodNotAllowed, "This path has no such method."}
	codeMedia       = code{"unsupported_media_type", http.StatusUnsupportedMediaType, "Send JSON, with Content-Type: application/json."}
	codeBody        = code{"body_too_large", http.StatusRequestEntityTooLarge, "The body is larger than the server accepts."}
	codeTimeout     = code{"request_timeout", http.StatusRequestTimeout, "The body took too long to arrive."}
	codeJSON        = code{"malformed_json", http.StatusBadRequest, "The body is not JSON."}
	codeInvalid     = code{"invalid_request", http.StatusUnprocessableEntity, "Something in the request is not as it must be."}
	codeIfMatch     = code{"malformed_if_match", http.StatusBadRequest, `If-Match is not a list of entity tags: write If-Match: "5", with the quotes, or If-Match: * for any revision.`}
	codeCursor      = code{"invalid_cursor", http.StatusBadRequest, "The cursor is not one that a list has returned."}
	codeSubject     = code{"invalid_subject", http.StatusUnprocessableEntity, "A subject is 1 to 255 bytes of UTF-8 without control characters."}
	codeValue       = code{"invalid_value", http.StatusUnprocessableEntity, "That cannot be kept in a session."}
	codeReused      = code{"idempotency_key_reused", http.StatusUnprocessableEntity, "This Idempotency-Key came with another body before."}
	codeRepeats     = code{"too_many_repeats", http.StatusTooManyRequests, "This Idempotency-Key was repeated too often. Nothing was changed: the tokens of the earlier answers stay good."}
	codeTooLarge    = code{"too_large", http.StatusRequestEntityTooLarge, "The value or the session is above its limit."}
	codeNoSession   = code{"session_not_found", http.StatusNotFound, "There is no live session of this ID."}
	codeNotLive     = code{"not_live", http.StatusConflict, "The token is not that of a live session."}
	codeEnded       = code{"ended", http.StatusConflict, "The session has ended, or its subject's sessions were ended, since the request arrived. Nothing was changed."}
	codeSuperseded  = code{"superseded", http.StatusConflict, "A login or elevation has renewed the session since the request arrived, or since the one that it repeats. Nothing was changed."}
	codeConflict    = code{"conflict", http.StatusConflict, "Too many others changed the same session. Nothing was changed: try again."}
	codeAnonymous   = code{"anonymous", http.StatusConflict, "Nobody is logged in to this session: log in first."}
	codeLimit       = code{"too_many_sessions", http.StatusConflict, "The subject has as many sessions as the configuration allows."}
	codeRevision    = code{"revision_mismatch", http.StatusPreconditionFailed, "The session is at another revision. Nothing was changed: read it again."}
	codeNoRevision  = code{"revision_required", http.StatusPreconditionRequired, `Say which revision you have seen, as If-Match: "5", or If-Match: * for any.`}
	codeThrottled   = code{"throttled", http.StatusTooManyRequests, "Too many bad tokens from the client's address: wait a minute."}
	codeFull        = code{"store_full", http.StatusServiceUnavailable, "The store has no room for it."}
	codeUnavailable = code{"unavailable", http.StatusServiceUnavailable, "The store cannot answer at the moment: try again later."}
	codeUncertain   = code{"outcome_unknown", http.StatusServiceUnavailable, "It is not known whether the change was saved: look before you try again."}
	codeStream      = code{"stream_refused", http.StatusServiceUnavailable, "There are too many subscribers, or the server is shutting down."}
	codeInternal    = code{"internal", http.StatusInternalServerError, "The server made a mistake. It is in its log."}
)

// allCodes are those above.
var allCodes = []code{
	codeKey, codeNotFound, codeMethod, codeMedia, codeBody, codeTimeout, codeJSON, codeInvalid, codeIfMatch,
	codeCursor, codeSubject, codeValue, codeReused, codeRepeats, codeTooLarge, codeNoSession, codeNotLive, codeEnded, codeSuperseded,
	codeConflict, codeAnonymous, codeLimit, codeRevision, codeNoRevision, codeThrottled, codeFull, codeUnavailable, codeUncertain, codeStream, codeInternal,
}

// everywhere are the problems that each operation may have.
var everywhere = []code{codeKey, codeUnavailable, codeInternal}

// codes tell what the engine's errors are to the caller.
var codes = []struct {
	err  error
	code code
}{
	{sojourn.ErrUncertain, codeUncertain},
	{sojourn.ErrNotFound, codeNoSession},
	{sojourn.ErrEnded, codeEnded},
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
	{sojourn.ErrFull, codeFull},
	{sojourn.ErrUnavailable, codeUnavailable},
	{sojourn.ErrClosed, codeUnavailable},
	{context.DeadlineExceeded, codeUnavailable},
	{context.Canceled, codeUnavailable}, // the client is gone
}

func problemOf(c code) *v1.Problem {
	return &v1.Problem{Title: http.StatusText(c.status), Status: c.status, Code: c.name, Detail: c.detail}
}

// toProblem returns what the caller is told of an error.
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
		if known.code == codeTooLarge || known.code == codeValue { // it says what and how much, and holds no secret
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
