#!/bin/bash
# tier: lint
# peft-errors(7) explains every id of errors.def with its exit code, and none that is not there.
set -u
cd "$(dirname "$0")/../.." || exit 70
want=$(sed -nE 's/^ERR\([A-Z_]+, "(E-[A-Z0-9-]+)", ([0-9]+),.*/\1 \2/p' libcommon/base/errors.def | sort)
have=$(sed -nE 's/\\-/-/g; s/^\.It (Er|Sy|Cm) (E-[A-Z0-9-]+) Pq exit ([0-9]+)$/\2 \3/p' man/peft-errors.7 | sort)
[ -n "$want" ] || { echo "FAIL errors: no id found in errors.def"; exit 1; }
gap=$(diff <(echo "$want") <(echo "$have") | grep '^[<>]')
# cause and cure: each item has both words
thin=$(awk '/^\.It Sy E-/ { if (id != "" && !(cause && cure)) print id; id = $3; cause = cure = 0 } /^\.Em Cause/ { cause = 1 } /^\.Em Cure/ { cure = 1 }
    END { if (id != "" && !(cause && cure)) print id }' man/peft-errors.7)
if [ -z "$gap$thin" ]; then echo "ok errors"; else
    echo "$gap" >&2
    echo "FAIL errors: errors.def (<) and peft-errors(7) (>) differ in $(grep -c . <<<"$gap") lines; without cause or cure: ${thin:-none}"
fi
