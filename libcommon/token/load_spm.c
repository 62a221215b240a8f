/* load_spm: SentencePiece .model, BPE only. The file is a protobuf message (sentencepiece_model.proto); the reader here
 * knows the wire format's four types and nothing of schemas. Unigram models and normalisers other than the identity are
 * refused. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/token/impl.h"

struct wire {
    const unsigned char *p, *end;
};
struct field {
    uint32_t number;
    unsigned type;     /* 0 varint, 1 64 bits, 2 bytes, 5 32 bits */
    uint64_t value;    /* types 0, 1, 5 */
    struct wire bytes; /* type 2 */
};

static bool varint(struct wire *w, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && w->p < w->end; shift += 7) {
        unsigned char b = *w->p++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* 1: a field; 0: the end; -1: malformed. */
static int wire_next(struct wire *w, struct field *f)
{
    uint64_t key, n;
    if (w->p == w->end) return 0;
    if (!varint(w, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX) return -1;
    *f = (struct field){.number = (uint32_t)(key >> 3), .type = key & 7};
    switch (f->type) {
    case 0:
        return varint(w, &f->value) ? 1 : -1;
    case 1:
    case 5: {
        size_t size = f->type == 1 ? 8 : 4;
        if ((size_t)(w->end - w->p) < size) return -1;
        for (size_t i = 0; i < size; i++) f->value |= (uint64_t)w->p[i] << 8 * i;
        w->p += size;
        return 1;
    }
    case 2:
        if (!varint(w, &n) || n > (uint64_t)(w->end - w->p)) return -1;
        f->bytes = (struct wire){w->p, w->p + n};
        w->p += n;
        return 1;
    default:
        return -1;
    }
}

enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE };

struct spm {
    float *score;
    uint8_t *type;
    size_t n, score_cap, type_cap;
    int64_t model_type, unk, bos, eos;
    bool byte_fallback, prefix, squeeze, escape;
    struct wire charsmap, name;
};

static int read_piece(struct tokenizer *t, struct spm *m, struct wire w, struct err *e)
{
    struct field f;
    struct wire s = {0};
    uint32_t bits = 0;
    uint64_t type = PIECE_NORMAL;
    int rc;
    while ((rc = wire_next(&w, &f)) == 1) {
        if (f.number == 1 && f.type == 2) s = f.bytes;
        if (f.number == 2 && f.type == 5) bits = (uint32_t)f.value;
        if (f.number == 3 && f.type == 0) type = f.value;
    }
    if (rc < 0 || type < PIECE_NORMAL || type > PIECE_BYTE)
        return err_set(e, E_TOKENIZER, "piece %zu is malformed", m->n);
    m->score = mem_grow(m->score, &m->score_cap, m->n + 1, sizeof *m->score);
    m->type = mem_grow(m->type, &m->type_cap, m->n + 1, 1);
    memcpy(&m->score[m->n], &bits, 4);
    if (m->score[m->n] != m->score[m->n]) m->score[m->n] = -1e30f; /* NaN has no place in an order */
    m->type[m->n] = (uint8_t)type;
    return vocab_add(&t->vocab, (uint32_t)m->n++, (const char *)s.p, (size_t)(s.end - s.p), e);
}

static int read_specs(struct spm *m, const struct field *spec, struct err *e)
{
    struct field f;
    struct wire w = spec->bytes;
    int rc;
    while ((rc = wire_next(&w, &f)) == 1) {
        if (spec->number == 2) { /* TrainerSpec */
            switch (f.number) {
            case 3:
                m->model_type = (int64_t)f.value;
                break;
            case 35:
                m->byte_fallback = f.value != 0;
                break;
            case 40:
                m->unk = (int32_t)f.value;
                break;
            case 41:
                m->bos = (int32_t)f.value;
                break;
            case 42:
                m->eos = (int32_t)f.value;
                break;
            default:
                break;
            }
        } else { /* NormalizerSpec */
            switch (f.number) {
            case 1:
                m->name = f.bytes;
                break;
            case 2:
                m->charsmap = f.bytes;
                break;
            case 3:
                m->prefix = f.value != 0;
                break;
            case 4:
                m->squeeze = f.value != 0;
                break;
            case 5:
                m->escape = f.value != 0;
                break;
            default:
                break;
            }
        }
    }
    return rc < 0 ? err_set(e, E_TOKENIZER, "%s is malformed", spec->number == 2 ? "trainer_spec" : "normalizer_spec")
                  : 0;
}

static int finish(struct tokenizer *t, struct spm *m, struct err *e)
{
    if (m->n == 0) return err_set(e, E_TOKENIZER, "no SentencePiece model: it has no pieces");
    if (m->model_type != 2)
        return err_set(e, E_TOKEN_UNSUPPORTED, "SentencePiece model type %lld is not supported (BPE, 2, is)",
                       (long long)m->model_type);
    if (m->charsmap.p != m->charsmap.end) {
        size_t n = (size_t)(m->name.end - m->name.p);
        return err_set(e, E_TOKEN_UNSUPPORTED, "normaliser %s is not supported (identity is)",
                       err_quote((const char *)m->name.p, n));
    }
    if (m->squeeze || !m->escape)
        return err_set(e, E_TOKEN_UNSUPPORTED,
                       "normaliser with remove_extra_whitespaces, or without escape_whitespaces, "
                       "is not supported");
    uint8_t *part = mem_alloc(m->n, 1);
    int rc = 0;
    for (size_t i = 0; i < m->n && rc == 0; i++) {
        unsigned type = m->type[i];
        part[i] = type == PIECE_NORMAL || type == PIECE_USER || type == PIECE_UNUSED;
        if (type == PIECE_UNKNOWN || type == PIECE_CONTROL || type == PIECE_USER) {
            struct str s = vocab_piece(&t->vocab, (uint32_t)i);
            rc = tokenizer_add_piece(t, (uint32_t)i, s.p, s.n, type == PIECE_USER ? 0 : ADDED_SPECIAL, e);
        }
    }
    if (rc == 0) tokenizer_merges_by_score(t, m->score, part);
    free(part);
    int64_t n = (int64_t)m->n;
    t->kind = TOK_SPM;
    t->byte_fallback = m->byte_fallback;
    t->fuse_unk = true;
    t->unk = m->unk >= 0 && m->unk < n ? (uint32_t)m->unk : VOCAB_NONE;
    t->bos = m->bos >= 0 && m->bos < n ? m->bos : -1;
    t->eos = m->eos >= 0 && m->eos < n ? m->eos : -1;
    t->adds_bos = t->bos >= 0; /* as the Llama tokenizers, whose files these are, do by default */
    t->strip_first = m->prefix;
    tokenizer_norm_spm(t, m->prefix);
    return rc;
}

int tokenizer_load_spm(struct tokenizer *t, const unsigned char *data, size_t n, const char *name, struct err *e)
{
    struct wire w = {data, data + n};
    struct field f;
    struct spm m = {.model_type = 1, .unk = 0, .bos = 1, .eos = 2, .prefix = true, .squeeze = true, .escape = true};
    int rc = 0, more;
    while (rc == 0 && (more = wire_next(&w, &f)) != 0) {
        if (more < 0)
            rc = err_set(e, E_TOKENIZER, "%s: byte %zu: neither a SentencePiece model nor tiktoken's lines nor JSON",
                         name, (size_t)(w.p - data));
        else if (f.number == 1 && f.type == 2)
            rc = read_piece(t, &m, f.bytes, e);
        else if ((f.number == 2 || f.number == 3) && f.type == 2)
            rc = read_specs(&m, &f, e);
    }
    if (rc == 0) rc = finish(t, &m, e);
    free(m.score);
    free(m.type);
    return rc;
}
