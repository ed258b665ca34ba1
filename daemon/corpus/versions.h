/* versions - the indexes of a corpus in state_dir/corpora: NAME.index is that of its files as they were last
 * opened, NAME.FP16.index those of earlier records, by their fingerprint (16 hex digits).
 * NAME.FP16.duplicates (duplicates.h) goes with either.
 *
 * An index takes its name by rename, so it is always whole; the one that stood there is kept, by rename too,
 * just before. After a crash between the two the files are scanned again.
 *
 * Threads: any; no two at once for one corpus.
 */
#ifndef SKIPALIGN_CORPUS_VERSIONS_H
#define SKIPALIGN_CORPUS_VERSIONS_H

#include "corpus/index.h"

#include <stdbool.h>

/* versions_open_newest - the index of these files: NAME.index, or made and put there; an index of other
 * records that stood there is kept.   Errors: index_build's; state_dir not writable. */
int versions_open_newest(const char *state_dir, const char *name, const struct catalog *c, enum io_kind io,
                         int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
                         struct index *ret, bool *ret_scanned, struct err *reterr);

/* versions_find - the index with this fingerprint.   Errors: ERR_CHANGED where it is not kept, or damaged. */
int versions_find(const char *state_dir, const char *name, uint64_t fingerprint, struct index *ret,
                  struct err *reterr);

/* versions_visit - the newest index and all that are kept, as long as visit returns 0; damaged ones are
 * passed over.   Errors: visit's, which is a negative errno; a folder that cannot be read. */
int versions_visit(const char *state_dir, const char *name, int (*visit)(void *arg, const struct index *x),
                   void *arg, struct err *reterr);

/* versions_prune - see corpus_prune. */
int versions_prune(const char *state_dir, const char *name, const uint64_t *keep, uint32_t n,
                   struct err *reterr);

#endif
