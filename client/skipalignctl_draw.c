/* Drawings of what `preview` and `coverage` show, as SVG. */
#include "proto/utf8.h"
#include "skipalignctl_svg.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LEFT 208.0 /* of an axis */
#define RIGHT 880.0
#define COLUMNS 1344u /* half a pixel each */

static const struct svg_font name_font = {.size = 13, .bold = true}, note_font = {.size = 12},
                             title_font = {.size = 16, .bold = true},
                             number_font = {.size = 14, .anchor = ANCHOR_END, .bold = true},
                             tick_font = {.size = 12, .anchor = ANCHOR_MIDDLE},
                             small_font = {.size = 11, .anchor = ANCHOR_MIDDLE},
                             head_font = {.size = 12, .anchor = ANCHOR_END};

/* At most n characters, told where it was cut. */
static const char *shortened(struct token t, unsigned n, char ret[128])
{
    size_t at = 0;
    uint32_t point;
    for (unsigned i = 0; i < n && at < t.size && at < 100; i++) {
        const unsigned size = utf8_next(t.data + at, t.size - at, &point);
        at += size > 0 ? size : 1;
    }
    (void)snprintf(ret, 128, "%.*s%s", (int)at, at > 0 ? t.data : "", at < t.size ? "…" : "");
    return ret;
}

/* ---- preview ---- */

#define LANE 54.0
#define LANE_HEIGHT 26.0
#define BAR_SPACE 64.0
#define AXIS_SPACE 58.0
#define TOP 112.0
#define LANES_DEFAULT 8
#define LANES_MAX 200 /* of a drawing */
#define ROWS_MAX 64

static double x_of(const struct axis *a, uint64_t at)
{
    return LEFT + (RIGHT - LEFT) * (double)(at < a->max ? at : a->max) / (double)a->max;
}

/* Columns that are alike, together; thin ones are drawn wide enough to be seen. */
static void draw_columns(struct svg *s, const struct axis *a, double y, double height, bool ghost)
{
    static const enum ink inks[] = {[AXIS_MASKED] = INK_MASKED, [AXIS_TRAINED] = INK_TRAINED};
    const double column = (RIGHT - LEFT) / a->width;
    for (unsigned i = 0, end; i < a->width; i = end) {
        for (end = i + 1;
             end < a->width && (a->column[end] == a->column[i] ||
                                (ghost && (a->column[end] == AXIS_GAP) == (a->column[i] == AXIS_GAP)));
             end++)
            ;
        const double width = (end - i) * column;
        if (a->column[i] != AXIS_GAP)
            svg_rect(s, ghost ? INK_GHOST : inks[a->column[i]], LEFT + i * column, y,
                     width < 1.2 ? 1.2 : width, height);
    }
}

static void draw_ticks(struct svg *s, const struct axis *a, double y, const char *what)
{
    svg_line(s, INK_QUIET, LEFT, y, RIGHT, y);
    for (unsigned i = 0; i <= 4; i++) {
        const uint64_t at = a->max * i / 4;
        svg_line(s, INK_QUIET, x_of(a, at), y, x_of(a, at), y + 6);
        svg_text(s, INK_QUIET, tick_font, x_of(a, at), y + 21, "%s", paper_count(at));
    }
    svg_text(s, INK_QUIET, note_font, SVG_MARGIN, y + 5, "%s", what);
}

