#!/usr/bin/env python3
"""record_patterns.py [SEED COUNT] >tests/parity/vectors/patterns.tsv: expressions and what Python's re.fullmatch makes of
them, one a line: the expression, a tab, and for each path of PATHS 1 or 0, or "error". The first line holds the paths.
The first expressions are written by hand and have to be supported, those after the line "-" are random: they may be
refused. With SEED and COUNT only random ones are printed, for a file named random* that build/.../tests/unit/pattern is given."""
import random
import re
import sys
import warnings

warnings.simplefilter("ignore")
PATHS = [f"model.layers.{i}.{s}" for i in (0, 1, 9, 10, 23) for s in (
    "self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")] + [
    "model.embed_tokens", "lm_head", "a", "aa", "ab", "q_proj"]
HAND = [
    r".*q_proj", r".*\.(q|v)_proj", r"model\.layers\.[\d]+\.self_attn\.(q|v)_proj", r"model\.layers\.\d{1,2}\.mlp\.up_proj",
    r".*\.q_proj|model\.layers\.[\d]+\.mlp\.up_proj", r".*\.[\w]+_proj", r".*_proj\Z", r"\Amodel.*_proj$", r"^.*[^\W\d]_proj$",
    r".*\.(?!0\.)\d+\..*_proj", r".*(?<=self_attn)\.\w_proj", r".*(?<!mlp)\.\w+_proj", r"(?i).*Q_PROJ", r"(?i:MODEL).*",
    r"(?P<a>.*)\.q_proj", r".*\.(\d)\1?\..*", r"(a)\1", r"(a|b)\1", r"model\.layers\.(?:[0-9]|1[0-9])\.mlp\.(up|down)_proj",
    r".*?proj", r".*\bq_proj\b", r".*\D\.mlp.*", r".*\s.*|a", r"a++", r"a?+a", r"(?>a|ab)b?", r"a{2}", r"a{1,}", r"[]a]+", r"[^]b]+",
    r"[a-]+", r"[\x61]+", r"\x61b", r"\_|a", r"(a|ab)(|b)", r"(|a)*b", r"(?:a|b)*", r"a{x}|a", r"a{|a", r"{a|a", r"}|a",
    r"model\.layers\.([02468]|1[02468]|2[02468])\.self_attn\.q_proj", r"((?:model)\.layers)\.\d+\.mlp\.(?:up|down)_proj",
    # what Unsloth writes
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:k_proj|v_proj|q_proj|o_proj"
    r"|gate_proj|up_proj|down_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)"
    r"\.(?:(?:k_proj|v_proj|q_proj|o_proj|gate_proj|up_proj|down_proj)))",
    r"^(?:model\.)?layers\.(?:[0-9]|1\d)\.(?:mlp|self_attn)\.\w+$",
    # errors there
    r"(", r")", r"[", r"[a", r"*", r"a**", r"(*a)", r"a{2}{3}", r"^*a", r"\Q", r"\h", r"\K", r"\1", r"(\1)", r"(?", r"(?a", r"a\\"[:-1],
    r"[b-a]", r"[\d-z]", r"(?<n>a)", r"(?R)", r"(?|a)", r"a(?i)b", r"(?<=a+)b", r"[\Z]", r"a*?+", r"(?P<1>a)", r"(?-i)a",
]
ATOMS = ["a", "b", "q", ".", r"\.", "_", r"\d", r"\w", r"\D", r"\W", r"\s", "[ab]", "[^a]", r"[\d_]", r"[\w.]", "[a-z]", r"[^\d]",
         "[]a]", "[a-]", r"\Z", r"\A", "^", "$", r"\b", r"\B", "model", "proj", r"layers\.", r"\x61", r"\-", r"\n", r"\h", r"\e", r"\z",
         r"\1", r"\2", "{", "}", "[[:alpha:]]", "(", ")", "[", "]", r"[\b]", r"[a-\d]", "\u00e9", "-", "|", "#", " ", ".*", ".+", "0", "1"]
REPEATS = ["*", "+", "?", "{2}", "{1,}", "{,2}", "{1,2}", "{0}", "{ 1}", "*?", "+?", "??", "{1,2}?", "*+", "?+", "{,}", "{}", "{a}", "{2,1}"]
OPENS = ["(", "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?P<n>", "(?i)", "(?i:", "(?-i:", "(?s-i:", "(?#", "(?x)", "(?(1)", "(?P=n", "(?<n>"]


def expression(r, depth=0):
    parts = []
    for _ in range(r.randint(1, 4)):
        x = r.random()
        if x < 0.25 and depth < 3:
            part = r.choice(OPENS[:9] if r.random() < 0.8 else OPENS) + expression(r, depth + 1) + ")"
        else:
            part = r.choice(ATOMS)
        if r.random() < 0.35:
            part += r.choice(REPEATS)
        parts.append(part)
        if r.random() < 0.12:
            parts.append("|")
    return "".join(parts)


def line(text):
    try:
        code = re.compile(text)
        got = "".join("1" if code.fullmatch(p) else "0" for p in PATHS)
    except (re.error, OverflowError, RecursionError, AssertionError):
        got = "error"
    print(f"{text}\t{got}")


r = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
print("\t".join(PATHS))
if len(sys.argv) == 1:
    for h in HAND:
        line(h)
    print("-")
for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1500):
    line(expression(r) + r.choice(["", ".*", "proj", ".*_proj", "a"]))
