#!/usr/bin/env bash
# Says how much disk `make test` takes and how much is free. Exit code 4: it is too little.
set -euo pipefail
cd "$(dirname "$0")/.."

# Megabytes. On 2026-11-21 a first run took 2,500, 340, 1,500 and 740 at most; here with room to grow.
target=3200    # what is compiled
cache=800      # the node's programs, a standard library for them
crates=1600    # sources of crates
temporary=1500 # the most that tests have at one time, two standard libraries among it; tools that are installed before them take less

existing() { # the nearest folder that is there
    local path=$1
    until [ -d "$path" ]; do path=$(dirname "$path"); done
    echo "$path"
}
used() { du -sm "$1" 2>/dev/null | cut -f1 || true; }

declare -A needed places
want() { # PLACE MEGABYTES: less what is there from an earlier run
    local place there device
    place=$(existing "$1")
    there=$(if [ -d "$1" ]; then used "$1"; fi)
    device=$(stat -c %d "$place")
    needed[$device]=$((${needed[$device]:-0} + ($2 > ${there:-0} ? $2 - ${there:-0} : 0)))
    places[$device]+="${places[$device]:+, }$place"
}
want "${CARGO_TARGET_DIR:-$PWD/target}/debug" "$target"
want "${MOS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mos}" "$cache"
want "${CARGO_HOME:-$HOME/.cargo}/registry" "$crates"
folder=${TMPDIR:-/tmp}
device=$(stat -c %d "$folder")
needed[$device]=$((${needed[$device]:-0} + temporary))
places[$device]+="${places[$device]:+, }$folder"

short=0
for device in "${!needed[@]}"; do
    free=$(df --output=avail -m "${places[$device]%%, *}" | tail -n 1)
    free=${free// /}
    echo "room: make test takes up to ${needed[$device]} MB more in ${places[$device]}; $free MB are free"
    [ "$free" -ge "${needed[$device]}" ] || short=1
done
if [ $short = 1 ]; then
    echo "room: that is too little; free some, or set CARGO_TARGET_DIR, MOS_CACHE and TMPDIR to places with more" >&2
    exit 4
fi
