#!/bin/bash
# tier: lint
# The tools start on machines without a GPU: no tool needs a CUDA library to load, and those that run no op (prep, tok, log)
# contain nothing of the CUDA runtime at all.
set -u
n=0
for t in "$PEFT_BIN"/peft-*; do
    [ -x "$t" ] || continue
    n=$((n + 1)) name=${t##*/}
    needed=$(readelf -d "$t" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -E '^lib(cuda|cublas|cudnn|nccl|nv)')
    if [ -n "$needed" ]; then echo "FAIL $name loads without CUDA: needs ${needed//$'\n'/ }"; else echo "ok $name loads without CUDA"; fi
    case $name in peft-prep | peft-tok | peft-log)
        inside=$(nm "$t" | grep -cE ' [TtWwBbDdRr] (cuda|cudart|__cudart|cublas)')
        if [ "$inside" -ne 0 ]; then echo "FAIL $name has no CUDA inside: $inside symbols"; else echo "ok $name has no CUDA inside"; fi
        ;;
    esac
done
[ $n -gt 0 ] || echo "skip no_cuda: no tools are built"
