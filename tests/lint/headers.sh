#!/bin/bash
# tier: lint
# Every header compiles alone; those that the CUDA twins (kernels/*.cu, *.cuh) include also as C++. Not bodies that are compiled once
# for each instruction set: they say "Included only by FILE", or *_body.h.
set -u
cd "$(dirname "$0")/../.." || exit 70
bad=0
for h in kernels/*.h libcommon/*/*.h tests/test.h; do
    [ -f "$h" ] || continue
    head -n 12 "$h" | grep -q 'Included only by' && continue
    [[ $h == *_body.h ]] && continue
    ${CC:-cc} -std=gnu11 -I. -D_GNU_SOURCE -Wall -Wextra -Werror -Wno-unused-function -Wno-unused-variable -fsyntax-only -x c "$h" >&2 || { echo "$h: not alone" >&2; bad=$((bad + 1)); }
    case $h in kernels/*)
        if command -v c++ >/dev/null && grep -qF "\"$h\"" kernels/*.cu kernels/*.cuh 2>/dev/null; then
            c++ -std=c++17 -I. -D_GNU_SOURCE -Wall -Wextra -fsyntax-only -x c++ "$h" >&2 || { echo "$h: not as C++" >&2; bad=$((bad + 1)); }
        fi ;;
    esac
done
if [ $bad -eq 0 ]; then echo "ok headers"; else echo "FAIL headers: $bad"; fi
