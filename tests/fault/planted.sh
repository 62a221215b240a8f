#!/bin/bash
# tier: planted
# planted.sh [--apply-only | NUMBER...]: plant the bugs of planted/bugs.txt one after the other in a copy of the tree, build what changed, run the tests
# that should see it, and say how many were seen. With --apply-only (tests/lint/planted.sh): does each one still have its place?
set -u
cd "$(dirname "$0")/../.." || exit 70
list=tests/fault/planted/bugs.txt only=" $* " src=$PWD build=${PEFT_BUILD:-}
copy='' && trap '[ -z "$copy" ] || rm -rf "$copy"' EXIT
if [ "$only" != ' --apply-only ' ]; then
    copy=$(mktemp -d)
    build=${build#"$src"/}
    { git ls-files -z --cached --others --exclude-standard && find config.mk "$build" -type f -print0; } | xargs -0 cp -p --parents -t "$copy" 2>/dev/null
    cd "$copy" || exit 70
    export PEFT_BIN=$copy/$build/bin PEFT_BUILD=$copy/$build
fi
# seen TEST: does this test of the copy fail?
seen() {
    local out
    case $1 in
    *.sh) out=$(timeout 600 bash "tests/$1" 2>/dev/null </dev/null) ;;
    *) out=$(timeout 600 "$build/tests/$1" 2>/dev/null </dev/null) ;;
    esac || return 0
    grep -q '^FAIL ' <<<"$out"
}
n=0 misplaced=0 unseen=0
plant() { # plant FILE OLD NEW TEST...
    local file=$1 old=$2 new=$3 text rest by='' targets=(all) t
    shift 3
    n=$((n + 1))
    text=$(<"$file") rest=${text#*"$old"}
    if [ "$rest" = "$text" ] || [ "${rest#*"$old"}" != "$rest" ]; then
        echo "FAIL planted.$n: $file does not hold, once: $old"
        misplaced=$((misplaced + 1))
        return
    fi
    case $only in ' --apply-only ') return ;; *" $n "* | '  ') ;; *) return ;; esac
    printf '%s\n' "${text/"$old"/"$new"}" >"$file"
    for t in "$@"; do case $t in *.sh) ;; *) targets+=("$build/tests/$t") ;; esac done
    case " $* " in *fault/sweep* | *fault/power*) targets+=("$build/tests/fault/sweep" "$build/tests/fault/shim.so") ;; esac
    if ! make -j"$(nproc)" CUDA=0 "${targets[@]}" >"$copy.log" 2>&1; then
        echo "FAIL planted.$n: $file does not build with: $new"
        tail -n 5 "$copy.log" >&2
    else
        for t in "$@"; do seen "$t" && by=$t && break; done
        if [ -n "$by" ]; then echo "ok planted.$n: $file: $new ($by)"; else
            echo "FAIL planted.$n: nothing saw, in $file: $new"
            unseen=$((unseen + 1))
        fi
    fi
    rm -f "$copy.log"
    printf '%s\n' "$text" >"$file"
}
file='' old='' tests=()
while IFS= read -r line; do
    case $line in
    '#'* | '') ;;
    '- '*) old=${line#- } ;;
    '+ '*) plant "$file" "$old" "${line#+ }" "${tests[@]}" ;;
    *) file=${line%% *} && read -ra tests <<<"${line#* }" ;;
    esac
done <"$list"
if [ "$only" = ' --apply-only ' ]; then
    [ $misplaced -gt 0 ] || [ $n -lt 40 ] || echo "ok planted bugs have their places ($n)"
    [ $n -ge 40 ] || echo "FAIL planted: $n bugs, expected 40 or more"
else echo "planted $n bugs: $((n - unseen - misplaced)) seen, $unseen not, $misplaced without a place" >&2; fi
