package nearcache

import (
	"testing"
	"time"
)

// After a machine slept for an hour, its feed is an hour old, though the clock
// of the process stood still.
func TestI10Sleep(t *testing.T) {
	f := newFeed(nil)
	wall := time.Now().UnixNano()
	f.sent[1] = heartbeat{1, beatLife, wall + int64(beatLife)}
	f.came(1)
	if !f.recentAt(beatLife/2, wall+int64(beatLife/2)) {
		t.Error("not recent after half of its life")
	}
	if f.recentAt(beatLife/2, wall+int64(time.Hour)) {
		t.Error("recent after an hour's sleep")
	}
	if f.recentAt(beatLife, wall) {
		t.Error("recent after its life, on a wall clock that was put back")
	}
}
