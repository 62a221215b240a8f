/* gguf_write: see gguf_write.h. */
#include "libcommon/format/gguf_write.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/mem.h"
#include "libcommon/base/out.h"

enum { ALIGN = 32 };

struct gguf_writer {
    struct out out;
    struct buf kv, info;
    uint64_t n_kv, n_t, offset; /* offset: where the next declared tensor begins */
    uint64_t *size;             /* of each tensor */
    size_t cap;
    uint64_t at, done; /* tensor being written, its bytes so far */
};

static void put(struct buf *b, const void *p, size_t n) { buf_add(b, p, n); }
static void put_u32(struct buf *b, uint32_t v) { put(b, &v, sizeof v); }
static void put_u64(struct buf *b, uint64_t v) { put(b, &v, sizeof v); }
static void put_string(struct buf *b, struct str s)
{
    put_u64(b, s.n);
    put(b, s.p, s.n);
}

struct gguf_writer *gguf_create(const char *path, bool force, struct err *e)
{
    struct gguf_writer *w = mem_alloc(1, sizeof *w);
    if (out_open(&w->out, path, force, true, e) == 0) return w;
    free(w);
    return NULL;
}

static void put_key(struct gguf_writer *w, struct str key, uint32_t type)
{
    w->n_kv++;
    put_string(&w->kv, key);
    put_u32(&w->kv, type);
}

static void put_array(struct gguf_writer *w, const char *key, uint32_t elem, uint64_t n)
{
    put_key(w, STRZ(key), GGUF_ARRAY);
    put_u32(&w->kv, elem);
    put_u64(&w->kv, n);
}

void gguf_put_kv(struct gguf_writer *w, const struct gguf_kv *kv)
{
    put_key(w, kv->key, kv->type);
    if (kv->type == GGUF_ARRAY) {
        put_u32(&w->kv, kv->elem);
        put_u64(&w->kv, kv->n);
    }
    put(&w->kv, kv->data, kv->bytes);
}

void gguf_put_str(struct gguf_writer *w, const char *key, struct str s)
{
    put_key(w, STRZ(key), GGUF_STRING);
    put_string(&w->kv, s);
}

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v)
{
    put_key(w, STRZ(key), GGUF_U32);
    put_u32(&w->kv, v);
}

void gguf_put_f32(struct gguf_writer *w, const char *key, float v)
{
    put_key(w, STRZ(key), GGUF_F32);
    put(&w->kv, &v, sizeof v);
}

void gguf_put_bool(struct gguf_writer *w, const char *key, bool v)
{
    put_key(w, STRZ(key), GGUF_BOOL);
    buf_addc(&w->kv, v ? 1 : 0);
}

void gguf_put_strs(struct gguf_writer *w, const char *key, const struct str *v, uint64_t n)
{
    put_array(w, key, GGUF_STRING, n);
    for (uint64_t i = 0; i < n; i++) put_string(&w->kv, v[i]);
}

void gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v, uint64_t n)
{
    put_array(w, key, GGUF_I32, n);
    put(&w->kv, v, n * sizeof *v);
}

void gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v, uint64_t n)
{
    put_array(w, key, GGUF_F32, n);
    put(&w->kv, v, n * sizeof *v);
}

static uint64_t padding(uint64_t at) { return -at & (ALIGN - 1); }

int gguf_put_tensor(struct gguf_writer *w, const char *name, int ndim, const int64_t *shape, uint32_t type,
                    struct err *e)
{
    int block, bytes;
    uint64_t count = 1;
    if (strlen(name) > 63 || ndim < 1 || ndim > 4 || !gguf_type_size(type, &block, &bytes) || shape[ndim - 1] % block)
        return err_set(e, E_GGUF,
                       "%s: GGUF cannot hold it (name up to 63 bytes, 1 to 4 dimensions, rows of "
                       "whole %s blocks)",
                       name, gguf_type_name(type));
    put_string(&w->info, STRZ(name));
    put_u32(&w->info, (uint32_t)ndim);
    for (int i = ndim - 1; i >= 0; i--) {
        put_u64(&w->info, (uint64_t)shape[i]);
        count *= (uint64_t)shape[i];
    }
    put_u32(&w->info, type);
    put_u64(&w->info, w->offset);
    w->size = mem_grow(w->size, &w->cap, w->n_t + 1, sizeof *w->size);
    w->size[w->n_t] = count / (uint64_t)block * (uint64_t)bytes;
    w->offset += w->size[w->n_t] + padding(w->size[w->n_t]);
    w->n_t++;
    return 0;
}

static int pad(struct gguf_writer *w, uint64_t at, struct err *e)
{
    static const unsigned char zero[ALIGN];
    return out_write(&w->out, zero, padding(at), e);
}

int gguf_begin(struct gguf_writer *w, struct err *e)
{
    struct buf head = {0};
    buf_add(&head, "GGUF", 4);
    put_u32(&head, 3);
    put_u64(&head, w->n_t);
    put_u64(&head, w->n_kv);
    uint64_t size = head.n + w->kv.n + w->info.n;
    int rc = out_write(&w->out, head.p, head.n, e);
    if (!rc) rc = out_write(&w->out, w->kv.p, w->kv.n, e);
    if (!rc) rc = out_write(&w->out, w->info.p, w->info.n, e);
    if (!rc) rc = pad(w, size, e);
    buf_fini(&head);
    return rc;
}

int gguf_data(struct gguf_writer *w, const void *data, size_t n, struct err *e)
{
    if (w->at >= w->n_t || n > w->size[w->at] - w->done)
        return err_set(e, E_BUG, "gguf_write: more data than tensor %llu was declared with", (unsigned long long)w->at);
    int rc = out_write(&w->out, data, n, e);
    w->done += n;
    if (rc || w->done < w->size[w->at]) return rc;
    rc = pad(w, w->done, e);
    w->done = 0;
    w->at++;
    return rc;
}

static void release(struct gguf_writer *w)
{
    buf_fini(&w->kv);
    buf_fini(&w->info);
    free(w->size);
    free(w);
}

const char *gguf_complete(struct gguf_writer *w, struct err *e)
{
    if (w->at != w->n_t) {
        err_set(e, E_BUG, "gguf_write: %llu of %llu tensors written", (unsigned long long)w->at,
                (unsigned long long)w->n_t);
        return NULL;
    }
    return out_flush(&w->out, e) ? NULL : w->out.tmp;
}

int gguf_finish(struct gguf_writer *w, struct err *e)
{
    int rc = w->at == w->n_t ? out_commit(&w->out, e)
                             : err_set(e, E_BUG, "gguf_write: %llu of %llu tensors written", (unsigned long long)w->at,
                                       (unsigned long long)w->n_t);
    if (rc) out_abort(&w->out);
    release(w);
    return rc;
}

void gguf_discard(struct gguf_writer *w)
{
    if (!w) return;
    out_abort(&w->out);
    release(w);
}
