package main

import "context"

// takeTurns measures n contenders in rounds: in each every one has a slice, and each round begins with another, so that what disturbs
// the machine disturbs all alike.
func takeTurns(ctx context.Context, rounds, n int, say func(round int), slice func(i int) error) error {
	for round := range rounds {
		say(round + 1)
		for i := range n {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := slice((i + round) % n); err != nil {
				return err
			}
		}
	}
	return nil
}
