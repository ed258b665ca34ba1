/* spool - copies of what is in compressed files, so that their records can be read in any order.
 *
 * A copy is made once, when a corpus is opened, in state_dir/corpora/NAME.spool, and its name says what it
 * is: SOURCE.CONTENT.WHOLE, 16 hex digits each: what the compressed file is known by (catalog.h, packed_id),
 * the sampled hash of the content, and the hash of all of it. So it is found by the file, when that is opened
 * again, and by the content, which is what an index names: an older version of a corpus has its own copies.
 * It is written as SOURCE.new, synced and then renamed: what has its name is whole, also after a crash.
 *
 * Threads: any; no two at once for one state_dir.
 */
#ifndef SKIPALIGN_CORPUS_SPOOL_H
#define SKIPALIGN_CORPUS_SPOOL_H

#include "corpus/catalog.h"
#include "corpus/corpus.h"

/* spool_fill - what is compressed in a catalog just opened is read through its copy from now on; copies that
 * are not there are made.
 * progress: as unpack_files.
 * Errors:   those of unpack_files; ERR_LIMIT: copies are not allowed, or what the files take compressed is
 * more than there may be already; ERR_CHANGED: a file changes while it is read; state_dir not writable. */
int spool_fill(struct catalog *c, const struct conf_corpus *conf, const struct corpus_place *place,
               int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct err *reterr);

/* spool_reopen - the copies that belong to a catalog of index_catalog, whatever became of the files.
 * Errors: ERR_CHANGED: one is not there any more. */
int spool_reopen(struct catalog *c, const struct conf_corpus *conf, const char *state_dir,
                 struct err *reterr);

bool spool_exists(const char *state_dir, const char *name); /* has the corpus any copies? */

/* spool_prune - removes the copies of corpus name but for those of these contents, and what was left half
 * made. */
int spool_prune(const char *state_dir, const char *name, const uint64_t *keep, size_t n, struct err *reterr);

/* spool_visit - the names of all corpora that have copies in state_dir; as long as visit returns 0. */
int spool_visit(const char *state_dir, int (*visit)(void *arg, const char *name), void *arg,
                struct err *reterr);

#endif
