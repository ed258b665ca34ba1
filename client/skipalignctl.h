/* skipalignctl - the parts of the program: the command line (skipalignctl.c), asking a feeder (_ask.c),
 * programs' output (_json.c), people's output (_paper.c), drawings (_draw.c, _svg.c), what changes a feeder
 * (_change.c), and one renderer for each command that has something to show.
 *
 * Results are read where they lie (proto/ctl.h). Text that comes from a corpus, a peer or a file name goes to
 * the terminal through paper_put only, which shows control characters instead of sending them.
 */
#ifndef SKIPALIGN_CTL_H
#define SKIPALIGN_CTL_H

#include "proto/ctl.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <zmq.h>

enum { EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_NOBODY = 3 };

/* ---- the command line ---- */

enum option_type { OPTION_FLAG, OPTION_NUMBER, OPTION_TEXT };

struct option {
    const char *name; /* as on the command line; in the request with '_' for '-' */
    char letter;      /* 0: none */
    enum option_type type;
    bool local; /* not sent */
    const char *value, *help;
};

#define OPTIONS_MAX 16

struct call;

struct command {
    const char *name, *words, *help, *more; /* words: as the usage line shows them */
    uint32_t n_words_min, n_words_max;      /* after the command */
    bool prepares;                          /* may take long: shows progress, Ctrl-C cancels it */
    const char *first_word;                 /* what the first is called in the request; NULL: not sent */
    struct option options[OPTIONS_MAX];     /* ended by a NULL name */
    int (*run)(struct call *c);             /* NULL: ask and show, */
    void (*show)(struct call *c, struct token_cursor result);
    /* or draw, with --svg: into that file; returns the exit status. */
    int (*draw)(struct call *c, struct token_cursor result, const char *path);
};

struct call {
    const struct command *command;
    const char **words;
    uint32_t n_words;
    struct {
        const struct option *option;
        const char *text;
        uint64_t number;
    } given[OPTIONS_MAX];
    uint32_t n_given;
    const char *endpoint;
    bool json;
    int timeout_ms; /* -1: for ever */
    void *zmq, *socket, *monitor, *aside;
    int interrupts; /* Ctrl-C is read from it; -1: it ends the program */
    bool interrupted;
    zmq_msg_t reply;
};

bool call_has(const struct call *c, const char *option);
uint64_t call_number(const struct call *c, const char *option, uint64_t dflt);
const char *call_text(const struct call *c, const char *option); /* NULL: not given */

/* call_begin - a request for `command`, its arguments open, those of the command line already in it.
 * call_ask   - sends it and waits for the reply; w is used up. Returns 0 with the result in *ret, borrowed
 * until the next call, or the exit status, when the reason has been printed. */
void call_begin(const struct call *c, struct ctl_writer *w, const char *command);
int call_ask(struct call *c, struct ctl_writer *w, struct token_cursor *ret);

/* call_take - one message from a feeder: CALL_MORE where it tells progress, which is shown; else as call_ask.
 */
#define CALL_MORE (-1)
int call_take(struct call *c, const char *data, size_t size, struct token_cursor *ret);

/* call_send_aside - a request beside the one that waits for its reply; its own reply is not read.
 * call_cancel     - asks to give up the change that is being prepared (_change.c). */
void call_send_aside(struct call *c, const char *data, size_t size);
void call_cancel(struct call *c);

/* ---- output for programs (_json.c) ---- */

void json_print(FILE *out, struct token_cursor value);

/* yaml_print - maps and lists as a YAML file has them: a running configuration can be saved and loaded. */
void yaml_print(FILE *out, struct token_cursor value);

/* ---- output for people (_paper.c) ---- */

/* What text is; its colour is paper's business, where it has any. */
enum style {
    STYLE_PLAIN,
    STYLE_DIM,
    STYLE_BOLD,
    STYLE_USER,
    STYLE_TRAINED,
    STYLE_TRAINED_BOLD,
    STYLE_SYMBOL,
    STYLE_JUMP,
    STYLE_BAD,
    STYLE_ADDED,
    STYLE_REMOVED,
    STYLE__COUNT,
};

