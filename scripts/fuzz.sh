#!/usr/bin/env bash
# Runs every fuzz target of every module: scripts/fuzz.sh [TIME], 5s each if not given. An input that
# fails is written to the package's testdata/fuzz: commit it, it is a regression test from then on.
set -euo pipefail
time=${1:-5s}
out=$(mktemp)
trap 'rm -f "$out"' EXIT

find . -name '*_test.go' -not -path '*/.*' | sort | while read -r file; do
	for target in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*\*testing\.F\).*/\1/p' "$file"); do
		echo "fuzz $target ($(dirname "$file"), $time)"
		if ! go test "$(dirname "$file")" -run='^$' -fuzz="^$target\$" -fuzztime="$time" >"$out" 2>&1 </dev/null; then
			cat "$out"
			exit 1
		fi
	done
done
