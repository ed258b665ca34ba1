/* packed - what gzip and zstd make of bytes, for tests that read it.
 *
 * All of these fail the test (cmocka) when a library does.   Owner: the caller frees what is returned.
 */
#ifndef SKIPALIGN_TESTS_PACKED_H
#define SKIPALIGN_TESTS_PACKED_H

#include <stddef.h>

struct packed {
    char *data;
    size_t size;
};

/* packed_gzip - one member.   packed_zstd - one frame with a checksum; window_log: 0 for the level's own.
 * packed_add - the second after the first, and both are one; the second is freed. packed_add_bytes. */
struct packed packed_gzip(const void *data, size_t size);
struct packed packed_zstd(const void *data, size_t size, int window_log);
void packed_add(struct packed *p, struct packed more);
void packed_add_bytes(struct packed *p, const void *data, size_t size);

/* packed_zstd_with - a frame that needs a dictionary. */
struct packed packed_zstd_with(const void *dictionary, size_t dictionary_size, const void *data, size_t size);

#endif
