/* gguf_names: see gguf_names.h. */
#include "libcommon/format/gguf_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The layer number at s (canonical decimal: no sign, no leading zero), and the text after the dot behind it; NULL:
 * none. */
static const char *layer_number(const char *s, unsigned *layer)
{
    char *end;
    if (*s < '0' || *s > '9' || (*s == '0' && s[1] != '.')) return NULL;
    unsigned long n = strtoul(s, &end, 10);
    if (*end != '.' || n > 99999) return NULL;
    *layer = (unsigned)n;
    return end + 1;
}

/* Translate with the side of the pairs chosen by to_hf. The suffix is ".weight" or ".bias". */
static bool translate(const struct gguf_names *names, const char *from, char *to, bool to_hf)
{
    const char *suffix = strrchr(from, '.');
    if (!suffix || (strcmp(suffix, ".weight") && strcmp(suffix, ".bias"))) return false;
    const char *in_layer = to_hf ? "blk." : names->hf_layers, *out_layer = to_hf ? names->hf_layers : "blk.";
    const char *stem = from;
    const struct gguf_pair *p = names->outer;
    unsigned layer = 0;
    const bool inner = !strncmp(from, in_layer, strlen(in_layer));
    if (inner) {
        stem = layer_number(from + strlen(in_layer), &layer);
        if (!stem || stem >= suffix) return false;
        p = names->inner;
    }
    size_t len = (size_t)(suffix - stem);
    for (; p->gguf; p++) {
        const char *have = to_hf ? p->gguf : p->hf, *want = to_hf ? p->hf : p->gguf;
        if (strlen(have) != len || memcmp(have, stem, len)) continue;
        if (inner)
            snprintf(to, GGUF_NAME_MAX, "%s%u.%s%s", out_layer, layer, want, suffix);
        else
            snprintf(to, GGUF_NAME_MAX, "%s%s", want, suffix);
        return true;
    }
    return false;
}

bool gguf_name_to_hf(const struct gguf_names *n, const char *gguf, char hf[GGUF_NAME_MAX])
{
    return translate(n, gguf, hf, true);
}

bool gguf_name_from_hf(const struct gguf_names *n, const char *hf, char gguf[GGUF_NAME_MAX])
{
    return translate(n, hf, gguf, false);
}
