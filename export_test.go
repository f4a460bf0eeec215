package sojourn

import "io"

// SetRand replaces the engine's source of randomness.
func SetRand(e *Engine, r io.Reader) { e.rand = r }

// OpenDones returns the number of channels that Done has handed out and that are still open.
func OpenDones(e *Engine) int { return len(e.watch.all()) }
