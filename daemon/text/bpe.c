#include "text/bpe.h"

#include "base/array.h"
#include "base/err.h"
#include "text/filter.h"
#include "text/utf8.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Symbols are pieces, by id, and characters that pieces are made of without being pieces themselves, by the
 * numbers that follow. A stranger is in no piece and joins with nothing. */
#define STRANGER (-1)

#define NO_PAIR UINT64_MAX /* an empty place */
#define NO_RANK UINT32_MAX

#define ASCII 128

/* Bits of the filter for each join: one in eight other pairs is taken for one. */
#define FILTER_BITS 8

static_assert(BPE_PIECES_MAX + UTF8_POINTS <= INT32_MAX, "symbols fit");

struct join {
    int32_t left, right, piece;
    uint32_t left_size; /* bytes */
};

/* What two symbols join into. */
struct joined {
    int32_t piece; /* STRANGER: nothing */
    uint32_t rank; /* of the piece: 0 has the highest score; equal ones share a rank. NO_RANK: nothing */
};

static const struct joined nothing = {STRANGER, NO_RANK};

struct place {
    uint64_t pair; /* left << 32 | right */
    struct joined joined;
};

/* An unused piece is joined like any other, and comes apart again in the end. */
struct part {
    int32_t left, right; /* STRANGER: it does not, being one character, or used */
    uint32_t left_size;  /* bytes */
};

struct character {
    uint32_t point;
    int32_t symbol; /* STRANGER: an empty place */
};

struct defined {
    uint8_t *text;
    size_t size;
    int32_t id;
};

struct bpe {
    struct place *joins;          /* a hash table of joins_mask + 1 places */
    struct filter filter;         /* of their hashes: most pairs are none, which need not wait for memory */
    struct character *characters; /* another */
    struct defined *defined;      /* user-defined symbols, the longest first */
    size_t n_defined, defined_cap;
    uint32_t joins_mask, characters_mask;
    int32_t n_pieces, n_symbols;
    int32_t ascii[ASCII]; /* symbols of characters, */
    struct joined ascii_joins[ASCII][ASCII];
    struct part *unused; /* how those pieces come apart, by id; NULL: there are none */
    bool has_bytes;
    int32_t bytes[256];      /* ids of byte pieces, if it has them */
    int32_t unk;             /* else this */
    bool defined_first[256]; /* a user-defined symbol begins with this byte */
};

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)left << 32 | (uint32_t)right;
}

static uint64_t pair_hash(uint64_t pair)
{
    return pair * 0x9e3779b97f4a7c15u;
}

static uint32_t join_place(const struct bpe *b, uint64_t hash)
{
    return (uint32_t)(hash >> 32) & b->joins_mask;
}

static struct joined find_join(const struct bpe *b, int32_t left, int32_t right)
{
    if (left == STRANGER || right == STRANGER)
        return nothing;
    uint64_t pair = pair_of(left, right), hash = pair_hash(pair);
    if (!filter_may_have(&b->filter, hash))
        return nothing;
    for (uint32_t i = join_place(b, hash);; i = (i + 1) & b->joins_mask) {
        const struct place *p = &b->joins[i];
        if (p->pair == pair)
            return p->joined;
        if (p->pair == NO_PAIR)
            return nothing;
    }
}

static struct character *character_place(const struct bpe *b, uint32_t point)
{
    uint32_t i = (uint32_t)(point * 0x9e3779b97f4a7c15u >> 32) & b->characters_mask;
    while (b->characters[i].symbol != STRANGER && b->characters[i].point != point)
        i = (i + 1) & b->characters_mask;
    return &b->characters[i];
}

/* ---- at load time ---- */

static uint32_t take_point(struct slice *text)
{
    uint32_t point = 0;
    size_t n = utf8_take((const uint8_t *)text->data, text->size, &point);
    CHECK(n > 0);
    text->data += n;
    text->size -= n;
    return point;
}

/* Places of a hash table for n entries: a power of two, at least half of them empty. */
static size_t places(size_t n)
{
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size;
}

/* Is this piece found by joining? User-defined symbols are not. */
static bool is_joined(const struct pieces *p, int32_t id)
{
    return p->types[id] == SPM_NORMAL || p->types[id] == SPM_UNUSED;
}

/* A character that is a piece has that id; others are numbered. User-defined ones join with nothing. */
static void add_character(struct bpe *b, const struct pieces *p, uint32_t point)
{
    uint8_t utf8[4];
    int32_t id = pieces_find(p, (struct slice){(char *)utf8, utf8_put(point, utf8)});
    if (id < 0)
        id = b->n_symbols++;
    else if (!is_joined(p, id))
        id = STRANGER;
    *character_place(b, point) = (struct character){point, id};
}

