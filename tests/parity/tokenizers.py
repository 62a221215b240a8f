#!/usr/bin/env python3
"""Compare peft-tok with Hugging Face tokenizers: 10 MB of mixed text and 10,000 random Unicode strings for each family.

usage: tests/parity/tokenizers.py [--bin DIR] [--data DIR] [--model GGUF] [--mb N] [--strings N] [--seed N] [FAMILY...]

Needs a virtual environment with tokenizers, transformers, sentencepiece, gguf and torch. Each family is read by peft-tok
from its own files and again from the tokenizer.json that the reference saves; both must give the reference's ids.
Exit status 1 if any text differs.
"""
import argparse, base64, glob, json, os, random, subprocess, sys, tempfile, time, unicodedata
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers


def byte_level(vocab, merges):
    t = Tokenizer(models.BPE.from_file(vocab, merges))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    return t


def gpt2(a):
    d = f"{a.data}/tokenizers/gpt2"
    t = byte_level(f"{d}/encoder.json", f"{d}/vocab.bpe")
    t.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    return t, d


def smollm2(a):
    from transformers import AutoTokenizer
    t = AutoTokenizer.from_pretrained(os.path.dirname(a.model), gguf_file=os.path.basename(a.model)).backend_tokenizer
    # The converter forgets that SmolLM splits digits first (its published tokenizer.json does).
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return t, a.model


