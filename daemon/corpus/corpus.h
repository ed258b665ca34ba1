/* corpus - named files of one format, as a numbered list of records.
 *
 * corpus_open expands the globs, maps the index from state_dir (or scans the files for it: index.h), checks
 * it against the files and settles the format. Afterwards the object is immutable but for what corpus_check
 * saw.
 *
 * Records are numbered from 0 in file order (files sorted by name). A record's extent is the bytes of one
 * JSONL line, one element of a JSON array or one line of a text file; it may have white space and a comma
 * around it. A file whose first byte that is not white space is '[' is one JSON array; one named like "a.txt"
 * is lines of text if the format is text or auto; all others are JSONL. Blank lines are no records.
 *
 * Owner:   the caller of corpus_open, who frees it after all readers are done.   Threads: any, once open.
 */
#ifndef SKIPALIGN_CORPUS_CORPUS_H
#define SKIPALIGN_CORPUS_CORPUS_H

#include "base/err.h"
#include "config/conf.h"

#include <stdbool.h>
#include <stdint.h>

struct corpus;

struct corpus_extent {
    int fd;          /* open for reading; owned by the corpus */
    uint32_t file;   /* 0..corpus_files - 1 */
    uint64_t offset; /* bytes, in that file */
    uint64_t size;   /* bytes */
    bool plain;      /* a line of a text file, not JSON */
};

/* corpus_open
 * conf:     borrowed until corpus_close.   io: how to scan.   state_dir: holds corpora/NAME.index afterwards.
 * progress: called now and then, on the caller's thread, with bytes done of all; may be NULL; a return other
 *           than 0 cancels (ERR_CANCELLED).
 * Errors:   what, which file, what to do: no file matches, unreadable, a directory, empty, not JSON, a JSON
 *           array cut short, compressed, state_dir not writable, no space, format not recognised.
 */
int corpus_open(const struct conf_corpus *conf, const char *state_dir, enum io_kind io,
                int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg, struct corpus **ret,
                struct err *reterr);
void corpus_close(struct corpus *c); /* NULL is fine */

const struct conf_corpus *corpus_conf(const struct corpus *c);
enum corpus_format corpus_format(const struct corpus *c); /* never FORMAT_AUTO */
uint64_t corpus_records(const struct corpus *c);          /* 1..2^32 - 1 */
uint32_t corpus_files(const struct corpus *c);
const char *corpus_path(const struct corpus *c, uint32_t file);
uint64_t corpus_bytes(const struct corpus *c); /* of all files */
bool corpus_scanned(const struct corpus *c);   /* the index was made by this corpus_open, not found */

/* corpus_fingerprint - changes when the records do: sizes, sampled hashes and record boundaries. */
uint64_t corpus_fingerprint(const struct corpus *c);

/* corpus_get - where record i is; i < corpus_records. Touches the mapped index only. */
void corpus_get(const struct corpus *c, uint64_t i, struct corpus_extent *ret);

/* corpus_check - are the files still what was indexed? An fstat each; hashes are looked at again only when
 * size or mtime moved. A file that only grew is fine (its new records are not served); replaced by rename is
 * fine too (the old one stays open). Errors: ERR_CHANGED with the file and what to do.
 */
int corpus_check(struct corpus *c, struct err *reterr);

#endif
