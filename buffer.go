package sojourn

import "sync"

// bufferPool lends the memory into which a store copies a session's values. A buffer is given back when the request is over, under the session's
// mutex, after which the session has no values any more: no goroutine that outlives its request can see another's.
type bufferPool struct{ pool sync.Pool }

const keepBuffer = 16 << 10 // larger ones are left to the collector

type buffer struct{ bytes []byte }

func (p *bufferPool) get() *buffer {
	if b, ok := p.pool.Get().(*buffer); ok {
		return b
	}
	return new(buffer)
}

func (p *bufferPool) put(b *buffer, used []byte) {
	if cap(used) <= keepBuffer {
		b.bytes = used[:0]
	}
	p.pool.Put(b)
}
