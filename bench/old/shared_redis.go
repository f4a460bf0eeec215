package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	redisDriver = "redisstore"
	rawGet      = "raw GET"
	rawDoCache  = "DoCache"
	rawScript   = "raw EVALSHA"
)

func (s *servers) redisSpent(ctx context.Context) (spent, error) {
	var r spent
	for _, x := range []struct {
		section, key string
		add          func(float64)
	}{
		{"cpu", "used_cpu_user", func(v float64) { r.cpu += time.Duration(v * 1e9) }},
		{"cpu", "used_cpu_sys", func(v float64) { r.cpu += time.Duration(v * 1e9) }},
		{"stats", "total_net_input_bytes", func(v float64) { r.in = int64(v) }},
		{"stats", "total_net_output_bytes", func(v float64) { r.out = int64(v) }},
		{"persistence", "aof_current_size", func(v float64) { r.log = int64(v) }},
	} {
		v, err := s.infoNumber(ctx, x.section, x.key)
		if err != nil {
			return r, err
		}
		x.add(v)
	}
	return r, nil
}

func (s *servers) redisKept(ctx context.Context, _ string) (int64, error) {
	v, err := s.infoNumber(ctx, "memory", "used_memory")
	return int64(v), err
}

func (s *servers) infoNumber(ctx context.Context, section, key string) (float64, error) {
	info, err := s.info(ctx, section)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(info[key], 64)
	if err != nil {
		return 0, fmt.Errorf("bench: redis INFO %s, %s: %w", section, key, err)
	}
	return v, nil
}

// redisReads read what the driver has written for the sessions, with the client that the driver is made with: from the server, and from the
// client's own cache, which the server invalidates.
func (s *servers) redisReads(ctx context.Context, space string, smp samples, n int) ([]load, error) {
	records, err := s.redisRecords(ctx, space)
	if err != nil {
		return nil, err
	}
	keys := make([]string, n)
	for i := range keys {
		r, ok := records[smp.id(i).String()]
		if !ok {
			return nil, fmt.Errorf("bench: found no key of session %d", i)
		}
		keys[i] = r.key
	}
	c := s.rueidis
	get := func(do func(key string) rueidis.RedisResult, batch int) func(int) func() error {
		return func(w int) func() error {
			random := rand.New(rand.NewPCG(uint64(w), 17))
			return func() error {
				for range batch {
					if text, err := do(keys[random.IntN(n)]).ToString(); err != nil || text == "" {
						return errors.Join(err, errors.New("an empty record"))
					}
				}
				return nil
			}
		}
	}
	fromClient := func(key string) rueidis.RedisResult {
		return c.DoCache(ctx, c.B().Get().Key(key).Cache(), time.Hour)
	}
	return []load{
		{name: rawGet, hand: get(func(key string) rueidis.RedisResult { return c.Do(ctx, c.B().Get().Key(key).Build()) }, 1)},
		{name: rawDoCache, batch: inMemory, hand: get(fromClient, inMemory), ready: func(ctx context.Context, _ int) error {
			return spread(ctx, 0, n, sharedFillers, func() func(int) error {
				return func(i int) error { return fromClient(keys[i]).Error() }
			})
		}},
	}, nil
}

// A redisRecord is the key under which the driver keeps a session's record.
type redisRecord struct {
	key  string
	size int64
}

var uuidPattern = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// redisRecords finds the records in a space by the session's ID: whatever the driver calls its keys, the record is the longest string whose key names the session.
func (s *servers) redisRecords(ctx context.Context, space string) (map[string]redisRecord, error) {
	c := s.rueidis
	records := map[string]redisRecord{}
	for cursor := uint64(0); ; {
		page, err := c.Do(ctx, c.B().Scan().Cursor(cursor).Match(space+":*").Count(1000).Build()).AsScanEntry()
		if err != nil {
			return nil, err
		}
		var keys []string
		var commands rueidis.Commands
		for _, key := range page.Elements {
			if uuidPattern.MatchString(key) {
				keys = append(keys, key)
				commands = append(commands, c.B().Strlen().Key(key).Build())
			}
		}
		for i, reply := range c.DoMulti(ctx, commands...) {
			size, err := reply.AsInt64()
			if err != nil && !strings.HasPrefix(err.Error(), "WRONGTYPE") {
				return nil, err
			}
			if id := uuidPattern.FindString(keys[i]); size > records[id].size {
				records[id] = redisRecord{keys[i], size}
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return records, nil
		}
	}
}

// compareAndSet is the least that a conditional write takes: compare the revision at the value's beginning, and set the value.
const compareAndSet = `
if string.sub(redis.call('GET', KEYS[1]), 1, 16) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`

// redisWrites writes values of the same size as the driver's records.
func (s *servers) redisWrites(ctx context.Context, space string, n int) (load, error) {
	records, err := s.redisRecords(ctx, space)
	if err != nil {
		return load{}, err
	}
	size := meanSize(records)
	if size < 16 {
		return load{}, errors.New("bench: found no records in " + space)
	}
	c := s.rueidis
	key := func(i int) string { return fmt.Sprintf("raw:session:{%d}:default:%036d", i%256, i) }
	value := func(i, revision int) string {
		b := make([]byte, size)
		noise(b, i, uint64(revision))
		return fmt.Sprintf("%016x", revision) + string(b[16:])
	}
	script := rueidis.NewLuaScript(compareAndSet)
	revisions := make([]int, n)
	return load{
		name: rawScript,
		ready: func(ctx context.Context, _ int) error {
			return spread(ctx, 0, n, sharedFillers, func() func(int) error {
				return func(i int) error {
					return c.Do(ctx, c.B().Set().Key(key(i)).Value(value(i, revisions[i])).Ex(time.Hour).Build()).Error()
				}
			})
		},
		hand: func(w int) func() error {
			return perWriter(w, n, func(i, _ int) error {
				was := fmt.Sprintf("%016x", revisions[i])
				revisions[i]++
				done, err := script.Exec(ctx, c, []string{key(i)}, []string{was, value(i, revisions[i]), "3600000"}).AsInt64()
				if err == nil && done != 1 {
					err = errors.New("the script refused a right revision")
				}
				return err
			})
		},
	}, nil
}

func meanSize(records map[string]redisRecord) int {
	var total int64
	for _, r := range records {
		total += r.size
	}
	return int(total) / max(1, len(records))
}
