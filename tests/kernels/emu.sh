#!/bin/bash
# tier: fast
# The CUDA kernels on the host: kernels/*.cu compiled by the host compiler against tests/emu, then the very programs of tier gpu
# run on the emulated device (tier long: in both orders of threads). Needs the CUDA toolkit's headers and a build with CUDA=1; no device.
set -u
b=$PEFT_BUILD out=$PEFT_BUILD/emu
cuda=$(sed -n 's/^CUDA_HOME := //p' config.mk)
if [ ! -e "$b/kernels/device.cu.o" ] || [ ! -e "$cuda/include/cublasLt.h" ]; then
    echo "skip emulated kernels: built without CUDA"
    exit 0
fi
mkdir -p "$out"
cxx() { g++ -std=c++17 -O1 -g "$@" -I. "-I$cuda/include"; } # tests/emu before the root
orders=forward # the reverse order shows missing barriers, and costs as much again
[ "${PEFT_TIER:-fast}" = long ] && orders="forward reverse"
objects=()
for f in kernels/*.cu tests/emu/*.cc; do
    o=$out/$(basename "$f").o
    objects+=("$o")
    # Unchanged sources keep their objects, as in the Makefile.
    [ -e "$o" ] && [ -z "$(find kernels tests/emu -newer "$o" \( -name '*.cu*' -o -name '*.h' -o -name '*.cc' -o -name '*.def' \))" ] && continue
    case $f in
    *.cu) cxx -w -include tests/emu/emu.h -Itests/emu -x c++ -c -o "$o" "$f" || exit 1 ;;
    *) cxx -Wall -Wextra -c -o "$o" "$f" || exit 1 ;;
    esac
done
for t in gpu_device gpu_ops gpu_products; do
    # The emulator's objects come first: libpeft.a then gives the CPU side only.
    g++ -o "$out/$t" "$b/tests/kernels/$t.c.o" "${objects[@]}" "$b/libpeft.a" -pthread -lm || exit 1
    for order in $orders; do
        EMU_ORDER=$order "$out/$t" | sed -E "s/^(ok|FAIL) gpu/\1 emulated ($order)/" || exit 1
    done
done
