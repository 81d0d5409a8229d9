set -eu
to=$INSTALL_MOD_PATH/lib/modules/$(cat include/config/kernel.release)
mkdir -p "$to/kernel/drivers"
cp drivers/odd.ko "$to/kernel/drivers/"
cp modules.builtin modules.order "$to/"
ln -sfn "$1" "$to/build"
