package sojourn

import (
	"runtime"
	"strings"
)

// onStack reports whether one of the functions, or a function literal within
// one, is running on this goroutine. It takes microseconds, so call it only
// after a failure.
func onStack(functions ...string) bool {
	for size := 64; ; size *= 4 {
		callers := make([]uintptr, size)
		n := runtime.Callers(2, callers)
		if n == size {
			continue
		}
		frames := runtime.CallersFrames(callers[:n])
		for {
			frame, more := frames.Next()
			for _, f := range functions {
				if strings.HasPrefix(frame.Function, f) && (len(frame.Function) == len(f) || frame.Function[len(f)] == '.') {
					return true
				}
			}
			if !more {
				return false
			}
		}
	}
}
