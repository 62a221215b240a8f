/* merge_pt: the merged model as one torch file: an OrderedDict of Hugging Face's tensor names, as model.state_dict()
 * gives it. A tied head is there under its own name and shares the embedding's storage. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/msg.h"
#include "libcommon/format/pt_write.h"
#include "libcommon/merge/hf_config.h"
#include "libcommon/merge/merge_model.h"

static int sink(void *writer, const void *data, size_t n, struct err *e) { return pt_data(writer, data, n, e); }

static int write_all(struct merge *g, struct pt_writer *w, struct err *e)
{
    struct merge_item *it;
    int n = merge_items(g, false, &it, e), embed = -1, rc = 0;
    if (n < 0) return n;
    for (int i = 0; i < n; i++) {
        int k = pt_declare(w, it[i].t->name, it[i].dtype, it[i].t->ndim, it[i].t->shape, -1);
        if (it[i].t == model_site_kind(g->m, SITE_EMBED)->weight) embed = k;
    }
    if (merge_head_is_tied(g) && embed >= 0)
        pt_declare(w, g->m->arch->head_weight, it[embed].dtype, it[embed].t->ndim, it[embed].t->shape, embed);
    rc = pt_begin(w, e);
    for (int i = 0; i < n && !rc; i++) {
        msg_progress("merging %s", it[i].t->name);
        rc = merge_write(g, &it[i], false, sink, w, e);
    }
    msg_progress(NULL);
    free(it);
    if (!rc) rc = merge_changed(g, e);
    return rc ? rc : pt_complete(w, e);
}

static int check(struct merge *g, struct pt_writer *w, struct err *e)
{
    char *config = hf_config_text(g->m, g->dtype, merge_head_is_tied(g), e);
    struct weights *made = config ? pt_view(w, config, e) : NULL;
    free(config);
    return made ? g->check(g->check_ctx, made, e) : -e->id;
}

int merge_pt(struct merge *g, const char *out, struct err *e)
{
    if (dtype_info[g->dtype].block > 1)
        return err_set(e, E_USAGE, "--dtype %s: a .pt file holds f32, bf16 and f16", dtype_info[g->dtype].name);
    if (!strcmp(out, "-")) return err_set(e, E_USAGE, "-o -: a .pt file cannot be written to a pipe");
    struct pt_writer *w = pt_create(out, g->force, e);
    if (!w) return -e->id;
    int rc = write_all(g, w, e);
    if (!rc && g->check) rc = check(g, w, e);
    if (!rc) return pt_finish(w, e);
    pt_discard(w);
    return rc;
}