/* Arcs over the jumps that are wide enough to see one, and how far they go where a number fits. */
static void draw_jumps(struct svg *s, const struct axis *a, struct token_cursor document, double y)
{
    struct token_cursor runs;
    uint64_t n = ctl_get_list(document, "runs", &runs), end = 0, token = 0;
    for (uint64_t i = 0; i < n; i++) {
        const struct token_cursor run = ctl_take(&runs);
        const uint64_t start = ctl_get_uint(run, "first_position"), first = ctl_get_uint(run, "first_token");
        end += first - token; /* of the run before */
        token = first;
        const double from = x_of(a, end), to = x_of(a, start);
        if (i > 0 && start > end && to - from > 8) {
            char words[32];
            (void)snprintf(words, sizeof words, "+%s", paper_count(start - end));
            svg_arc(s, INK_QUIET, from, to, y - 1, 10);
            if (to - from > 8.0 * (double)strlen(words) + 8)
                svg_text(s, INK_QUIET, small_font, (from + to) / 2, y + LANE_HEIGHT / 2 - 3, "%s", words);
        }
        end = start;
    }
}

static uint64_t last_position(struct token_cursor document)
{
    struct token_cursor blocks;
    uint64_t last = 0;
    for (uint64_t n = ctl_get_list(document, "blocks", &blocks); n > 0; n--)
        last = ctl_get_uint(ctl_take(&blocks), "last_position");
    return last;
}

static void draw_lane(struct svg *s, struct token_cursor document, uint64_t number, uint64_t max, double y)
{
    struct axis *a = calloc(2, sizeof *a);
    char name[128];
    if (a == NULL)
        return;
    a[0] = a[1] = (struct axis){.max = max, .width = COLUMNS};
    axis_mark_document(&a[0], document);
    axis_mark_plain(&a[1], document, 0);
    const struct token outcome = ctl_get_text(document, "outcome");
    const bool skipped = token_is(&outcome, "skipped");
    svg_text(s, INK_TEXT, name_font, SVG_MARGIN, y + 8, "%" PRIu64 " · %s", number,
             shortened(ctl_get_text(document, "corpus"), 18, name));
    svg_text(s, INK_QUIET, note_font, SVG_MARGIN, y + 24, "record %s, %s tokens",
             paper_count(ctl_get_uint(document, "record")), paper_count(ctl_get_uint(document, "tokens")));
    svg_line(s, INK_LINE, LEFT, y + LANE_HEIGHT / 2, RIGHT, y + LANE_HEIGHT / 2);
    draw_jumps(s, a, document, y);
    draw_columns(s, &a[0], y, LANE_HEIGHT, false);
    if (skipped)
        draw_columns(s, &a[1], y + LANE_HEIGHT + 2, 3, true);
    else
        svg_text(s, INK_QUIET, (struct svg_font){.size = 11}, LEFT, y + LANE_HEIGHT + 13, "no skip: %s",
                 shortened(outcome, 40, name));
    svg_text(s, INK_TEXT, number_font, SVG_WIDTH - SVG_MARGIN, y + LANE_HEIGHT / 2 + 5, "%s",
             paper_count(last_position(document)));
    free(a);
}

/* The row as it lies in memory: documents one after the other, then padding. */
static void draw_bar(struct svg *s, struct token_cursor row, uint64_t length, double y)
{
    struct axis *a = calloc(1, sizeof *a);
    struct token_cursor documents;
    uint64_t n = ctl_get_list(row, "documents", &documents), at = 0;
    if (a == NULL)
        return;
    *a = (struct axis){.max = length, .width = COLUMNS};
    struct token_cursor again = documents;
    for (uint64_t i = 0; i < n; i++) {
        const struct token_cursor document = ctl_take(&documents);
        axis_mark_plain(a, document, at);
        at += ctl_get_uint(document, "tokens");
    }
    svg_text(s, INK_TEXT, name_font, SVG_MARGIN, y + 8, "row %" PRIu64, ctl_get_uint(row, "row"));
    svg_text(s, INK_QUIET, note_font, SVG_MARGIN, y + 24, "%s document%s, %s tokens", paper_count(n),
             n == 1 ? "" : "s", paper_count(at));
    svg_rect(s, INK_LINE, LEFT, y, RIGHT - LEFT, LANE_HEIGHT);
    svg_rect(s, INK_PAPER, LEFT + 1, y + 1, RIGHT - LEFT - 2, LANE_HEIGHT - 2);
    draw_columns(s, a, y, LANE_HEIGHT, false);
    uint64_t start = 0;
    double free_from = LEFT;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t end = start + ctl_get_uint(ctl_take(&again), "tokens");
        const double from = x_of(a, start), to = x_of(a, end);
        if (to - from >= 3)
            svg_rect(s, INK_TEXT, to - 0.7, y - 4, 1.4, LANE_HEIGHT + 8);
        if (to - from > 16 && from >= free_from) {
            svg_text(s, INK_QUIET, small_font, (from + to) / 2, y + LANE_HEIGHT + 13, "%" PRIu64, i + 1);
            free_from = (from + to) / 2 + 10;
        }
        start = end;
    }
    svg_text(s, INK_QUIET, head_font, SVG_WIDTH - SVG_MARGIN, y + LANE_HEIGHT / 2 + 4, "%s tokens",
             paper_count(length));
    free(a);
}

