package mirror

import "time"

// SetClock sets the clock of a test.
func (m *Mirror) SetClock(now func() time.Time) { m.now = now }

// Script returns the script as it is served, and as it is sent compressed.
func (m *Mirror) Script() (plain, gzipped []byte) { return m.script.Plain, m.script.Gzipped }
