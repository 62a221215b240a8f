#!/bin/bash
# quickstart.sh: from a fresh clone to a fine-tuned, evaluated and merged model. Variables: MODEL, CSV, OUT and those of
# pipelines/qa.mk; JOBS; V=1 prints all that the set-up prints, else it is a line a step.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp) && trap 'rm -f "$log"' EXIT
step() { # step TEXT COMMAND...: what the command printed is shown if it failed
    local text=$1 from=$SECONDS
    shift
    if [ "${V:-}" = 1 ]; then "$@"; return; fi
    if "$@" >"$log" 2>&1; then printf '%-24s %4d s\n' "$text" $((SECONDS - from)); else
        set -- $?
        tail -n 40 "$log" >&2
        echo "quickstart.sh: error: $text failed; V=1 shows everything" >&2
        exit "$1"
    fi
}
t0=$SECONDS
step 'packages' scripts/deps.sh build model
if [ ! -f config.mk ]; then
    step 'configuration' ./configure
    grep -E '^ +CUDA' "$log" || true
fi
step 'build' make -j"${JOBS:-$(nproc)}" all
given=()
if [ -z "${CONFIG:-}" ] || [ -n "${MODEL:-}" ]; then # else the configuration names the model
    model=$(scripts/model.sh)
    given=(MODEL="$model")
fi
t1=$SECONDS
make -f pipelines/qa.mk "${given[@]}" "$@"
printf 'set-up %d s, recipe %d s\n' $((t1 - t0)) $((SECONDS - t1))
