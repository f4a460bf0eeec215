#!/usr/bin/env bash
# Installs what the tests need besides Go modules, on Debian. On other systems it
# says what to install, and fails. It prints nothing if nothing is missing.
set -euo pipefail

# For each need: commands, of which one must exist | Debian's packages | the purpose.
needs='
cc gcc clang | gcc libc6-dev | a C compiler with its headers, for the race detector (go test -race)
strace | strace | strace, which shows the order of writes and syncs of the embedded store and makes them fail
mkfs.ext4 | e2fsprogs | mkfs.ext4, for small disks that the tests of the embedded store fill
sqlite3 | sqlite3 | sqlite3, which looks at the file of the embedded store from outside
redis-server | redis-server | redis-server, for the tests of redisstore
postgres | postgresql | PostgreSQL, for the tests of pgstore
pgbouncer | pgbouncer | PgBouncer, for the tests of pgstore behind it
nginx | nginx | nginx, for the tests of forward-auth (Debian also starts it as a service: systemctl disable --now nginx)
haproxy | haproxy | HAProxy, for the tests of forward-auth (likewise: systemctl disable --now haproxy)
caddy | caddy | Caddy, for the tests of forward-auth (likewise: systemctl disable --now caddy)
promtool | prometheus | promtool, which tests the rules for alerts (Debian also starts Prometheus as a service: systemctl disable --now prometheus)
wrk | wrk | wrk, which measures the server (make bench)
node | nodejs | Node.js, for the client in JavaScript and its example
npm | npm | npm, which installs what checks openapi.json, and the frameworks for the tests of the client in JavaScript
git | git | git, which a release is built from
systemd-analyze | systemd | systemd, which checks the units of the package
chromium chromium-browser google-chrome google-chrome-stable | chromium chromium-sandbox fonts-liberation | Chromium, for the browser tests of the shop
firefox-esr firefox | firefox-esr | Firefox, for the tests of the script that binds sessions
'

have() { # have NAME: does the command exist and work?
	local chrome="/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
	case $1 in
	cc | gcc | clang) command -v "$1" >/dev/null && echo '#include <stdlib.h>' | "$1" -E - >/dev/null 2>&1 ;;
	postgres) command -v "$1" >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null ;;
	pgbouncer | nginx | haproxy | mkfs.ext4) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] ;;
	google-chrome) command -v "$1" >/dev/null || [ -x "$chrome" ] ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

if ! command -v go >/dev/null; then
	echo "The tests need Go 1.26 or newer: https://go.dev/doc/install" >&2
	exit 1
fi

# Installs the packages of npm that the tests need, and ends the script. The copy
# of a lockfile tells what is installed.
from_npm() {
	cd "$(dirname "${BASH_SOURCE[0]}")/.."
	npm_packages sojournd/testdata/lint "the linters of the API's description"
	npm_packages sojournd/testdata/axe "axe-core, which checks the pages for people who can't see them or use a mouse"
	npm_packages clients/js "the packages for the tests of the JavaScript client"
	if [ "$(node -p 'process.versions.node.split(".")[0] < 20')" = true ]; then
		npm_packages clients/js/test/node "Node.js 20, since the system's is older"
	fi
	exit 0
}

npm_packages() ( # npm_packages DIRECTORY WHAT
	cd "$1"
	cmp -s package-lock.json node_modules/.installed && exit 0
	echo "About to install $2 with npm: $1"
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
	cp package-lock.json node_modules/.installed
)

packages='' list=''
while IFS='|' read -r commands debian reason; do
	for c in $commands; do
		have "$c" && continue 2
	done
	packages+=" ${debian//  / }"
	list+="  -${reason}"$'\n'
done < <(grep . <<<"$needs")
[ -n "$packages" ] || from_npm
read -ra packages <<<"$packages"

if ! command -v apt-get >/dev/null; then
	printf 'The tests need these programs. Please install:\n%s' "$list" >&2
	echo "(go test ./... skips the tests that need them.)" >&2
	exit 1
fi

printf 'About to install with apt-get: %s\n%s' "${packages[*]}" "$list"
apt=(apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq)
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		printf 'That takes root, and there is no sudo. Please run, as root:\n  apt-get update && apt-get install -y --no-install-recommends %s\n' "${packages[*]}" >&2
		exit 1
	fi
	apt=(sudo env DEBIAN_FRONTEND=noninteractive "${apt[@]}")
	sudo true # asks for the password here
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1 </dev/null ||
	{ cat "$log" >&2 && exit 1; }
from_npm
