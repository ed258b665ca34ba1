/* roster - what this daemon serves: the configuration as it runs, and of each stream its timeline and the
 * generations that are in effect.
 *
 * Owner:   the main thread; the only writer of the configuration.
 */
#ifndef SKIPALIGN_CONTROL_ROSTER_H
#define SKIPALIGN_CONTROL_ROSTER_H

#include "config/conf.h"
#include "stream/stock.h"
#include "stream/supply.h"
#include "stream/timeline.h"

#include <stdbool.h>
#include <stdint.h>

struct roster_stream {
    char name[65];
    struct timeline *timeline;
    struct generation_setup *generations; /* in effect, [n]; with room for one more, see roster_reserve */
    uint32_t n;
};

struct change; /* see change.h */

struct roster {
    struct conf *running;  /* as it is served */
    struct conf *file;     /* as it was last taken */
    const char *state_dir; /* given at the start in place of the file's; NULL: none was */
    struct stock *stock;
    struct roster_stream **streams; /* [n_streams] */
    uint32_t n_streams;
    struct change *change; /* being made; NULL: none */
};

/* roster_fini - everything but the change, which is over by then.   A zeroed one is fine. */
void roster_fini(struct roster *r);

struct roster_stream *roster_find(const struct roster *r, const char *name); /* NULL: none */

/* roster_add - a stream without generations, with its timeline opened.   roster_remove - it is freed.
 * Errors: those of timeline_open; -ENOMEM. */
int roster_add(struct roster *r, const char *name, struct roster_stream **ret, struct err *reterr);
void roster_remove(struct roster *r, struct roster_stream *s);

/* roster_reserve - room for one generation more, so that roster_commit cannot fail.   Errors: -ENOMEM. */
int roster_reserve(struct roster_stream *s);

/* roster_commit - a new generation of a stream of conf: into the timeline first, then into effect here.
 * Result, errors: as timeline_append; after an error everything is as it was. */
struct roster_news {
    uint64_t first_step;
    const char *who, *cause;
};
int roster_commit(struct roster *r, struct roster_stream *s, const struct conf *conf, struct recipe *recipe,
                  const struct roster_news *news, struct err *reterr);

/* roster_tidy - what no stream needs any more is closed.   roster_prune - and versions of corpora that no
 * generation in effect is made of go from state_dir. */
void roster_tidy(struct roster *r);
void roster_prune(struct roster *r);

/* roster_file_hash - of a stream as a configuration file has it: all of its keys, places too. 0: the file has
 * no such stream. Errors: -ENOMEM. */
int roster_file_hash(const struct conf *file, const char *stream, uint64_t *ret);

/* roster_print - a stream of conf and what it needs, as conf_print_stream. Errors: -ENOMEM.
 * Owner: the caller frees *ret. */
int roster_print(const struct conf *conf, const struct conf_stream *s, char **ret);

/* roster_put_aside - the state of a stream that is not served, if there is any: renamed to NAME.old.TIME,
 * which is put into ret (empty: there was nothing). */
#define ROSTER_ASIDE 96
int roster_put_aside(const char *state_dir, const char *stream, char ret[ROSTER_ASIDE], struct err *reterr);

/* A stream that a command removed and the file still has stays removed for as long as the file says of it
 * what it said then. roster_mark_removed - onto the disk. */
enum roster_mark { MARK_NONE, MARK_REMOVED, MARK_OTHER /* removed, and the file says something else now */ };
int roster_mark_removed(const char *state_dir, const char *stream, uint64_t file_hash, struct err *reterr);
int roster_read_mark(const char *state_dir, const char *stream, uint64_t file_hash, enum roster_mark *ret,
                     struct err *reterr);

#endif
