/* catalog - the files of a corpus: globs to open files, each with what identifies it and how records stand in
 * it.
 *
 * A sampled hash (XXH3 over the size and over SAMPLES blocks spread evenly from the first to the last) tells
 * in a few reads whether a file is still the one that was indexed.
 *
 * Owner:   the caller of catalog_open.   Threads: any, once open: what catalog_check saw is atomic.
 */
#ifndef SKIPALIGN_CORPUS_CATALOG_H
#define SKIPALIGN_CORPUS_CATALOG_H

#include "base/err.h"
#include "config/conf.h"

#include <stdatomic.h>
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
    atomic_uint_fast64_t seen;            /* size and times when the hash was last found right */
    atomic_uint_fast64_t checked_ns;      /* when it was last looked at and fine; clock_ns */
};

struct catalog {
    struct catalog_file *files; /* sorted by path */
    uint32_t n_files;
};

/* catalog_open - all files of conf, open for reading.
 * Errors: no file matches, cannot be read, not a regular file, empty, compressed, UTF-16. Each names the
 * file. */
int catalog_open(const struct conf_corpus *conf, struct catalog *ret, struct err *reterr);

/* catalog_reopen - the files of ret, which says path, container, size and hash of each, as they were: sorted,
 * and none open. A file may have grown since.
 * Errors: ERR_CHANGED with the file: gone, shorter, or other bytes than it had; it cannot be read. */
int catalog_reopen(const struct conf_corpus *conf, struct catalog *ret, struct err *reterr);
void catalog_close(struct catalog *c); /* a zeroed one is fine */

/* catalog_check - see corpus_check_record. */
int catalog_check(struct catalog *c, uint32_t file, uint64_t since_ns, struct err *reterr);

/* catalog_look - what stands under a file's name now, against what was indexed; its size, where it is there.
 */
enum catalog_fate {
    FATE_SAME,
    FATE_GREW, /* and begins with what was indexed */
    FATE_SHORTER,
    FATE_EDITED,
    FATE_REPLACED,
    FATE_GONE,
    FATE_HIDDEN, /* cannot be read now */
    FATE__COUNT,
};
enum catalog_fate catalog_look(const struct catalog_file *f, uint64_t *ret_size);

#endif
