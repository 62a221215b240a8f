/* gguf_from_hf: see gguf_from_hf.h. */
#include "libcommon/peft/gguf_from_hf.h"

int gguf_from_hf(const struct model *m, struct gguf_writer *w, struct err *e)
{
    (void)w;
    err_set(e, E_VERSION, "%s: GGUF output needs a GGUF base", m->path);
    return err_hint(e, "write a Hugging Face directory and convert it with llama.cpp's convert_hf_to_gguf.py");
}
