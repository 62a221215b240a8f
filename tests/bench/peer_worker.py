"""One process of the peer: loads the model once, then does one round of work for each line on stdin and prints one JSON object a round.

usage: peer_worker.py step|infer|generate MODEL THREADS OPTIONS_JSON
The made-up ids and the adapter's values are those of step.c and infer.c.
"""
import json, math, os, resource, statistics, sys, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

kind, path, threads, opt = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
torch.set_num_threads(threads)
where = dict(pretrained_model_name_or_path=path)
if os.path.isfile(path):
    where = dict(pretrained_model_name_or_path=os.path.dirname(os.path.abspath(path)), gguf_file=os.path.basename(path))
m = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16 if opt.get("dtype") == "bf16" else torch.float32)


def made_up(n):
    x, out = 1, []
    for _ in range(n):
        x = (x * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
        out.append(5 + (x >> 33) % (m.config.vocab_size - 5))
    return out


def rounds(work):
    print(json.dumps(dict(ready=True)), flush=True)  # nothing is loaded while ours is timed
    for _ in sys.stdin:
        try:
            r = work()
        except Exception as e:  # torch.compile may lack a compiler: the table says so
            r = dict(error=f"{type(e).__name__}: {str(e).splitlines()[0][:120] if str(e) else ''}")
        r["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(r), flush=True)


def step_worker():
    from peft import LoraConfig, get_peft_model
    targets = ["q_proj", "v_proj"] if opt["targets"] == "qv" else "all-linear"
    p = get_peft_model(m, LoraConfig(r=opt["r"], lora_alpha=16, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM"))
    p.train()
    t, named = 0, dict(p.named_parameters())
    for layer in range(m.config.num_hidden_layers):
        for mod in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
            for leaf, amplitude in (("lora_A", 0.02), ("lora_B", 0.01)):
                w = named.get(f"base_model.model.model.layers.{layer}.{mod}.{leaf}.default.weight")
                if w is None:
                    continue
                v = amplitude * torch.sin(0.37 * torch.arange(w.numel(), dtype=torch.float64) + t)
                w.data = v.to(torch.float32).reshape(w.shape)
                t += 1
    params = [w for w in p.parameters() if w.requires_grad]
    adam = torch.optim.AdamW(params, lr=2e-4, weight_decay=0.01)
    ids = torch.tensor([made_up(opt["T"])])
    run = torch.compile(p) if opt.get("compile") else p

    def one():
        loss = run(input_ids=ids, labels=ids).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(params, 1.0).item()
        adam.step()
        adam.zero_grad()
        return loss.item(), norm

    first = []

    def work():
        if not first:
            first.extend(one())
            one()
        took = []
        for _ in range(opt["steps"]):
            s = time.perf_counter()
            one()
            took.append(time.perf_counter() - s)
        return dict(tok_s=opt["T"] / statistics.median(took), first_loss=first[0], grad_norm=first[1])

    rounds(work)


def infer_worker():
    m.eval()
    ids = made_up(16 * 128 + 512)

    @torch.no_grad()
    def prefill():
        s = time.perf_counter()
        z = m(input_ids=torch.tensor([ids[:512]]), use_cache=True, logits_to_keep=1).logits[0, -1].float()
        return 512 / (time.perf_counter() - s), z

    @torch.no_grad()
    def decode(b):
        cache = m(input_ids=torch.tensor(ids[:b * 128]).reshape(b, 128), use_cache=True, logits_to_keep=1).past_key_values
        s = time.perf_counter()
        for i in range(16):
            m(input_ids=torch.tensor(ids[:b]).reshape(b, 1), past_key_values=cache, use_cache=True)
        return 16 * b / (time.perf_counter() - s)

    def work():
        rate, z = prefill()
        return dict(prefill=rate, argmax=int(z.argmax()), logit=float(z.max()), decode1=decode(1), decode16=decode(16))

    prefill()
    rounds(work)


def generate_worker():
    import csv
    m.eval()
    tok = AutoTokenizer.from_pretrained(**where)
    tok.padding_side = "left"
    tok.pad_token = tok.pad_token or tok.eos_token
    q = ["Q: " + r["question"] + "\nA:" for r in csv.DictReader(open(opt["rows"]))]

    @torch.no_grad()
    def work():
        texts, s = [], time.perf_counter()
        for i in range(0, len(q), 16):
            x = tok(q[i:i + 16], return_tensors="pt", padding=True, add_special_tokens=False)
            y = m.generate(**x, max_new_tokens=16, do_sample=False, pad_token_id=tok.pad_token_id)
            texts += [tok.decode(t[x.input_ids.shape[1]:], skip_special_tokens=True).strip() for t in y]
        return dict(questions_s=len(q) / (time.perf_counter() - s), texts=texts)

    rounds(work)


dict(step=step_worker, infer=infer_worker, generate=generate_worker)[kind]()