static int make_characters(struct bpe *b, const struct pieces *p)
{
    size_t n = 0;
    bool *seen = calloc(UTF8_POINTS, sizeof *seen);
    if (seen == NULL)
        return -ENOMEM;
    for (int32_t id = 0; id < p->n; id++) {
        struct slice text = p->texts[id];
        while (pieces_in_text(p, id) && text.size > 0) {
            uint32_t point = take_point(&text);
            n += !seen[point];
            seen[point] = true;
        }
    }
    size_t size = places(n);
    b->characters = malloc(size * sizeof *b->characters);
    if (b->characters != NULL) {
        b->characters_mask = (uint32_t)size - 1;
        for (size_t i = 0; i < size; i++)
            b->characters[i] = (struct character){0, STRANGER};
        for (uint32_t point = 0; point < UTF8_POINTS; point++)
            if (seen[point])
                add_character(b, p, point);
    }
    free(seen);
    return b->characters == NULL ? -ENOMEM : 0;
}

/* The symbol that a part of a piece is while text is joined; STRANGER: it never is one. */
static int32_t part_symbol(const struct bpe *b, const struct pieces *p, struct slice part)
{
    struct slice rest = part;
    uint32_t point = take_point(&rest);
    if (rest.size == 0)
        return character_place(b, point)->symbol;
    int32_t id = pieces_find_part(p, part);
    return id >= 0 && is_joined(p, id) ? id : STRANGER;
}

static void expect_parts(const struct pieces *p, struct slice whole)
{
    for (size_t cut = 1; cut < whole.size; cut++)
        if (!utf8_is_trail((uint8_t)whole.data[cut])) {
            pieces_expect_part(p, (struct slice){whole.data, cut});
            pieces_expect_part(p, (struct slice){whole.data + cut, whole.size - cut});
        }
}

/* Every way to join two symbols into a piece. */
static int list_joins(const struct bpe *b, const struct pieces *p, struct join **joins, size_t *n)
{
    size_t cap = 0;
    for (int32_t id = 0; id < p->n; id++) {
        struct slice whole = p->texts[id];
        if (id + 1 < p->n && is_joined(p, id + 1))
            expect_parts(p, p->texts[id + 1]);
        for (size_t cut = 1; is_joined(p, id) && cut < whole.size; cut++) {
            if (utf8_is_trail((uint8_t)whole.data[cut]))
                continue;
            int32_t left = part_symbol(b, p, (struct slice){whole.data, cut});
            if (left == STRANGER)
                continue;
            int32_t right = part_symbol(b, p, (struct slice){whole.data + cut, whole.size - cut});
            if (right == STRANGER)
                continue;
            if (array_grow(joins, &cap, *n + 1) != 0)
                return -ENOMEM;
            (*joins)[(*n)++] = (struct join){left, right, id, (uint32_t)cut};
        }
    }
    return 0;
}

/* Most first joins are between these. */
static void make_ascii(struct bpe *b)
{
    for (uint32_t c = 0; c < ASCII; c++)
        b->ascii[c] = character_place(b, c)->symbol;
    for (int first = 0; first < ASCII; first++)
        for (int second = 0; second < ASCII; second++)
            b->ascii_joins[first][second] = find_join(b, b->ascii[first], b->ascii[second]);
}

struct scored {
    float score;
    int32_t id;
};

static int higher_first(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

/* By id; the caller frees it. NULL: no memory. */
static uint32_t *make_ranks(const struct pieces *p)
{
    struct scored *list = malloc((size_t)p->n * sizeof *list);
    uint32_t *ranks = malloc((size_t)p->n * sizeof *ranks), rank = 0;
    if (list == NULL || ranks == NULL) {
        free(list);
        free(ranks);
        return NULL;
    }
    for (int32_t id = 0; id < p->n; id++)
        list[id] = (struct scored){p->scores[id], id};
    qsort(list, (size_t)p->n, sizeof *list, higher_first);
    for (int32_t i = 0; i < p->n; i++) {
        rank += i > 0 && list[i].score < list[i - 1].score;
        ranks[list[i].id] = rank;
    }
    free(list);
    return ranks;
}

/* 1: one comes about in two ways, and how it comes apart would depend on the text around it. */
static int make_unused(struct bpe *b, const struct pieces *p, const struct join *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = list[i].piece;
        if (p->types[id] != SPM_UNUSED)
            continue;
        if (b->unused == NULL) {
            b->unused = malloc((size_t)p->n * sizeof *b->unused);
            if (b->unused == NULL)
                return -ENOMEM;
            for (int32_t k = 0; k < p->n; k++)
                b->unused[k] = (struct part){STRANGER, STRANGER, 0};
        }
        if (b->unused[id].left != STRANGER)
            return 1;
        b->unused[id] = (struct part){list[i].left, list[i].right, list[i].left_size};
    }
    return 0;
}

