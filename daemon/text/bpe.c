#include "text/bpe.h"

#include "base/array.h"
#include "base/err.h"
#include "text/utf8.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Symbols are pieces, by id, and characters that pieces are made of without being pieces themselves, by the
 * numbers that follow. A stranger is in no piece and joins with nothing. */
#define STRANGER (-1)

struct join {
    int32_t left, right, piece; /* left is STRANGER: an empty place */
    float score;
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
    struct join *joins;           /* a hash table of joins_mask + 1 places */
    struct character *characters; /* another */
    struct defined *defined;      /* user-defined symbols, the longest first */
    size_t n_defined, defined_cap;
    uint32_t joins_mask, characters_mask;
    int32_t n_pieces, n_symbols;
    int32_t bytes[256];      /* ids of byte pieces */
    bool defined_first[256]; /* a user-defined symbol begins with this byte */
};

static uint32_t join_place(const struct bpe *b, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (uint32_t)(key * 0x9e3779b97f4a7c15u >> 32) & b->joins_mask;
}

static const struct join *find_join(const struct bpe *b, int32_t left, int32_t right)
{
    static const struct join none = {.piece = STRANGER, .score = -INFINITY};
    if (left == STRANGER || right == STRANGER)
        return &none;
    for (uint32_t i = join_place(b, left, right);; i = (i + 1) & b->joins_mask) {
        const struct join *j = &b->joins[i];
        if (j->left == STRANGER)
            return &none;
        if (j->left == left && j->right == right)
            return j;
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

/* A character that is a piece has that id; others are numbered. User-defined ones join with nothing. */
static void add_character(struct bpe *b, const struct pieces *p, uint32_t point)
{
    uint8_t utf8[4];
    int32_t id = pieces_find(p, (struct slice){(char *)utf8, utf8_put(point, utf8)});
    if (id < 0)
        id = b->n_symbols++;
    else if (p->types[id] != SPM_NORMAL)
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
    int32_t id = pieces_find(p, part);
    return id >= 0 && p->types[id] == SPM_NORMAL ? id : STRANGER;
}

/* Every way to join two symbols into a piece. */
static int list_joins(const struct bpe *b, const struct pieces *p, struct join **joins, size_t *n)
{
    size_t cap = 0;
    for (int32_t id = 0; id < p->n; id++) {
        struct slice whole = p->texts[id];
        for (size_t cut = 1; p->types[id] == SPM_NORMAL && cut < whole.size; cut++) {
            if (utf8_is_trail((uint8_t)whole.data[cut]))
                continue;
            int32_t left = part_symbol(b, p, (struct slice){whole.data, cut});
            int32_t right = part_symbol(b, p, (struct slice){whole.data + cut, whole.size - cut});
            if (left == STRANGER || right == STRANGER)
                continue;
            if (array_grow(joins, &cap, *n + 1) != 0)
                return -ENOMEM;
            (*joins)[(*n)++] = (struct join){left, right, id, p->scores[id]};
        }
    }
    return 0;
}

static int make_joins(struct bpe *b, const struct pieces *p)
{
    struct join *list = NULL;
    size_t n = 0, size = 0;
    if (list_joins(b, p, &list, &n) != 0)
        goto out_free;
    size = places(n);
    b->joins = malloc(size * sizeof *b->joins);
    if (b->joins == NULL)
        goto out_free;
    b->joins_mask = (uint32_t)size - 1;
    for (size_t i = 0; i < size; i++)
        b->joins[i] = (struct join){.left = STRANGER};
    for (size_t i = 0; i < n; i++) {
        uint32_t place = join_place(b, list[i].left, list[i].right);
        while (b->joins[place].left != STRANGER)
            place = (place + 1) & b->joins_mask;
        b->joins[place] = list[i];
    }
out_free:
    free(list);
    return b->joins == NULL ? -ENOMEM : 0;
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

int bpe_new(const struct pieces *p, const int32_t bytes[256], struct bpe **ret)
{
    struct bpe *b = calloc(1, sizeof *b);
    if (b == NULL)
        return -ENOMEM;
    b->n_pieces = b->n_symbols = p->n;
    memcpy(b->bytes, bytes, sizeof b->bytes);
    if (make_characters(b, p) != 0 || make_joins(b, p) != 0 || make_defined(b, p) != 0) {
        bpe_free(b);
        return -ENOMEM;
    }
    *ret = b;
    return 0;
}

void bpe_free(struct bpe *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->n_defined; i++)
        free(b->defined[i].text);
    free(b->defined);
    free(b->joins);
    free(b->characters);
    free(b);
}

size_t bpe_memory(const struct bpe *b)
{
    return sizeof *b + (b->joins_mask + 1) * sizeof *b->joins +
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

/* The symbols of a run of text, in order, and what each may join with the one after it into. */
struct run {
    size_t n;
    int32_t symbol[BPE_BYTES_MAX];
    uint32_t end[BPE_BYTES_MAX]; /* byte after it */
    int32_t piece[BPE_BYTES_MAX];
    float score[BPE_BYTES_MAX]; /* -INFINITY: not joined */
};

static void split(const struct bpe *b, const uint8_t *text, size_t size, struct run *r)
{
    r->n = 0;
    for (size_t i = 0; i < size;) {
        const struct defined *d = find_defined(b, text + i, size - i);
        uint32_t point = 0;
        i += d != NULL ? d->size : utf8_take(text + i, size - i, &point);
        r->symbol[r->n] = d != NULL ? d->id : character_place(b, point)->symbol;
        r->end[r->n++] = (uint32_t)i;
    }
}

static void look_up(const struct bpe *b, struct run *r, size_t i)
{
    const struct join *j = find_join(b, r->symbol[i], r->symbol[i + 1]);
    r->piece[i] = j->piece;
    r->score[i] = j->score;
}

/* Symbol i and the next become one. */
static void join(const struct bpe *b, struct run *r, size_t i)
{
    size_t after = r->n - i - 2;
    r->symbol[i] = r->piece[i];
    r->end[i] = r->end[i + 1];
    memmove(&r->symbol[i + 1], &r->symbol[i + 2], after * sizeof r->symbol[0]);
    memmove(&r->end[i + 1], &r->end[i + 2], after * sizeof r->end[0]);
    memmove(&r->piece[i + 1], &r->piece[i + 2], after * sizeof r->piece[0]);
    memmove(&r->score[i + 1], &r->score[i + 2], after * sizeof r->score[0]);
    r->n--;
    if (i > 0)
        look_up(b, r, i - 1);
    if (i + 1 < r->n)
        look_up(b, r, i);
}

size_t bpe_encode(const struct bpe *b, const uint8_t *text, size_t size, int32_t *ids)
{
    struct run r;
    size_t n = 0, start = 0;
    split(b, text, size, &r);
    for (size_t i = 0; i + 1 < r.n; i++)
        look_up(b, &r, i);
    while (r.n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < r.n; i++)
            if (r.score[i] > r.score[best])
                best = i;
        if (r.score[best] == -INFINITY)
            break;
        join(b, &r, best);
    }
    for (size_t i = 0; i < r.n; start = r.end[i++]) {
        if (r.symbol[i] != STRANGER && r.symbol[i] < b->n_pieces)
            ids[n++] = r.symbol[i];
        else
            for (size_t k = start; k < r.end[i]; k++)
                ids[n++] = b->bytes[text[k]];
    }
    return n;
}
