/* merge_gguf: the merged model as a GGUF file. A GGUF base gives all of its metadata; those of a Hugging Face base are
 * made (gguf_meta.h). Matrices that the adapter does not touch stay as stored unless a type was asked for. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/out.h"
#include "libcommon/base/tool.h"
#include "libcommon/format/gguf.h"
#include "libcommon/format/gguf_names.h"
#include "libcommon/format/gguf_write.h"
#include "libcommon/merge/gguf_meta.h"
#include "libcommon/merge/merge_model.h"

/* general.file_type of files whose matrices are all of one type (llama.cpp's enum llama_ftype). */
static uint32_t file_type(enum dtype t)
{
    switch (t) {
    case DT_F32:
        return 0;
    case DT_F16:
        return 1;
    case DT_Q4_0:
        return 2;
    case DT_Q4_1:
        return 3;
    case DT_Q8_0:
        return 7;
    default:
        return 32; /* mostly bf16 */
    }
}

static void carry_pairs(const struct merge *g, struct gguf_writer *w)
{
    const struct gguf *base = g->m->weights->gguf;
    for (int i = 0; i < base->n_kv; i++) {
        const struct gguf_kv *kv = &base->kv[i];
        if (str_is(kv->key, "general.alignment")) continue; /* the writer's is the default */
        if (str_is(kv->key, "general.file_type") && g->convert_all) continue;
        if (kv->key.n > 5 && !memcmp(kv->key.p, "peft.", 5)) continue; /* of an earlier merge */
        gguf_put_kv(w, kv);
    }
}

static int put_pairs(const struct merge *g, struct gguf_writer *w, struct err *e)
{
    char hex[65];
    const bool made = g->m->weights->kind == WEIGHTS_HF;
    if (made && gguf_meta_put(g->m, w, e)) return -e->id;
    if (!made) carry_pairs(g, w);
    if (made || g->convert_all) gguf_put_u32(w, "general.file_type", file_type(g->dtype));
    digest_hex(g->m->digest, hex);
    gguf_put_str(w, "peft.base_sha256", STRZ(hex));
    gguf_put_str(w, "peft.version", STRZ(peft_version));
    return 0;
}

static int sink(void *writer, const void *data, size_t n, struct err *e) { return gguf_data(writer, data, n, e); }

static int write_all(struct merge *g, struct gguf_writer *w, struct err *e)
{
    struct merge_item *it;
    bool interleaved = g->m->arch->gguf_rotated_rows;
    float *freqs = g->m->weights->kind == WEIGHTS_HF ? gguf_meta_rope_freqs(g->m) : NULL;
    const int64_t half = g->m->cfg.D / 2;
    int n = merge_items(g, true, &it, e);
    if (n < 0) {
        free(freqs);
        return n;
    }
    int rc = put_pairs(g, w, e);
    if (!rc && freqs) rc = gguf_put_tensor(w, ROPE_FREQS, 1, &half, (uint32_t)dtype_info[DT_F32].gguf, e);
    for (int i = 0; i < n && !rc; i++) {
        const struct tensor *t = it[i].t;
        char name[GGUF_NAME_MAX];
        rc = gguf_put_tensor(w, gguf_name_from_hf(g->m->arch->names, t->name, name) ? name : t->name, t->ndim, t->shape,
                             (uint32_t)dtype_info[it[i].dtype].gguf, e);
    }
    if (!rc) rc = gguf_begin(w, e);
    if (!rc && freqs) rc = gguf_data(w, freqs, (size_t)half * sizeof *freqs, e);
    free(freqs);
    for (int i = 0; i < n && !rc; i++) {
        msg_progress("merging %s", it[i].t->name);
        rc = merge_write(g, &it[i], interleaved, sink, w, e);
    }
    msg_progress(NULL);
    free(it);
    return rc ? rc : merge_changed(g, e);
}

/* A model that came from elsewhere is not replaced. */
static bool is_merged(const char *path)
{
    struct err unread = {0};
    struct gguf *old = gguf_open(path, &unread);
    const bool yes = old && gguf_find(old, "peft.version");
    if (old) gguf_close(old);
    return yes;
}

int merge_gguf(struct merge *g, const char *out, struct err *e)
{
    if (out_check_made(out, g->force, is_merged, "merged model", e)) return -e->id;
    struct gguf_writer *w = gguf_create(out, g->force, e);
    if (!w) return -e->id;
    int rc = write_all(g, w, e);
    if (!rc && g->check) {
        const char *path = gguf_complete(w, e);
        struct weights *made = path ? weights_open(path, e) : NULL;
        rc = made ? g->check(g->check_ctx, made, e) : -e->id;
    }
    if (!rc) return gguf_finish(w, e);
    gguf_discard(w);
    return rc;
}
