package redisstore

import (
	"crypto/sha1" //nolint:gosec // by which Redis names scripts
	"embed"
	"encoding/hex"
	"strings"
)

//go:embed lua
var luaFiles embed.FS

// A script is what runs inside Redis, in one step. It is sent once, and named by its hash from then on.
type script struct{ text, sha string }

var (
	lookScript    = load("look")
	headScript    = alone("head")
	createScript  = load("create")
	usualScript   = alone("usual")
	updateScript  = newScript("#!lua\n", read("update"))
	updateAtLimit = newScript("#!lua flags=allow-oom\n", read("update")) // when memory is full, for what needs no more of it
	touchScript   = load("touch")
	endScript     = load("end")
	settleScript  = load("settle")
	joinScript    = load("join")
	leaveScript   = load("leave")
	extendScript  = load("extend")
	barrierScript = load("barrier")
	markScript    = load("mark")
	countScript   = load("count")
	pageScript    = load("page")
	sweepScript   = load("sweep")
	mendScript    = load("mend")
	claimScript   = load("claim")
	claimedScript = load("claimed")
	blockScript   = load("block")

	pulse = read("pulse") // short, and sent as it is
)

func load(name string) *script {
	first, rest, _ := strings.Cut(read(name), "\n")
	return newScript(first+"\n", rest)
}

// alone is for scripts that don't share anything.
func alone(name string) *script { return hashed(read(name)) }

func hashed(text string) *script {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // Redis names scripts so
	return &script{text, hex.EncodeToString(sum[:])}
}

// newScript puts what all scripts share between the first line, which holds Redis' flags, and the rest.
func newScript(first, rest string) *script {
	return hashed(first + read("common") + rest)
}

func read(name string) string {
	b, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err)
	}
	return string(b)
}
