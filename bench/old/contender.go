package main

import "runtime/debug"

// A contender is one library, as its users set it up, with its defaults where nothing else is said.
type contender struct {
	name   string
	module string // whose version the report states
	open   func() (site, error)
	note   string // what a reader must know to compare
}

var contenders = []contender{
	{"sojourn", "github.com/sojourn-go/sojourn", openSojourn, "memstore"},
	{"scs", "github.com/alexedwards/scs/v2", openSCS, "memstore"},
	{"fiber", "github.com/gofiber/fiber/v3", openFiber, "session middleware, memory storage; called as a fasthttp handler"},
	{"gorilla cookie", "github.com/gorilla/sessions", openGorillaCookie, "CookieStore, signed; length limit raised, for the default fails with 20 keys and 2 KB"},
	{"gorilla files", "github.com/gorilla/sessions", openGorillaFiles, "FilesystemStore; length limit raised, as above"},
	{"bare handler", "", openBare, "net/http's interfaces, no session"},
	{"floor", "", openFloor, "by hand: find the cookie, base64, SHA-256, a look into a sharded map"},
}

// version returns the contender's version as the program was built with it.
func (c contender) version() string { return moduleVersion(c.module) }

// moduleVersion returns the version of a module as the program was built with it; nothing for no module.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok || path == "" {
		return ""
	}
	m, ok := first(info.Deps, func(m *debug.Module) bool { return m.Path == path })
	switch {
	case !ok:
		return "unknown"
	case m.Replace != nil && m.Replace.Version == "" || m.Version == "(devel)":
		return "of this checkout"
	default:
		return m.Version
	}
}
