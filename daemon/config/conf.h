/* conf - the configuration as the daemon uses it: plain data, immutable once loaded.
 *
 * file.h fills it from YAML by the table in schema.h; every name, range, default and help text stands there.
 * Owner:   counted references: conf_load and its like return the first, conf_ref takes one more, conf_free
 *          gives one back; the last frees all of it.   Threads: any, all of it.
 */
#ifndef SKIPALIGN_CONFIG_CONF_H
#define SKIPALIGN_CONFIG_CONF_H

#include <stdbool.h>
#include <stdint.h>

enum io_kind { IO_AUTO, IO_URING, IO_PREAD, IO__COUNT };

enum corpus_format {
    FORMAT_AUTO,
    FORMAT_MESSAGES,
    FORMAT_SHAREGPT,
    FORMAT_ALPACA,
    FORMAT_PROMPT_COMPLETION,
    FORMAT_TEXT,
    FORMAT__COUNT,
};

/* Names that a record's fields may go by in a file: fields: {prompt: question} reads "question" as the
 * prompt. */
enum field {
    FIELD_MESSAGES,
    FIELD_ROLE,
    FIELD_CONTENT,
    FIELD_CONVERSATIONS,
    FIELD_FROM,
    FIELD_VALUE,
    FIELD_SYSTEM,
    FIELD_INSTRUCTION,
    FIELD_INPUT,
    FIELD_OUTPUT,
    FIELD_HISTORY,
    FIELD_PROMPT,
    FIELD_COMPLETION,
    FIELD_TEXT,
    FIELD__COUNT,
};

enum pos_strategy {
    POS_NONE,
    POS_SKIP_ALL,
    POS_SKIP_INNER,
    POS_SKIP_OUTER,
    POS_POSE,
    POS_RANDPOS,
    POS_CREAM,
    POS_LONGRECIPE,
    POS_STRETCH,
    POS_SHIFT,
    POS__COUNT,
};
enum pos_sampler { SAMPLER_SORTED, SAMPLER_SEQUENTIAL, SAMPLER_EVEN, SAMPLER_PINNED, SAMPLER__COUNT };
enum overlong { OVERLONG_TRUNCATE, OVERLONG_DROP, OVERLONG_SPLIT, OVERLONG__COUNT };
enum tokenizer_path { TOKENIZER_AUTO, TOKENIZER_LIBRARY, TOKENIZER_PATH__COUNT };
enum train_on { TRAIN_ALL, TRAIN_LAST, TRAIN__COUNT };
enum last_step { LAST_DROP, LAST_PAD, LAST__COUNT };

/* What a template cannot express: images, audio, tool calls and their results. */
enum conf_not_text { NOT_TEXT_QUARANTINE, NOT_TEXT_LEAVE_OUT, NOT_TEXT__COUNT };

enum conf_duplicates { DUPLICATES_KEEP, DUPLICATES_DROP, DUPLICATES__COUNT };

struct conf_corpus {
    char *name;
    char **paths; /* globs as written, relative ones already joined to the configuration file's folder */
    uint32_t n_paths;
    enum corpus_format format;
    enum conf_duplicates duplicates;
    enum conf_not_text not_text;
    char *fields[FIELD__COUNT]; /* NULL: the field's own name */
};

/* A template that a user wrote; text/template.h says what the strings mean. NULL where absent. */
struct conf_template {
    char *name, *begin, *system, *default_system, *user, *assistant;
    int32_t system_place; /* enum template_system_place */
    bool joined;
    uint32_t line; /* in the file, for errors found later; 0: in none */
};

struct conf_share {
    char *corpus;
    double repeat;
};

struct conf_special {
    char *piece;
    int32_t id;
};

/* Of a schedule: from that progress on, in epochs. */
struct conf_stage {
    double epoch;
    int64_t max_position;
};

struct conf_positions {
    char *name;    /* in a list; NULL: the only one, and no list */
    double weight; /* in a list */
    enum pos_strategy strategy;
    enum pos_sampler sampler;
    int64_t max_position, min_gap, chunks;
    double probability;
    struct conf_stage *schedule; /* rising epochs; max_position holds before the first */
    uint32_t n_schedule;
};

struct conf_stream {
    char *name, *tokenizer, *template_name;
    struct conf_share *corpora;
    uint32_t n_corpora;
    struct conf_special *special_tokens;
    uint32_t n_special_tokens;
    int64_t seq_len, global_batch, epochs, seed;
    bool packing;
    enum overlong overlong;
    enum train_on train_on;
    int64_t max_turns; /* 0: all */
    enum last_step last;
    double max_unusable;              /* share of a corpus */
    struct conf_positions *positions; /* of several, one is drawn for each document, by their weights */
    uint32_t n_positions;
};

struct conf {
    uint32_t
        refs;   /* not atomic_uint: the C++ shims read this header; conf_ref and conf_free alone touch it */
    char *path; /* of the file */
    char *state_dir;
    int64_t workers, memory, spool, record_max;
    enum io_kind io;
    enum tokenizer_path tokenizer_path;
    int64_t tokenizer_verify;                            /* one text in so many; 0: none */
    char *feed_listen, *feed_subscribe, *control_listen; /* ZeroMQ endpoints; "" = that door stays shut */
    struct conf_corpus *corpora;
    uint32_t n_corpora;
    struct conf_template *templates;
    uint32_t n_templates;
    struct conf_stream *streams;
    uint32_t n_streams;
};

extern const char *const duplicates_names[DUPLICATES__COUNT];
extern const char *const not_text_names[NOT_TEXT__COUNT];
extern const char *const train_on_names[TRAIN__COUNT];
extern const char *const tokenizer_path_names[TOKENIZER_PATH__COUNT];
extern const char *const io_kind_names[IO__COUNT], *const corpus_format_names[FORMAT__COUNT],
                                                       *const field_names[FIELD__COUNT],
                                                           *const pos_strategy_names[POS__COUNT],
                                                               *const pos_sampler_names[SAMPLER__COUNT],
                                                                   *const overlong_names[OVERLONG__COUNT],
                                                                       *const last_step_names[LAST__COUNT];

const struct conf_corpus *conf_find_corpus(const struct conf *c, const char *name); /* NULL: none */
const struct conf_stream *conf_find_stream(const struct conf *c, const char *name); /* NULL: none */

struct conf *conf_ref(const struct conf *c);
void conf_free(struct conf *c); /* NULL is fine */

/* conf_corpus_copy - all of it.   Errors: -ENOMEM.   Owner: the caller: conf_corpus_fini(ret). */
int conf_corpus_copy(const struct conf_corpus *from, struct conf_corpus *ret);
void conf_corpus_fini(struct conf_corpus *c); /* zeroed ones are fine */

/* conf_visit - every value with its full name, as `skipalignctl config` shows it: "workers", "feed.listen",
 * "corpora.tulu.format", "chat.positions.max_position" (a stream's keys begin with its name). Texts as they
 * are, lists in one line as YAML and JSON write them. Texts and maps that are absent are left out. Errors:
 * -ENOMEM. */
int conf_visit(const struct conf *c, void (*visit)(void *arg, const char *full_name, const char *value),
               void *arg);

/* conf_stream_canonical - a text that is the same where the configuration makes a stream send the same: its
 * own keys, those of its corpora and of its template, record_max. Not in it: where files lie and what is in
 * them. Errors: -ENOMEM.   Owner: the caller frees *ret. */
int conf_stream_canonical(const struct conf *c, const struct conf_stream *s, char **ret);

#endif
