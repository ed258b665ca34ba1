/* catalog - the files of a corpus: globs to open files, each with what identifies it and how records stand in
 * it.
 *
 * A sampled hash (XXH3 over the size and over SAMPLES blocks spread evenly from the first to the last) tells
 * in a few reads whether a file is still the one that was indexed.
 *
 * Owner:   the caller of catalog_open.   Threads: immutable afterwards, but for catalog_check.
 */
#ifndef SKIPALIGN_CORPUS_CATALOG_H
#define SKIPALIGN_CORPUS_CATALOG_H

#include "base/err.h"
#include "config/conf.h"

#include <stdbool.h>
#include <stdint.h>

enum container {
    CONTAINER_LINES, /* JSONL: a record a line */
    CONTAINER_ARRAY, /* one JSON array: a record an element */
    CONTAINER_TEXT,  /* a record a line, and not JSON */
};

struct catalog_file {
    char *path;
    int fd;
    enum container container;
    uint64_t size, mtime_ns, inode, hash; /* hash: sampled */
    uint64_t start;                       /* of the content: after a byte order mark */
    uint64_t seen_size, seen_mtime_ns;    /* by the last catalog_check that found the file unharmed */
};

struct catalog {
    struct catalog_file *files; /* sorted by path */
    uint32_t n_files;
};

/* catalog_open - all files of conf, open for reading.
 * Errors: no file matches, cannot be read, not a regular file, empty, compressed, UTF-16. Each names the
 * file. */
int catalog_open(const struct conf_corpus *conf, struct catalog *ret, struct err *reterr);
void catalog_close(struct catalog *c); /* a zeroed one is fine */

/* catalog_check - see corpus_check. */
int catalog_check(struct catalog *c, struct err *reterr);

#endif
