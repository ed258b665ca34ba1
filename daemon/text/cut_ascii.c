#include "text/cut_ascii.h"

#include <string.h>

/* ---- the choice of sets ---- */

#define SETS 8

/* Characters that a pair of sets is grown from; more of them find next to nothing. */
#define SEEDS 6

/* Masks are 0 or -1: loops without a branch. */
struct pair {
    int32_t before[ASCII], after[ASCII]; /* masks */
    int64_t worth;
};

struct search {
    int32_t legal[ASCII][ASCII]; /* masks */
    int32_t open[ASCII][ASCII];  /* weight of legal cuts that are in no pair of sets yet */
    int32_t open_before[ASCII];  /* the sum of those after each character; */
    uint8_t order[ASCII];        /* characters by that, the largest first */
};

/* What p would be worth with one more character in front; column: the sum of open of those that are there. */
static int32_t worth_with(const struct search *s, const struct pair *p, const int32_t *column, int more)
{
    int32_t worth = 0;
    for (int b = 0; b < ASCII; b++)
        worth += (column[b] + s->open[more][b]) & p->after[b] & s->legal[more][b];
    return worth;
}

/* One character in front and all that may follow it; then another in front, as long as that gains: at most
 * what is open after it, so few need a closer look. */
static void grow(const struct search *s, int first, struct pair *p)
{
    int32_t column[ASCII] = {0};
    memset(p->before, 0, sizeof p->before);
    memset(p->after, 0xff, sizeof p->after);
    p->worth = worth_with(s, p, column, first);
    for (int add = first; add >= 0;) {
        p->before[add] = -1;
        for (int b = 0; b < ASCII; b++) {
            p->after[b] &= s->legal[add][b];
            column[b] += s->open[add][b];
        }
        add = -1;
        const int64_t now = p->worth;
        for (int i = 0; i < ASCII && now + s->open_before[s->order[i]] > p->worth; i++) {
            const int a = s->order[i];
            const int32_t worth = p->before[a] != 0 ? 0 : worth_with(s, p, column, a);
            if (worth > p->worth) {
                p->worth = worth;
                add = a;
            }
        }
    }
}

static void sort_open(struct search *s)
{
    for (int a = 0; a < ASCII; a++) {
        int i = a, open = 0;
        for (int b = 0; b < ASCII; b++)
            open += s->open[a][b];
        for (; i > 0 && s->open_before[s->order[i - 1]] < open; i--)
            s->order[i] = s->order[i - 1];
        s->order[i] = (uint8_t)a;
        s->open_before[a] = open;
    }
}

/* The best pair of sets that was found. */
static void search_pair(struct search *s, struct pair *best)
{
    struct pair p;
    best->worth = 0;
    sort_open(s);
    for (int k = 0; k < SEEDS && s->open_before[s->order[k]] > 0; k++) {
        grow(s, s->order[k], &p);
        if (p.worth > best->worth)
            *best = p;
    }
}

void cut_ascii_init(struct cut_ascii *c, const struct cut_legal *from)
{
    struct search s;
    memset(c, 0, sizeof *c);
    for (int a = 0; a < ASCII; a++)
        for (int b = 0; b < ASCII; b++) {
            s.legal[a][b] = from->legal[a][b] ? -1 : 0;
            s.open[a][b] = from->legal[a][b] ? (int32_t)from->ends[a] * from->begins[b] : 0;
        }
    for (int k = 0; k < SETS; k++) {
        struct pair p;
        search_pair(&s, &p);
        for (int a = 0; p.worth > 0 && a < ASCII; a++) {
            for (int half = 0; half < 32; half += 16) {
                c->before[a / 16][half + a % 16] |= (uint8_t)((p.before[a] & 1) << k);
                c->after[a / 16][half + a % 16] |= (uint8_t)((p.after[a] & 1) << k);
            }
            for (int b = 0; b < ASCII; b++)
                s.open[a][b] &= ~(p.before[a] & p.after[b]);
        }
    }
}