static int make_table(struct bpe *b, const struct pieces *p, const struct join *list, size_t n)
{
    size_t size = places(n);
    uint32_t *ranks = make_ranks(p);
    b->joins = malloc(size * sizeof *b->joins);
    if (ranks == NULL || b->joins == NULL || filter_init(&b->filter, n, FILTER_BITS) != 0) {
        free(ranks);
        return -ENOMEM;
    }
    b->joins_mask = (uint32_t)size - 1;
    for (size_t i = 0; i < size; i++)
        b->joins[i].pair = NO_PAIR;
    for (size_t i = 0; i < n; i++) {
        const uint64_t pair = pair_of(list[i].left, list[i].right), hash = pair_hash(pair);
        uint32_t at = join_place(b, hash);
        while (b->joins[at].pair != NO_PAIR)
            at = (at + 1) & b->joins_mask;
        b->joins[at] = (struct place){pair, {list[i].piece, ranks[list[i].piece]}};
        filter_add(&b->filter, hash);
    }
    free(ranks);
    make_ascii(b);
    return 0;
}

static int make_joins(struct bpe *b, const struct pieces *p)
{
    struct join *list = NULL;
    size_t n = 0;
    int rc = list_joins(b, p, &list, &n);
    if (rc == 0)
        rc = make_unused(b, p, list, n);
    if (rc == 0)
        rc = make_table(b, p, list, n);
    free(list);
    return rc;
}

static int longer_first(const void *a, const void *b)
{
    const struct defined *x = a, *y = b;
    return (x->size < y->size) - (x->size > y->size);
}

static int make_defined(struct bpe *b, const struct pieces *p)
{
    for (int32_t id = 0; id < p->n; id++) {
        if (p->types[id] != SPM_USER_DEFINED)
            continue;
        struct slice text = p->texts[id];
        if (array_grow(&b->defined, &b->defined_cap, b->n_defined + 1) != 0)
            return -ENOMEM;
        struct defined *d = &b->defined[b->n_defined];
        *d = (struct defined){malloc(text.size), text.size, id};
        if (d->text == NULL)
            return -ENOMEM;
        memcpy(d->text, text.data, text.size);
        b->defined_first[d->text[0]] = true;
        b->n_defined++;
    }
    if (b->n_defined > 0)
        qsort(b->defined, b->n_defined, sizeof *b->defined, longer_first);
    return 0;
}

int bpe_new(const struct pieces *p, const int32_t *bytes, int32_t unk, struct bpe **ret)
{
    struct bpe *b = calloc(1, sizeof *b);
    if (b == NULL)
        return -ENOMEM;
    b->n_pieces = b->n_symbols = p->n;
    b->has_bytes = bytes != NULL;
    if (bytes != NULL)
        memcpy(b->bytes, bytes, sizeof b->bytes);
    b->unk = unk;
    int rc = make_characters(b, p);
    if (rc == 0)
        rc = make_joins(b, p);
    if (rc == 0)
        rc = make_defined(b, p);
    if (rc == 0)
        *ret = b;
    else
        bpe_free(b);
    return rc;
}

void bpe_free(struct bpe *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->n_defined; i++)
        free(b->defined[i].text);
    free(b->defined);
    free(b->joins);
    filter_fini(&b->filter);
    free(b->unused);
    free(b->characters);
    free(b);
}

size_t bpe_memory(const struct bpe *b)
{
    return sizeof *b + (b->joins_mask + 1) * sizeof *b->joins + filter_memory(&b->filter) +
           (b->unused != NULL ? (size_t)b->n_pieces * sizeof *b->unused : 0) +
           (b->characters_mask + 1) * sizeof *b->characters + b->defined_cap * sizeof *b->defined;
}

/* ---- text ---- */

/* The longest user-defined symbol that text begins with; NULL: none. */
static const struct defined *find_defined(const struct bpe *b, const uint8_t *text, size_t size)
{
    for (size_t i = 0; b->defined_first[text[0]] && i < b->n_defined; i++)
        if (b->defined[i].size <= size && memcmp(b->defined[i].text, text, b->defined[i].size) == 0)
            return &b->defined[i];
    return NULL;
}

