/* preview for people: a dialogue as text, and as a drawing of where its position ids lie. */
#include "skipalignctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENTS_DEFAULT 2
#define LINES_HEAD 8 /* of a block's text, where it is shortened */
#define LINES_TAIL 3
#define MARGIN 4 /* columns left of text */

/* ---- text of a block: cells, wrapped into lines ---- */

struct cell {
    char bytes[16];
    uint8_t n_bytes, width;
    bool trained, symbol, space, newline;
};

struct cells {
    struct cell *cell;
    size_t n, cap;
};

static struct cell *add_cell(struct cells *c)
{
    if (c->n == c->cap) {
        const size_t cap = c->cap > 0 ? 2 * c->cap : 1024;
        struct cell *grown = realloc(c->cell, cap * sizeof *grown);
        if (grown == NULL)
            return NULL;
        c->cell = grown;
        c->cap = cap;
    }
    c->cell[c->n] = (struct cell){.n_bytes = 0};
    return &c->cell[c->n++];
}

static void add_segment(struct cells *c, struct token_cursor segment)
{
    const struct token text = ctl_get_text(segment, "text");
    const bool trained = ctl_get_bool(segment, "supervised"), symbol = ctl_get_bool(segment, "symbol");
    for (size_t at = 0; at < text.size;) {
        struct cell *cell = add_cell(c);
        size_t n;
        unsigned width;
        if (cell == NULL)
            return;
        const char byte = text.data[at];
        at += paper_clean(text.data + at, text.size - at, cell->bytes, &n, &width);
        cell->n_bytes = (uint8_t)n;
        cell->width = (uint8_t)width;
        cell->trained = trained;
        cell->symbol = symbol;
        cell->space = byte == ' ' || byte == '\t';
        cell->newline = byte == '\n';
    }
}

struct line {
    size_t start, end; /* cells */
};

/* Where the line from `start` on ends, at a space where there is one; *next: where the one after it starts.
 */
static size_t break_line(const struct cells *c, size_t start, unsigned width, size_t *next)
{
    size_t space = start;
    unsigned used = 0;
    size_t i = start;
    for (; i < c->n; i++) {
        if (c->cell[i].newline) {
            *next = i + 1;
            return i;
        }
        if (used + c->cell[i].width > width && i > start)
            break;
        used += c->cell[i].width;
        if (c->cell[i].space)
            space = i;
    }
    if (i < c->n && !c->cell[i].space && space > start)
        i = space;
    *next = i;
    while (*next<c->n && * next> start && c->cell[*next].space && i < c->n)
        (*next)++;
    return i;
}

static struct line *wrap(const struct cells *c, unsigned width, size_t *ret_n)
{
    struct line *lines = NULL;
    size_t n = 0, cap = 0;
    for (size_t at = 0; at < c->n;) {
        if (n == cap) {
            struct line *grown = realloc(lines, (cap = cap > 0 ? 2 * cap : 64) * sizeof *grown);
            if (grown == NULL)
                break;
            lines = grown;
        }
        size_t next;
        lines[n].start = at;
        lines[n].end = break_line(c, at, width, &next);
        n++;
        at = next;
    }
    *ret_n = n;
    return lines;
}

static enum style cell_style(const struct cell *c)
{
    return c->symbol ? STYLE_SYMBOL : c->trained ? STYLE_TRAINED : STYLE_PLAIN;
}

/* A thick bar beside what is trained: it is seen without colours, too. */
static void print_line(const struct paper *p, const struct cells *c, struct line line)
{
    bool trained = false;
    for (size_t i = line.start; i < line.end; i++)
        trained |= c->cell[i].trained;
    if (line.start == line.end && line.start < c->n)
        trained = c->cell[line.start].trained;
    paper_put(p, trained ? STYLE_TRAINED_BOLD : STYLE_DIM, "  %s ", trained ? "┃" : "│");
    for (size_t i = line.start, j; i < line.end; i = j) {
        char run[4096];
        size_t n = 0;
        const enum style style = cell_style(&c->cell[i]);
        for (j = i;
             j < line.end && cell_style(&c->cell[j]) == style && n + sizeof c->cell[j].bytes < sizeof run;
             j++) {
            memcpy(run + n, c->cell[j].bytes, c->cell[j].n_bytes);
            n += c->cell[j].n_bytes;
        }
        paper_put_text(p, style, run, n);
    }
    paper_end(p);
}

