package bench

import (
	"runtime"
	"testing"
)

// BenchmarkSealed measures requests of sessions of 200 bytes that live in their
// cookies, beside gorilla's, which are signed but not encrypted, and beside a
// stored session. The anonymous one uses no session.
func BenchmarkSealed(b *testing.B) {
	for _, c := range []requestCase{
		{name: "read-string", setup: []op{fill200}, op: readTheme},
		{name: "change-string", setup: []op{fill200}, op: change, check: readChanged},
		{name: "create", op: create, check: readTheme},
		{name: "anonymous", op: nothing},
	} {
		for _, p := range []peer{{"sojourn", openSojourn}, {"sojourn-sealed", openSealed}, {"gorilla-cookie", openGorillaCookie}} {
			b.Run("case="+c.name+"/peer="+p.name, func(b *testing.B) { c.run(b, p, runtime.GOMAXPROCS(0)) })
		}
	}
}
