/* gguf_tensor: the types of GGUF tensors, and the order of q and k rows; see gguf.h. */
#include "libcommon/format/gguf.h"

#include <string.h>

/* Block sizes of ggml's tensor types; holes in the numbering are types that were withdrawn. */
static const struct {
    const char *name;
    int block, bytes;
} tensor_type[] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},      [3] = {"Q4_1", 32, 20},
    [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},      [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 36},
    [10] = {"Q2_K", 256, 84},    [11] = {"Q3_K", 256, 110},   [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66}, [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},   [20] = {"IQ4_NL", 32, 18},   [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},   [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},        [29] = {"IQ1_M", 256, 56},
    [30] = {"BF16", 1, 2},       [34] = {"TQ1_0", 256, 54},   [35] = {"TQ2_0", 256, 66},   [39] = {"MXFP4", 32, 17},
};

bool gguf_type_size(uint32_t type, int *block, int *bytes)
{
    if (type >= sizeof tensor_type / sizeof *tensor_type || !tensor_type[type].name) return false;
    *block = tensor_type[type].block;
    *bytes = tensor_type[type].bytes;
    return true;
}

const char *gguf_type_name(uint32_t type)
{
    int block, bytes;
    return gguf_type_size(type, &block, &bytes) ? tensor_type[type].name : "unknown";
}

void gguf_unpermute_rows(void *dst, const void *src, size_t row_bytes, int heads, int head_rows)
{
    for (long r = 0; r < (long)heads * head_rows; r++)
        memcpy((char *)dst + (size_t)r * row_bytes,
               (const char *)src + (size_t)gguf_row_of_hf(r, head_rows) * row_bytes, row_bytes);
}

void gguf_permute_rows(void *dst, const void *src, size_t row_bytes, int heads, int head_rows)
{
    for (long r = 0; r < (long)heads * head_rows; r++)
        memcpy((char *)dst + (size_t)gguf_row_of_hf(r, head_rows) * row_bytes,
               (const char *)src + (size_t)r * row_bytes, row_bytes);
}
