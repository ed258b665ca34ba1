/* scratch - files of a target: one folder in memory (/dev/shm), gone when the process ends. */
#ifndef SKIPALIGN_TESTS_FUZZ_SCRATCH_H
#define SKIPALIGN_TESTS_FUZZ_SCRATCH_H

#include <stddef.h>

/* scratch_path - name in the folder, made when it is first asked for; valid until the next call. */
const char *scratch_path(const char *name);
/* scratch_write - make or replace a file; the inode stays.   scratch_read - all of one; the caller frees. */
const char *scratch_write(const char *name, const void *data, size_t size);
char *scratch_read(const char *name, size_t *ret_size);

#endif
