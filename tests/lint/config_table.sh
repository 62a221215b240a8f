#!/bin/bash
# tier: lint
# One config file describes a whole run: a key that one tool binds must be known to all others, through config_keys.def.
# Checks, for each tool, what --print-config prints against that file, both ways. A missing line is printed ready to paste.
set -u
cd "$(dirname "$0")/../.." || exit 70
def=libcommon/base/config_keys.def
paths() { # "path option" for each line of the YAML that --print-config writes: two spaces a level, the option in a comment
    awk '{ d = 0; while (substr($0, 2 * d + 1, 2) == "  ") d++; key = $1; sub(/:$/, "", key); at[d] = key
           if (NF > 1) { p = ""; for (i = 0; i <= d; i++) p = p (i ? "." : "") at[i]
                       match($0, /  # --[^:]*:/); print p, substr($0, RSTART + 6, RLENGTH - 7) } }'
}
bad() { echo "FAIL lint/config-table: $1"; failed=1; }
failed=0 tools=0 keys=0
for bin in "$PEFT_BIN"/peft-*; do
    tool=${bin##*/} tools=$((tools + 1))
    yaml=$("$bin" --print-config) || bad "$tool --print-config fails"
    [ "$(echo "$yaml" | "$bin" -c - --print-config)" = "$yaml" ] || bad "$tool --print-config | $tool -c - --print-config differs"
    own=$(echo "$yaml" | paths)
    while read -r path option; do
        case $path in seed | threads | peft.*.*) continue ;; esac # those below peft.METHOD come with the method
        keys=$((keys + 1))
        grep -qE "^KEY\(\"${path//./\\.}\", \"[^\"]*${tool}[ \"]" $def ||
            bad "$def lacks or does not name $tool: KEY(\"$path\", \"$tool\", \"$option\", NULL)"
    done <<<"$own"
    while IFS='"' read -r _ path _ owners _; do # rows that the file promises
        case " $owners " in *" $tool "*) grep -qF "$path " <<<"$own" || bad "$def: $tool has no row for $path" ;; esac
    done < <(grep '^KEY(.*, NULL)$' $def)
done
[ "$tools" -gt 0 ] || bad "no tools in $PEFT_BIN"
[ $failed -eq 0 ] && echo "ok lint/config-table: $tools tools, $keys keys"
exit $failed
