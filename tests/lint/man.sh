#!/bin/bash
# tier: lint
# The manual pages are sound mdoc, and those of the tools name exactly the long options that --help names.
set -u
cd "$(dirname "$0")/../.." || exit 70
if ! command -v mandoc >/dev/null; then
    echo "skip man: mandoc is not installed"
    exit 0
fi
for page in man/*.[157]; do
    [ -f "$page" ] || continue
    # A cross reference to a page that is not installed yet is no fault of this one's.
    if mandoc -T lint -W warning "$page" | grep -v 'outdated mandoc.db' | tee /dev/stderr | grep -q .; then echo "FAIL man ${page##*/}: mandoc -T lint"; else echo "ok man ${page##*/}"; fi
    while read -r name section; do
        [ -f "man/$name.$section" ] || echo "FAIL man ${page##*/}: refers to $name($section), which does not exist"
    done < <(sed -nE 's/^\.Xr (peft[a-z-]*) ([0-9]).*/\1 \2/p' "$page" | sort -u)
done
# As Debian's man shows them: groff complains of nothing, no line is wider than the terminal, and examples come out as typed.
for page in man/*.[157]; do
    command -v groff >/dev/null || { echo "skip man under groff: not installed"; break; }
    shown=$(preconv "$page" | groff -Tutf8 -mandoc -ww -rLL=78n -rHY=0 2>"${TMPDIR:-/tmp}/man.$$" | sed 's/\x1b\[[0-9;]*m//g; s/.\x08//g')
    why=$(grep -v "can't break line\|cannot adjust line" "${TMPDIR:-/tmp}/man.$$" | head -n 2)
    rm -f "${TMPDIR:-/tmp}/man.$$"
    wide=$(grep -P '^.{81}' <<<"$shown" | head -n 1)
    while read -r line; do
        grep -qF -- "$line" <<<"$shown" || why="$why; an example is not shown as it is written: $line"
    done < <(sed -n 's/^\.Dl //p' "$page" | sed 's/^\(\\ \)*//; s/\\(dq/"/g; s/\\e/\\/g; s/\\&//g; s/\\-/-/g')
    if [ -z "$why$wide" ]; then echo "ok man ${page##*/} under groff"; else echo "FAIL man ${page##*/} under groff: $why${wide:+ too wide: $wide}"; fi
done
for tool in peft-prep peft-tok peft-train peft-eval peft-merge peft-log; do
    if [ ! -x "${PEFT_BIN:-}/$tool" ]; then
        echo "skip man options of $tool: not built"
        continue
    fi
    page=man/$tool.1
    if [ ! -f "$page" ]; then
        echo "FAIL man options of $tool: no $page"
        continue
    fi
    help=$("$PEFT_BIN/$tool" --help | grep -oE '^ .*' | grep -oE -- '--[a-z][a-z0-9-]+' | sort -u)
    # .It Fl s , Fl Fl long Ar X; text may name other tools' options, so the items alone count. A dash may be written \-
    said=$(sed -E 's/\\-/-/g' "$page" | grep -E '^\.It ' | grep -oE 'Fl (Fl |-)[a-z][a-z0-9-]+' | sed -E 's/^Fl (Fl |-)/--/' | sort -u)
    only_help=$(comm -23 <(echo "$help") <(echo "$said") | tr '\n' ' ')
    only_page=$(comm -13 <(echo "$help") <(echo "$said") | tr '\n' ' ')
    if [ -n "${only_help// /}${only_page// /}" ]; then
        echo "FAIL man options of $tool: only in --help: ${only_help:-none}; only in the page: ${only_page:-none}"
    else
        echo "ok man options of $tool"
    fi
done
