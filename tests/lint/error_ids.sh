#!/bin/bash
# tier: lint
# Every error id is provoked by a test: one compares what it was given with it (C), or expects it of a command (shell). A name in a comment, or
# handed to what is tested, is no test. (`make coverage` says which ids the tests have really made.)
set -u
cd "$(dirname "$0")/../.." || exit 70
dirs=(tests/{unit,cli,methods,kernels,fault,pipelines,golden})
# C: "== E_X", "!= -E_X", or a row of a table in braces, which is compared below; without comments.
in_c=$(find "${dirs[@]}" -name '*.[ch]' -exec sed -E 's@//.*|/\*.*\*/@@; /^ ?\/?\*/d' {} + | grep -E '[=!]= -?E_|\{.*\bE_[A-Z_]+\b.*\}' | grep -oE '\bE_[A-Z_]+' | sort -u)
in_sh=$(find "${dirs[@]}" \( -name '*.sh' -o -name '*.py' \) -exec sed -E 's/^ *#.*//; s/ # .*//' {} + | grep -oE '\bE-[A-Z-]+[A-Z]' | sort -u)
missing=$(sed -nE 's/^ERR\((E_[A-Z_]+), "(E-[A-Z-]+)".*/\1 \2/p' libcommon/base/errors.def | while read -r name text; do
    grep -qx -- "$name" <<<"$in_c" || grep -qx -- "$text" <<<"$in_sh" || echo "$text"
done)
if [ -z "$missing" ]; then echo "ok every error id has a test"; else echo "FAIL error_ids: no test provokes" $missing; fi
