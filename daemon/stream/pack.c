#include "stream/pack.h"

#include "base/array.h"

#include <string.h>

#define NO_ROOM UINT32_MAX

static void put(struct packer *p, uint32_t row, uint32_t room)
{
    p->next[row] = p->newest[room];
    p->newest[room] = row + 1;
    p->has[room / 64] |= 1ull << room % 64;
    p->has_group[room / 4096] |= 1ull << room / 64 % 64;
}

static uint32_t take(struct packer *p, uint32_t room)
{
    uint32_t row = p->newest[room] - 1;
    if ((p->newest[room] = p->next[row]) == 0 && (p->has[room / 64] &= ~(1ull << room % 64)) == 0)
        p->has_group[room / 4096] &= ~(1ull << room / 64 % 64);
    return row;
}

/* The least room >= want that some row has. */
static uint32_t least_room(const struct packer *p, uint32_t want, uint32_t length)
{
    uint64_t bits = p->has[want / 64] >> want % 64;
    if (bits != 0)
        return want + (uint32_t)__builtin_ctzll(bits);
    uint32_t word = want / 64 + 1, group = word / 64;
    for (uint32_t from = word % 64; group <= length / 4096; group++, from = 0) {
        uint64_t words = p->has_group[group] >> from << from;
        if (words == 0)
            continue;
        word = group * 64 + (uint32_t)__builtin_ctzll(words);
        return word * 64 + (uint32_t)__builtin_ctzll(p->has[word]);
    }
    return NO_ROOM;
}

/* Into by_length, equal ones in their order. newest and next, all zero and free, hold a list for each length.
 */
static void sort_by_length(struct packer *p, const uint32_t *n_tokens, uint32_t n, uint32_t length)
{
    uint32_t at = 0;
    for (uint32_t i = n; i-- > 0;) {
        p->next[i] = p->newest[n_tokens[i]];
        p->newest[n_tokens[i]] = i + 1;
    }
    for (uint32_t size = length; size > 0; size--) {
        for (uint32_t i = p->newest[size]; i > 0; i = p->next[i - 1])
            p->by_length[at++] = i - 1;
        p->newest[size] = 0;
    }
}

int pack_rows(struct packer *p, const uint32_t *n_tokens, uint32_t n, uint32_t length, uint32_t *ret_row,
              uint32_t *ret_n_rows)
{
    size_t words = (size_t)length / 64 + 1, groups = (size_t)length / 4096 + 1;
    if (array_grow(&p->by_length, &p->by_length_cap, n) != 0 || array_grow(&p->next, &p->next_cap, n) != 0 ||
        array_grow(&p->newest, &p->newest_cap, (size_t)length + 1) != 0 ||
        array_grow(&p->has, &p->has_cap, words) != 0 ||
        array_grow(&p->has_group, &p->has_group_cap, groups) != 0)
        return -ENOMEM;
    memset(p->newest, 0, ((size_t)length + 1) * sizeof p->newest[0]);
    memset(p->has, 0, words * sizeof p->has[0]);
    memset(p->has_group, 0, groups * sizeof p->has_group[0]);
    sort_by_length(p, n_tokens, n, length);
    uint32_t n_rows = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t doc = p->by_length[i], room = least_room(p, n_tokens[doc], length), row;
        if (room == NO_ROOM) {
            row = n_rows++;
            room = length;
        } else {
            row = take(p, room);
        }
        ret_row[doc] = row;
        put(p, row, room - n_tokens[doc]);
    }
    *ret_n_rows = n_rows;
    return 0;
}

void packer_fini(struct packer *p)
{
    free(p->by_length);
    free(p->newest);
    free(p->next);
    free(p->has);
    free(p->has_group);
    *p = (struct packer){0};
}
