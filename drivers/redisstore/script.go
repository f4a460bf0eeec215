package redisstore

import (
	"crypto/sha1" //nolint:gosec // Redis names scripts by their SHA-1
	"embed"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/redis/rueidis"
)

//go:embed lua
var luaFiles embed.FS

// A script runs inside Redis, in one step. Its text is sent once; later calls
// name it by its hash.
type script struct {
	name, text, hash string
	params           []string // the names of its arguments
}

var (
	lookScript    = load("look")
	headScript    = newScript("head", luaText("head"))
	createScript  = load("create")
	usualScript   = newScript("usual", luaText("usual"))
	updateScript  = newScript("update", "#!lua\n"+luaText("common")+luaText("update"))
	updateAtLimit = newScript("update", "#!lua flags=allow-oom\n"+luaText("common")+luaText("update")) // for updates that need no memory
	touchScript   = load("touch")
	endScript     = load("end")
	settleScript  = load("settle")
	joinScript    = load("join")
	leaveScript   = load("leave")
	extendScript  = load("extend")
	barrierScript = load("barrier")
	markScript    = load("mark")
	raisedScript  = load("raised")
	countScript   = load("count")
	pageScript    = load("page")
	sweepScript   = load("sweep")
	mendScript    = load("mend")
	claimScript   = load("claim")
	claimedScript = load("claimed")
	blockScript   = load("block")
	pulseScript   = newScript("pulse", luaText("pulse"))
)

// load puts the text that scripts share behind a script's first line, which
// holds Redis' flags.
func load(name string) *script {
	flags, rest, _ := strings.Cut(luaText(name), "\n")
	return newScript(name, flags+"\n"+luaText("common")+rest)
}

// A script declares its arguments in a line like "local id, now = unpack(ARGV)".
var declaration = regexp.MustCompile(`(?m)^ *local (.+) = unpack\(ARGV`)

func newScript(name, text string) *script {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // Redis names scripts so
	s := &script{name: name, text: text, hash: hex.EncodeToString(sum[:])}
	if match := declaration.FindStringSubmatch(text); match != nil {
		s.params = strings.Split(match[1], ", ")
	}
	return s
}

func luaText(name string) string {
	b, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A call is a script with its keys, all of one slot, and its arguments.
type call struct {
	script *script
	keys   []string
	args   []string
}

// call returns a call of the script. The pairs are the names and values of its
// arguments, in the order in which the script declares them.
func (s *script) call(keys []string, pairs ...string) call {
	args := make([]string, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		if len(args) == len(s.params) || pairs[i] != s.params[len(args)] {
			panic(fmt.Sprintf("redisstore: %s.lua has the arguments %q, not %q here", s.name, s.params, pairs[i]))
		}
		args = append(args, pairs[i+1])
	}
	if len(args) != len(s.params) {
		panic(fmt.Sprintf("redisstore: %s.lua has the arguments %q, got %d", s.name, s.params, len(args)))
	}
	return call{s, keys, args}
}

// and returns the call with more arguments, for which the script has no names.
func (c call) and(args []string) call {
	c.args = append(c.args, args...)
	return c
}

// command returns the command for the call, with the script's text if whole is
// set. Redis remembers the text.
func (s *Store) command(c *call, whole bool) rueidis.Completed {
	if whole {
		return s.client.B().Eval().Script(c.script.text).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
	}
	return s.client.B().Evalsha().Sha1(c.script.hash).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
}
