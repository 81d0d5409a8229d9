# The "image": what decides the bytes of a real one, with the initramfs and the command line in it.
set -eu
for i in 1 2 3; do echo "  CC      init/main$i.o"; done
if grep -q '^CONFIG_FAILS=y' .config; then
    echo "init/main.c:7: error: this was to be expected" >&2
    exit 2
fi
folder=arch/x86/boot
image=bzImage
[ "$ARCH" = x86_64 ] || { folder=arch/arm64/boot; image=Image; }
mkdir -p $folder
echo "$(cat include/config/kernel.release) ($KBUILD_BUILD_USER@$KBUILD_BUILD_HOST) #$KBUILD_BUILD_VERSION $KBUILD_BUILD_TIMESTAMP" >$folder/$image
sed -n 's/^CONFIG_CMDLINE=/cmdline /p; s/^CONFIG_CMDLINE_OVERRIDE=/final /p' .config >>$folder/$image
source=$(sed -n 's/^CONFIG_INITRAMFS_SOURCE="\(.*\)"$/\1/p' .config)
[ -z "$source" ] || cat "$source" >>$folder/$image
echo "0 T start" >System.map
echo kernel/fs/ext4/ext4.ko >modules.builtin
printf 'ext4.license=GPL\0' >modules.builtin.modinfo
