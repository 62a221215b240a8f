# Sourced by the tests of the tools: a directory $t with the tiny model s.gguf (stories260K), tokens tr.mpz and te.mpz of 40 questions,
# and the ways to say what is expected of a command. Not a test.
# shellcheck shell=bash
t="" # the directory, removed at the end

# tiny NAME: make all that, or skip the test NAME and exit.
tiny() {
    local d=$PEFT_DATA/models/stories260K i
    [ -r "$d/stories260K.bin" ] || { echo "skip $1: no ../shared/data"; exit 0; }
    t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
    export PATH=$PEFT_BIN:$PATH LC_ALL=C.UTF-8
    prefix=$1
    {
        echo question,answer
        for i in $(seq 1 40); do echo "what does Lily see on day $i,ball number $((i * 7 % 13))"; done
    } >"$t/qa.csv"
    # The model was trained with BOS between its stories, and never saw its EOS token: here BOS ends a text.
    python3 tests/parity/stories260k_gguf.py "$d/stories260K.bin" "$d/tok512.bin" "$t/s.gguf" &&
        python3 -c 'import sys
b = open(sys.argv[1], "rb").read(); open(sys.argv[1], "wb").write(b.replace(b"eos_token_id\4\0\0\0\2", b"eos_token_id\4\0\0\0\1"))' "$t/s.gguf" &&
        peft-prep -q --split-to "$t" "$t/qa.csv" && peft-tok -q -m "$t/s.gguf" -o "$t/tr.mpz" "$t/train.mpz" &&
        peft-tok -q -m "$t/s.gguf" -o "$t/te.mpz" "$t/test.mpz" || { echo "FAIL $1: cannot prepare"; exit 0; }
}
tiny_prefix() { prefix=$1; } # of the names of the checks that follow
# is NAME COMMAND...: it succeeds. What it prints is shown if not.
is() {
    local name=$1
    shift
    if "$@" >"$t/.is" 2>&1; then echo "ok $prefix.$name"; else
        echo "FAIL $prefix.$name: $*" | head -c 300 | tr '\n' ' '
        echo
        head -n 20 "$t/.is" >&2
        [ -f "$t/err" ] && tail -n 5 "$t/err" >&2
    fi
}
# run COMMAND...: its exit code into $rc, output into $t/out, messages into $t/err.
run() {
    "$@" >"$t/out" 2>"$t/err" </dev/null
    rc=$?
}
# refused NAME EXIT ID PATTERN COMMAND...: the exit code, one error with that id, a message like PATTERN, no data on stdout, and nothing
# left where the command's output, $t/new or $t/new.*, would be.
refused() {
    local name=$1 want=$2 id=$3 pattern=$4 why="" left
    shift 4
    run "$@"
    left=$(find "$t" -maxdepth 1 \( -name 'new*' -o -name '.new*' -o -name '*.tmp*' \) -print)
    [ "$rc" = "$want" ] || why="exit $rc, expected $want; "
    [ "$(grep -c ' error: ' "$t/err")" = 1 ] && grep -qF "[$id]" "$t/err" || why+="not one error with [$id]; "
    grep -qE -- "$pattern" "$t/err" || why+="no message like $pattern; "
    [ -s "$t/out" ] && ! is_abort "$t/out" && why+="data on stdout; "
    [ -n "$left" ] && why+="left behind: $left"
    if [ -z "$why" ]; then echo "ok $prefix.$name"; else
        echo "FAIL $prefix.$name: $why"
        cat "$t/err" >&2
    fi
}
# A stream that was begun says at its end that it failed.
is_abort() { zstd -dcq "$1" 2>/dev/null | grep -qa ABORT; }
sums() { (cd "$1" && find . -type f | sort | xargs sha256sum); }
# losses FILE.mpz: the losses of a metrics stream
losses() {
    peft-log cat "$1" | python3 -c 'import json, sys
for line in sys.stdin:
    m = json.loads(line)["metrics"]
    print(m.get("loss", m.get("eval_loss")))'
}
# json EXPRESSION FILE: of the object j in the file
json() { python3 -c 'import json, sys; j = json.load(open(sys.argv[2])); print(eval(sys.argv[1]))' "$1" "$2"; }
# close_to TOL A B: columns of numbers that agree to a relative TOL, at least one
close_to() {
    paste "$2" "$3" | awk -v tol="$1" '
        NF != 2 {bad = 1}
        {d = $1 - $2; if (d < 0) d = -d; m = $1 < 0 ? -$1 : $1; if (d > tol * m) {bad = 1; print NR ": " $0}}
        END {exit bad || !NR}'
}
# same_tensors A B: adapter directories with the same tensors, whatever they say of how they came to be
same_tensors() {
    python3 - "$1" "$2" <<'P'
import glob, json, struct, sys
def read(d):
    f, = glob.glob(d + "/*.safetensors"); b = open(f, "rb").read(); n, = struct.unpack_from("<Q", b); h = json.loads(b[8:8 + n])
    return {k: b[8 + n:][v["data_offsets"][0]:v["data_offsets"][1]] for k, v in h.items() if k[0] != "_"}
a, b = map(read, sys.argv[1:])
assert a and a == b
P
}
