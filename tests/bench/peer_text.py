"""The peer's side of text: usage: peer_text.py tok MODEL CSV | prep CSV OUT.  Prints {"seconds": ...} without imports and loading."""
import csv, json, os, sys, time

if sys.argv[1] == "prep":
    import pandas
    t = time.perf_counter()
    pandas.read_csv(sys.argv[2]).to_json(sys.argv[3], orient="records", lines=True)
    print(json.dumps(dict(seconds=time.perf_counter() - t)))
else:
    from transformers import AutoTokenizer
    path = sys.argv[2]
    where = dict(pretrained_model_name_or_path=path)
    if os.path.isfile(path):
        where = dict(pretrained_model_name_or_path=os.path.dirname(os.path.abspath(path)), gguf_file=os.path.basename(path))
    tok = AutoTokenizer.from_pretrained(**where)._tokenizer
    rows = list(csv.DictReader(open(sys.argv[3])))
    text = [t for r in rows for t in ("Q: " + r["question"] + "\nA:", " " + r["answer"])]
    t = time.perf_counter()
    tokens = sum(len(e.ids) for e in tok.encode_batch_fast(text, add_special_tokens=False))
    print(json.dumps(dict(seconds=time.perf_counter() - t, tokens=tokens)))
