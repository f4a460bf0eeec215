package sojourn

import (
	"io"
	"unsafe"
)

// RequestBytes is what Handler allocates for a request.
const RequestBytes = unsafe.Sizeof(exchange{})

// SetRand replaces the engine's source of randomness.
func SetRand(e *Engine, r io.Reader) { e.rand = r }

// OpenDones returns how many channels of Done are open.
func OpenDones(e *Engine) int { return len(e.watch.all()) }

// ForgetOutage makes the next outage be logged.
func ForgetOutage() { lastOutage.Store(0) }
