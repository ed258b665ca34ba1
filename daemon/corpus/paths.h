/* paths - what the paths of a corpus name now: globs to a sorted list of files, each once.   Threads: any. */
#ifndef SKIPALIGN_CORPUS_PATHS_H
#define SKIPALIGN_CORPUS_PATHS_H

#include "base/err.h"

#include <stddef.h>

struct paths {
    char **list;
    size_t n, cap;
};

/* paths_expand - add what a pattern names; a file whose own name looks like a pattern ("data[1].jsonl") is
 * that file. Errors: -ENOENT: nothing matches; a folder cannot be read or searched.
 * Owner: the caller; paths_fini also after an error. */
int paths_expand(struct paths *p, const char *pattern, struct err *reterr);
void paths_sort_unique(struct paths *p);
void paths_fini(struct paths *p); /* a zeroed one is fine */

#endif
