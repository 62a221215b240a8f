#!/bin/bash
# tier: fast
# peft-tok: what becomes of a row (mask, boundary, EOS, BOS, length), the views, lines to ids and back, exit codes.
# The tokenizer is made here: letters, bytes, four merges; its pad token is its EOS, as in many published models.
set -u
[ -x "$PEFT_BIN/peft-tok" ] && [ -x "$PEFT_BIN/peft-prep" ] || { echo "skip tok: peft-tok or peft-prep is not built"; exit 0; }
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
mkdir "$t/m"
{
    printf '{"version":"1.0","added_tokens":['
    printf '{"id":0,"content":"<unk>","special":true,"normalized":false},{"id":1,"content":"<s>","special":true,"normalized":false},'
    printf '{"id":2,"content":"</s>","special":true,"normalized":false}],'
    printf '"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},'
    printf '"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}},'
    printf '"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},'
    printf '"model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{"<unk>":0,"<s>":1,"</s>":2'
    for i in $(seq 0 255); do printf ',"<0x%02X>":%d' "$i" $((i + 3)); done
    n=259
    for c in ▁ {a..z} {A..Z} ▁a ab ▁b bc; do printf ',"%s":%d' "$c" "$n"; n=$((n + 1)); done
    printf '},"merges":["▁ a","a b","▁ b","b c"]}}\n'
} >"$t/m/tokenizer.json"
echo '{"eos_token":"</s>","pad_token":"</s>","bos_token":"<s>","model_max_length":1000000000000000019884624838656}' >"$t/m/tokenizer_config.json"
printf 'question,answer\nx,y\nab,bc\nzz,é\n' >"$t/a.csv"

prep() { "$PEFT_BIN/peft-prep" -q "$@"; }
tok() { "$PEFT_BIN/peft-tok" -m "$t/m" "$@" 2>"$t/err"; }
is() { # is NAME WANT GOT
    if [ "$2" = "$3" ]; then echo "ok tok.$1"; else
        echo "FAIL tok.$1: expected '$2', found '$3'"
        cat "$t/err" >&2
    fi
}
has() { # has NAME PATTERN: in the messages
    if grep -qE -e "$2" "$t/err"; then echo "ok tok.$1"; else
        echo "FAIL tok.$1: no '$2' in the messages"
        cat "$t/err" >&2
    fi
}
prep --prompt '{question}' --target ' {answer}' "$t/a.csv" -o "$t/a.mpz" || exit 1

is encode '1 259 259 262 265 10' "$(printf ' cf\a\n' | tok --encode)"
is encode.nobos '312 312' "$(printf 'a a\n' | tok --encode --bos no)"
is decode 'a b' "$(printf '312 314\n' | tok --decode)"
is roundtrip $'"é\\n\\u0000 x</s>"' "$(printf '%s\n' '"é\n\u0000 x</s>"' | tok --encode --json --bos no | tok --decode --json)"
printf '\xff\n' | tok --encode >/dev/null
is encode.bad_utf8 65 $?
has encode.bad_utf8.message '<stdin>:1: .*E-ENCODING'
printf '5000\n' | tok --decode >/dev/null
is decode.range 65 $?

# Only the target and the EOS are trained on; the EOS is, although it is the pad token too.
is show '<s>·▁·x[▁][y][</s>]' "$(tok --show=1 "$t/a.mpz" | sed -n '2s/ /▁/gp')"
is eos.live "3 of 3" "$(tok --show "$t/a.mpz" | grep -c '\[</s>\]$') of $(tok --show "$t/a.mpz" | grep -c ^row)"
is eos.none 0 "$(tok --eos none --show "$t/a.mpz" | grep -c '</s>')"
is stats '{"rows":3,"tokens":20,"trained":10,"length":{"min":6,"median":6,"p90":8,"p99":8,"max":8}}' "$(tok --stats --json "$t/a.mpz")"

