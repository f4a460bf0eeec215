# Turns benchstat's CSV into Markdown: a table for each unit, with the median of
# each peer, and in how many times the first peer's that is.
BEGIN { FS = "," }

function si(x) {
	if (x == 0) return "0"
	prefix = ""
	if (x >= 1e9) { x /= 1e9; prefix = "G" }
	else if (x >= 1e6) { x /= 1e6; prefix = "M" }
	else if (x >= 1e4) { x /= 1e3; prefix = "k" }
	else if (unit ~ /sec/ && x < 1e-6) { x *= 1e9; prefix = "n" }
	else if (unit ~ /sec/ && x < 1e-3) { x *= 1e6; prefix = "µ" }
	else if (unit ~ /sec/ && x < 1) { x *= 1e3; prefix = "m" }
	return sprintf(x >= 100 ? "%.0f" : x >= 10 ? "%.1f" : "%.2f", x) (prefix == "" ? "" : " " prefix) (unit ~ /sec/ ? (prefix == "" ? " " : "") "s" : "")
}

function ratio(x) { return sprintf(x >= 10 ? "%.0f" : "%.2g", x) }

$1 == "" && NF > 1 {
	if (!named) { split($0, peer, FS); named = 1; next } # the first line of a head
	unit = $2
	head = "| " unit
	line = "| ---"
	for (i = 2; i <= NF; i++)
		if ($i == unit) { head = head " | " peer[i]; line = line " | ---" }
	for (i = 2; i <= NF; i++) measured[i] = $i == unit
	print "\n" head " |\n" line " |"
	next
}
NF <= 1 { named = 0; next }
$1 == "geomean" { next }
{
	sub(/^[A-Za-z]*\/case=/, "", $1)
	row = "| " $1
	for (i = 2; i in measured; i++) {
		if (!measured[i]) continue
		cell = $i == "" ? "" : si($i)
		if (i > 2 && $i != "" && $2 > 0) cell = cell " ×" ratio($i / $2)
		row = row " | " cell
	}
	print row " |"
}
