#!/bin/bash
# tier: lint
# Every header compiles alone; those of kernels/ also as C++, since the CUDA twins include them.
set -u
cd "$(dirname "$0")/../.." || exit 70
bad=0
for h in kernels/*.h libcommon/*/*.h tests/test.h; do
    [ -f "$h" ] || continue
    ${CC:-cc} -std=gnu11 -I. -D_GNU_SOURCE -Wall -Wextra -Werror -Wno-unused-function -Wno-unused-variable -fsyntax-only -x c "$h" >&2 || { echo "$h: not alone" >&2; bad=$((bad + 1)); }
    case $h in kernels/*)
        if command -v c++ >/dev/null; then
            c++ -std=c++17 -I. -D_GNU_SOURCE -Wall -Wextra -fsyntax-only -x c++ "$h" >&2 || { echo "$h: not as C++" >&2; bad=$((bad + 1)); }
        fi ;;
    esac
done
if [ $bad -eq 0 ]; then echo "ok headers"; else echo "FAIL headers: $bad"; fi
