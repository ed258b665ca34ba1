#include "text/pieces.h"

#include "base/array.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hash_of(struct slice text)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < text.size; i++)
        hash = (hash ^ (uint8_t)text.data[i]) * 0x100000001b3u;
    return (uint32_t)(hash ^ hash >> 32);
}

/* The place of the piece with this text, or the empty one where it would be. */
static int32_t *place_of(const struct pieces *p, struct slice text)
{
    uint32_t i = hash_of(text) & (p->n_table - 1);
    for (; p->table[i] >= 0; i = (i + 1) & (p->n_table - 1)) {
        struct slice other = p->texts[p->table[i]];
        if (other.size == text.size && memcmp(other.data, text.data, text.size) == 0)
            break;
    }
    return &p->table[i];
}

int32_t pieces_find(const struct pieces *p, struct slice text)
{
    return *place_of(p, text);
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

static int fill(struct pieces *p, const struct sp *sp)
{
    size_t size = 0;
    for (int32_t id = 0; id < p->n; id++)
        size += sp_piece(sp, id).size;
    for (p->n_table = 16; p->n_table < 2 * (uint32_t)p->n;)
        p->n_table *= 2;
    p->texts = calloc((size_t)p->n, sizeof *p->texts);
    p->scores = calloc((size_t)p->n, sizeof *p->scores);
    p->table = malloc(p->n_table * sizeof *p->table);
    p->bytes = malloc(size + 1);
    if (p->texts == NULL || p->scores == NULL || p->table == NULL || p->bytes == NULL)
        return -ENOMEM;
    memset(p->table, 0xff, p->n_table * sizeof *p->table);
    char *at = p->bytes;
    for (int32_t id = 0; id < p->n; id++) {
        p->texts[id] = write_text(sp_piece(sp, id), at);
        p->scores[id] = sp_score(sp, id);
        at += p->texts[id].size;
        if (pieces_in_text(p, id))
            *place_of(p, p->texts[id]) = id;
    }
    return 0;
}

int pieces_new(const struct sp *sp, const struct spm_file *file, struct pieces **ret)
{
    struct pieces *p = calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    p->n = (int32_t)file->n;
    p->types = file->types;
    int rc = fill(p, sp);
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
    free(p->scores);
    free(p->table);
    free(p->bytes);
    free(p);
}
