#!/bin/sh
# Compiles the tensor kernels and their test for aarch64 and runs the test under qemu-user: every
# pointer of the NEON level against the reference. Needs aarch64-linux-gnu-gcc with a static libc and
# qemu-aarch64(-static); where one is missing it says so in one line and ends with 0.
#
#     tests/kernel/cross.sh [BUILD_FOLDER]      (default build/cross-aarch64)
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-$root/build/cross-aarch64}
cc=${CROSS_CC:-aarch64-linux-gnu-gcc}

qemu=
for name in qemu-aarch64-static qemu-aarch64; do
    if [ -z "$qemu" ] && command -v "$name" >/dev/null 2>&1; then
        qemu=$name
    fi
done
if ! command -v "$cc" >/dev/null 2>&1; then
    echo "skipped: kernels on aarch64 ($cc is not installed)"
    exit 0
fi
if [ -z "$qemu" ]; then
    echo "skipped: kernels on aarch64 (qemu-user is not installed)"
    exit 0
fi

mkdir -p "$out"
cd "$root/src"
flags="-std=c17 -O2 -D_GNU_SOURCE -DKERNELS_ARM=1 -ffp-contract=off -fno-strict-aliasing
    -Wall -Wextra -Werror -I."

# shellcheck disable=SC2086 # the flags are words
{
    $cc $flags -march=armv8.2-a+dotprod+fp16 -c tensor/kernels_neon.c -o "$out/kernels_neon.o"
    $cc $flags -static -o "$out/kernels_test" tensor/kernels_test.c tensor/codec.c tensor/cpu.c tensor/encode_fit.c tensor/encode_grid.c tensor/encode_k.c tensor/encode_plain.c tensor/grid_tables.c \
        tensor/kernels.c tensor/kernels_panel.c tensor/kernels_reference.c \
        tensor/kernels_reference_panel.c tensor/pack.c gguf/dtype.c base/str.c base/utf8.c \
        "$out/kernels_neon.o" -lm -lpthread
}

run() { # CPU, level that must have been chosen
    "$qemu" -cpu "$1" "$out/kernels_test" >"$out/log" || {
        cat "$out/log"
        echo "kernels on aarch64 ($qemu -cpu $1): FAILED"
        exit 1
    }
    if ! grep -q "^best level $2" "$out/log"; then
        echo "kernels on aarch64 ($qemu -cpu $1): FAILED, the level $2 was not chosen"
        exit 1
    fi
}

run cortex-a53 reference # has no dot product
run cortex-a76 neon
run max neon
echo "kernels on aarch64 (qemu max, cortex-a76, cortex-a53): passed, $(sed -n 's/.*: //p' "$out/log" | tail -1)"
