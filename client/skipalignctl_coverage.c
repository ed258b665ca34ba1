/* coverage for people: how far training looks back, an octave of distances a line. */
#include "skipalignctl.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define BAR_MAX 60

static const char *const sides[COVERAGE_SIDES] = {"here", "ordinary", "long"};

void octaves_read(struct token_cursor result, struct octaves *ret)
{
    struct token_cursor buckets;
    *ret = (struct octaves){.n = 0};
    for (uint64_t n = ctl_get_list(result, "buckets", &buckets); n > 0; n--) {
        const struct token_cursor bucket = ctl_take(&buckets);
        const uint64_t from = ctl_get_uint(bucket, "from");
        if (from == 0)
            continue;
        const unsigned octave = 63 - (unsigned)__builtin_clzll(from);
        if (octave >= OCTAVES_MAX)
            break;
        ret->n = octave + 1;
        for (int side = 0; side < COVERAGE_SIDES; side++) {
            double *share = &ret->share[octave][side];
            const double more = ctl_get_real(bucket, sides[side]);
            *share += more >= 0 && more <= 1 ? more : 0;
            ret->most = *share > ret->most ? *share : ret->most;
        }
    }
}

const char *coverage_percent(double share)
{
    static char buffers[8][16];
    static unsigned next;
    char *text = buffers[next++ % 8];
    const double percent = 100 * share;
    (void)snprintf(text, sizeof buffers[0],
                   percent == 0     ? "0 %%"
                   : percent < 0.05 ? "< 0.1 %%"
                                    : "%.1f %%",
                   percent);
    return text;
}

/* Eighths of a column: 0 % is seen to be nothing, and anything else to be something. */
static void put_bar(const struct paper *p, enum style style, double share, double most, unsigned width)
{
    static const char *const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    char bar[BAR_MAX * 3 + 4] = "";
    unsigned eighths = most > 0 ? (unsigned)(share / most * width * 8 + 0.5) : 0;
    eighths = eighths == 0 && share > 0 ? 1 : eighths;
    size_t n = 0;
    for (unsigned i = 0; i < eighths / 8 && i < BAR_MAX; i++)
        n += (size_t)snprintf(bar + n, sizeof bar - n, "█");
    (void)snprintf(bar + n, sizeof bar - n, "%s", parts[eighths % 8]);
    if (bar[0] != 0)
        paper_put(p, style, "  %s", bar);
}

static void show_octaves(const struct paper *p, const struct octaves *o)
{
    const unsigned left = 2 + 23 + 3 * 10 + 2, room = p->width > left + 8 ? p->width - left : 8;
    const unsigned width = room < BAR_MAX ? room : BAR_MAX;
    paper_put(p, STYLE_DIM, "  %23s%10s%10s%10s", "distance", "here", "ordinary", "long");
    paper_end(p);
    for (unsigned i = 0; i < o->n; i++) {
        const double *share = o->share[i];
        char range[48];
        (void)snprintf(range, sizeof range, i == 0 ? "%s" : "%s – %s", paper_count(UINT64_C(1) << i),
                       paper_count((UINT64_C(2) << i) - 1));
        const unsigned columns = paper_width(range, strlen(range));
        paper_put(p, STYLE_PLAIN, "  %*s%s", columns < 23 ? (int)(23 - columns) : 0, "", range);
        paper_put(p, STYLE_BOLD, "%10s", coverage_percent(share[COVERAGE_HERE]));
        paper_put(p, STYLE_PLAIN, "%10s%10s", coverage_percent(share[COVERAGE_ORDINARY]),
                  coverage_percent(share[COVERAGE_LONG]));
        put_bar(p, STYLE_TRAINED, share[COVERAGE_HERE], o->most, width);
        paper_end(p);
    }
}

static void put_summary(struct table *t, enum style style, const char *name, struct token_cursor side)
{
    table_put(t, style, "%s", name);
    table_put(t, style, "%s", paper_count(ctl_get_uint(side, "median")));
    table_put(t, style, "%s", paper_count(ctl_get_uint(side, "p99")));
    table_put(t, style, "%s", paper_count(ctl_get_uint(side, "largest")));
    table_put(t, style, "%s", coverage_percent(ctl_get_real(side, "beyond_seq_len")));
}

static void show_summaries(const struct paper *p, struct token_cursor result)
{
    struct table t = {.format = "<>>>>"};
    struct token_cursor list;
    const uint64_t n = ctl_get_list(result, "strategies", &list);
    char beyond[48], far[48];
    (void)snprintf(beyond, sizeof beyond, "%s and more", paper_count(ctl_get_uint(result, "seq_len")));
    (void)snprintf(far, sizeof far, "documents of %s", paper_count(ctl_get_uint(result, "max_position")));
    const char *const heads[] = {"", "median", "99 % within", "largest", beyond};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        table_put(&t, STYLE_DIM, "%s", heads[i]);
    put_summary(&t, STYLE_BOLD, "here", ctl_get(result, "here"));
    for (uint64_t i = 0; i < n && n > 1; i++) {
        const struct token_cursor strategy = ctl_take(&list);
        char name[96];
        (void)snprintf(name, sizeof name, "  %s, %s documents",
                       paper_text(ctl_get_text(strategy, "strategy")),
                       paper_short((double)ctl_get_uint(strategy, "documents")));
        put_summary(&t, STYLE_PLAIN, name, strategy);
    }
    put_summary(&t, STYLE_PLAIN, "ordinary fine-tuning", ctl_get(result, "ordinary"));
    put_summary(&t, STYLE_PLAIN, far, ctl_get(result, "long"));
    table_print(&t, p, "  ");
}

void show_distances(const struct paper *p, struct token_cursor result)
{
    struct octaves o;
    octaves_read(result, &o);
    show_summaries(p, result);
    paper_end(p);
    show_octaves(p, &o);
}

static void show_source(const struct paper *p, struct token_cursor result)
{
    char since[64] = "";
    const time_t time = (time_t)ctl_get_uint(result, "since");
    struct tm local;
    if (localtime_r(&time, &local) != NULL)
        (void)strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &local);
    paper_put(p, STYLE_BOLD, "stream %s, generation %" PRIu64, paper_text(ctl_get_text(result, "stream")),
              ctl_get_uint(result, "generation"));
    paper_put(p, STYLE_PLAIN, "  from step %s on", paper_count(ctl_get_uint(result, "first_step")));
    paper_end(p);
    paper_put(p, STYLE_PLAIN, "distances from trained tokens to their context: %s documents made since %s",
              paper_short((double)ctl_get_uint(result, "documents")), since);
    paper_end(p);
}

static void show_notes(const struct paper *p, struct token_cursor result)
{
    const uint64_t sampled = ctl_get_uint(result, "sampled");
    paper_put(p, STYLE_DIM, "shares of all pairs; long: every document of %s tokens; bars: here",
              paper_count(ctl_get_uint(result, "max_position")));
    paper_end(p);
    if (sampled == 0)
        return;
    paper_put(p, STYLE_DIM, "%s documents have too many jumps to count all pairs: some of each stand for all",
              paper_short((double)sampled));
    paper_end(p);
}

void show_coverage(struct call *c, struct token_cursor result)
{
    struct paper p;
    (void)c;
    paper_open(&p, stdout);
    show_source(&p, result);
    paper_end(&p);
    show_distances(&p, result);
    paper_end(&p);
    show_notes(&p, result);
}
