package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/sojourn-go/sojourn/sojournd/internal/password"
)

// The types below are texts in the file. Their errors follow the text and say
// what to write instead.

const day = 24 * time.Hour

// A Duration is a positive duration, such as "90s", "24h", "14d" or "1h30m". -1
// is "never", where that is allowed.
type Duration time.Duration

// Duration returns d as a time.Duration.
func (d Duration) Duration() time.Duration { return time.Duration(d) }

func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "never" {
		*d = -1
		return nil
	}
	var days time.Duration
	if n, rest, ok := strings.Cut(s, "d"); ok {
		count, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return errDuration
		}
		days, s = time.Duration(count)*day, rest
	}
	if s != "" || days == 0 {
		rest, err := time.ParseDuration(s)
		if err != nil || rest < 0 || rest > 1<<62 {
			return errDuration
		}
		days += rest
	}
	if days <= 0 {
		return errDuration
	}
	*d = Duration(days)
	return nil
}

var errDuration = errors.New("is no duration: write one like 90s, 15m, 24h or 14d")

// A Time is a point in time, such as "2026-11-29T12:00:00Z" (RFC 3339).
type Time time.Time

func (t *Time) UnmarshalText(text []byte) error {
	at, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return errors.New("is no time: write one like 2026-11-29T12:00:00Z")
	}
	*t = Time(at.UTC())
	return nil
}

// span writes a duration as in the file.
func span(d time.Duration) string {
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// A Size is a number of bytes, such as "262144", "256KiB" or "1MiB".
type Size int64

func (s *Size) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n == 0 || n > 1<<40 {
		return errors.New("is no size: write bytes, or a number with a unit, like 64KiB or 1MiB")
	}
	*s = Size(n)
	return nil
}

// A Count is a positive number; "unlimited" is -1.
type Count int

func (c *Count) UnmarshalText(text []byte) error {
	if string(text) == "unlimited" {
		*c = -1
		return nil
	}
	n, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil || n == 0 {
		return errors.New("is no count: write a number from 1 on, or unlimited")
	}
	*c = Count(n)
	return nil
}

// A Level is a level of log/slog.
type Level slog.Level

func (l *Level) UnmarshalText(text []byte) error {
	level, ok := levels[string(text)]
	if !ok {
		return errors.New("is no level: write debug, info, warn or error, in small letters")
	}
	*l = Level(level)
	return nil
}

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// A FileMode is the mode of a Unix socket.
type FileMode fs.FileMode

func (m *FileMode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(string(text), "0o"), 8, 16)
	if err != nil || n&^0o777 != 0 || n&0o600 != 0o600 {
		return errors.New(`is no mode of a socket: write it in quotes, in octal, like "0660"`)
	}
	if n&0o006 != 0 {
		return errors.New(`lets every user of the machine connect: write "0660", and put the callers into the socket's group`)
	}
	*m = FileMode(n)
	return nil
}

// A Prefix is an IP address or a range of addresses.
type Prefix netip.Prefix

func (p *Prefix) UnmarshalText(text []byte) error {
	if ip, err := netip.ParseAddr(string(text)); err == nil && ip.Zone() == "" {
		*p = Prefix(netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()))
		return nil
	}
	prefix, err := netip.ParsePrefix(string(text))
	if err != nil {
		return errors.New("is no address or range of addresses: write one like 127.0.0.1, 10.0.0.0/8 or fd00::/8")
	}
	if prefix.Masked() != prefix {
		return fmt.Errorf("has bits beyond its length: write %v", prefix.Masked())
	}
	if prefix.Bits() == 0 {
		return errors.New("contains every address: write those of the proxies, or anybody could forge where requests come from")
	}
	*p = Prefix(prefix)
	return nil
}

func (p Prefix) String() string { return netip.Prefix(p).String() }

// An Address is an address to listen on, such as "127.0.0.1:7081" or
// "unix:/run/sojournd/api.sock".
type Address struct {
	Network string // "tcp" or "unix"
	Address string
}

func (a *Address) UnmarshalText(text []byte) error {
	if path, ok := strings.CutPrefix(string(text), "unix:"); ok {
		switch {
		case !filepath.IsAbs(path):
			return errors.New("is no absolute path after unix: : write one like unix:/run/sojournd/api.sock")
		case len(path) > 100:
			return errors.New("is too long a path for a socket: choose one of at most 100 bytes")
		}
		*a = Address{"unix", filepath.Clean(path)}
		return nil
	}
	host, port, err := net.SplitHostPort(string(text))
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("is no address: write host:port, like 127.0.0.1:7081 (port 0 is any free one), or unix:/run/sojournd/api.sock")
	}
	if host != "localhost" && host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return errors.New("names a host: write the IP address to listen on, which does not depend on the resolver")
		}
	}
	*a = Address{"tcp", string(text)}
	return nil
}

func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Address
	}
	return a.Address
}

// Loopback reports whether only this machine can reach the address.
func (a Address) Loopback() bool {
	if a.Network == "unix" {
		return true
	}
	host, _, _ := net.SplitHostPort(a.Address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// A KeyHash is the SHA-256 of an API key: "sha256:" and 64 hexadecimal digits.
// Keys are 32 random bytes, so a fast hash is safe.
type KeyHash [32]byte

func (h *KeyHash) UnmarshalText(text []byte) error {
	digits, prefixed := strings.CutPrefix(string(text), "sha256:")
	b, err := hex.DecodeString(digits)
	isHash := err == nil && len(b) == len(h)
	switch {
	case prefixed && isHash:
		copy(h[:], b)
		return nil
	case isHash:
		return errors.New("hash lacks its beginning: write sha256: before the 64 digits")
	case strings.HasPrefix(string(text), keyPrefix):
		return errors.New("is an API key itself: the file must hold only its hash. Create another key with sojournd keys new, and write the hash that it prints, sha256: and 64 digits")
	}
	return errors.New("is no hash of a key: write what sojournd keys new prints, sha256: and 64 digits")
}

// keyPrefix begins every API key.
const keyPrefix = "sojourn_"

// A PasswordHash is the argon2id hash of a password (RFC 9106), as a PHC string.
type PasswordHash string

func (h *PasswordHash) UnmarshalText(text []byte) error {
	if err := password.CheckHash(string(text)); err != nil {
		return errors.New("is no hash of a password: write what sojournd operators add prints, which begins with $argon2id$")
	}
	*h = PasswordHash(text)
	return nil
}

// A Role says what an operator may do with an application.
type Role string

// The roles of operators.
const (
	RoleLook Role = "look" // find sessions, and look at them
	RoleEnd  Role = "end"  // end them, too
)

func (r *Role) UnmarshalText(text []byte) error {
	if *r = Role(text); *r != RoleLook && *r != RoleEnd {
		return errors.New("is no role: write look, or end to end sessions too")
	}
	return nil
}
