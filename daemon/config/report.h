/* report - what is wrong with a configuration file, and where; private to the config stage.
 *
 * Every value that was read has a place: the field that it filled, its row, its line and column. So checks
 * that look at the finished struct can still say where in the file a value stands. A value that is not in the
 * file has the place of its group.
 *
 * Owner: one conf_parse.   Errors: the first -ENOMEM is kept in rc; everything after it does nothing.
 */
#ifndef SKIPALIGN_CONFIG_REPORT_H
#define SKIPALIGN_CONFIG_REPORT_H

#include "config/file.h"
#include "config/schema.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mark {
    uint32_t line, column; /* from 1 */
};

#define NOT_ITEM UINT32_MAX

struct place {
    const void *field;
    const struct key *key; /* NULL: the root */
    uint32_t item;         /* of the list `key`, or NOT_ITEM */
    uint32_t parent;       /* place; the root is its own */
    struct mark mark;
    bool given; /* in the file */
};

struct issue {
    struct mark mark;
    char *text;
};

/* More lines help nobody, and a file can be made to have one wrong key every three bytes. */
#define REPORT_MAX 200

struct report {
    const char *path; /* NULL: no file, so names stand for places: "chat.seq_len", not "streams[0].seq_len" */
    struct place *places;
    size_t n_places, places_cap;
    struct issue *issues;
    size_t n_issues, issues_cap;
    bool more; /* than REPORT_MAX */
    int rc;
};

/* report_init - with the root's place, number 0. */
void report_init(struct report *r, const char *path);
void report_fini(struct report *r);

/* report_place - a new place; 0 (the root) when there is no memory. */
uint32_t report_place(struct report *r, struct place place);

/* report_find - the place of a scalar's or a list's field; 0 if it has none. */
uint32_t report_find(const struct report *r, const void *field);

/* report_add - something is wrong with a value.   report_add_key - with a key in a group, or one that it
 * lacks. report_add_file - with the file as such. */
void report_add(struct report *r, uint32_t place, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void report_add_key(struct report *r, uint32_t group, struct mark mark, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void report_add_file(struct report *r, struct mark mark, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* report_add_unknown - a key that is not there, with its neighbour among the names, or all of them.
 * key: as it is shown; word: the part of it that is not known; what: "key". */
void report_add_unknown(struct report *r, uint32_t group, struct mark mark, const char *key, const char *what,
                        const char *word, const char *const *names, size_t n);

/* report_take - all issues by line, as conf_errors.   Returns 0 (nothing is wrong), ERR_CONFIG or -ENOMEM. */
int report_take(struct report *r, struct conf_errors *ret);

#endif
