package sojourn

import "net/http"

// Handler gives every request a session: From(r.Context()). The store is read when a handler first asks the session something, and not
// before; changes are written before the first byte of the response. If that fails, the handler's response is withheld and the
// client gets the error's status (StatusCode).
//
// Unsafe requests from pages of other origins get 403 (http.CrossOriginProtection), WebSocket handshakes too.
func (e *Engine) Handler(next http.Handler) http.Handler { panic("todo") }

// StatusCode returns the HTTP status for an error of this package: 409 for a conflict or an ended session, 413, 429, 503 and
// so on; 500 for an error that isn't the package's.
func StatusCode(err error) int { panic("todo") }
