package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// archive writes the program and the files that belong to it, for a system
// without packages: a .zip for Windows and a .tar.gz for the others. Its files
// have the time of the commit and no owner, so equal builds make equal archives.
func (b *build) archive(t target, program string) error {
	files, err := b.archived(t, program)
	if err != nil {
		return err
	}
	name := filepath.Join(b.dist, b.name(t)+".tar.gz")
	write := b.writeTar
	if t.os == "windows" {
		name, write = filepath.Join(b.dist, b.name(t)+".zip"), b.writeZip
	}
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(out, b.name(t), files), out.Close())
}

func (b *build) archived(t target, program string) ([]file, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	files := []file{{name: filepath.Base(program), mode: 0o755, content: content}}
	names := []string{"LICENSE", "CHANGELOG.md", "sojournd/internal/config/example.yaml"}
	if t.os != "windows" {
		names = append(names, "sojournd/completion/bash", "sojournd/completion/zsh", "sojournd/completion/fish")
	}
	if t.os == "linux" {
		for _, pattern := range []string{"deploy/*.service", "deploy/*.socket", "deploy/*.sysusers"} {
			found, err := filepath.Glob(filepath.Join(b.source, pattern))
			if err != nil {
				return nil, err
			}
			for _, f := range found {
				names = append(names, "deploy/"+filepath.Base(f))
			}
		}
	}
	for _, from := range names {
		to := strings.TrimPrefix(from, "sojournd/")
		if filepath.Base(from) == "example.yaml" {
			to = "sojourn.yaml"
		}
		f, err := b.read(from, to)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func (b *build) writeTar(w io.Writer, dir string, files []file) error {
	zipped, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	packed := tar.NewWriter(zipped)
	for _, f := range files {
		header := &tar.Header{Name: dir + "/" + f.name, Mode: int64(f.mode), Size: int64(len(f.content)), ModTime: b.time, Format: tar.FormatPAX}
		if err := packed.WriteHeader(header); err != nil {
			return err
		}
		if _, err := packed.Write(f.content); err != nil {
			return err
		}
	}
	return errors.Join(packed.Close(), zipped.Close())
}

func (b *build) writeZip(w io.Writer, dir string, files []file) error {
	packed := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{Name: dir + "/" + f.name, Method: zip.Deflate, Modified: b.time}
		header.SetMode(f.mode)
		part, err := packed.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := part.Write(f.content); err != nil {
			return err
		}
	}
	return packed.Close()
}

// checksums writes SHA256SUMS, which sha256sum -c reads.
func (b *build) checksums() error {
	entries, err := os.ReadDir(b.dist)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(b.dist, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), e.Name())
	}
	return os.WriteFile(filepath.Join(b.dist, "SHA256SUMS"), []byte(sums.String()), 0o644)
}
