/* name.c: what outputs call a model. Its name on the Hugging Face hub if it says one, else its path, the same however
 * that was spelled; for people the last part of it. */
#include <stdlib.h>
#include <string.h>
#include "libcommon/base/mem.h"
#include "libcommon/format/gguf.h"
#include "libcommon/format/json.h"
#include "libcommon/model/model.h"

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

bool model_name_is_id(const char *s)
{
    const size_t org = strspn(s, NAME_CHARS), name = s[org] == '/' ? strspn(s + org + 1, NAME_CHARS) : 0;
    return org && name && !s[org + 1 + name] && s[0] != '.' && s[0] != '-' && s[org + 1] != '.';
}

/* A directory may be called like one. */
static char *keep_id(const char *s) { return s && model_name_is_id(s) && !file_exists(s) ? mem_dupz(s) : NULL; }

/* config.json names what it was loaded from. */
static char *from_config(const char *text)
{
    struct err ignored = {0}; /* the reader of the configuration tells of mistakes */
    json_t *j = json_parse(text, strlen(text), "config.json", E_MODEL, &ignored);
    char *id = keep_id(json_string_value(json_object_get(j, "_name_or_path")));
    json_decref(j);
    return id;
}

/* In the hub's cache: .../models--ORG--NAME/snapshots/REVISION. */
static char *from_cache(const char *path)
{
    char *real = realpath(path, NULL), *id = NULL;
    char *at = real ? strstr(real, "/models--") : NULL, *end = at ? strstr(at, "/snapshots/") : NULL;
    if (end) {
        at += strlen("/models--");
        *end = '\0';
        char *dash = strstr(at, "--");
        if (dash) {
            char *s = mem_printf("%.*s/%s", (int)(dash - at), at, dash + 2);
            id = model_name_is_id(s) ? mem_dupz(s) : NULL;
            free(s);
        }
    }
    free(real);
    return id;
}

/* The model itself, not general.base_model, which is what it was made of. */
static char *from_gguf(const struct gguf *g)
{
    static const char *const keys[] = {"general.repo_url", "general.source.huggingface.repository"};
    static const char hub[] = "https://huggingface.co/";
    char *id = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !id; i++) {
        struct err ignored = {0};
        struct str s;
        if (gguf_get_str(g, keys[i], &s, &ignored) <= 0) continue;
        char *text = mem_dup(s.p, s.n);
        id = keep_id(!strncmp(text, hub, strlen(hub)) ? text + strlen(hub) : text);
        free(text);
    }
    return id;
}

char *model_name_of(const struct weights *w)
{
    char *id = w->gguf ? from_gguf(w->gguf) : w->config_json ? from_config(w->config_json) : NULL;
    if (!id) id = from_cache(w->path);
    return id ? id : path_spelled(w->path);
}

char *model_card_name(const char *name) { return model_name_is_id(name) ? mem_dupz(name) : path_note(name); }

void model_rename(struct model *m, const char *name)
{
    if (!name) return;
    free(m->name);
    m->name = mem_dupz(name);
}
