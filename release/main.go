// Command release makes what users install: the programs and packages of a
// version (make release), and the tags by which Go finds its modules (make tags).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// command runs at the top of the repository.
func command(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	dist := flags.String("dist", "dist", "the directory to build in, which is emptied")
	commit := flags.String("commit", "", "the commit to build, instead of the one that is checked out without changes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch args := flags.Args(); {
	case len(args) == 2 && args[0] == "tags":
		return tagModules(ctx, ".", args[1])
	case len(args) >= 2 && args[0] == "build":
		chosen := slices.DeleteFunc(slices.Clone(targets), func(t target) bool {
			return len(args) > 2 && !slices.Contains(args[2:], t.String())
		})
		return buildAll(ctx, ".", *commit, *dist, args[1], chosen)
	}
	return errors.New("usage: release tags VERSION, or release [-commit COMMIT] [-dist DIRECTORY] build VERSION [linux/amd64 ...]")
}