/* The symbols of a run of text: a list of places. Joined ones lie at the place of the first of them. */
struct run {
    uint32_t n; /* places; symbol[n] is no symbol */
    uint16_t next[BPE_BYTES_MAX + 1], last[BPE_BYTES_MAX + 1];
    uint16_t start[BPE_BYTES_MAX + 1]; /* byte */
    int32_t symbol[BPE_BYTES_MAX + 1];
    int32_t piece[BPE_BYTES_MAX]; /* that a symbol and the next one join into, */
    uint32_t rank[BPE_BYTES_MAX]; /* and its rank; NO_RANK: they do not, or there is none here any more */
};

static inline void set_join(struct run *r, uint32_t i, struct joined joined)
{
    r->piece[i] = joined.piece;
    r->rank[i] = joined.rank;
}

static void split(const struct bpe *b, const uint8_t *text, size_t size, struct run *r)
{
    uint32_t n = 0;
    for (size_t i = 0; i < size; n++) {
        const struct defined *d = find_defined(b, text + i, size - i);
        uint32_t point = 0;
        r->start[n] = (uint16_t)i;
        r->next[n] = (uint16_t)(n + 1);
        r->last[n] = (uint16_t)(n - 1);
        i += d != NULL ? d->size : utf8_take(text + i, size - i, &point);
        r->symbol[n] = d != NULL       ? d->id
                       : point < ASCII ? b->ascii[point]
                                       : character_place(b, point)->symbol;
    }
    r->n = n;
    r->start[n] = (uint16_t)size;
    r->symbol[n] = STRANGER;
    for (uint32_t i = 0; i < n; i++) {
        bool ascii = n == size && i + 1 < n && (text[i] | text[i + 1]) < ASCII && b->n_defined == 0;
        set_join(r, i,
                 ascii ? b->ascii_joins[text[i]][text[i + 1]] : find_join(b, r->symbol[i], r->symbol[i + 1]));
    }
}

/* The symbol at place i and the next become one. */
static void join(const struct bpe *b, struct run *r, uint32_t i)
{
    uint32_t gone = r->next[i], next = r->next[gone];
    r->symbol[i] = r->piece[i];
    r->rank[gone] = NO_RANK;
    r->next[i] = (uint16_t)next;
    r->last[next] = (uint16_t)i;
    if (i > 0) /* both look-ups wait for memory at once */
        __builtin_prefetch(&b->joins[join_place(b, pair_hash(pair_of(r->symbol[r->last[i]], r->symbol[i])))]);
    set_join(r, i, find_join(b, r->symbol[i], r->symbol[next]));
    if (i > 0)
        set_join(r, r->last[i], find_join(b, r->symbol[r->last[i]], r->symbol[i]));
}

/* Ids of one symbol, text[0..size); returns how many. */
static size_t write_ids(const struct bpe *b, int32_t symbol, const uint8_t *text, size_t size, int32_t *ids)
{
    size_t n = 0;
    if (symbol != STRANGER && symbol < b->n_pieces) {
        const struct part *p = b->unused == NULL ? NULL : &b->unused[symbol];
        if (p == NULL || p->left == STRANGER) {
            ids[0] = symbol;
            return 1;
        }
        n = write_ids(b, p->left, text, p->left_size, ids);
        return n + write_ids(b, p->right, text + p->left_size, size - p->left_size, ids + n);
    }
    if (!b->has_bytes) {
        ids[0] = b->unk;
        return 1;
    }
    for (; n < size; n++)
        ids[n] = b->bytes[text[n]];
    return n;
}

size_t bpe_encode(const struct bpe *b, const uint8_t *text, size_t size, int32_t *ids)
{
    struct run r;
    size_t n = 0;
    split(b, text, size, &r);
    for (;;) {
        uint64_t best = (uint64_t)NO_RANK << 32;
        for (uint32_t i = 0; i < r.n; i++) {
            uint64_t here = (uint64_t)r.rank[i] << 32 | i;
            best = here < best ? here : best;
        }
        if (best >> 32 == NO_RANK)
            break;
        join(b, &r, (uint32_t)best);
    }
    for (uint32_t i = 0; i < r.n; i = r.next[i])
        n += write_ids(b, r.symbol[i], text + r.start[i], r.start[r.next[i]] - (size_t)r.start[i], ids + n);
    return n;
}
