#!/bin/bash
# tier: lint
# Shell scripts: shellcheck finds no error and no warning in any script of the tree; notes of style do not count.
set -u
cd "$(dirname "$0")/../.." || exit 70
if ! command -v shellcheck >/dev/null; then
    echo "skip shell: shellcheck is not installed"
    exit 0
fi
bad=0
while read -r f; do shellcheck -S warning "$f" >&2 || bad=$((bad + 1)); done < <(ls configure .ci/run scripts/*.sh pipelines/*.sh tests/run.sh tests/*/*.sh tests/*/*/cmd 2>/dev/null)
if [ $bad -eq 0 ]; then echo "ok shell"; else echo "FAIL shell: $bad scripts"; fi
