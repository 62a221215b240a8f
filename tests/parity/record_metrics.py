"""Record the golden vectors of tests/unit/metrics.c: tests/parity/vectors/metrics.json.

Run in a virtual environment with sacrebleu==2.6.0 and rouge-score==0.1.2 (CPython 3.11, Unicode 14):
    python tests/parity/record_metrics.py
SQuAD's two scores follow the rules that its paper and its evaluation page state; they are written out below.
"""
import collections
import hashlib
import json
import os
import random
import re
import string
import sys
import unicodedata

import sacrebleu
from rouge_score import rouge_scorer

HAND = [  # prediction, target
    ("Paris", "Paris"), (" Paris\n", "Paris"), ("paris", "Paris"), ("The Paris", "Paris."), ("", ""), ("", "Paris"), ("Paris", ""),
    ("  ", "\n"), ("a", "the"), ("a cat", "the cat"), ("an", ""), ("The cat sat on the mat.", "the cat sat on a mat"),
    ("1,000.5 kg", "1000.5 kg"), ("3.14", "3,14"), ("1,000,000", "1,000,000"), ("5 - 3 = 2", "5-3=2"), ("v1.2.3-rc4", "v1.2.3 rc4"),
    ("&quot;Tom &amp; Jerry&quot; &lt;b&gt;", '"Tom & Jerry" <b>'), ("&amp;lt;", "&lt;"), ("<skipped>so it goes", "so it goes"),
    ("hy-\nphen", "hyphen"), ("line\nbreak", "line break"), ("it's John's", "its Johns"), ("don't stop...", "don't stop ..."),
    ("Straße", "STRASSE"), ("İstanbul", "i̇stanbul"), ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"), ("ΣΑΣ Σ", "σας σ"), ("Α\u0301Σ.", "α\u0301ς"), ("Σ'Σ", "σ'ς"),
    ("naïve café", "naive cafe"), ("日本語 テスト", "日本語 テスト"), ("日本語。", "日本語"), ("Привет, мир!", "привет мир"),
    ("a\u00a0b", "a b"), ("a\u2003b\u3000", "a b"), ("x\x1cy", "x y"), ("a\u0085", "a"), ("the\u0301 cat", "cat"), ("the_cat", "cat"),
    ("(the) cat", "cat"), ("the-cat", "thecat"), ("emoji 🎉🎉 here", "emoji 🎉 here"), ("½ cup", "1/2 cup"), ("a½", "½"), ("\ufeffBOM", "BOM"),
    ("Floor 3, room 12", "Floor 3, room 12"), ("Floor 3, room 12", "Floor 3, room 21"), ("one two three four five", "one two three four five"),
    ("the the the the", "the the"), ("a b c d e f g", "a b d c e g f"), ("x" * 300, "x" * 300), ("9.", "9 ."), (".5", "0.5"), ("1-2", "1 -2"),
    ("U.S.A.", "USA"), ("A.B", "a.b"), ("100%", "100 %"), ("$5.00", "5.00 $"), ("e.g., this", "eg this"), ("\u212a", "k"), ("ﬁre", "fire"),
    ("tab\tand  two", "tab and two"), ("quote “curly” ’s", 'quote "curly" \'s'), ("the quick brown fox", "quick the fox brown jumps"),
]
WORDS = ("the a an cat dog floor 3 12 1,000 3.5 room, end. (red) blue-green it's x/y Σίσυφος ΟΔΟΣ naïve — … 日本 語 &amp; &lt;tag&gt; $9 a.b.c 7- -7 "
         "don't ‘so’ Ünïcödé \u00a0 ½ ٣ १२ _under_score_ 🎉 é e\u0301 THE An").split(" ")


def squad(s):
    s = "".join(c for c in s.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def f1(p, t):
    p, t = squad(p).split(), squad(t).split()
    if not p or not t:
        return float(p == t)
    same = sum((collections.Counter(p) & collections.Counter(t)).values())
    if not same:
        return 0.0
    precision, recall = same / len(p), same / len(t)
    return 2 * precision * recall / (precision + recall)


def codepoints():
    return (chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) != "Cn")


def digest(f):
    h = hashlib.sha256()
    for c in codepoints():
        h.update(f(c).encode() + b"\n")
    return h.hexdigest()


def assigned():
    """Ranges [first, last] of codepoints(): the C side may know a newer Unicode."""
    ranges = []
    for c in map(ord, codepoints()):
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1][1] = c
        else:
            ranges.append([c, c])
    return ranges


def main():
    rng = random.Random(7)
    rows = list(HAND)
    for _ in range(80):
        t = [rng.choice(WORDS) for _ in range(rng.randrange(1, 14))]
        p = [rng.choice(WORDS) if rng.random() < 0.2 else w for w in t]
        for _ in range(rng.randrange(3)):
            p.insert(rng.randrange(len(p) + 1), rng.choice(WORDS))
        if rng.random() < 0.3:
            rng.shuffle(p)
        rows.append((" ".join(p[: rng.randrange(1, len(p) + 1)] if rng.random() < 0.3 else p), " ".join(t)))
    rouge = rouge_scorer.RougeScorer(["rougeL"])
    out = []
    for p, t in rows:
        out.append({"prediction": p, "target": t, "em": p.strip() == t.strip(), "em_lower": p.strip().lower() == t.strip().lower(),
                    "em_squad": squad(p) == squad(t), "squad": squad(p), "f1": f1(p, t), "rouge_l": rouge.score(t, p)["rougeL"].fmeasure,
                    "bleu": sacrebleu.sentence_bleu(p, [t]).score})
    corpora = []
    sizes = [1, 1, 1, 2, 3, 5, 8, 13, 21, 40, len(rows)]
    for k, n in enumerate(sizes):
        index = list(range(len(rows))) if n == len(rows) else rng.sample(range(len(rows)), n)
        if k == 0:
            index = [0]   # one word: no 4-gram at all
        if k == 1:
            index = [46]  # equal, five words
        if k == 2:
            index = [5]   # an empty prediction
        metric = sacrebleu.metrics.BLEU()
        score = metric.corpus_score([rows[i][0] for i in index], [[rows[i][1] for i in index]])
        corpora.append({"rows": index, "bleu": score.score, "line": str(score)})
    signature = metric.get_signature().format()
    doc = {"made_by": "tests/parity/record_metrics.py", "python": sys.version.split()[0], "sacrebleu": sacrebleu.__version__, "rouge_score": "0.1.2",
           "unicode": unicodedata.unidata_version, "signature": "BLEU|" + signature,
           "assigned": assigned(), "lower_sha256": digest(str.lower), "squad_sha256": digest(lambda c: squad("a" + c + " z")),
           "space": [ord(c) for c in codepoints() if c.isspace()], "rows": out, "corpora": corpora}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors", "metrics.json")
    with open(path, "w", encoding="utf-8") as f:
        head = {k: v for k, v in doc.items() if k not in ("rows", "corpora")}
        f.write(json.dumps(head, ensure_ascii=True)[:-1])
        for key in ("rows", "corpora"):
            f.write(',\n"%s": [\n%s]' % (key, ",\n".join(json.dumps(r, ensure_ascii=True) for r in doc[key])))
        f.write("}\n")


main()
