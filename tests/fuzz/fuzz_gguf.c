/* fuzz_gguf: any bytes as a GGUF file. A refusal is E_GGUF or E_VERSION with a message; all
 * values and tensors of an accepted file can be read, and lie inside it. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/format/gguf.h"
#include "libcommon/format/gguf_names.h"

static volatile uint64_t seen; /* keeps the reads */

static void read_pair(const struct gguf *g, const struct gguf_kv *kv)
{
    struct err e = {0};
    int64_t i;
    double d;
    bool b;
    struct str s;
    char *key = mem_dup(kv->key.p, kv->key.n);
    if (gguf_find(g, key) != kv) abort();
    gguf_get_i64(g, key, &i, &e);
    gguf_get_f64(g, key, &d, &e);
    gguf_get_bool(g, key, &b, &e);
    if (gguf_get_str(g, key, &s, &e) == 1)
        for (size_t k = 0; k < s.n; k++) seen += (unsigned char)s.p[k];
    struct str *list = gguf_strings(kv);
    for (uint64_t k = 0; list && k < kv->n; k++) seen += list[k].n ? (unsigned char)list[k].p[list[k].n - 1] : 0;
    if (kv->elem != GGUF_STRING && kv->n) seen += gguf_float_at(kv, kv->n - 1) > 0;
    free(list);
    free(key);
}

/* A table as architectures have them. */
static const struct gguf_pair outer[] = {{"token_embd", "model.embed_tokens"}, {"output", "lm_head"}, {NULL, NULL}};
static const struct gguf_pair inner[] = {
    {"attn_q", "self_attn.q_proj"}, {"attn_norm", "input_layernorm"}, {NULL, NULL}};
static const struct gguf_names names = {"model.layers.", outer, inner};

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct err e = {0};
    struct gguf *g = gguf_parse(data, size, "f", &e);
    if (!g) {
        if ((e.id != E_GGUF && e.id != E_VERSION) || !e.msg[0]) abort();
        return 0;
    }
    for (int i = 0; i < g->n_kv; i++) read_pair(g, &g->kv[i]);
    for (int i = 0; i < g->n_t; i++) {
        char name[GGUF_NAME_MAX], back[GGUF_NAME_MAX];
        const struct gguf_tensor *t = &g->t[i];
        if (t->bytes == 0 || t->data < data || t->bytes > size || t->data + t->bytes > data + size) abort();
        seen += t->data[0] + t->data[t->bytes - 1];
        if (gguf_name_to_hf(&names, t->name, name) && (!gguf_name_from_hf(&names, name, back) || strcmp(back, t->name)))
            abort();
    }
    gguf_close(g);
    return 0;
}