def llama2(a):
    from sentencepiece import SentencePieceProcessor
    path = f"{a.data}/tokenizers/llama2/tokenizer.model"
    sp = SentencePieceProcessor(model_file=path)
    vocab = {sp.id_to_piece(i): i for i in range(len(sp))}
    merges = []
    for piece, i in vocab.items():  # as transformers' converter does: every cut into two pieces, by the score of the result
        local = [(piece[:k], piece[k:], sp.get_score(i)) for k in range(1, len(piece)) if piece[:k] in vocab and piece[k:] in vocab]
        merges += sorted(local, key=lambda x: (vocab[x[0]], vocab[x[1]]))
    merges.sort(key=lambda x: -x[2])
    t = Tokenizer(models.BPE(vocab, [(l, r) for l, r, _ in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.add_special_tokens([AddedToken(x, special=True, normalized=False) for x in ("<unk>", "<s>", "</s>")])
    return t, path


def phi3(a):
    d = f"{a.data}/tokenizers/phi-3-mini"
    return Tokenizer.from_file(f"{d}/tokenizer.json"), d


def llama3(a):
    from transformers.convert_slow_tokenizer import TikTokenConverter
    path = f"{a.data}/tokenizers/llama3/tokenizer.model"
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
               r"\s*[\r\n]+|\s+(?!\S)|\s+")
    named = {0: "<|begin_of_text|>", 1: "<|end_of_text|>", 4: "<|finetune_right_pad_id|>", 6: "<|start_header_id|>",
             7: "<|end_header_id|>", 8: "<|eom_id|>", 9: "<|eot_id|>", 10: "<|python_tag|>"}
    rest = (f"<|reserved_special_token_{i}|>" for i in range(256))
    special = [named.get(i) or next(rest) for i in range(256)]
    class Converter(TikTokenConverter):  # reads the file without the package tiktoken
        def load_tiktoken_bpe(self, name):
            return {base64.b64decode(k): int(v) for k, v in (line.split() for line in open(name, "rb"))}

    t = Converter(vocab_file=path, pattern=pattern, additional_special_tokens=special).converted()
    t.model.ignore_merges = True  # as in the published tokenizer.json
    return t, path


def qwen2(a):
    from transformers import AutoTokenizer
    d = f"{a.data}/tokenizers/qwen2"
    config = json.load(open(f"{d}/tokenizer_config.json"))
    lines = open(f"{d}/merges.txt", encoding="utf-8", newline="").read().replace("\r\n", "\n")
    with tempfile.TemporaryDirectory() as tmp:  # tokenizers does not strip the CR
        open(f"{tmp}/merges.txt", "w", encoding="utf-8").write(lines)
        t = Tokenizer(models.BPE.from_file(f"{d}/vocab.json", f"{tmp}/merges.txt"))
    t.normalizer = normalizers.NFC()
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
               r"\s*[\r\n]+|\s+(?!\S)|\s+")
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    for _, x in sorted(config["added_tokens_decoder"].items(), key=lambda kv: int(kv[0])):
        t.add_special_tokens([AddedToken(x["content"], special=True, normalized=False)])
    return t, d


FAMILIES = {"gpt2": gpt2, "smollm2": smollm2, "llama2": llama2, "phi3": phi3, "llama3": llama3, "qwen2": qwen2}

BLOCKS = [(0x20, 0x7e), (0xa0, 0x17f), (0x370, 0x3ff), (0x400, 0x45f), (0x531, 0x587), (0x5d0, 0x5ea), (0x620, 0x64a), (0x660, 0x669),
          (0x904, 0x939), (0x93e, 0x94d), (0x966, 0x96f), (0xe01, 0xe30), (0x10a0, 0x10c5), (0x1100, 0x1112), (0x1161, 0x1175),
          (0x11a8, 0x11c2), (0x1e00, 0x1eff), (0x1f00, 0x1f15), (0x2010, 0x2027), (0x2070, 0x208e), (0x20a0, 0x20b5), (0x2150, 0x2188),
          (0x2190, 0x21ff), (0x2460, 0x24ff), (0x2500, 0x257f), (0x3041, 0x3096), (0x30a1, 0x30fa), (0x4e00, 0x9fa5), (0xac00, 0xd7a3),
          (0xf900, 0xfa2d), (0xfb00, 0xfb06), (0xff01, 0xff5e), (0x10330, 0x1034a), (0x1d400, 0x1d454), (0x1f300, 0x1f64f), (0x300, 0x36f)]


def generated(r, n):
    """Words of one script after another, with the scripts' own digits and marks, and punctuation between."""
    out = []
    while n > 0:
        lo, hi = r.choice(BLOCKS)
        word = "".join(chr(r.randint(lo, hi)) for _ in range(r.randint(1, 9)))
        word += r.choice([" ", " ", " ", "  ", ", ", ".\n", "\n\n", "'s ", "'LL ", " 12345 ", "\t", "\u3000", "\u00a0", "é", "e\u0301"])
        out.append(word)
        n -= len(word.encode())
    return "".join(out)


def mixed(a, r):
    data, docs = a.data, []
    files = glob.glob(f"{data}/text/*.txt") + glob.glob(f"{data}/qa/**/*", recursive=True)
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    files += glob.glob(f"{root}/*/*.[ch]") + glob.glob(f"{root}/*/*/*.[ch]") + glob.glob(f"{root}/man/*") + glob.glob("/usr/share/perl/5.*/*.p[lm]")
    files += glob.glob("/usr/lib/python3/dist-packages/**/*.py", recursive=True)[:200] + glob.glob(os.path.dirname(os.__file__) + "/*.py")
    for f in sorted(files):
        if os.path.isfile(f) and not f.endswith(".zip"):
            text = open(f, "rb").read().decode("utf-8", "ignore")
            docs += [text[i:i + 20000] for i in range(0, len(text), 20000)]
    r.shuffle(docs)
    out, size, limit = [], 0, int(a.mb * 1e6)
    for d in docs:
        if size > limit * 0.75:
            break
        out.append(d)
        size += len(d.encode())
    while size < limit:
        out.append(generated(r, 20000))
        size += len(out[-1].encode())
    return out, size


def strings(a, r, specials):
    """Any assigned code point of Unicode 14 and below is fair; also white space, marks, and the special tokens."""
    out = []
    spaces = [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\x0b", "\x1c", "\u180e", "\u200b"]
    pieces = ["'s", "'S", "'\u017f", "'ll", "'RE", "''", "1", "12", "1234", "½", "²", "Ⅷ", "٣", "ß", "ﬁ", "e\u0301", "\u1100\u1161\u11a8", "각\u11a8",
              "\u0344", "\u0f73", "ｶﾞ", "が", "か\u3099", "👩‍👩‍👧", "\ufeff", "\x00", "\x7f", "▁", "Ġ", "<0x0A>", "[PAD1]"]
    while len(out) < a.strings:
        s = []
        for _ in range(r.randint(1, 24)):
            k = r.random()
            if k < 0.2:
                s.append(r.choice(spaces))
            elif k < 0.35:
                s.append(r.choice(pieces))
            elif k < 0.40 and specials:
                s.append(r.choice(specials))
            elif k < 0.75:
                lo, hi = r.choice(BLOCKS)
                s.append("".join(chr(r.randint(lo, hi)) for _ in range(r.randint(1, 5))))
            else:
                cp = r.randint(0, 0x2ffff)
                if 0xd800 <= cp < 0xe000 or unicodedata.category(chr(cp)) == "Cn":
                    continue
                s.append(chr(cp))
        out.append("".join(s))
    return out


def ours(a, path, texts):
    with tempfile.TemporaryDirectory() as tmp:
        with open(f"{tmp}/in", "w", encoding="utf-8") as f:
            for t in texts:
                f.write(json.dumps(t, ensure_ascii=False).replace("\x7f", "\\u007f") + "\n")
        before = os.times().children_user
        p = subprocess.run([f"{a.bin}/peft-tok", "-t", path, "--bos", "no", "--encode", "--json", f"{tmp}/in", "-o", f"{tmp}/out"],
                           capture_output=True, text=True)
        used = os.times().children_user - before
        if p.returncode:
            sys.exit(f"peft-tok -t {path}: {p.stderr}")
        return [json.loads(line) for line in open(f"{tmp}/out")], used


def compare(name, kind, texts, want, got):
    bad = [i for i in range(len(texts)) if want[i] != got[i]]
    for i in bad[:3]:
        k = next((j for j in range(min(len(want[i]), len(got[i]))) if want[i][j] != got[i][j]), min(len(want[i]), len(got[i])))
        print(f"  {name} {kind}: text {i} differs at token {k}: reference {want[i][k:k + 6]}, peft-tok {got[i][k:k + 6]}: {texts[i][:80]!a}")
    return len(bad)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="build/release/bin")
    p.add_argument("--data", default=os.environ.get("PEFT_DATA", "../shared/data"))
    p.add_argument("--model", default=os.environ.get("MODEL", ""))
    p.add_argument("--mb", type=float, default=10)
    p.add_argument("--strings", type=int, default=10000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("family", nargs="*")
    a = p.parse_args()
    failed = 0
    print(f"tokenizers {tokenizers.__version__}; {'family':8} {'files':14} {'text':>10} {'differ':>7} {'strings':>8} {'differ':>7}   MB/s ours, reference")
    for name in a.family or list(FAMILIES):
        if name == "smollm2" and not a.model:
            print("skip smollm2: no --model")
            continue
        ref, path = FAMILIES[name](a)
        r = random.Random(a.seed)
        docs, size = mixed(a, r)
        specials = [x.content for x in ref.get_added_tokens_decoder().values()][:20]
        some = strings(a, r, specials)
        t0 = time.process_time()
        want = [e.ids for e in (ref.encode(d, add_special_tokens=False) for d in docs)]
        speed = size / 1e6 / (time.process_time() - t0)
        want_some = [e.ids for e in (ref.encode(d, add_special_tokens=False) for d in some)]
        with tempfile.TemporaryDirectory() as tmp:
            ref.save(f"{tmp}/tokenizer.json")
            for files, where in (("own", path), ("tokenizer.json", f"{tmp}/tokenizer.json")):
                got, used = ours(a, where, docs)
                got_some, _ = ours(a, where, some)
                x, y = compare(name, "text", docs, want, got), compare(name, "strings", some, want_some, got_some)
                failed += x + y
                print(f"{name:8} {files:14} {size:10} {x:7} {len(some):8} {y:7}   {size / 1e6 / used:.1f}, {speed:.1f}", flush=True)
    sys.exit(failed != 0)


main()
