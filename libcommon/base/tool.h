/* tool: the frame of a command. main() is one call of tool_main, which parses the options, runs the tool, maps the
 * error to an exit code, prints it, closes stdout and checks it, and removes unfinished outputs. Nothing else in
 * libcommon prints an error or exits. */
#ifndef PEFT_BASE_TOOL_H
#define PEFT_BASE_TOOL_H
#include "libcommon/base/err.h"
#include "libcommon/base/opt.h"

struct tool_run {
    const struct tool *tool;
    struct opt_set *set;     /* resolved options, for the provenance */
    struct strlist operands; /* what is left of argv */
    int argc;
    char **argv; /* as started */
};

struct tool {
    const char *name;               /* "peft-prep" */
    const char *summary;            /* one line */
    const char *usage;              /* "[OPTION]... [FILE]..." */
    const char *example;            /* one line, shown first by --help */
    const struct opt_group *groups; /* ended by rows == NULL; the first is {opt_common_rows, 0} */
    size_t opts_size;               /* of the options struct; begins with struct opt_common */
    int max_operands;               /* more is E_USAGE; -1: any number */
    int (*run)(struct tool_run *t, void *opts, struct err *e); /* 0, or -(id) with *e filled */
    int sigpipe_ignored; /* peft-train: losing the reader of stdout must not lose the run */
};

/* Whole life of the process: returns the exit code. SIGPIPE stays default (141) unless sigpipe_ignored. */
int tool_main(const struct tool *tool, int argc, char **argv);

extern const char peft_version[];  /* "0.1.0" */
extern const char peft_revision[]; /* git revision of the build; "no-git", "git-failed": why there is none */
#endif
