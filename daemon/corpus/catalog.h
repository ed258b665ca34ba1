/* catalog - the files of a corpus: globs to open files, each with what identifies it and how records stand in
 * it.
 *
 * A sampled hash (XXH3 over the size and over SAMPLES blocks spread evenly from the first to the last) tells
 * in a few reads whether a file is still the one that was indexed. A compressed file is read through a copy
 * of its content (spool.h).
 *
 * Owner:   the caller of catalog_open.   Threads: any, once open: what catalog_check saw is atomic.
 */
#ifndef SKIPALIGN_CORPUS_CATALOG_H
#define SKIPALIGN_CORPUS_CATALOG_H

#include "base/err.h"
#include "config/conf.h"
#include "corpus/inflate.h"

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
    enum compression compression;
    int fd; /* of the content: the file itself, or the copy of a compressed one */
    enum container container;
    uint64_t size, hash;             /* of the content; hash: sampled */
    uint64_t start;                  /* of the records in it: after a byte order mark */
    uint64_t mtime_ns, inode;        /* of the file */
    atomic_uint_fast64_t seen;       /* size and times of the content when its hash was last found right */
    atomic_uint_fast64_t checked_ns; /* when it was last looked at and fine; clock_ns */
    /* Where it is compressed: */
    char *copy;          /* where its content lies; NULL: nowhere yet */
    uint64_t whole_hash; /* of all bytes of the content; its sampled hash begins with it. Else 0 */
    uint64_t packed_id;  /* of the file: a hash of its size, time, inode and sampled hash */
    atomic_uint_fast64_t packed_seen; /* as seen, of the file */
};

struct catalog {
    struct catalog_file *files; /* sorted by path */
    uint32_t n_files;
};

/* catalog_open - all files of conf, open for reading. Of a compressed one, fd and size are the file's own
 * until catalog_use_copy, and nothing else is said of its content.
 * Errors: no file matches, cannot be read, not a regular file, empty, of a kind that is not read, UTF-16.
 * Each names the file. */
int catalog_open(const struct conf_corpus *conf, struct catalog *ret, struct err *reterr);

/* catalog_reopen - the files of ret, which says path, compression, container, size and hash of each, as they
 * were: sorted, and none open. A file may have grown since. Compressed ones stay as they are: spool_reopen.
 * Errors: ERR_CHANGED with the file: gone, shorter, or other bytes than it had; it cannot be read. */
int catalog_reopen(const struct conf_corpus *conf, struct catalog *ret, struct err *reterr);
void catalog_close(struct catalog *c); /* a zeroed one is fine */

/* catalog_use_copy - the content of a compressed file is what lies at path: open for reading from now on, in
 * place of the file.
 * Errors: ERR_CHANGED: it does not have this hash; as catalog_open. f is what it was then. */
int catalog_use_copy(struct catalog_file *f, const char *path, uint64_t hash, uint64_t whole_hash,
                     enum corpus_format format, struct err *reterr);

/* catalog_hash - the sampled hash of a file of this size; whole_hash: of a copy.   Errors: -errno. */
int catalog_hash(int fd, uint64_t size, uint64_t whole_hash, uint64_t *ret);

/* catalog_is_changing - has a file other times or another size than when it was opened? */
bool catalog_is_changing(const struct catalog_file *f);

/* catalog_is_packed - is what lies under a compressed file's name, but for its time and inode, what has this
 * packed_id? */
bool catalog_is_packed(const struct catalog_file *f, uint64_t id);

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
    FATE_COPY,   /* the same, but the copy of its content is gone or was written over */
    FATE__COUNT,
};
enum catalog_fate catalog_look(const struct catalog_file *f, uint64_t *ret_size);

/* catalog_lost - see corpus_lost. */
bool catalog_lost(const struct catalog_file *f);

#endif
