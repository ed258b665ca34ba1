#include "text/pieces.h"

#include "text/hash.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_BYTES sizeof(((struct piece_place *)NULL)->head)

static uint64_t head_of(struct slice text)
{
    uint64_t head = 0;
    memcpy(&head, text.data, text.size < HEAD_BYTES ? text.size : HEAD_BYTES);
    return head;
}

/* All of it is read at once, and what lies after the part put away: nothing has to branch on its size. */
static uint64_t head_of_part(struct slice part)
{
    uint64_t head;
    memcpy(&head, part.data, sizeof head);
    return part.size < HEAD_BYTES ? head & htole64((1ull << 8 * part.size) - 1) : head;
}

static uint64_t hash_of(uint64_t head, struct slice text)
{
    return text.size <= HEAD_BYTES ? text_hash_word(head, text.size) : text_hash(text.data, text.size);
}

/* The place of the piece with this text, or the empty one where it would be. */
static struct piece_place *place_of(const struct pieces *p, uint64_t head, struct slice text)
{
    const uint64_t last = UINT64_MAX >> p->shift;
    for (uint64_t i = hash_of(head, text) >> p->shift;; i = (i + 1) & last) {
        struct piece_place *place = &p->table[i];
        if (place->id < 0 || (place->head == head && place->size == text.size &&
                              (text.size <= HEAD_BYTES || slice_same(p->texts[place->id], text))))
            return place;
    }
}

int32_t pieces_find(const struct pieces *p, struct slice text)
{
    return place_of(p, head_of(text), text)->id;
}

int32_t pieces_find_part(const struct pieces *p, struct slice part)
{
    return place_of(p, head_of_part(part), part)->id;
}

void pieces_expect_part(const struct pieces *p, struct slice part)
{
    __builtin_prefetch(&p->table[hash_of(head_of_part(part), part) >> p->shift]);
}

static struct slice write_text(struct slice piece, char *to)
{
    static const char mark[] = "\xe2\x96\x81";
    size_t n = 0;
    for (size_t i = 0; i < piece.size;) {
        bool space = piece.size - i >= 3 && memcmp(piece.data + i, mark, 3) == 0;
        to[n++] = space ? ' ' : piece.data[i];
        i += space ? 3 : 1;
    }
    return (struct slice){to, n};
}

bool pieces_in_text(const struct pieces *p, int32_t id)
{
    return p->types[id] == SPM_NORMAL || p->types[id] == SPM_USER_DEFINED || p->types[id] == SPM_UNUSED;
}

static int fill(struct pieces *p)
{
    size_t size = 0, places = 16;
    for (int32_t id = 0; id < p->n; id++)
        size += p->raw[id].size;
    for (p->shift = 60; places < 2 * (size_t)p->n; p->shift--)
        places *= 2;
    p->texts = calloc((size_t)p->n, sizeof *p->texts);
    p->table = malloc(places * sizeof *p->table);
    p->bytes = calloc(size + HEAD_BYTES, 1);
    if (p->texts == NULL || p->table == NULL || p->bytes == NULL)
        return -ENOMEM;
    memset(p->table, 0xff, places * sizeof *p->table);
    char *at = p->bytes;
    for (int32_t id = 0; id < p->n; id++) {
        p->texts[id] = write_text(p->raw[id], at);
        at += p->texts[id].size;
        if (pieces_in_text(p, id)) {
            const uint64_t head = head_of(p->texts[id]);
            *place_of(p, head, p->texts[id]) = (struct piece_place){head, (uint32_t)p->texts[id].size, id};
        }
    }
    return 0;
}

int pieces_new(const struct spm_file *file, struct pieces **ret)
{
    struct pieces *p = calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    p->n = (int32_t)file->n;
    p->types = file->types;
    p->raw = file->texts;
    p->scores = file->scores;
    int rc = fill(p);
    if (rc != 0) {
        pieces_free(p);
        return rc;
    }
    *ret = p;
    return 0;
}

void pieces_free(struct pieces *p)
{
    if (p == NULL)
        return;
    free(p->texts);
    free(p->table);
    free(p->bytes);
    free(p);
}
