#!/usr/bin/env bash
# Runs the benchmarks in rounds and prints benchstat's tables:
#
#	scripts/bench.sh [PART...]                  some parts, or all
#	AGAINST=COMMIT scripts/bench.sh [PART...]   this tree beside another commit
#
# A round is one process, in which each benchmark runs once. So what disturbs the
# machine disturbs all peers, or both trees, alike. The environment may set:
#
#	ROUNDS     the number of rounds of each part
#	ARGS       flags for the tests' binary; the last one of a name counts.
#	           ARGS="-test.short -test.benchtime=1x": everything is tiny
#	MARKDOWN   prints tables in Markdown
#	BENCH_DIR  where files are made, on a disk; 16 GB for the parts file and disk
#	BENCHSTAT  the command; the Makefile sets it
#
# The raw figures stay in out/bench, where make figures finds them.
set -euo pipefail
cd "$(dirname "$0")/.."

# The npm package's is a program of Node.js 20 or newer, and not compared with
# another commit.
javascript() { node clients/js/bench/resolve.js ${ROUNDS:-}; }
[ "$*" != javascript ] || { javascript; exit; }

parts="requests sealed bound races memory sweeps file disk nodes feed many costs server console javascript"
settings() { # sets the rounds of a part, its benchmarks with their -benchtime, and more flags
	flags=
	case $1 in
	requests) rounds=10 runs="Request$:100ms" flags="-test.benchmem -test.cpu=1,2" ;;
	sealed) rounds=10 runs="Sealed$:100ms" flags="-test.benchmem -test.cpu=1" ;;
	bound) rounds=10 runs="Bound$:100ms" flags="-test.benchmem -test.cpu=1" ;;
	races) rounds=1 runs="Race$:20x" ;;
	memory) rounds=1 runs="Memory$:1x" ;;
	sweeps) rounds=3 runs="Sweep$:1x" ;;
	file) rounds=6 runs="(FileRequest|FileUpdate|CachedRead)$:250ms" ;;
	disk) rounds=3 runs="(Steady|Open|Turnover)$:1x" ;;
	nodes) rounds=6 runs="(Nodes|NodesRequest)$:150ms" ;;
	feed) rounds=5 runs="NodesEnd$:2000x NodesLimit$:20x NodesEndSubject$:3x" ;;
	costs) rounds=3 runs="Cost$:1x" ;;
	many) rounds=1 runs="Many$:1s" ;;
	console) rounds=3 runs="Console$:1x ConsoleStores$:1x" ;;
	server) rounds=6 runs="Server$:1x ServerRequest$:1x ServerStart$:2x ServerCrowd$:1x" ;;
	*) echo "bench: no part $1; there are: $parts" >&2 && exit 2 ;;
	esac
	rounds=${ROUNDS:-$rounds}
}

out=$PWD/out/bench
mkdir -p "$out"
files=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/sojourn-bench-XXXXXX")
chmod 711 "$files" # PostgreSQL's user enters it
trap '[ -z "${AGAINST:-}" ] || git worktree remove --force "$files/tree"; rm -rf "$files"' EXIT
trees=("$PWD") names=(after) peers=.
if [ -n "${AGAINST:-}" ]; then
	old=$files/tree
	git worktree add --quiet --detach "$old" "$AGAINST"
	rm -f "$old"/bench/*.go
	cp bench/*.go bench/go.mod bench/go.sum "$old/bench/"
	trees=("$old" "$PWD") names=(before after) peers=peer=sojourn
fi
for i in "${!trees[@]}"; do
	(cd "${trees[i]}/bench" && go test -c -o "$out/${names[i]}.test" .)
	mkdir -m 711 "$files/${names[i]}"
done
(cd bench && go list -m -f '{{.Path}}: {{.Version}}' all) |
	grep -E 'alexedwards|gorilla/sessions|fiber/v3|redistore|rueidis|pgx/v5|go-redis|modernc.org/sqlite' >"$out/versions.txt"

for part in ${*:-$parts}; do
	if [ "$part" = javascript ]; then
		javascript
		continue
	fi
	settings "$part"
	results=()
	for i in "${!trees[@]}"; do
		results[i]=$out/$part-${names[i]}.txt
		{ echo "measured on $(date +%F)" && cat "$out/versions.txt"; } >"${results[i]}"
	done
	for round in $(seq "$rounds"); do
		for i in "${!trees[@]}"; do
			echo "$part: round $round of $rounds${AGAINST:+, ${names[i]}}" >&2
			for run in $runs; do
				(cd "${trees[i]}/bench" && BENCH_DIR="$files/${names[i]}" "$out/${names[i]}.test" -test.run='^$' -test.timeout=2h \
					-test.bench="^Benchmark${run%:*}/./$peers" -test.benchtime="${run#*:}" $flags ${ARGS:-}) >>"${results[i]}" ||
					{ tail -n 40 "${results[i]}" >&2 && exit 1; }
			done
		done
	done
	if [ -n "${AGAINST:-}" ]; then
		$BENCHSTAT "before=${results[0]}" "after=${results[1]}"
	elif [ -n "${MARKDOWN:-}" ]; then
		$BENCHSTAT -format csv -col /peer "${results[0]}" 2>/dev/null | awk -f scripts/benchtable.awk
	else
		$BENCHSTAT -col /peer "${results[0]}"
	fi
	if [ "$part" = costs ] && [ -z "${AGAINST:-}" ]; then # the bytes of a session are from the last run of many
		touch "$out/many-after.txt"
		awk -f scripts/scale.awk "$out/costs-after.txt" "$out/many-after.txt"
	fi
done