struct paper {
    FILE *out;
    bool terminal, colour;
    unsigned width; /* columns */
};

void paper_open(struct paper *p, FILE *out);
void paper_put(const struct paper *p, enum style style, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void paper_end(const struct paper *p); /* of a line: no text that is put ends one */
void paper_put_text(const struct paper *p, enum style style, const char *text, size_t size);

/* paper_clean - one code point of text as it may go to a terminal: itself, or what stands for a control
 * character. Returns how many bytes of text were taken; *ret_width columns. */
size_t paper_clean(const char *text, size_t size, char ret[16], size_t *ret_n, unsigned *ret_width);
unsigned paper_width(const char *text, size_t size); /* after cleaning */

/* Numbers as people read them; static buffers that a few calls in one printf do not share. */
const char *paper_count(uint64_t n);    /* 1,234,567 */
const char *paper_short(double n);      /* 1.23 M */
const char *paper_bytes(double n);      /* 1.2 GiB */
const char *paper_seconds(double s);    /* 3 h 12 min */
const char *paper_text(struct token t); /* NUL-terminated, cut at some hundred bytes */

/* table - rows of cells, columns as wide as they need; a '>' in the format sets a column right. */
struct table {
    const char *format; /* one of '<', '>' a column */
    struct table_cell {
        char *text;
        enum style style;
    } * cells;
    size_t n, cap;
};
void table_put(struct table *t, enum style style, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void table_print(struct table *t, const struct paper *p, const char *indent); /* and empties it */

/* ---- which columns of an axis a document touches (_axis.c) ---- */

#define AXIS_MAX 2048

struct axis {
    uint64_t max;   /* ids, or tokens, are below; > 0 */
    unsigned width; /* columns */
    enum axis_column { AXIS_GAP, AXIS_MASKED, AXIS_TRAINED } column[AXIS_MAX];
};

/* axis_mark_document - a document of a preview by its position ids.   axis_mark_plain - as if its ids were
 * offset, offset + 1, ... */
void axis_mark_document(struct axis *a, struct token_cursor document);
void axis_mark_plain(struct axis *a, struct token_cursor document, uint64_t offset);

/* ---- distances (_coverage.c): the buckets of a reply by octaves; an octave is 2^i .. 2^(i+1) - 1 ---- */

enum { COVERAGE_HERE, COVERAGE_ORDINARY, COVERAGE_LONG, COVERAGE_SIDES };
#define OCTAVES_MAX 32

struct octaves {
    unsigned n;
    double share[OCTAVES_MAX][COVERAGE_SIDES], most; /* most: the largest of all */
};
void octaves_read(struct token_cursor result, struct octaves *ret);
const char *coverage_percent(double share); /* 12.3 %; static buffers, as below */
void show_distances(const struct paper *p, struct token_cursor result);

/* ---- drawings (_draw.c) ---- */

int draw_preview(struct call *c, struct token_cursor result, const char *path);
int draw_coverage(struct call *c, struct token_cursor result, const char *path);

/* ---- renderers ---- */

void show_change(struct call *c, struct token_cursor result);
void show_diff(struct call *c, struct token_cursor result);
void show_cancel(struct call *c, struct token_cursor result);
void show_pause(struct call *c, struct token_cursor result);
void show_history(struct call *c, struct token_cursor result);
int run_change(struct call *c);
void show_status(struct call *c, struct token_cursor result);
void show_preview(struct call *c, struct token_cursor result);
void show_coverage(struct call *c, struct token_cursor result);
void show_quarantine(struct call *c, struct token_cursor result);
int run_tail(struct call *c);

/* plan (_plan.c): what a configuration would give, said by that same skipalignd. */
int run_plan(struct call *c);

/* config (_config.c): the running one, or what the skipalignd installed with us says about keys and files. */
int run_config(struct call *c);
const char *daemon_path(char path[]); /* of it; path[PATH_MAX] may be used for that */
/* tokenizer: the same of a model file. */
int run_tokenizer(struct call *c);

#endif
