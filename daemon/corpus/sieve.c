#include "corpus/sieve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTITION_HASHES (1u << 19) /* of one partition, at most about so many */
#define TABLE_SLOTS_MAX (2 * PARTITION_HASHES)
#define BUFFERS_BYTES (16u << 20)
#define CHUNK_BYTES_MAX (64u << 10)
#define CHUNK_BYTES_MIN 4096u

struct hash {
    uint64_t low, high;
};

struct entry {
    struct hash hash;
    uint64_t number;
};

/* What is written at once; a partition is a chain of them. */
struct chunk {
    uint64_t next; /* its number in the file; UINT64_MAX: none */
    uint64_t n;
    struct entry entries[];
};

struct partition {
    uint64_t first, at; /* numbers of its first chunk and of the one that is being filled */
    struct chunk *chunk;
};

struct sieve {
    int fd;
    uint32_t n_partitions, bits; /* 1 << bits */
    size_t chunk_bytes, chunk_entries;
    char *buffers;
    struct partition *partitions;
    uint64_t n, n_chunks;
    struct hash *table;
    size_t n_slots, n_used;
    bool zero; /* a hash of zeros came: in the table they are an empty slot */
};

int sieve_new(const char *path, uint64_t n, struct sieve **ret, struct err *reterr)
{
    struct sieve *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_sys(reterr, -ENOMEM, "%s", path);
    while (n >> s->bits > PARTITION_HASHES)
        s->bits++;
    s->n_partitions = 1u << s->bits;
    s->chunk_bytes = BUFFERS_BYTES >> s->bits;
    if (s->chunk_bytes > CHUNK_BYTES_MAX)
        s->chunk_bytes = CHUNK_BYTES_MAX;
    if (s->chunk_bytes < CHUNK_BYTES_MIN)
        s->chunk_bytes = CHUNK_BYTES_MIN;
    s->chunk_entries = (s->chunk_bytes - sizeof(struct chunk)) / sizeof(struct entry);
    for (s->n_slots = 64; s->n_slots < TABLE_SLOTS_MAX && s->n_slots < 2 * n;)
        s->n_slots *= 2;
    s->buffers = calloc(s->n_partitions, s->chunk_bytes);
    s->partitions = calloc(s->n_partitions, sizeof s->partitions[0]);
    s->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = s->buffers == NULL || s->partitions == NULL ? -ENOMEM : s->fd < 0 ? -errno : 0;
    if (s->fd >= 0)
        (void)unlink(path);
    if (rc != 0) {
        sieve_free(s);
        return err_sys(reterr, rc, "%s: create", path);
    }
    for (uint32_t i = 0; i < s->n_partitions; i++)
        s->partitions[i] =
            (struct partition){i, i, (struct chunk *)(void *)(s->buffers + i * s->chunk_bytes)};
    s->n_chunks = s->n_partitions;
    *ret = s;
    return 0;
}

void sieve_free(struct sieve *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0)
        (void)close(s->fd);
    free(s->buffers);
    free(s->partitions);
    free(s->table);
    free(s);
}

/* The chunk that a partition has filled goes into the file, and its next one, if there will be one, begins.
 */
static int put_chunk(struct sieve *s, struct partition *p, bool last, struct err *reterr)
{
    const char *data = (const char *)p->chunk;
    p->chunk->next = last ? UINT64_MAX : s->n_chunks;
    for (size_t done = 0; done < s->chunk_bytes;) {
        ssize_t n = pwrite(s->fd, data + done, s->chunk_bytes - done, (off_t)(p->at * s->chunk_bytes + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(reterr, -errno,
                           "a temporary file in state_dir (24 bytes a record, to find duplicates): write");
        done += (size_t)n;
    }
    p->at = s->n_chunks;
    s->n_chunks += !last;
    p->chunk->n = 0;
    return 0;
}

int sieve_add(struct sieve *s, uint64_t low, uint64_t high, struct err *reterr)
{
    struct partition *p = &s->partitions[s->bits == 0 ? 0 : high >> (64 - s->bits)];
    int rc = p->chunk->n == s->chunk_entries ? put_chunk(s, p, false, reterr) : 0;
    if (rc == 0)
        p->chunk->entries[p->chunk->n++] = (struct entry){{low, high}, s->n++};
    return rc;
}

static int get_chunk(const struct sieve *s, uint64_t at, struct chunk *ret, struct err *reterr)
{
    for (size_t done = 0; done < s->chunk_bytes;) {
        ssize_t n =
            pread(s->fd, (char *)ret + done, s->chunk_bytes - done, (off_t)(at * s->chunk_bytes + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_sys(reterr, n < 0 ? -errno : -EIO, "a temporary file in state_dir: read");
        done += (size_t)n;
    }
    return 0;
}

/* Is it in the table? It is afterwards. */
static bool seen(struct sieve *s, struct hash h)
{
    if (h.low == 0 && h.high == 0) {
        const bool before = s->zero;
        s->zero = true;
        return before;
    }
    for (size_t i = h.low & (s->n_slots - 1);; i = (i + 1) & (s->n_slots - 1)) {
        if (s->table[i].low == h.low && s->table[i].high == h.high)
            return true;
        if (s->table[i].low == 0 && s->table[i].high == 0) {
            s->table[i] = h;
            s->n_used++;
            return false;
        }
    }
}

static int run_partition(struct sieve *s, uint64_t first, struct chunk *chunk,
                         void (*repeated)(void *arg, uint64_t number), void *arg, struct err *reterr)
{
    memset(s->table, 0, s->n_slots * sizeof s->table[0]);
    s->n_used = 0;
    s->zero = false;
    for (uint64_t at = first; at != UINT64_MAX; at = chunk->next) {
        int rc = get_chunk(s, at, chunk, reterr);
        if (rc != 0)
            return rc;
        for (uint64_t i = 0; i < chunk->n; i++) {
            if (seen(s, chunk->entries[i].hash))
                repeated(arg, chunk->entries[i].number);
            if (s->n_used > s->n_slots / 16 * 15)
                return err_set(reterr, ERR_LIMIT, "more than %zu hashes of records begin alike", s->n_used);
        }
    }
    return 0;
}

int sieve_run(struct sieve *s, void (*repeated)(void *arg, uint64_t number), void *arg, struct err *reterr)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < s->n_partitions; i++)
        rc = put_chunk(s, &s->partitions[i], true, reterr);
    if (rc != 0)
        return rc;
    free(s->buffers);
    s->buffers = NULL;
    struct chunk *chunk = malloc(s->chunk_bytes);
    s->table = malloc(s->n_slots * sizeof s->table[0]);
    if (s->table == NULL || chunk == NULL)
        rc = err_sys(reterr, -ENOMEM, "looking for duplicates");
    for (uint32_t i = 0; rc == 0 && i < s->n_partitions; i++)
        rc = run_partition(s, s->partitions[i].first, chunk, repeated, arg, reterr);
    free(chunk);
    return rc;
}
