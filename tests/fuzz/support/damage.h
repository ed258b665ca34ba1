/* damage - what a bad disk or a bad moment does to a file, as the bytes of an input say.
 *
 * Each four bytes are one stroke: how, where (two bytes, little-endian, modulo the size), with what. Bits are
 * flipped, the rest is cut off, a block becomes zeros, a block lies where another belongs, or bytes follow.
 */
#ifndef SKIPALIGN_TESTS_FUZZ_DAMAGE_H
#define SKIPALIGN_TESTS_FUZZ_DAMAGE_H

#include <stddef.h>
#include <stdint.h>

/* damage - to data[n], with room for cap; its new size. */
size_t damage(char *data, size_t n, size_t cap, const uint8_t *strokes, size_t size);

#endif