static void show_text(const struct paper *p, struct token_cursor block, bool full)
{
    struct cells cells = {0};
    struct token_cursor list;
    for (uint64_t n = ctl_get_list(block, "segments", &list); n > 0; n--)
        add_segment(&cells, ctl_take(&list));
    size_t n_lines;
    struct line *lines = wrap(&cells, p->width - MARGIN, &n_lines);
    const bool shorten = !full && n_lines > LINES_HEAD + LINES_TAIL + 1;
    for (size_t i = 0; i < n_lines; i++) {
        if (shorten && i == LINES_HEAD) {
            const size_t hidden = n_lines - LINES_HEAD - LINES_TAIL;
            paper_put(p, STYLE_DIM, "  ⋮   %s more lines (--full shows them)", paper_count(hidden));
            paper_end(p);
            i += hidden;
        }
        print_line(p, &cells, lines[i]);
    }
    free(lines);
    free(cells.cell);
}

static void show_tokens(const struct paper *p, struct token_cursor block)
{
    struct token_cursor list;
    struct table t = {.format = ">><<"};
    const uint64_t n = ctl_get_list(block, "ids", &list);
    if (n == 0)
        return;
    static const char *const heads[] = {"position", "id", "label", "piece"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        table_put(&t, STYLE_DIM, "%s", heads[i]);
    for (uint64_t i = 0; i < n; i++) {
        const struct token_cursor token = ctl_take(&list);
        const bool trained = !ctl_is_nil(ctl_get(token, "label")) && ctl_get_real(token, "label") >= 0;
        table_put(&t, STYLE_PLAIN, "%s", paper_count(ctl_get_uint(token, "position")));
        table_put(&t, STYLE_PLAIN, "%" PRIu64, ctl_get_uint(token, "id"));
        table_put(&t, trained ? STYLE_TRAINED : STYLE_DIM, "%s", trained ? "trained" : "masked");
        table_put(&t, trained ? STYLE_TRAINED : STYLE_PLAIN, "%s", paper_text(ctl_get_text(token, "piece")));
    }
    table_print(&t, p, "      ");
}

/* ---- the drawing: which ids of 0..max_position a document uses ---- */

#define AXIS_MARGIN 14

static void axis_print(const struct paper *p, const struct axis *a, const char *name, uint64_t last)
{
    static const char *const glyphs[] = {[AXIS_GAP] = "·", [AXIS_MASKED] = "▒", [AXIS_TRAINED] = "█"};
    static const enum style styles[] = {
        [AXIS_GAP] = STYLE_DIM, [AXIS_MASKED] = STYLE_USER, [AXIS_TRAINED] = STYLE_TRAINED};
    const unsigned end = (unsigned)(last * a->width / a->max);
    paper_put(p, STYLE_DIM, "  %-9s", name);
    for (unsigned i = 0; i < a->width; i++) {
        if (i > end)
            paper_put(p, STYLE_DIM, " ");
        else
            paper_put(p, styles[a->column[i]], "%s", glyphs[a->column[i]]);
    }
    paper_end(p);
}

static void axis_print_ticks(const struct paper *p, const struct axis *a)
{
    const unsigned n = a->width >= 60 ? 4 : 2;
    unsigned column = 0;
    paper_put(p, STYLE_DIM, "  %-9s", "");
    for (unsigned i = 0; i <= n; i++) {
        const char *tick = paper_count(a->max * i / n);
        const unsigned width = (unsigned)strlen(tick), at = a->width * i / n;
        const unsigned start = i == 0 ? 0 : i == n ? a->width - width : at - width / 2;
        paper_put(p, STYLE_DIM, "%*s%s", (int)(start - column), "", tick);
        column = start + width;
    }
    paper_end(p);
}

static void show_axis(const struct paper *p, struct token_cursor document, uint64_t max, uint64_t last)
{
    struct axis plain = {.max = max, .width = p->width - AXIS_MARGIN}, here;
    const uint64_t tokens = ctl_get_uint(document, "tokens");
    if (max == 0 || tokens == 0)
        return;
    here = plain;
    axis_mark_plain(&plain, document, 0);
    axis_mark_document(&here, document);
    if (last != tokens - 1)
        axis_print(p, &plain, "ordinary", tokens - 1);
    axis_print(p, &here, "here", last);
    axis_print_ticks(p, &here);
}

/* ---- a document ---- */

static void show_jump(const struct paper *p, uint64_t from, uint64_t to)
{
    paper_end(p);
    if (to > from + 1) {
        paper_put(p, STYLE_JUMP, "      … jump +%s → %s", paper_count(to - from - 1), paper_count(to));
        paper_end(p);
        paper_end(p);
    }
}

static void show_block(struct call *c, const struct paper *p, struct token_cursor block)
{
    const struct token role = ctl_get_text(block, "role");
    const bool answer = token_is(&role, "assistant") || token_is(&role, "text");
    paper_put(p, answer ? STYLE_TRAINED_BOLD : STYLE_USER, "  %s", paper_text(role));
    const uint64_t tokens = ctl_get_uint(block, "tokens"), first = ctl_get_uint(block, "first_position"),
                   last = ctl_get_uint(block, "last_position");
    paper_put(p, STYLE_DIM, "  %s tokens, ids %s – %s%s", paper_count(tokens), paper_count(first),
              paper_count(last), last - first + 1 == tokens ? "" : ", jumping inside");
    paper_end(p);
    if (call_has(c, "tokens"))
        show_tokens(p, block);
    else
        show_text(p, block, call_has(c, "full"));
}

static void show_rule(const struct paper *p, const char *title)
{
    const unsigned used = paper_width(title, strlen(title)) + 4;
    paper_put(p, STYLE_DIM, "── ");
    paper_put(p, STYLE_BOLD, "%s", title);
    paper_put(p, STYLE_DIM, " ");
    for (unsigned i = used; i < p->width; i++)
        paper_put(p, STYLE_DIM, "─");
    paper_end(p);
}

static void show_document(struct call *c, const struct paper *p, struct token_cursor batch,
                          struct token_cursor document, uint64_t number, uint64_t of)
{
    struct token_cursor list;
    char title[512];
    const uint64_t n_blocks = ctl_get_list(document, "blocks", &list), part = ctl_get_uint(document, "part");
    const uint64_t tokens = ctl_get_uint(document, "tokens"), trained = ctl_get_uint(document, "supervised");
    uint64_t last = 0;
    for (uint64_t i = 0; i < n_blocks; i++)
        last = ctl_get_uint(ctl_take(&list), "last_position");
    (void)snprintf(title, sizeof title, "document %" PRIu64 " of %" PRIu64 ": %.64s record %s", number, of,
                   paper_text(ctl_get_text(document, "corpus")),
                   paper_count(ctl_get_uint(document, "record")));
    paper_end(p);
    show_rule(p, title);
    paper_put(p, STYLE_PLAIN, "%s tokens, %s trained", paper_count(tokens), paper_count(trained));
    if (part > 0)
        paper_put(p, STYLE_PLAIN, ", part %" PRIu64 " of a long one", part + 1);
    paper_put(p, STYLE_PLAIN, "; ids 0 – %s", paper_count(last));
    if (last + 1 != tokens)
        paper_put(p, STYLE_DIM, " (ordinary: 0 – %s)", paper_count(tokens - 1));
    const struct token outcome = ctl_get_text(document, "outcome");
    if (!token_is(&outcome, "skipped"))
        paper_put(p, STYLE_JUMP, "; no skip: %s", paper_text(outcome));
    paper_end(p);
    show_axis(p, document, ctl_get_uint(batch, "max_position"), last);
    (void)ctl_get_list(document, "blocks", &list);
    for (uint64_t i = 0, before = 0; i < n_blocks; i++) {
        const struct token_cursor block = ctl_take(&list);
        show_jump(p, i == 0 ? 0 : before, ctl_get_uint(block, "first_position"));
        show_block(c, p, block);
        before = ctl_get_uint(block, "last_position");
    }
}

static void show_legend(const struct paper *p)
{
    paper_put(p, STYLE_TRAINED, "█ ");
    paper_put(p, STYLE_TRAINED_BOLD, "┃");
    paper_put(p, STYLE_DIM, " trained   ");
    paper_put(p, STYLE_USER, "▒ ");
    paper_put(p, STYLE_DIM, "│ masked: context, label -100   · ids skipped   ");
    paper_put(p, STYLE_SYMBOL, "<symbol>");
    paper_end(p);
}

void show_preview(struct call *c, struct token_cursor result)
{
    struct token_cursor rows, documents;
    struct paper p;
    uint64_t wanted = call_number(c, "documents", DOCUMENTS_DEFAULT);
    paper_open(&p, stdout);
    paper_put(&p, STYLE_BOLD, "stream %s, step %s", paper_text(ctl_get_text(result, "stream")),
              paper_count(ctl_get_uint(result, "step")));
    paper_put(&p, STYLE_PLAIN, "  epoch %" PRIu64 ", rank %" PRIu64 " of %" PRIu64,
              ctl_get_uint(result, "epoch"), ctl_get_uint(result, "rank"), ctl_get_uint(result, "world"));
    paper_end(&p);
    const struct token sampler = ctl_get_text(result, "sampler"); /* a mixture has none */
    paper_put(&p, STYLE_PLAIN, "%s rows of %s tokens; %s%s%s, ids below %s",
              paper_count(ctl_get_uint(result, "rows")), paper_count(ctl_get_uint(result, "length")),
              paper_text(ctl_get_text(result, "strategy")), token_is(&sampler, "") ? "" : ", ",
              paper_text(sampler), paper_count(ctl_get_uint(result, "max_position")));
    paper_end(&p);
    show_legend(&p);
    for (uint64_t n = ctl_get_list(result, "shown", &rows); n > 0; n--) {
        const struct token_cursor row = ctl_take(&rows);
        const uint64_t all = ctl_get_list(row, "documents", &documents);
        const uint64_t shown = wanted == 0 || wanted > all ? all : wanted;
        paper_end(&p);
        paper_put(&p, STYLE_BOLD, "row %" PRIu64, ctl_get_uint(row, "row"));
        if (all == 0)
            paper_put(&p, STYLE_PLAIN, "  padding only");
        else
            paper_put(&p, STYLE_PLAIN, "  %s document%s, %s tokens, %s of them trained, %s of padding",
                      paper_count(all), all == 1 ? "" : "s", paper_count(ctl_get_uint(row, "tokens")),
                      paper_count(ctl_get_uint(row, "supervised")),
                      paper_count(ctl_get_uint(result, "length") - ctl_get_uint(row, "tokens")));
        paper_end(&p);
        for (uint64_t i = 0; i < shown; i++)
            show_document(c, &p, result, ctl_take(&documents), i + 1, all);
        if (shown < all) {
            paper_end(&p);
            paper_put(&p, STYLE_DIM, "(%s more documents in this row: --documents N, 0 for all)",
                      paper_count(all - shown));
            paper_end(&p);
        }
    }
}
