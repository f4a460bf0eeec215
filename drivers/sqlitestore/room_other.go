//go:build !(linux || darwin || freebsd)

package sqlitestore

func diskSpace(string) (size, available int64) { return unknown, unknown }
