# lib.sh: the shell side of rules.mk; each command of a recipe begins with it. CSV, MODEL, CONFIG, BIN and the options of the stages
# come in the environment and stay in quotes: they are names and words, nothing in them is run.
# shellcheck shell=bash

fail() {
    echo "recipe: error: $*" >&2
    exit 64
}

# tool NAME OPTIONS ARGUMENT...: one of the tools. OPTIONS are words as xargs sees them: quotes group, nothing is expanded.
tool() {
    local name=$1 options=$2 words=()
    shift 2
    xargs -r true <<<"$options" 2>/dev/null || fail "a quote is not closed in the options of $name: $options"
    readarray -d '' -t words < <(xargs -r printf '%s\0' <<<"$options")
    "$BIN$name" ${CONFIG:+-c "$CONFIG"} "${words[@]}" "$@"
}

# remember FILE COMMAND...: FILE holds what COMMAND printed; it is written only when that has changed.
remember() {
    local file=$1
    shift
    mkdir -p "${file%/*}"
    "$@" >"$file.new" || { set -- $?; rm -f "$file.new"; return "$1"; }
    if cmp -s "$file.new" "$file"; then rm "$file.new"; else mv "$file.new" "$file"; fi
}

# state NAME: sizes, times and numbers of a file, or of the files in a directory
state() {
    local name=$1
    [[ $name == /* ]] || name=./$name
    find -L "$name" -maxdepth 1 -type f -printf '%P %s %T@ %i\n' | sort
}

# input STAMP VARIABLE: the stamp of the input that VARIABLE names
input() {
    [ -e "${!2}" ] || fail "$2=$(printf %q "${!2}"): no such file or directory"
    remember "$1" state "${!2}"
}

# The default model, fetched into the user's cache once; see scripts/model.sh.
fetch_model() {
    [ "$MODEL" = runs/model.gguf ] && [ ! -e "$MODEL" ] || return 0
    local file
    file=$(MODEL='' "$RECIPES"/../scripts/model.sh)
    mkdir -p runs
    ln -sfn "$file" "$MODEL"
}

# resume RUN PREREQUISITE...: --resume if RUN has a checkpoint that is newer than all of them, else -f
resume() {
    local newest p
    newest=$(find "$1/checkpoints" -maxdepth 1 -name 'step-*' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d' ' -f2-)
    shift
    for p in "$@"; do [ -n "$newest" ] && [ "$newest" -nt "$p" ] || { echo -f; return; }; done
    echo --resume
}

# score KEY FILE: a figure of peft-eval's JSON; nothing if it is not there
score() { sed -n 's/.*"'"$1"'" *: *\([-0-9.e+]*\).*/\1/p' "$2" | tail -n 1; }

# seconds FILE: milliseconds in a file, for people
seconds() { awk '{ printf "%.1f s", $1 / 1000 }' "$1" 2>/dev/null || true; }

# The lines of METHODS: names, and the options of one.
method_lines() { sed -e 's/^[[:space:]]*//' -e '/^#/d' -e '/^$/d' "$METHODS"; }
method_names() {
    [ -r "$METHODS" ] || fail "METHODS=$(printf %q "$METHODS"): no such file"
    local name
    [ -n "$(method_lines)" ] || fail "METHODS=$(printf %q "$METHODS"): names none"
    while read -r name _; do
        [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ && $name != base ]] || fail "METHODS: $(printf %q "$name") cannot be a name"
        printf '%s\n' "$name"
    done < <(method_lines) | awk 'seen[$0]++ { print "recipe: error: METHODS: " $0 " stands there twice" >"/dev/stderr"; exit 64 } { print }'
}
method_options() { method_lines | awk -v n="$1" '$1 == n { $1 = ""; print }'; }

# method_table OUT NAME...: lines of name, exact match, perplexity, trained parameters, bytes of the adapter, time against the first
method_table() {
    local out=$1 name first=''
    shift
    printf 'method\tem\tppl\tparameters\tbytes\ttime\n'
    {
        printf 'base\t%s\t%s\t0\t0\t\n' "$(score em "$out"/scores/base.json)" "$(score ppl "$out"/scores/base.json)"
        for name in "$@"; do
            : "${first:=$name}"
            printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$(score em "$out/scores/$name.json")" "$(score ppl "$out/scores/$name.json")" \
                "$(score trainable_parameters "$out/run-$name/manifest.json")" \
                "$(find "$out/run-$name/adapter" -name '*.safetensors' -printf '%s\n' -o -name '*.bin' ! -name trained_rows.bin -printf '%s\n' |
                    sort -n | tail -n 1)" \
                "$(paste "$out/time/$name" "$out/time/$first" | awk '{ printf "%.2f", $1 / $2 }')"
        done
    } | awk -F'\t' -v OFS='\t' '{ $2 = sprintf("%.1f", $2); $3 = sprintf("%.3f", $3); print }'
}

# clean_run RUN, clean_merged DIR: what peft-train and peft-merge made there, by name
clean_run() {
    [ ! -e "$1/.lock" ] || flock -n "$1/.lock" true || fail "$1: a training is running there"
    rm -rf "$1"/{adapter,checkpoints,metrics.mpz,telemetry.mpz,manifest.json,config.yaml,.lock}
    clean_dir "$1"
}
clean_merged() {
    local name
    [ ! -f "$1/MANIFEST" ] || while read -r _ name; do
        [[ $name == */* ]] || rm -f "$1/$name"
    done <"$1/MANIFEST"
    rm -f "$1/MANIFEST"
    clean_dir "$1"
}
# clean_dir DIR...: each goes if nothing else is in it
clean_dir() {
    local d
    for d in "$@"; do
        [ ! -d "$d" ] || rmdir "$d" 2>/dev/null || echo "recipe: $d holds files of others and stays" >&2
    done
}

[ -z "$CONFIG" ] || [ -e "$CONFIG" ] || fail "CONFIG=$(printf %q "$CONFIG"): no such file"
[[ $CONFIG != -* ]] || CONFIG=./$CONFIG
if [ -n "$CONFIG" ] && [ -z "$CSV" ]; then CSV=$("${BIN}peft-prep" -c "$CONFIG" --get dataset.path); fi
if [ -n "$CONFIG" ] && [ -z "$MODEL" ]; then MODEL=$("${BIN}peft-tok" -c "$CONFIG" --get model.name_or_path); fi
[[ $CSV != -* ]] || CSV=./$CSV
[[ $MODEL != -* ]] || MODEL=./$MODEL