prep --prompt '{question}' --target ' {answer}</s>' "$t/a.csv" -o "$t/e.mpz"
is eos.once '<s>·▁·x[▁][y][</s>]' "$(tok --show=1 "$t/e.mpz" | sed -n '2s/ /▁/gp')"
has eos.counted '1 rows ended in the end-of-text token already'

prep --prompt '<s>{question}' --target ' {answer}' "$t/a.csv" -o "$t/b.mpz"
tok "$t/b.mpz" -o "$t/b.tok"
is bos.twice 65 $?
has bos.twice.message 'row 1: .*twice \[E-BOS-TWICE\]'
has bos.twice.hint '--bos no'
is bos.no '<s>·▁·x[▁][y][</s>]' "$(tok --bos no --show=1 "$t/b.mpz" | sed -n '2s/ /▁/gp')"
is bos.allowed '<s>·<s>·▁·x[▁][y][</s>]' "$(tok --allow-double-bos --show=1 "$t/b.mpz" | sed -n '2s/ /▁/gp')"
if [ -e "$t/b.tok" ]; then echo "FAIL tok.bos.output: a failed run left an output"; else echo "ok tok.bos.output"; fi

# Special tokens in a user's text: counted beyond those of the template, or taken as text.
printf 'question,answer\nz<s>a</s>,y\nx,y\nx,</s>y\n' >"$t/s.csv"
prep --prompt '{question}</s>' --target ' {answer}' "$t/s.csv" -o "$t/s.mpz"
tok "$t/s.mpz" -o "$t/s.tok"
has specials.counted '3 special tokens in 2 rows are none of a template, as other rows have only 1'
is specials.text '▁·z·<·s·>' "$(tok --bos no --specials text --show "$t/s.mpz" | grep -m 1 '·z' | sed 's/ /▁/g' | cut -c 1-15)"
tok --specials text "$t/s.mpz" -o "$t/s2.tok"
is specials.text.silent 0 "$(grep -c 'special tokens' "$t/err")"
is specials.encode '259 283 63 278 65' "$(printf 'x<s>\n' | tok --encode --bos no --specials text)"
tok "$t/a.mpz" -o "$t/s3.tok"
is specials.none 0 "$(grep -c 'special tokens' "$t/err")"

# "ab": prompt a, target b; as one text that is one token.
printf 'question,answer\na,b\n' >"$t/j.csv"
prep --prompt 'x{question}' --target '{answer}' "$t/j.csv" -o "$t/j.mpz" 2>/dev/null
is separate '<s>·▁·x·a[b][</s>]' "$(tok --show "$t/j.mpz" | sed -n '2s/ /▁/gp')"
is joint.mask '<s>·▁·x·ab[</s>]' "$(tok --boundary joint --show "$t/j.mpz" | sed -n '2s/ /▁/gp')"
has joint.counted '1 tokens straddle the boundary: masked'
is joint.train '<s>·▁·x[ab][</s>]' "$(tok --boundary joint --straddle train --show "$t/j.mpz" | sed -n '2s/ /▁/gp')"
is joint.split '<s>·▁·x·a[b][</s>]' "$(tok --boundary joint --straddle split --show "$t/j.mpz" | sed -n '2s/ /▁/gp')"
tok --boundary joint --straddle error "$t/j.mpz" >/dev/null
is joint.error 65 $?
has joint.error.message 'row 1: .*"ab".*E-STRADDLE|row 1: .*ab.*E-STRADDLE'

