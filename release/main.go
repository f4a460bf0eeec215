// Command release makes what users install: the tags by which Go finds the
// modules of a version (make tags).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
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
	if len(args) == 2 && args[0] == "tags" {
		return tagModules(ctx, ".", args[1])
	}
	return fmt.Errorf("usage: release tags VERSION")
}
