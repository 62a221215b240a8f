/* merge_hf: the merged model as a Hugging Face directory: config.json, weights in shards, tokenizer, generation config,
 * licence, model card. Files of a Hugging Face base are copied byte for byte, never re-serialised; those of a GGUF base
 * are made. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/mem.h"
#include "libcommon/base/msg.h"
#include "libcommon/base/out.h"
#include "libcommon/base/tool.h"
#include "libcommon/format/hf_tokenizer.h"
#include "libcommon/format/safetensors_write.h"
#include "libcommon/format/hub.h"
#include "libcommon/merge/hf_config.h"
#include "libcommon/merge/merge_model.h"

/* ---- weights ------------------------------------------------------------------------------- */

/* first[s]: the first item of shard s; returns the number of shards. */
static int cut_shards(const struct merge *g, const struct merge_item *it, int n, int *first)
{
    int shards = 0;
    uint64_t room = 0;
    for (int i = 0; i < n; i++) {
        uint64_t bytes = merge_item_bytes(&it[i]);
        if (i == 0 || bytes > room) {
            first[shards++] = i;
            room = g->shard_bytes;
        }
        room -= bytes < room ? bytes : room;
    }
    first[shards] = n;
    return shards;
}

static int sink(void *writer, const void *data, size_t n, struct err *e) { return st_data(writer, data, n, e); }

static int write_shard(struct merge *g, const struct merge_item *it, int n, const char *path, struct err *e)
{
    struct st_writer *w = st_create(path, false, e);
    if (!w) return -e->id;
    for (int i = 0; i < n && !e->id; i++)
        st_declare(w, it[i].t->name, dtype_info[it[i].dtype].safetensors, it[i].t->ndim, it[i].t->shape, e);
    if (!e->id) st_begin(w, e);
    for (int i = 0; i < n && !e->id; i++) {
        const struct merge_item *x = &it[st_order(w, i)];
        msg_progress("merging %s", x->t->name);
        if (merge_write(g, x, false, sink, w, e)) err_prefix(e, "%s: ", path_base(path));
    }
    msg_progress(NULL);
    if (!e->id) return st_finish(w, e);
    st_discard(w);
    return -e->id;
}

static int put_index(const struct merge_item *it, const int *first, int shards, struct outdir *d, struct err *e)
{
    json_t *map = json_object();
    uint64_t total = 0;
    for (int s = 0; s < shards; s++)
        for (int i = first[s]; i < first[s + 1]; i++) {
            json_object_set_new(map, it[i].t->name, json_sprintf("model-%05d-of-%05d.safetensors", s + 1, shards));
            total += merge_item_bytes(&it[i]);
        }
    json_t *j = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = json_dumps(j, JSON_INDENT(2));
    int rc = text ? outdir_put(d, "model.safetensors.index.json", text, strlen(text), e)
                  : err_set(e, E_MODEL, "a tensor name is not UTF-8");
    free(text);
    json_decref(j);
    return rc;
}

static int put_weights(struct merge *g, struct outdir *d, struct err *e)
{
    struct merge_item *it;
    int n = merge_items(g, false, &it, e);
    if (n < 0) return n;
    int *first = mem_alloc((size_t)n + 1, sizeof *first), shards = cut_shards(g, it, n, first);
    for (int s = 0; s < shards && !e->id; s++) {
        char *path = shards == 1 ? path_join(d->tmp, "model.safetensors")
                                 : mem_printf("%s/model-%05d-of-%05d.safetensors", d->tmp, s + 1, shards);
        write_shard(g, it + first[s], first[s + 1] - first[s], path, e);
        free(path);
    }
    if (!e->id && shards > 1) put_index(it, first, shards, d, e);
    free(first);
    free(it);
    return -e->id;
}

/* ---- the other files ----------------------------------------------------------------------- */

static bool is_copied(const char *name)
{
    static const char *const whole[] = {"generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "tokenizer.model",
                                        "vocab.json",
                                        "merges.txt",
                                        "chat_template.jinja",
                                        "chat_template.json"};
    static const char *const prefix[] = {"LICENSE", "LICENCE", "USE_POLICY", "NOTICE", "COPYING"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!strcmp(name, whole[i])) return true;
    for (size_t i = 0; i < sizeof prefix / sizeof *prefix; i++)
        if (!strncmp(name, prefix[i], strlen(prefix[i]))) return true;
    return false;
}

