# Prints the table of docs/benchmarks.md from the raw results of make bench:
#
#	awk -f scripts/figures.awk out/bench/*-after.txt
#
# A row is one question: what was measured, the limit, the best other library,
# and Sojourn, all from the same run, with medians. The ratios are how many times
# Sojourn does as well. Parts that were not run have no rows.

# row CASE: the benchmark's name up to "/peer=", on one CPU unless it ends in -2.
# UNIT: as the benchmark reports it. OURS and LIMIT: a peer, or CASE/peer=NAME.
function row(what, name, unit, ours, limit) {
	rows++; What[rows] = what; Case[rows] = name; Unit[rows] = unit; Ours[rows] = ours; Limit[rows] = limit
}

BEGIN {
	one = " (one CPU)"
	row("a request that reads the user" one, "Request/case=read-subject", "ns/op", "sojourn", "floor")
	row("a request that reads a string" one, "Request/case=read-string", "ns/op", "sojourn", "floor")
	row("… one of 20, of 2 KB in all" one, "Request/case=read-string-of-20-keys", "ns/op", "sojourn")
	row("a request that changes a string" one, "Request/case=change-string", "ns/op", "sojourn")
	row("a request that creates a session" one, "Request/case=create", "ns/op", "sojourn", "floor")
	row("a login" one, "Request/case=login", "ns/op", "sojourn", "floor")
	row("an anonymous request that touches nothing" one, "Request/case=anonymous", "ns/op", "sojourn", "bare")
	row("a read of a sealed session of 200 bytes" one, "Sealed/case=read-string", "ns/op", "sojourn-sealed", "Sealed/case=read-string/peer=sojourn")
	row("a change of a sealed session" one, "Sealed/case=change-string", "ns/op", "sojourn-sealed", "Sealed/case=change-string/peer=sojourn")
	row("a read of a session bound to a key" one, "Bound/case=read-subject", "ns/op", "sojourn-bound", "Bound/case=read-subject/peer=sojourn")
	row("lost, of 64 parallel updates", "Race/case=updates-2", "lost-%", "sojourn")
	row("memory of a session, of 1 M", "Memory/case=1M-2", "resident-B/session", "sojourn")

	file = "durable, 128 writers, embedded store of 1 M: "
	row("durable, one writer, embedded store of 1 M: create", "FileRequest/case=create-by-1-2", "ns/op", "sojourn", "bare-write-and-sync")
	row(file "create", "FileRequest/case=create-by-128-2", "ns/op", "sojourn", "bare-log")
	row(file "change one's own session", "FileRequest/case=change-string-by-128-2", "ns/op", "sojourn", "bare-log")
	row(file "read, compare and set one of those in use", "FileUpdate/case=update-in-use-by-128-2", "ns/op", "sojourn", "FileRequest/case=change-string-by-128-2/peer=bare-log")
	row(file "read, compare and set any", "FileUpdate/case=update-any-by-128-2", "ns/op", "sojourn", "FileRequest/case=change-string-by-128-2/peer=bare-log")
	row(file "90 % reads, 10 % changes", "FileRequest/case=mixed-by-128-2", "ns/op", "sojourn", "bare-log")

	split("redis postgresql", server, " ")
	split("1 16 128", crowd, " ")
	shown["redis"] = "Redis"; shown["postgresql"] = "PostgreSQL"
	for (s = 1; s <= 2; s++) {
		n = server[s]; N = shown[n]
		row(N ": a session from a node's memory", "Nodes/case=" n "-get-from-memory-2", "ns/op", "sojourn-cached", "Nodes/case=" n "-get-from-memory-2/peer=sojourn-memstore")
		row(N ": a request that reads the user, by 16", "NodesRequest/case=" n "-read-subject-by-16-2", "ns/op", "sojourn-cached")
		row(N ": a request that changes a string, by 16", "NodesRequest/case=" n "-change-string-by-16-2", "ns/op", "sojourn")
		for (c = 1; c <= 2; c++)
			row(N ": a read past the cache, by " crowd[c], "Nodes/case=" n "-get-by-" crowd[c] "-2", "ns/op", "sojourn", "raw")
		for (c = 1; c <= 3; c++)
			row(N ": a conditional write that three nodes hear, by " crowd[c], "Nodes/case=" n "-update-by-" crowd[c] "-2", "ns/op", "sojourn-heard", "raw")
		row(N ": an end is refused by the other nodes, p50", "NodesEnd/case=" n "-end-2", "seen-p50-ns", "sojourn")
		row(N ": an end is refused by the other nodes, p99", "NodesEnd/case=" n "-end-2", "seen-p99-ns", "sojourn")
	}
	row("a request that reads a string over a real `net/http` server, 64 connections", "ServerRequest/case=read-string-by-64-2", "req/s", "sojourn", "bare")
	row("… CPU of the process", "ServerRequest/case=read-string-by-64-2", "cpu-ns/req", "sojourn", "bare")
	row("`/check` of `sojournd`, 64 connections", "Server/case=check-by-64-2", "req/s", "sojourn", "bare")
	row("`/check`, p99 at 10,000 a second", "Server/case=check-10000-a-second-2", "p99-ns", "sojourn", "bare")
	row("`resolve` of `sojournd`, 64 connections", "Server/case=resolve-by-64-2", "req/s", "sojourn", "bare")
	row("`sojournd` ready with 1 M sessions on disk", "ServerStart/case=start-2", "ready-ns", "sojourn")
}

