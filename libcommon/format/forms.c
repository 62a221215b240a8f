/* forms: see forms.h. */
#include "libcommon/format/forms.h"

#include <string.h>

/* A conversation as parts in ChatML; `turns` is jq for the list of messages, `role` for the role of one. */
#define CHATML(turns, role, text)                                                                                   \
    "chat data is read through a filter that writes the model's own form; for ChatML --filter 'jq -c -f chat.jq', " \
    "with chat.jq:\n"                                                                                               \
    "{parts: [" turns "[] | " role " as $r | {text: \"<|im_start|>\\($r)\\n\", train: false}, {text: \"\\(" text    \
    " // \"\")<|im_end|>\", train: ($r == \"assistant\")}, {text: \"\\n\", train: false}]}"

static const struct form {
    const char *column[3]; /* all of them are there */
    bool list;             /* the first is a list */
    const char *hint;
} forms[] = {
    {{"messages"}, true, CHATML(".messages", ".role", ".content")},
    {{"conversations"},
     true,
     CHATML(".conversations", "({human: \"user\", gpt: \"assistant\"}[.from] // .from)", ".value")},
    {{"prompt", "completion"}, true, CHATML("(.prompt + .completion)", ".role", ".content")},
    {{"prompt", "chosen", "rejected"},
     true,
     "preference pairs of conversations: there is no loss for pairs; a filter can make the chosen one a row"},
    {{"prompt", "chosen", "rejected"},
     false,
     "there is no loss for preference pairs; to train on the chosen ones: --prompt '{prompt}' --target ' {chosen}'"},
    {{"prompt", "completion"}, false, "--prompt '{prompt}' --target '{completion}' takes them as they are"},
    {{"instruction", "output"},
     false,
     "rows of Alpaca: --prompt '{instruction}\\n{input?}\\n' --target '{output}'; {input?} may be absent"},
    {{"instruction", "response"}, false, "--prompt '{instruction}\\n{context?}\\n' --target '{response}'"},
    {{"question", "answers"},
     false,
     "the first of several answers: --filter \"jq -c '.answer = (.answers.text? // .answers)[0]'\"; "
     "--prompt '{context?}\\nQ: {question}\\nA:' adds the context"},
    {{"data"}, true, "one document with its rows in a list becomes lines with: jq -c '.data[]'"},
    {{"text"}, false, "a text without a prompt: --prompt '' --target '{text}'"},
};

static int find(const struct row *row, const char *name)
{
    for (int i = 0; i < row->n; i++)
        if (str_is(row->name[i], name)) return i;
    return -1;
}

static bool is_form(const struct row *row, const struct form *f)
{
    for (int k = 0; k < 3 && f->column[k]; k++)
        if (find(row, f->column[k]) < 0) return false;
    return (row->type && !strcmp(row->type[find(row, f->column[0])], "list")) == f->list;
}

const char *form_hint(const struct row *row)
{
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (is_form(row, &forms[i])) return forms[i].hint;
    return NULL;
}
