/* corpus - named files of one format, as a numbered list of records.
 *
 * corpus_open expands the globs, maps the index from state_dir (or scans the files for it: index.h), checks
 * it against the files and settles the format. Afterwards the object is immutable but for what the checks
 * saw. When the files are others than those of the index in state_dir, they become a new version of the
 * corpus. The index of the one before is kept (versions.h), and as long as its files still begin with the
 * bytes that they had, corpus_open_version has it again, beside the new one.
 *
 * Records are numbered from 0 in file order (files sorted by name). A record's extent is the bytes of one
 * JSONL line, one element of a JSON array or one line of a text file; it may have white space and a comma
 * around it. A file whose first byte that is not white space is '[' is one JSON array; one named like "a.txt"
 * is lines of text if the format is text or auto; all others are JSONL. Blank lines are no records.
 *
 * Owner:   counted; whoever holds a reference.   Threads: any, once open.
 */
#ifndef SKIPALIGN_CORPUS_CORPUS_H
#define SKIPALIGN_CORPUS_CORPUS_H

#include "base/err.h"
#include "config/conf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct corpus;

/* Where a corpus keeps what it makes of its files, and what that may take. */
struct corpus_place {
    const char *state_dir;
    enum io_kind io;  /* how files are scanned */
    uint64_t spool;   /* bytes that decompressed copies may take, all corpora of state_dir together */
    uint32_t threads; /* that decompress */
};

/* Told now and then, on the caller's thread, what is being done and how many bytes of all are done; a return
 * other than 0 cancels (ERR_CANCELLED). Without a function nobody is told. */
struct corpus_progress {
    /* "decompressing", "indexing", "finding duplicates in" */
    int (*tell)(void *arg, const char *doing, uint64_t done, uint64_t all);
    void *arg;
};

struct corpus_extent {
    int fd;          /* open for reading; owned by the corpus */
    uint32_t file;   /* 0..corpus_files - 1 */
    uint64_t offset; /* bytes, in that file */
    uint64_t size;   /* bytes */
    bool plain;      /* a line of a text file, not JSON */
};

/* corpus_open
 * conf:     copied.
 * place:    state_dir holds corpora/NAME.index afterwards, and, where files are compressed (gzip or zstd,
 * which their content tells, not their names), copies of their content in corpora/NAME.spool. progress: may
 * be NULL. Errors:   what, which file, what to do: no file matches, unreadable, a directory, empty, not JSON,
 * a JSON array cut short, damaged or too large where it is compressed, state_dir not writable, no space,
 * format not recognised.
 */
int corpus_open(const struct conf_corpus *conf, const struct corpus_place *place,
                const struct corpus_progress *progress, struct corpus **ret, struct err *reterr);

/* corpus_open_version - the records that had this fingerprint. Never scans: from an index that is there.
 * conf:     copied; says format and fields. The files are those that the index names, whatever the globs
 * match. Errors:   ERR_CHANGED where these records cannot be had any more, with the file and why: gone,
 * shorter, its content another (so is a JSON array that grew: its end was written over), or no whole index is
 *           kept. Others: memory, too many open files, a file that cannot be read now.
 */
int corpus_open_version(const struct conf_corpus *conf, const char *state_dir, uint64_t fingerprint,
                        struct corpus **ret, struct err *reterr);

struct corpus *corpus_ref(struct corpus *c);
void corpus_close(struct corpus *c); /* drops a reference; NULL is fine */

/* corpus_prune - removes the kept indexes of corpus name but for these fingerprints, never the newest one,
 * and the copies of what no index is left of. Who has such a version open may go on. */
int corpus_prune(const char *state_dir, const char *name, const uint64_t *keep, uint32_t n,
                 struct err *reterr);

/* corpus_visit_spooled - the names of all corpora of which state_dir holds copies, configured or not, as long
 * as visit returns 0; corpus_drop_copies - of one that is needed no more. */
int corpus_visit_spooled(const char *state_dir, int (*visit)(void *arg, const char *name), void *arg,
                         struct err *reterr);
int corpus_drop_copies(const char *state_dir, const char *name, struct err *reterr);

const struct conf_corpus *corpus_conf(const struct corpus *c);
enum corpus_format corpus_format(const struct corpus *c); /* never FORMAT_AUTO */
uint64_t corpus_records(const struct corpus *c);          /* 1..2^32 - 1 */
/* corpus_duplicates, corpus_is_duplicate - the records with the same bytes as an earlier one (duplicates.h);
 * none where the configuration keeps them. They count among the records and keep their numbers. */
uint64_t corpus_duplicates(const struct corpus *c);
bool corpus_is_duplicate(const struct corpus *c, uint64_t i); /* i < corpus_records */
uint32_t corpus_files(const struct corpus *c);
const char *corpus_path(const struct corpus *c, uint32_t file);
uint64_t corpus_bytes(const struct corpus *c);  /* of all files; decompressed, where they are not */
uint64_t corpus_copied(const struct corpus *c); /* of these, in copies of compressed files */
bool corpus_scanned(const struct corpus *c);    /* the index was made by this corpus_open, not found */

/* corpus_fingerprint - changes when the records do: sizes, sampled hashes and record boundaries. */
uint64_t corpus_fingerprint(const struct corpus *c);

/* corpus_get - where record i is; i < corpus_records. Touches the mapped index only. */
void corpus_get(const struct corpus *c, uint64_t i, struct corpus_extent *ret);
/* corpus_expect - where it is will be asked soon: memory answers meanwhile. */
void corpus_expect(const struct corpus *c, uint64_t i);

/* corpus_check_record - is the file that holds record i still what was indexed?
 * since_ns: clock_ns() after the bytes in question were read: whoever looked at the file later than that has
 *           looked for this caller too. So a window that checks each of its records asks the system once for
 *           each file that it read, however many files the corpus has, and has seen any change to its bytes.
 * An fstat; the sampled hash is looked at again only when size or times moved. A file that only grew is fine
 * (its new records are not served); replaced by rename is fine too (the old one stays open).
 * Not seen: an edit in place that leaves size and all sampled blocks as they were; one that was undone again
 * before this look.
 * Errors: ERR_CHANGED with the file and what to do.
 */
int corpus_check_record(struct corpus *c, uint64_t i, uint64_t since_ns, struct err *reterr);

/* corpus_check - the same of all files, now. */
int corpus_check(struct corpus *c, struct err *reterr);

/* corpus_news - what became of the files since they were indexed, in words: grown (by how many bytes),
 * shorter, edited, replaced, gone, new ones that match. False and "": nothing. As dear as a look at each
 * file's name: for a status, not for a window.   text: NULL where cap is 0. */
bool corpus_news(const struct corpus *c, char *text, size_t cap);

/* corpus_lost - can it not be opened again, as a file of it is not there any more, or holds something else?
 * One that has grown can. Looks at each file, like corpus_news. */
bool corpus_lost(const struct corpus *c);

#endif
