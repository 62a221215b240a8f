#!/bin/bash
# quickstart.sh: from a fresh clone to a fine-tuned, evaluated and merged model. Variables: MODEL, CSV, OUT and those of
# pipelines/qa.mk; JOBS.
set -euo pipefail
cd "$(dirname "$0")/.."
t0=$SECONDS
scripts/deps.sh build model
[ -f config.mk ] || ./configure
make -j"${JOBS:-$(nproc)}" all
model=$(scripts/model.sh)
t1=$SECONDS
make -f pipelines/qa.mk MODEL="$model" "$@"
printf 'set-up %d s, recipe %d s\n' $((t1 - t0)) $((SECONDS - t1))