/^measured on / { date = $3 }

/^Benchmark.*\/peer=/ {
	name = $1; sub(/^Benchmark/, "", name)
	cpus = ""
	if (match(name, /-[0-9]+$/)) { cpus = substr(name, RSTART); name = substr(name, 1, RSTART - 1) }
	peer = name; sub(/.*\/peer=/, "", peer)
	sub(/\/peer=.*/, "", name)
	for (i = 3; i < NF; i += 2) {
		key = name cpus "/peer=" peer SUBSEP $(i + 1)
		values[key] = values[key] " " $i
	}
	day[name cpus] = date
	if (!seen[name cpus, peer]++) peers[name cpus] = peers[name cpus] " " peer
}

function median(key, n, i, j, v, t) {
	n = split(values[key], v, " ")
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
	if (n == 0) return ""
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function round3(x) { return sprintf(x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : "%.2f", x) }

function shape(x, unit) {
	if (unit ~ /%/) return round3(x) " %"
	if (unit == "req/s") return (x >= 1e4 ? round3(x / 1e3) " k/s" : round3(x) "/s")
	if (unit ~ /B/) return round3(x) " B"
	if (x >= 1e6) return round3(x / 1e6) " ms"
	if (x >= 1e3) return round3(x / 1e3) " µs"
	return round3(x) " ns"
}

function times(x, ours, unit) { # how many times as well as x we do
	if (x + 0 == 0 || ours + 0 == 0) return ""
	return sprintf(" (%.2g)", unit == "req/s" ? ours / x : x / ours)
}

END {
	print "| what | limit | best peer | Sojourn | date |"
	print "| --- | --- | --- | --- | --- |"
	for (r = 1; r <= rows; r++) {
		name = Case[r]; unit = Unit[r]
		ours = median(name "/peer=" Ours[r] SUBSEP unit)
		if (ours == "") continue
		limit = best = "–"
		if (Limit[r] != "") {
			key = Limit[r] ~ /peer=/ ? Limit[r] : name "/peer=" Limit[r]
			x = median(key SUBSEP unit)
			of = key; sub(/.*peer=/, "", of); sub(/^sojourn-?/, "", of); if (of == "") of = "stored"
			if (x != "") limit = of " " shape(x, unit) times(x, ours, unit)
		}
		least = ""
		n = split(peers[name], list, " ")
		for (i = 1; i <= n; i++) {
			if (list[i] ~ /^(sojourn|bare|floor|raw|client-cache)/) continue
			if (name ~ /^File/ && list[i] == "gorilla-files") continue # they are never synced
			x = median(name "/peer=" list[i] SUBSEP unit)
			if (x != "" && (least == "" || (unit == "req/s" ? x > least : x < least))) { least = x; best = list[i] " " shape(x, unit) times(x, ours, unit) }
		}
		print "| " What[r] " | " limit " | " best " | " shape(ours, unit) " | " day[name] " |"
	}
}
