/* pack - documents into rows of a fixed length: best fit, longest first.
 *
 * Each document goes whole into the fullest row that still has room for it. Deterministic: equal lengths keep
 * their order.
 *
 * Shapes:  n_tokens[n], each 1..length; ret_row[n]: the row of each document, rows numbered as they were
 * opened. Errors:  -ENOMEM.   Owner: struct packer is scratch memory, used again; zero it first.   Threads:
 * one each.
 */
#ifndef SKIPALIGN_STREAM_PACK_H
#define SKIPALIGN_STREAM_PACK_H

#include <stddef.h>
#include <stdint.h>

struct packer {
    uint32_t *by_length; /* documents, longest first */
    uint32_t *newest,
        *next; /* newest[room]: a row with that much room left, next[row]: another one; 0: none */
    uint64_t *has, *has_group; /* bit sets over room: which lists are not empty; over words of it */
    size_t by_length_cap, newest_cap, next_cap, has_cap, has_group_cap;
};

int pack_rows(struct packer *p, const uint32_t *n_tokens, uint32_t n, uint32_t length, uint32_t *ret_row,
              uint32_t *ret_n_rows);
void packer_fini(struct packer *p);

#endif
