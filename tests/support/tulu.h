/* tulu - a corpus of that name, of files in a test's folder, and its state there too.
 *
 * Owner: the caller.
 */
#ifndef SKIPALIGN_TESTS_TULU_H
#define SKIPALIGN_TESTS_TULU_H

#include "corpus/corpus.h"
#include "support/folder.h"

struct tulu {
    char pattern[128], state_dir[128];
    char *paths[1];
    struct conf_corpus conf;
    struct corpus_place place;
};

/* tulu_init - of all files that match the pattern. They may be compressed. */
void tulu_init(struct tulu *, const struct folder *, const char *pattern);

/* tulu_check_records - all records, one after the other, are these; fails the test (cmocka) where they are
 * not.
 */
void tulu_check_records(const struct corpus *, const char *wanted);

#endif
