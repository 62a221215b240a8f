#!/bin/bash
# tier: lint
# Runs shellcheck over every script of the tree.
set -u
cd "$(dirname "$0")/../.." || exit 70
if ! command -v shellcheck >/dev/null; then
    echo "skip shell: shellcheck is not installed"
    exit 0
fi
bad=0
while read -r f; do shellcheck "$f" >&2 || bad=$((bad + 1)); done < <(ls configure .ci/run scripts/*.sh tests/run.sh tests/*/*.sh tests/*/*/cmd 2>/dev/null)
if [ $bad -eq 0 ]; then echo "ok shell"; else echo "FAIL shell: $bad scripts"; fi
