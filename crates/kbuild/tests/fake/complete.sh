# Drops what depends on something that is off, completes the rest, writes the version down.
set -eu
on() { grep -q "^CONFIG_$1=y" .config; }
mkdir -p include/config
if ! on MISC; then sed -i '/CONFIG_EROFS/d' .config; fi
on BROKEN && { echo "the tool for settings is broken" >&2; exit 1; }
sed -i '/^CONFIG_COMPLETED=/d' .config
echo CONFIG_COMPLETED=y >>.config
echo "$1$(sed -n 's/^CONFIG_LOCALVERSION="\(.*\)"$/\1/p' .config | tail -n 1)${LOCALVERSION-+}" >include/config/kernel.release
