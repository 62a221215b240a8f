#!/bin/bash
# coverage.sh BUILD: after the tests of a build of the variant gcov: lines and branches that ran, for each room, and the error ids that nothing
# made. A branch counts when it went that way at least once. Processes that are killed, or give up, leave no count.
set -eu
cd "$(dirname "$0")/.."
build=$1
printf '%-10s %8s %7s %9s %7s\n' room lines ran branches taken
for dir in kernels libcommon/*/ tools; do
    dir=${dir%/}
    find "$build/$dir" -maxdepth 1 -name '*.gcda' -print0 | xargs -0 -r gcov -n -b 2>/dev/null | awk -v room="${dir#libcommon/}" -v dir="$dir/" '
        /^File/ { ours = index($0, "\x27" dir) > 0 && $0 ~ /\.c\x27$/ }
        /^Calls executed|^No calls/ { ours = 0 } # what follows the last file is of all
        ours && /^Lines executed:/ { split($0, a, /[:% ]+/); n = $NF; lines += n; ran += a[3] * n / 100 }
        ours && /^Taken at least once:/ { split($0, a, /[:% ]+/); n = $NF; branches += n; taken += a[5] * n / 100 }
        END { printf "%-10s %8d %6.1f%% %9d %6.1f%%\n", room, lines, lines ? 100 * ran / lines : 0, branches, branches ? 100 * taken / branches : 0 }'
done
ids=$(sed -nE 's/^ERR\(E_[A-Z_]+, "(E-[A-Z-]+)".*/\1/p' libcommon/base/errors.def | sort)
never=$(comm -23 <(echo "$ids") <(sort -u "$build/raised"))
echo "error ids: $(wc -l <<<"$ids"), provoked by no test: $(tr '\n' ' ' <<<"${never:-none}")"