/* How many lanes each row gets, and the height that they need together. */
static double share_lanes(struct call *c, struct token_cursor rows, uint64_t n, uint64_t *ret)
{
    const uint64_t wanted = call_number(c, "documents", LANES_DEFAULT);
    uint64_t left = LANES_MAX;
    double height = TOP;
    for (uint64_t i = 0; i < n; i++) {
        struct token_cursor documents;
        const uint64_t all = ctl_get_list(ctl_take(&rows), "documents", &documents);
        ret[i] = wanted == 0 || wanted > all ? all : wanted;
        ret[i] = ret[i] < left ? ret[i] : left;
        left -= ret[i];
        height += BAR_SPACE + (double)ret[i] * LANE + (all > 0 ? AXIS_SPACE : 0);
    }
    return height;
}

static void draw_row(struct svg *s, struct token_cursor row, uint64_t lanes, struct token_cursor result,
                     double *y)
{
    const uint64_t max = ctl_get_uint(result, "max_position"), length = ctl_get_uint(result, "length");
    struct token_cursor documents;
    const uint64_t all = ctl_get_list(row, "documents", &documents);
    draw_bar(s, row, length > 0 ? length : 1, *y);
    *y += BAR_SPACE;
    for (uint64_t i = 0; i < lanes; i++, *y += LANE)
        draw_lane(s, ctl_take(&documents), i + 1, max > 0 ? max : 1, *y);
    if (all == 0)
        return;
    const struct axis scale = {.max = max > 0 ? max : 1, .width = COLUMNS};
    draw_ticks(s, &scale, *y - 6, "position id");
    if (lanes < all)
        svg_text(s, INK_QUIET, note_font, SVG_MARGIN, *y + 15, "and %s more documents",
                 paper_count(all - lanes));
    *y += AXIS_SPACE;
}

static void draw_heads(struct svg *s, struct token_cursor result)
{
    char name[128];
    svg_text(s, INK_TEXT, title_font, SVG_MARGIN, 34, "stream %s, step %s: rank %" PRIu64 " of %" PRIu64,
             shortened(ctl_get_text(result, "stream"), 64, name), paper_count(ctl_get_uint(result, "step")),
             ctl_get_uint(result, "rank"), ctl_get_uint(result, "world"));
    const struct token sampler = ctl_get_text(result, "sampler"); /* a mixture has none */
    svg_text(s, INK_QUIET, (struct svg_font){.size = 13}, SVG_MARGIN, 54,
             "%s rows of %s tokens; %s%s%s, position ids below %s", paper_count(ctl_get_uint(result, "rows")),
             paper_count(ctl_get_uint(result, "length")), paper_text(ctl_get_text(result, "strategy")),
             sampler.size > 0 ? ", " : "", paper_text(sampler),
             paper_count(ctl_get_uint(result, "max_position")));
    double x = svg_legend(s, INK_MASKED, SVG_MARGIN, 82, "context (label -100)");
    x = svg_legend(s, INK_TRAINED, x, 82, "trained");
    (void)svg_legend(s, INK_GHOST, x, 82, "ids without skipping");
    svg_text(s, INK_QUIET, head_font, SVG_WIDTH - SVG_MARGIN, 68, "last");
    svg_text(s, INK_QUIET, head_font, SVG_WIDTH - SVG_MARGIN, 82, "position id");
}

