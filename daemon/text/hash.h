/* hash - of short texts, for tables of this process: nothing of it is stored or sent. Its upper bits are
 * good.
 */
#ifndef SKIPALIGN_TEXT_HASH_H
#define SKIPALIGN_TEXT_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* text_hash_word - of eight bytes or less: they stand in word as memory has them, zeros after them. */
static inline uint64_t text_hash_word(uint64_t word, size_t size)
{
    return (size ^ word) * 0xc2b2ae3d27d4eb4fu;
}

static inline uint64_t text_hash(const void *text, size_t size)
{
    const uint8_t *at = text;
    uint64_t hash = size, word = 0;
    for (; size > sizeof word; at += sizeof word, size -= sizeof word) {
        memcpy(&word, at, sizeof word);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    memcpy(&word, at, size);
    return (hash ^ word) * 0xc2b2ae3d27d4eb4fu;
}

#endif
