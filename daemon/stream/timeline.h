/* timeline - what a stream is and was: its generations, in the order in which they were committed.
 *
 * It is the law that older steps can be made again by, so it is never guessed at: the whole file checks out,
 * entry by entry, or it is refused with words that say where and what to do. One commit is one new file,
 * written beside the old one, flushed to the disk and renamed: whatever fails or dies in between leaves the
 * last committed state.
 * File: state_dir/streams/NAME/timeline, text to be read by people too:
 *
 *     skipalign timeline 1
 *     stream chat
 *
 *     generation 1
 *     first_step 0
 *     time 1763870159 2025-11-23T03:55:59Z
 *     who anna@gpu7
 *     cause the configuration file
 *     fingerprint 8a0e5dc4a2f50b11
 *     file_hash 03b8a1a7f1f2a9c4
 *     tokenizer <sha256>
 *     corpus tulu 939343 5c0de1ab23f4e677
 *     config 412
 *     <412 bytes of YAML>
 *     check 94d1c0fa77d1e2b3
 *
 *     end 1
 *
 * A check is XXH3-64 of its entry, seeded with the check before it (the first: with that of the two lines at
 * the top). Control characters and backslashes in `who` and `cause` are written as \xHH.
 *
 * Owner:   one thread.
 */
#ifndef SKIPALIGN_STREAM_TIMELINE_H
#define SKIPALIGN_STREAM_TIMELINE_H

#include "base/err.h"

#include <stdint.h>

#define TIMELINE_BYTES_MAX (16u << 20) /* thousands of generations; a larger file is not ours */
#define TIMELINE_CORPORA_MAX 1024u

struct timeline_corpus {
    char *name; /* 1..64 characters, no white space */
    uint64_t records, fingerprint;
};

struct timeline_entry {
    uint32_t generation; /* 1, 2, 3, ... */
    uint64_t first_step; /* of the first generation: 0 */
    int64_t time_s;      /* since 1970, UTC */
    char *who, *cause;
    uint64_t fingerprint; /* of the recipe */
    uint64_t file_hash;   /* of the stream's canonical text as the configuration file had it then: tells
                             whether the file was edited since */
    char tokenizer[65];   /* SHA-256, 64 hexadecimal digits */
    struct timeline_corpus *corpora;
    uint32_t n_corpora;
    char *config; /* YAML of conf_print_stream */
};

struct timeline;

/* timeline_open - one that is not there is empty; nothing is written.
 * Errors:  ERR_FORMAT: damaged, of another version of the format or of another stream; -errno. */
int timeline_open(const char *state_dir, const char *stream, struct timeline **ret, struct err *reterr);
void timeline_close(struct timeline *t); /* NULL is fine */

/* timeline_leftover - path of the new file of a commit that was cut short before timeline_open; NULL: none.
 * It was never in effect, and goes with the next timeline_append. */
const char *timeline_leftover(const struct timeline *t);

/* timeline_entries - all, in order of commit: that of generation g is [g - 1].   timeline_effective - those
 * that serve steps: an entry takes the place of all before it with a first_step at or above its own, so
 * first steps increase, from 0.
 * Owner:   the timeline; entries live as long as it, the arrays until the next timeline_append. */
const struct timeline_entry *const *timeline_entries(const struct timeline *t, uint32_t *ret_n);
const struct timeline_entry *const *timeline_effective(const struct timeline *t, uint32_t *ret_n);

/* timeline_append - commit one more, of generation n + 1; *e is copied.
 * Result:  0: it is committed; the text of *reterr (not NULL) is empty, or a warning: the folder could not be
 *          flushed, so a power cut may still take the entry back.
 * Errors:  -errno; ERR_LIMIT: the file would be too large; ERR_FORMAT: not an entry that could be read again.
 *          File and memory are as they were. */
int timeline_append(struct timeline *t, const struct timeline_entry *e, struct err *reterr);

#endif