int draw_preview(struct call *c, struct token_cursor result, const char *path)
{
    struct svg s;
    struct token_cursor rows;
    uint64_t n = ctl_get_list(result, "shown", &rows), lanes[ROWS_MAX];
    n = n < ROWS_MAX ? n : ROWS_MAX;
    double y = TOP;
    if (!svg_begin(&s, share_lanes(c, rows, n, lanes),
                   "Rows of a batch and the position ids of their documents",
                   "Each row as it lies in memory, documents one after the other; below it each document on "
                   "the axis of its position ids, context and trained parts told apart, with arcs where ids "
                   "jump."))
        return EXIT_REFUSED;
    draw_heads(&s, result);
    for (uint64_t i = 0; i < n; i++)
        draw_row(&s, ctl_take(&rows), lanes[i], result, &y);
    return svg_end(&s, path);
}

/* ---- coverage ---- */

#define CHART_LEFT 76.0
#define CHART_RIGHT 976.0
#define CHART_TOP 156.0
#define CHART_BOTTOM 424.0
#define CHART_HEIGHT 488.0

static double y_of(double share, double most)
{
    return CHART_BOTTOM - (CHART_BOTTOM - CHART_TOP) * share / most;
}

/* A round number that is not below it: 10, 20, 50 % and so on. */
static double round_up(double share)
{
    static const double rounds[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8};
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++)
        if (share <= rounds[i])
            return rounds[i];
    return 1;
}

static void draw_grid(struct svg *s, const struct octaves *o, double most)
{
    const double width = (CHART_RIGHT - CHART_LEFT) / o->n;
    for (unsigned i = 0; i <= 4; i++) {
        const double y = y_of(most * i / 4, most);
        svg_line(s, i == 0 ? INK_QUIET : INK_LINE, CHART_LEFT, y, CHART_RIGHT, y);
        svg_text(s, INK_QUIET, head_font, CHART_LEFT - 8, y + 4, "%.3g %%", 100 * most * i / 4);
    }
    for (unsigned i = 0; i <= o->n; i++) {
        const double x = CHART_LEFT + width * i;
        const uint64_t from = UINT64_C(1) << i;
        svg_line(s, INK_QUIET, x, CHART_BOTTOM, x, CHART_BOTTOM + 5);
        if (from < 1u << 10)
            svg_text(s, INK_QUIET, tick_font, x, CHART_BOTTOM + 20, "%" PRIu64, from);
        else if (from < 1u << 20)
            svg_text(s, INK_QUIET, tick_font, x, CHART_BOTTOM + 20, "%" PRIu64 "k", from >> 10);
        else
            svg_text(s, INK_QUIET, tick_font, x, CHART_BOTTOM + 20, "%" PRIu64 "M", from >> 20);
    }
    svg_text(s, INK_QUIET, note_font, SVG_MARGIN, CHART_TOP - 14, "share of pairs");
    svg_text(s, INK_QUIET, tick_font, (CHART_LEFT + CHART_RIGHT) / 2, CHART_BOTTOM + 44,
             "distance from a trained token to a token before it, in position ids");
}

