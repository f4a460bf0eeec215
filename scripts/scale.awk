# Computes the plan of docs/scale.md from the raw figures of the parts costs and
# many: what a site of 100 million sessions and a million checks a second asks of
# its stores. docs/scale.md says what is assumed.
BEGIN {
	sessions = 100e6; checks = 1e6; gap = 10; writes = 0.01; perNode = 50000
	logins = 10 * sessions / (20 * 86400) # a session lives for 20 days; the peak is ten times the mean
	inUse = checks * gap; nodes = checks / perNode
	rotations = inUse / 900; touches = inUse / 60 # the defaults of the engine
	# What is due, an unconfirmed secret for a minute, and once more after a
	# rotation and its two notes.
	rate["read"] = touches + rotations * (60 / gap + 3)
	rate["touch"] = touches; rate["update"] = checks * writes
	rate["rotate"] = rotations; rate["confirm"] = 2 * rotations
	rate["create"] = rate["login"] = rate["end"] = logins
	rate["sweep"] = sessions / 3600 # Redis compares each session with its index once an hour
	rate["node-second"] = nodes
	changes = rate["update"] + rotations + rate["confirm"] + 3 * logins
	rate["hear"] = changes * nodes
	operations = split("read touch update rotate confirm create login end sweep hear node-second", operation, " ")
}

/^BenchmarkCost\/case=/ {
	split($1, name, /case=|\/peer=/)
	store = name[2]; sub(/-.*/, "", store)
	op = substr(name[2], length(store) + 2)
	stores[store] = 1; runs[store, op]++
	for (i = 3; i < NF; i += 2) cost[store, op, $(i + 1)] += $i
}
/^BenchmarkMany\/case=.*-kept\// {
	split($1, name, /case=|-kept/)
	kept[name[2]] = $3
}

function each(store, op, unit) {
	if (op != "hear") return runs[store, op] ? cost[store, op, unit] / runs[store, op] : 0
	heard = (each(store, "update-heard-by-12", unit) - each(store, "update", unit)) / 12
	return heard > 0 && unit != "log-B" && unit != "in-B" ? heard : 0
}

END {
	printf "%.0f nodes; the feed reports %.0f changes a second to each; %.0f %% of the checks are answered from memory.\n", nodes, changes, 100 * (1 - rate["read"] / checks)
	for (store in stores) {
		printf "\n| %s | a second | CPU of one | cores | received | sent | logged |\n| --- | --- | --- | --- | --- | --- | --- |\n", store
		cores = received = sent = logged = 0
		for (i = 1; i <= operations; i++) {
			op = operation[i]; r = rate[op]
			if (op == "sweep" && store != "redis") continue
			c = r * each(store, op, "cpu-ns") / 1e9; cores += c
			x = r * each(store, op, "in-B") / 1e6; received += x
			y = r * each(store, op, "out-B") / 1e6; sent += y
			z = r * each(store, op, "log-B") / 1e6; logged += z
			printf "| %s | %.0f | %.1f µs | %.2f | %.0f MB | %.0f MB | %.0f MB |\n", op, r, each(store, op, "cpu-ns") / 1e3, c, x, y, z
		}
		printf "| **all** | | | **%.1f** | **%.0f MB** | **%.0f MB** | **%.0f MB** |\n", cores, received, sent, logged
		if (kept[store]) printf "\n%.0f M sessions of %.0f B are %.0f GB.\n", sessions / 1e6, kept[store], sessions * kept[store] / 1e9
	}
}
