#!/bin/bash
# tier: lint
# The C files are as clang-format 14 would write them (.clang-format).
set -u
cd "$(dirname "$0")/../.." || exit 70
cf=$(command -v clang-format-14 || command -v clang-format)
case $("${cf:-false}" --version 2>/dev/null) in
*" 14."*) ;;
*)
    echo "skip format: needs clang-format 14"
    exit 0 ;;
esac
bad=$(for f in kernels/*.[ch] kernels/*.cu libcommon/*/*.[ch] tools/*.c tests/*.h tests/*/*.[ch]; do
    [ -f "$f" ] || continue
    "$cf" --dry-run -Werror "$f" >/dev/null 2>&1 || echo "$f"
done)
if [ -z "$bad" ]; then echo "ok format"; else
    echo "$bad" >&2
    echo "FAIL format: $(wc -l <<<"$bad") files; clang-format -i puts them right"
fi
