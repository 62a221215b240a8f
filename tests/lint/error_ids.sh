#!/bin/bash
# tier: lint
# Every error id is provoked by a test: its name stands in one.
set -u
cd "$(dirname "$0")/../.." || exit 70
missing=$(sed -nE 's/^ERR\((E_[A-Z_]+), "(E-[A-Z-]+)".*/\1 \2/p' libcommon/base/errors.def | while read -r name text; do
    grep -rqE "\b($name|$text)\b" tests/{unit,cli,methods,kernels,fault,pipelines} || echo "$text"
done)
if [ -z "$missing" ]; then echo "ok every error id has a test"; else echo "FAIL error_ids: no test provokes" $missing; fi
