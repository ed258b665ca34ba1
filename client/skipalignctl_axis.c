/* An axis cut into columns: which of them a document's tokens touch, and whether they are trained. */
#include "skipalignctl.h"

static void mark(struct axis *a, uint64_t first, uint64_t last, bool trained)
{
    const uint64_t to = ((last + 1) * a->width - 1) / a->max;
    for (uint64_t i = first * a->width / a->max; i <= to && i < a->width; i++)
        if (trained)
            a->column[i] = AXIS_TRAINED;
        else if (a->column[i] == AXIS_GAP)
            a->column[i] = AXIS_MASKED;
}

/* Tokens first..first + n - 1 of the document, wherever its runs put them. */
static void mark_tokens(struct axis *a, struct token_cursor document, uint64_t first, uint64_t n,
                        bool trained)
{
    struct token_cursor list;
    uint64_t n_runs = ctl_get_list(document, "runs", &list), start = 0, id = 0;
    for (; n_runs > 0; n_runs--) {
        const struct token_cursor run = ctl_take(&list);
        const uint64_t next = ctl_get_uint(run, "first_token");
        if (next > first &&
            next < first + n) { /* a jump inside: what is before it belongs to the run before */
            mark(a, id + first - start, id + next - 1 - start, trained);
            n -= next - first;
            first = next;
        }
        if (next > first)
            break;
        start = next;
        id = ctl_get_uint(run, "first_position");
    }
    mark(a, id + first - start, id + first + n - 1 - start, trained);
}

static void mark_document(struct axis *a, struct token_cursor document, bool plain, uint64_t offset)
{
    struct token_cursor blocks, segments;
    uint64_t first = 0;
    for (uint64_t n = ctl_get_list(document, "blocks", &blocks); n > 0; n--)
        for (uint64_t m = ctl_get_list(ctl_take(&blocks), "segments", &segments); m > 0; m--) {
            const struct token_cursor segment = ctl_take(&segments);
            const uint64_t tokens = ctl_get_uint(segment, "tokens");
            const bool trained = ctl_get_bool(segment, "supervised");
            if (tokens > 0 && plain)
                mark(a, offset + first, offset + first + tokens - 1, trained);
            else if (tokens > 0)
                mark_tokens(a, document, first, tokens, trained);
            first += tokens;
        }
}

void axis_mark_document(struct axis *a, struct token_cursor document)
{
    mark_document(a, document, false, 0);
}

void axis_mark_plain(struct axis *a, struct token_cursor document, uint64_t offset)
{
    mark_document(a, document, true, offset);
}
