#!/usr/bin/env bash
# Runs the benchmarks in rounds and prints benchstat's tables:
#
#	scripts/bench.sh [PART...]               some parts, or all
#	AGAINST=COMMIT scripts/bench.sh [PART...]   this tree beside another commit
#
# A round is one process, in which each benchmark of a part runs once. So what
# disturbs the machine disturbs all peers, or both trees, alike. ROUNDS=n changes
# the number of rounds; ARGS are for the test's binary (-test.short: everything is
# tiny). The raw figures stay in out/bench. BENCHSTAT is set by the Makefile.
set -euo pipefail
cd "$(dirname "$0")/.."
parts="requests races"

settings() {
	case $1 in
	requests) rounds=10 pattern=Request flags="-test.benchtime=100ms -test.benchmem -test.cpu=1,2" ;;
	races) rounds=1 pattern=Race flags="-test.benchtime=20x" ;;
	*) echo "bench: no part $1; there are: $parts" >&2 && exit 2 ;;
	esac
}

out=$PWD/out/bench
mkdir -p "$out"
trees=("$PWD") names=(after) peers=.
if [ -n "${AGAINST:-}" ]; then
	old=$(mktemp -d)
	trap 'git worktree remove --force "$old"' EXIT
	git worktree add --quiet --detach "$old" "$AGAINST"
	rm -f "$old"/bench/*.go
	cp bench/*.go bench/go.mod bench/go.sum "$old/bench/"
	trees=("$old" "$PWD") names=(before after) peers='peer=(sojourn|memstore|sqlitestore|redisstore|pgstore)'
fi

# The names of the library's API before the first release differ: names_old_test.go.
for i in "${!trees[@]}"; do
	build=(go test -c -o "$out/${names[i]}.test")
	(cd "${trees[i]}/bench" && { "${build[@]}" . 2>"$out/build.txt" || "${build[@]}" -tags oldnames . || { cat "$out/build.txt" >&2 && exit 1; }; })
done
go version -m "$out/after.test" | awk '$1 == "dep" && /scs|gorilla\/sessions|fiber\/v3|redistore|rueidis|pgx\/v5|go-redis|modernc.org\/sqlite/ { print "# " $2 " " $3 }'

for part in ${*:-$parts}; do
	settings "$part"
	rounds=${ROUNDS:-$rounds} files=()
	for i in "${!trees[@]}"; do
		files[i]=$out/$part-${names[i]}.txt
		: >"${files[i]}"
	done
	for round in $(seq "$rounds"); do
		for i in "${!trees[@]}"; do
			echo "$part: round $round of $rounds${AGAINST:+, ${names[i]}}" >&2
			(cd "${trees[i]}/bench" && "$out/${names[i]}.test" -test.run='^$' -test.timeout=2h -test.bench="$pattern/./$peers" $flags ${ARGS:-}) >>"${files[i]}" ||
				{ tail -n 40 "${files[i]}" >&2 && exit 1; }
		done
	done
	if [ -n "${AGAINST:-}" ]; then
		$BENCHSTAT "before=${files[0]}" "after=${files[1]}"
	else
		$BENCHSTAT -col /peer "${files[0]}"
	fi
done
