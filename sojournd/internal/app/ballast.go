package app

import "runtime"

// ballastSize is untouched memory, which costs addresses and nothing else.
const ballastSize = 32 << 20

// ballast has the garbage collector wait for some 64 MiB. It runs when the heap has doubled, and a server's heap, whose sessions lie outside of it,
// is of a few megabytes: at 50,000 checks a second a fifth of the CPU would go there. A limit on memory (GOMEMLIMIT) counts it as used.
// It lasts until release is called.
func ballast() (release func()) {
	b := make([]byte, ballastSize)
	return func() { runtime.KeepAlive(b) }
}
