#!/bin/bash
# tier: fast
# peft-log: every subcommand, on files, pipes, growing and damaged streams; nothing reaches a terminal unescaped.
set -u
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
golden=$(cd "$(dirname "$0")/../golden/v1" && pwd)
cd "$t" || exit 70
prep=$PEFT_BIN/peft-prep log=$PEFT_BIN/peft-log
ok() { echo "ok log: $1"; }
bad() { echo "FAIL log: $1: $2"; }
# fails NAME CODE PART COMMAND...
fails() {
    local name=$1 code=$2 part=$3 rc
    shift 3
    "$@" >got 2>err
    rc=$?
    if [ $rc -eq "$code" ] && grep -qF -- "$part" err; then ok "$name"; else bad "$name" "exit $rc, expected $code: $(head -n 1 err)"; fi
}
printf 'question,answer\n"a ""b""\x1b[31m\xc2\x9b1m","x,y"\n' >in.csv
"$prep" -q -o x.mpz in.csv || bad "setup" "peft-prep"
[ "$("$log" x.mpz)" = '{"row":1,"prompt":"Q: a \"b\"\u001b[31m\u009b1m\nA:","target":" x,y"}' ] && ok "cat is the default; controls escaped" || bad "cat" "$("$log" x.mpz)"
"$log" tty x.mpz | LC_ALL=C grep -q $'[\x1b\x9b]' && bad "tty escapes" "raw control character" || ok "tty escapes"
printf 'row,prompt,target,group\r\n1,"Q: a ""b""\x1b[31m\xc2\x9b1m\nA:"," x,y",\r\n' | cmp -s - <("$log" csv x.mpz) && ok "csv" || bad "csv" "$("$log" csv x.mpz)"
[ "$("$log" csv "$golden/metrics.mpz" | tr -d '\r')" = "event,step,epoch,loss,lr,grad_norm,worst
start,0,0,,,,
train,10,0.5,0.1,0.0002,nan,inf
eval,-1,1,0.1,,," ] && ok "csv of metrics has wide columns" || bad "csv of metrics" "$("$log" csv "$golden/metrics.mpz")"
"$log" tty "$golden/metrics.mpz" | grep -q '^loss .*0.1 -> 0.1' && ok "tty summary" || bad "tty summary" "$("$log" tty "$golden/metrics.mpz")"
"$log" verify x.mpz | grep -q '^x.mpz: ok: 1 records of examples' && ok "verify" || bad "verify" "$("$log" verify x.mpz)"
[ -z "$("$log" -q verify x.mpz 2>&1)" ] && ok "verify -q" || bad "verify -q" "prints"
mkdir run && cp "$golden/metrics.mpz" run
"$log" csv run | cmp -s - <("$log" csv run/metrics.mpz) && ok "a run is its metrics" || bad "a run is its metrics" "$("$log" csv run 2>&1)"
fails "a directory that is no run" 66 'is a directory' "$log" csv .
"$log" trace x.mpz | grep -q '^1  peft-prep .*seed 42' && "$log" trace x.mpz | grep -q 'inputs *in.csv' && ok "trace" || bad "trace" "$("$log" trace x.mpz)"
"$log" trace --json x.mpz | grep -q '"inputs":\["in.csv"\]' && ok "trace --json" || bad "trace --json" "$("$log" trace --json x.mpz)"
[ "$("$log" verify <x.mpz | cut -d: -f1)" = '<stdin>' ] && [ "$(cat x.mpz | "$log" verify - | cut -d: -f1)" = '<stdin>' ] && ok "stdin and -" || bad "stdin" ""
head -c -1 x.mpz >cut.mpz
fails "verify: cut" 65 'without an END record' "$log" verify cut.mpz
cat x.mpz x.mpz >two.mpz
fails "verify: data after END" 65 'E-STREAM-TRAILING' "$log" verify two.mpz
fails "verify: text" 65 'not a peft stream' "$log" verify in.csv
fails "verify: empty" 65 'empty input' "$log" verify /dev/null
fails "no file" 66 'nosuch.mpz' "$log" verify nosuch.mpz
fails "unknown subcommand" 64 'unknown subcommand' "$log" verfy x.mpz
fails "following several files" 64 'expected one file' "$log" -F x.mpz x.mpz
# a file that grows: the reader waits for END
: >grow.mpz
"$log" -F cat grow.mpz >got 2>err &
p=$!
head -c 100 x.mpz >>grow.mpz; sleep 0.3; tail -c +101 x.mpz >>grow.mpz
wait $p && [ "$(wc -l <got)" -eq 1 ] && ok "a growing file is followed to its END" || bad "growing file" "$(cat err)"
"$log" cat -o out.json x.mpz && cmp -s out.json <("$log" x.mpz) && ok "-o" || bad "-o" ""
fails "a damaged input leaves no output" 65 'E-STREAM' "$log" cat -o none.json cut.mpz
[ -e none.json ] && bad "a damaged input leaves no output" "it is there"
"$log" x.mpz >/dev/full 2>err; [ $? -eq 74 ] && ok "full disk" || bad "full disk" "$(cat err)"