static int copy_files(const char *base, struct outdir *d, struct err *e)
{
    char **name;
    int n = dir_list(base, &name, e);
    for (int i = 0; i < n; i++) {
        char *from = path_join(base, name[i]);
        if (!e->id && is_copied(name[i]) && !file_is_dir(from)) outdir_copy(d, name[i], from, e);
        free(from);
        free(name[i]);
    }
    if (n >= 0) free(name);
    return -e->id;
}

static int put_text(struct outdir *d, const char *name, char *text, struct err *e)
{
    int rc = text ? outdir_put(d, name, text, strlen(text), e) : -e->id;
    free(text);
    return rc;
}

/* The base's name on the hub, if the base or the first adapter knows one. */
static char *base_name(const struct merge *g)
{
    const char *of_adapter = g->adapters->part[0].a->base_name;
    if (g->base_named) return mem_dupz(g->m->name);
    bool better = !hub_name(g->m->name) && of_adapter && hub_name(of_adapter);
    return model_card_name(better ? of_adapter : g->m->name);
}

/* A line of the card for each adapter. */
static void card_adapters(const struct merge *g, struct buf *b, struct err *e)
{
    for (int i = 0; i < g->adapters->n && !e->id; i++) {
        const struct composed *c = &g->adapters->part[i];
        char *path = path_join(c->dir, "adapter_model.safetensors"), hex[65];
        unsigned char digest[32];
        const bool has_tensors = file_exists(path); /* other formats have other files */
        if (has_tensors && sha256_file(path, digest, e) == 0) {
            digest_hex(digest, hex);
            buf_printf(b, "- adapter (%s): SHA-256 of its tensors `%s`", c->a->method->peft_type, hex);
            if (g->adapters->n > 1) buf_printf(b, ", its effect times %g", c->factor);
            buf_addc(b, '\n');
        }
        free(path);
    }
}

static int put_card(const struct merge *g, struct outdir *d, struct err *e)
{
    struct buf b = {0};
    char hex[65];
    char *said = base_name(g);
    json_t *name = json_string(said);
    char *base = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL;
    digest_hex(g->m->digest, hex);
    buf_printf(&b, "---\nbase_model: %s\npipeline_tag: text-generation\n---\n\n# Merged model\n\n",
               base ? base : "\"unknown\"");
    buf_printf(&b, "- base: %s, SHA-256 of its weights `%s`\n", base ? base : "unknown", hex);
    card_adapters(g, &b, e);
    buf_printf(&b, "- scale of the adapter: %g; weights: %s\n- written by peft-merge %s\n", g->factor,
               dtype_info[g->dtype].name, peft_version);
    int rc = e->id ? -e->id : outdir_put(d, "README.md", b.p, b.n, e);
    free(base);
    free(said);
    json_decref(name);
    buf_fini(&b);
    return rc;
}

static int put_all(struct merge *g, struct outdir *d, struct err *e)
{
    const struct weights *w = g->m->weights;
    int rc = put_text(d, "config.json", hf_config_text(g->m, g->dtype, merge_head_is_tied(g), e), e);
    if (!rc && w->kind == WEIGHTS_GGUF) {
        rc = put_text(d, "generation_config.json", hf_generation_text(g->m, e), e);
        if (!rc) rc = hf_tokenizer_put(w->gguf, d, e);
    } else if (!rc) {
        rc = copy_files(w->path, d, e);
    }
    if (!rc) rc = put_weights(g, d, e);
    if (!rc) rc = merge_changed(g, e);
    if (!rc) rc = put_card(g, d, e);
    return rc;
}

int merge_hf(struct merge *g, const char *out, struct err *e)
{
    struct outdir d;
    if (dtype_info[g->dtype].block > 1)
        return err_set(e, E_USAGE, "--dtype %s: safetensors holds f32, bf16 and f16", dtype_info[g->dtype].name);
    int rc = outdir_open(&d, out, g->force ? OUTDIR_REPLACE_MADE : OUTDIR_KEEP, e);
    if (rc) return rc;
    rc = put_all(g, &d, e);
    if (!rc && g->check) {
        struct weights *w = weights_open(d.tmp, e);
        rc = w ? g->check(g->check_ctx, w, e) : -e->id;
    }
    if (!rc) rc = outdir_seal(&d, e);
    if (!rc) rc = outdir_commit(&d, e);
    if (rc) outdir_abort(&d);
    return rc;
}