static void draw_shares(struct svg *s, const struct octaves *o, double most)
{
    static const char *const dashes[] = {[COVERAGE_ORDINARY] = NULL, [COVERAGE_LONG] = "7 4"};
    static const enum ink inks[] = {[COVERAGE_ORDINARY] = INK_ORDINARY, [COVERAGE_LONG] = INK_LONG};
    const double width = (CHART_RIGHT - CHART_LEFT) / o->n;
    double x[OCTAVES_MAX + 1], y[OCTAVES_MAX];
    for (unsigned i = 0; i <= o->n; i++)
        x[i] = CHART_LEFT + width * i;
    for (unsigned i = 0; i < o->n; i++) {
        const double top = y_of(o->share[i][COVERAGE_HERE], most);
        svg_rect(s, INK_HERE, x[i] + 1.5, top, width - 3, CHART_BOTTOM - top);
    }
    for (int side = COVERAGE_ORDINARY; side <= COVERAGE_LONG; side++) {
        for (unsigned i = 0; i < o->n; i++)
            y[i] = y_of(o->share[i][side], most);
        svg_steps(s, inks[side], dashes[side], x, y, o->n);
    }
}

/* Where a row's length lies: no distance beyond it is in any row as it is. */
static void draw_length(struct svg *s, const struct octaves *o, uint64_t length)
{
    if (length == 0 || length >= UINT64_C(1) << o->n)
        return;
    const unsigned octave = 63 - (unsigned)__builtin_clzll(length);
    const double start = (double)(UINT64_C(1) << octave), inside = ((double)length - start) / start;
    const double x = CHART_LEFT + (CHART_RIGHT - CHART_LEFT) / o->n * (octave + inside);
    svg_dashed(s, INK_QUIET, x, CHART_TOP - 4, x, CHART_BOTTOM);
    svg_text(s, INK_QUIET, small_font, x, CHART_TOP - 10, "seq_len %s", paper_count(length));
}

static void draw_side(struct svg *s, struct token_cursor result, const char *key, const char *name,
                      enum ink ink, const char *dashes, double x)
{
    const struct token_cursor side = ctl_get(result, key);
    const double ends[] = {x, x + 22}, height = 74;
    if (ink == INK_HERE)
        svg_rect(s, ink, x, 66, 22, 13);
    else
        svg_steps(s, ink, dashes, ends, &height, 1);
    svg_text(s, INK_TEXT, name_font, x + 30, 77, "%s", name);
    svg_text(s, INK_QUIET, note_font, x + 30, 94, "median %s, 99 %% within %s",
             paper_count(ctl_get_uint(side, "median")), paper_count(ctl_get_uint(side, "p99")));
    svg_text(s, INK_QUIET, note_font, x + 30, 110, "%s at %s or farther",
             coverage_percent(ctl_get_real(side, "beyond_seq_len")),
             paper_count(ctl_get_uint(result, "seq_len")));
}

int draw_coverage(struct call *c, struct token_cursor result, const char *path)
{
    struct svg s;
    struct octaves o;
    char name[128], far[64];
    (void)c;
    octaves_read(result, &o);
    if (!svg_begin(
            &s, CHART_HEIGHT, "Distances from trained tokens to their context",
            "Share of all pairs of a trained token and a token before it, by distance in position ids, an "
            "octave a bar; against the same data without skipping, and against long documents."))
        return EXIT_REFUSED;
    const double most = round_up(o.most);
    svg_text(&s, INK_TEXT, title_font, SVG_MARGIN, 34, "stream %s: how far training looks back",
             shortened(ctl_get_text(result, "stream"), 64, name));
    (void)snprintf(far, sizeof far, "documents of %s", paper_count(ctl_get_uint(result, "max_position")));
    draw_side(&s, result, "here", "here", INK_HERE, NULL, SVG_MARGIN);
    draw_side(&s, result, "ordinary", "ordinary fine-tuning", INK_ORDINARY, NULL, SVG_MARGIN + 320);
    draw_side(&s, result, "long", far, INK_LONG, "7 4", SVG_MARGIN + 640);
    if (o.n > 0) {
        draw_grid(&s, &o, most);
        draw_shares(&s, &o, most);
        draw_length(&s, &o, ctl_get_uint(result, "seq_len"));
    }
    return svg_end(&s, path);
}
