#!/bin/bash
# coverage.sh BUILD: after the tests of a build with --coverage: lines and branches that ran, for each room. A branch counts when it went that way
# at least once. Processes that are killed leave no count.
set -eu
cd "$(dirname "$0")/.."
build=$1
printf '%-10s %8s %7s %9s %7s\n' room lines ran branches taken
for room in kernels $(cd libcommon && ls -d */) tools; do
    room=${room%/} dir=libcommon/${room%/}
    case $room in kernels | tools) dir=$room ;; esac
    find "$build/$dir" -maxdepth 1 -name '*.gcda' -print0 | xargs -0 -r gcov -n -b 2>/dev/null | awk -v room="$room" -v dir="$dir/" '
        /^File/ { ours = index($0, "\x27" dir) > 0 && $0 ~ /\.c\x27$/ }
        ours && /^Lines executed:/ { split($0, a, /[:% ]+/); n = $NF; lines += n; ran += a[3] * n / 100 }
        ours && /^Taken at least once:/ { split($0, a, /[:% ]+/); n = $NF; branches += n; taken += a[5] * n / 100 }
        END { printf "%-10s %8d %6.1f%% %9d %6.1f%%\n", room, lines, lines ? 100 * ran / lines : 0, branches, branches ? 100 * taken / branches : 0 }'
done
