//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package arena

func smallPages([]byte) {}