tok --max-len 6 "$t/a.mpz" -o "$t/l.tok"
is length.drop 65 $?
has length.account 'in=3 out=2 dropped=1 reason=too_long:1'
has length.message '1 of 3 rows dropped.*E-DROPPED'
tok --max-len 6 --max-drop 1 "$t/a.mpz" -o "$t/l.tok"
is length.allowed 0 $?
is length.left '▁·x[▁][y][</s>]' "$(tok --bos no --max-len 5 --truncate left --show=1 "$t/a.mpz" | sed -n '2s/ /▁/gp')"
is length.left.bos '<s>[▁][y][</s>]' "$(tok --max-len 4 --truncate left --show=1 "$t/a.mpz" | sed -n '2s/ /▁/gp')"
is length.right '<s>·▁·x[▁]' "$(tok --max-len 4 --truncate right --show=1 "$t/a.mpz" | sed -n '2s/ /▁/gp')"
tok -f --max-len 3 --bos no --truncate left "$t/a.mpz" -o "$t/l.tok"
has length.left.lost '3 rows lost their whole prompt'
has length.left.counted 'in=3 out=3 dropped=0 reason=lost_prompt:3'
tok -f --max-len 4 --bos no --truncate left "$t/a.mpz" -o "$t/l.tok"
has length.left.some 'reason=lost_prompt:1'
tok --max-len 3 --truncate right --max-drop 1 "$t/a.mpz" -o "$t/n.tok"
has length.no_target 'in=3 out=0 dropped=3 reason=no_target:3'

# The same bytes for any number of threads.
{ echo question,answer; for i in $(seq 3000); do echo "what is $i times $RANDOM,answer $i"; done; } >"$t/big.csv"
prep "$t/big.csv" -o "$t/big.mpz"
tok --threads 1 "$t/big.mpz" -o "$t/1.tok"
tok --threads 2 "$t/big.mpz" -o "$t/2.tok"
tok --threads 5 "$t/big.mpz" -o "$t/5.tok"
if [ -s "$t/1.tok" ] && cmp -s "$t/1.tok" "$t/2.tok" && cmp -s "$t/1.tok" "$t/5.tok"; then echo "ok tok.threads"; else echo "FAIL tok.threads: outputs differ"; fi
# Two rows of different batches fail: the first is named, whichever thread meets it.
sed -e '1501s/^/<s>/' -e '1901s/^/<s>/' "$t/big.csv" >"$t/twice.csv"
prep --prompt '{question}' --target ' {answer}' "$t/twice.csv" -o "$t/twice.mpz"
for n in 1 2 5; do
    tok --threads $n "$t/twice.mpz" -o "$t/twice.tok"
    is threads.error.$n "65 1" "$? $(grep -c 'row 1500: .*E-BOS-TWICE' "$t/err")"
    if [ -e "$t/twice.tok" ]; then echo "FAIL tok.threads.output.$n: a failed run left an output"; else echo "ok tok.threads.output.$n"; fi
done
tok -f --threads 5 --max-len 40 --max-drop 1 "$t/big.mpz" -o "$t/5.tok" && cp "$t/err" "$t/err5"
tok -f --threads 1 --max-len 40 --max-drop 1 "$t/big.mpz" -o "$t/1.tok"
is threads.account "$(grep "in=3000.*dropped=[1-9]" "$t/err" || echo none)" "$(grep in=3000 "$t/err5")"
head -c 2000 "$t/big.mpz" | tok -o "$t/cut.tok"
is cut.input 65 $?
if [ -e "$t/cut.tok" ]; then echo "FAIL tok.cut.output: a failed run left an output"; else echo "ok tok.cut.output"; fi

"$PEFT_BIN/peft-tok" "$t/a.mpz" >/dev/null 2>"$t/err"
is no.tokenizer 64 $?
sed 's/"post_processor"/"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a|b)+c"},"behavior":"Isolated","invert":false},&/' "$t/m/tokenizer.json" >"$t/odd.json"
"$PEFT_BIN/peft-tok" -t "$t/odd.json" --encode </dev/null >/dev/null 2>"$t/err"
is unknown.pattern 76 $?
has unknown.pattern.named '\(a\|b\)\+c.*E-TOKEN-UNSUPPORTED'
"$PEFT_BIN/peft-tok" -t "$t/none.json" --encode </dev/null >/dev/null 2>"$t/err"
is no.file 66 $?
exit 0
