/* tokenizer: find the tokenizer that a path names, and answer questions about a loaded one.
 *
 * A directory is searched for tokenizer.json, then vocab.json + merges.txt (or GPT-2's own names, encoder.json +
 * vocab.bpe), then tokenizer.model, then a single .gguf. Settings come from the files beside it, see config.c. A file
 * named tokenizer.model is SentencePiece's or tiktoken's; its content tells which. */
#include "libcommon/token/tokenizer.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/num.h"
#include "libcommon/base/out.h"
#include "libcommon/format/gguf.h"
#include "libcommon/token/impl.h"

#define TOKENIZER_FILE_MAX ((size_t)256 << 20)

/* Does the text look like tiktoken's lines of base64, a space and a rank? */
static bool is_tiktoken(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && i < 1024 &&
           (memchr("+/=", p[i], 3) || (p[i] >= '0' && p[i] <= '9') || (p[i] >= 'A' && p[i] <= 'Z') ||
            (p[i] >= 'a' && p[i] <= 'z')))
        i++;
    return i >= 4 && i + 1 < n && p[i] == ' ' && p[i + 1] >= '0' && p[i + 1] <= '9';
}

static int load_gguf(struct tokenizer *t, const char *path, struct err *e)
{
    struct gguf *g = gguf_open(path, e);
    if (!g) return -e->id;
    int rc = tokenizer_load_gguf(t, g, e);
    gguf_close(g);
    return rc;
}

static int load_pair(struct tokenizer *t, const char *dir, const char *vocab, const char *merges, struct err *e)
{
    char *pv = path_join(dir, vocab), *pm = path_join(dir, merges), *v, *m = NULL;
    size_t nv = 0, nm = 0;
    int rc = 0;
    v = file_read(pv, TOKENIZER_FILE_MAX, &nv, e);
    if (v) m = file_read(pm, TOKENIZER_FILE_MAX, &nm, e);
    if (m)
        rc = tokenizer_load_gpt2(t, v, nv, m, nm, pv, e);
    else
        rc = -e->id;
    free(v);
    free(m);
    free(pv);
    free(pm);
    return rc;
}

/* One file; the directory that it stands in has its settings. *lists_added: the file itself says what its added tokens
 * are. */
static int load_file(struct tokenizer *t, const char *path, bool *lists_added, struct err *e)
{
    size_t n = 0;
    char *text = file_read(path, TOKENIZER_FILE_MAX, &n, e);
    int rc;
    if (!text) return -e->id;
    size_t i = n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (i < n && strchr(" \t\r\n", text[i]) && text[i]) i++;
    *lists_added = i < n && text[i] == '{' && !is_tiktoken(text, n);
    if (*lists_added)
        rc = tokenizer_load_json(t, text, n, path, e);
    else if (is_tiktoken(text, n))
        rc = tokenizer_load_tiktoken(t, text, n, path, e);
    else
        rc = tokenizer_load_spm(t, (const unsigned char *)text, n, path, e);
    free(text);
    return rc;
}

static char *only_gguf(const char *dir) /* path of the one .gguf in dir, or NULL */
{
    DIR *d = opendir(dir);
    char *found = NULL;
    int n = 0;
    if (!d) return NULL;
    for (struct dirent *x; (x = readdir(d)) != NULL;) {
        if (x->d_name[0] == '.' || !ends_with(x->d_name, ".gguf")) continue;
        if (n++ == 0) found = path_join(dir, x->d_name);
    }
    closedir(d);
    if (n > 1) {
        free(found);
        found = NULL;
    }
    return found;
}

static bool has(const char *dir, const char *name)
{
    char *p = path_join(dir, name);
    bool yes = file_exists(p);
    free(p);
    return yes;
}

static int load_dir(struct tokenizer *t, const char *dir, struct err *e)
{
    bool lists = false;
    int rc;
    if (has(dir, "tokenizer.json") || has(dir, "tokenizer.model")) {
        char *p = path_join(dir, has(dir, "tokenizer.json") ? "tokenizer.json" : "tokenizer.model");
        rc = load_file(t, p, &lists, e);
        if (rc < 0 && ends_with(p, ".json") && has(dir, "tokenizer.model") && !e->hint[0])
            err_hint(e, "tokenizer.model lies beside it: -t takes that");
        free(p);
    } else if (has(dir, "vocab.json") && has(dir, "merges.txt")) {
        rc = load_pair(t, dir, "vocab.json", "merges.txt", e);
    } else if (has(dir, "encoder.json") && has(dir, "vocab.bpe")) {
        rc = load_pair(t, dir, "encoder.json", "vocab.bpe", e);
    } else {
        char *p = only_gguf(dir);
        if (!p) {
            err_set(e, E_NOINPUT,
                    "%s: no tokenizer: expected tokenizer.json, vocab.json and merges.txt, "
                    "tokenizer.model, or one .gguf",
                    err_quotez(dir));
            return -E_NOINPUT;
        }
        rc = load_gguf(t, p, e);
        free(p);
        return rc;
    }
    return rc < 0 ? rc : tokenizer_load_config(t, dir, !lists, e);
}

struct tokenizer *tokenizer_load(const char *path, struct err *e)
{
    struct tokenizer *t = tokenizer_new();
    int rc;
    if (file_is_dir(path)) {
        rc = load_dir(t, path, e);
    } else if (ends_with(path, ".gguf")) {
        rc = load_gguf(t, path, e);
    } else {
        bool lists = false;
        rc = load_file(t, path, &lists, e);
        if (rc == 0) {
            const char *slash = strrchr(path, '/');
            char *dir = slash ? mem_dup(path, (size_t)(slash - path) + 1) : mem_dupz(".");
            rc = tokenizer_load_config(t, dir, !lists, e);
            free(dir);
        }
    }
    if (rc == 0) rc = tokenizer_build(t, e);
    if (rc == 0) return t;
    if (e->id == E_TOKENIZER || e->id == E_TOKEN_UNSUPPORTED) {
        if (!strstr(e->msg, path)) err_prefix(e, "%s: ", path);
    }
    tokenizer_free(t);
    return NULL;
}

int tokenizer_size(const struct tokenizer *t) { return (int)t->vocab.n; }
int tokenizer_bos(const struct tokenizer *t) { return (int)t->bos; }
int tokenizer_eos(const struct tokenizer *t) { return (int)t->eos; }
void tokenizer_ends(const struct tokenizer *t, struct u32vec *ids)
{
    if (t->eos >= 0) u32vec_add(ids, (uint32_t)t->eos);
    for (size_t i = 0; i < t->ends.n; i++) u32vec_add(ids, t->ends.v[i]);
}
int tokenizer_find(const struct tokenizer *t, const char *text)
{
    uint64_t number;
    const uint32_t id = vocab_find(&t->vocab, text, strlen(text));
    if (id != VOCAB_NONE) return (int)id;
    return num_u64(text, strlen(text), &number) && number < t->vocab.n ? (int)number : -1;
}
bool tokenizer_adds_bos(const struct tokenizer *t) { return t->adds_bos && t->bos >= 0; }
bool tokenizer_is_special(const struct tokenizer *t, uint32_t id)
{
    return id < t->vocab.n && (t->flags[id] & ADDED_SPECIAL);
}
struct str tokenizer_piece(const struct tokenizer *t, uint32_t id) { return vocab_piece(&t->vocab, id); }
const char *tokenizer_chat_template(const struct tokenizer *t) { return t->chat_template; }
const unsigned char *tokenizer_digest(const struct tokenizer *t) { return t->digest; }
