#!/bin/bash
# tier: long
# No kernel may spill registers or need a stack frame, on any architecture of CUDA_ARCH: ptxas says which do.
set -u
nvcc=$(sed -n 's/^NVCC := //p' config.mk)
if [ -z "$nvcc" ]; then
    echo "skip ptxas: configured without CUDA"
    exit 0
fi
archs=$(sed -n 's/^CUDA_ARCH ?= //p' Makefile)
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
for f in kernels/*.cu; do
    gen=()
    for a in $archs; do gen+=(-gencode "arch=compute_$a,code=sm_$a"); done
    if ! "$nvcc" -std=c++17 -O3 -I. "${gen[@]}" -Xptxas -v -c -o "$tmp/o" "$f" >"$tmp/log" 2>&1; then
        echo "FAIL ptxas $f: does not compile: $(head -n 1 "$tmp/log")"
        continue
    fi
    kernels=$(grep -c 'bytes stack frame' "$tmp/log")
    # device.cu and the like hold no kernels; a file that does must report on every architecture.
    bad=$(grep 'bytes stack frame' "$tmp/log" | grep -vc ' 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads')
    if [ "$bad" -ne 0 ]; then
        echo "FAIL ptxas $f: $bad of $kernels kernels spill or use the stack"
        grep -B1 'bytes stack frame' "$tmp/log" | grep -A1 'Function properties' >&2
    elif grep -q __global__ "$f" && [ "$kernels" -eq 0 ]; then
        echo "FAIL ptxas $f: no report"
    else
        echo "ok ptxas $f: $kernels kernels"
    fi
done
