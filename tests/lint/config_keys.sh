#!/bin/bash
# tier: lint
# peft-config(5) names every key that the tools print with --print-config or accept (config_keys.def).
set -u
cd "$(dirname "$0")/../.." || exit 70
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
# keys "section.sub.key" of YAML in two-space indentation; comments may hold unset keys as "  # key:"
paths() {
    sed -nE 's/^( *)(# )?([a-z][a-z0-9_]*):( .*|$)/\1\t\3\t\4/p' | awk -F'\t' '{ d = int(length($1) / 2); part[d] = $2; p = part[0]
        for (i = 1; i <= d; i++) p = p "." part[i]; v = $3; sub(/^ *#.*/, "", v); gsub(/ /, "", v); n++; path[n] = p; depth[n] = d }
        END { for (i = 1; i <= n; i++) if (i == n || depth[i + 1] <= depth[i]) print path[i] }'
}
ran=0
for tool in peft-prep peft-tok peft-train peft-eval peft-merge peft-log; do
    [ -x "${PEFT_BIN:-}/$tool" ] || continue
    "$PEFT_BIN/$tool" --print-config >"$tmp/yaml" 2>"$tmp/err" || { echo "FAIL config_keys: $tool --print-config: $(head -n 1 "$tmp/err")"; exit 1; }
    paths <"$tmp/yaml" >>"$tmp/tools"
    ran=1
done
if [ $ran = 0 ]; then
    echo "skip config_keys: no tool is built"
    exit 0
fi
sed -nE 's/^KEY\("([a-z0-9_.]+)".*/\1/p' libcommon/base/config_keys.def >>"$tmp/tools"
sort -u "$tmp/tools" >"$tmp/want"
sed -nE 's/^\.It Cm (.*)$/\1/p' man/peft-config.5 | tr -d ',' | tr -s ' ' '\n' | sort -u >"$tmp/have"
only_tools=$(comm -23 "$tmp/want" "$tmp/have" | tr '\n' ' ')
if [ -z "$only_tools" ] && [ -s "$tmp/want" ]; then echo "ok config_keys ($(wc -l <"$tmp/want") keys)"; else echo "FAIL config_keys: not in peft-config(5): $only_tools"; fi
