#include "stream/fit.h"

/* Cut inside or after block b, so that the document has n tokens. */
static void cut(struct document *d, size_t b, uint32_t n, uint32_t block_start)
{
    struct text_block *last = &d->blocks[b];
    last->n_tokens = n - block_start;
    if (last->supervised_end > last->n_tokens)
        last->supervised_end = last->n_tokens;
    if (last->supervised_start > last->supervised_end)
        last->supervised_start = last->supervised_end;
    d->n_blocks = b + 1;
    d->n_ids = n;
}

void fit_truncate(struct document *d, uint32_t seq_len)
{
    uint32_t start = 0, whole_start = 0;
    size_t b = 0, whole = SIZE_MAX; /* the last response that fits whole */
    for (; b < d->n_blocks && start + d->blocks[b].n_tokens <= seq_len; start += d->blocks[b++].n_tokens)
        if (d->blocks[b].supervised_end > d->blocks[b].supervised_start) {
            whole = b;
            whole_start = start;
        }
    if (b == d->n_blocks)
        return;
    if (whole != SIZE_MAX)
        cut(d, whole, whole_start + d->blocks[whole].n_tokens, whole_start);
    else
        cut(d, b, seq_len, start);
}

void fit_last(struct document *d)
{
    size_t last = d->n_blocks;
    while (last > 0 && d->blocks[last - 1].role == ROLE_USER)
        last--;
    for (size_t b = 0; b + 1 < last; b++)
        d->blocks[b].supervised_start = d->blocks[b].supervised_end = 0;
}

uint32_t fit_pairs(const uint32_t *block_tokens, uint32_t n_blocks, uint32_t first, uint32_t seq_len)
{
    uint64_t sum = 0;
    uint32_t b = first;
    while (b + 1 < n_blocks && (sum += (uint64_t)block_tokens[b] + block_tokens[b + 1]) <= seq_len)
        b += 2;
    return b > first ? (b - first) / 2 : 1;
}

uint32_t fit_last_pairs(const uint32_t *block_tokens, uint32_t n_blocks, uint32_t seq_len)
{
    uint64_t sum = 0;
    uint32_t n = n_blocks / 2, pairs = 0;
    while (pairs < n && (sum += (uint64_t)block_tokens[2 * (n - pairs) - 2] +
                                block_tokens[2 * (n - pairs) - 1]) <= seq_len)
        pairs++;
    return pairs > 0 ? pairs : 1;
}

struct piece fit_piece(struct piece p, uint32_t n)
{
    if (p.to == 0)
        return (struct piece){.to = n, .of = n, .part = p.part};
    return (struct piece){.from = (uint32_t)((uint64_t)p.from * n / p.of),
                          .to = (uint32_t)((uint64_t)p.to * n / p.of),
                          .of = n,
                          .part = p.part};
}

/* Where a place in the whole is in tokens from..to of it, or their nearer end. */
static uint32_t within(uint32_t place, uint32_t from, uint32_t to)
{
    return place <= from ? 0 : place < to ? place - from : to - from;
}

struct document fit_tokens(const struct document *text, uint32_t from, uint32_t to,
                           struct text_block *ret_block)
{
    const struct text_block *whole = &text->blocks[0];
    *ret_block = (struct text_block){.role = whole->role,
                                     .n_tokens = to - from,
                                     .supervised_start = within(whole->supervised_start, from, to),
                                     .supervised_end = within(whole->supervised_end, from, to)};
    return (struct document){.ids = text->ids + from, .n_ids = to - from, .blocks = ret_block, .n_blocks = 1};
}
