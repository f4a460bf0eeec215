package redisstore

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/rueidis"
)

// runLasting runs scripts and waits for replicas if the options ask for it. WAIT
// counts what its own connection has written, so each script gets a connection.
// An answer with an error means that too few replicas have the write.
func (s *Store) runLasting(ctx context.Context, calls []call) []outcome {
	if s.opt.WaitReplicas <= 0 {
		return s.runAll(ctx, calls)
	}
	const connections = 16
	outcomes := make([]outcome, len(calls))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(connections, len(calls)) {
		wg.Go(func() {
			for i := range next {
				outcomes[i] = s.runAndWait(ctx, &calls[i])
			}
		})
	}
	for i := range calls {
		next <- i
	}
	close(next)
	wg.Wait()
	return outcomes
}

func (s *Store) runAndWait(ctx context.Context, c *call) (o outcome) {
	var waited rueidis.RedisResult
	build := func(_ int, whole bool) rueidis.Completed { return s.command(c, whole) }
	send := func(ctx context.Context, commands ...rueidis.Completed) []reply {
		// rueidis sets no time limit of its own for commands such as WAIT.
		ctx, cancel := context.WithTimeout(ctx, s.timeout+s.opt.WaitTimeout)
		defer cancel()
		client, release := s.client.Dedicate()
		defer release()
		wait := client.B().Wait().Numreplicas(int64(s.opt.WaitReplicas)).Timeout(s.opt.WaitTimeout.Milliseconds()).Build()
		results := client.DoMulti(ctx, commands[0], wait)
		waited = results[1]
		var r reply
		r.RedisMessage, r.err = results[0].ToMessage()
		if hasCode(r.err, "MOVED") || hasCode(r.err, "ASK") {
			// A dedicated connection doesn't follow a bucket that has moved. This
			// command does, and then the client knows the bucket's new node.
			_ = s.send(ctx, s.client.B().Exists().Key(c.keys[0]).Build())
			r.err = fmt.Errorf("%w: %w", errMoved, r.err)
		}
		return []reply{r}
	}
	e := exchange{n: 1, build: build, send: send}
	o.answer, o.err = s.answerOf(ctx, c.keys, e.run(ctx)[0])
	if o.err != nil {
		return o
	}
	n, err := waited.AsInt64()
	switch {
	case err != nil:
		o.err = fmt.Errorf("%w: %w", errReplicas, err)
	case n < int64(s.opt.WaitReplicas):
		o.err = errReplicas
	}
	return o
}
