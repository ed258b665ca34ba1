/* file - small whole files and folders; any thread.
 *
 * file_read        - all of a file of at most max bytes, with a NUL after it.   Owner: the caller frees *ret.
 *                    Errors: -errno; ERR_LIMIT if larger; -EISDIR for a folder.
 * file_replace     - these bytes in place of what path was, wholly or not at all: they are written to
 * PATH.new, which is then renamed. sync: they are on the disk before it is renamed, and so is that. Result:
 * 0; 1: done, but the folder could not be flushed: *reterr says why, and a power cut may bring back the old
 * file.   Errors: -errno; path is what it was. file_sync_folder - after a rename: the folder that holds path,
 * to the disk. -errno. file_make_dir    - mkdir -p; an existing folder is fine. The errors say the path, but
 * for file_sync_folder.
 */
#ifndef SKIPALIGN_BASE_FILE_H
#define SKIPALIGN_BASE_FILE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

int file_read(const char *path, size_t max, char **ret, size_t *ret_size, struct err *reterr);
int file_replace(const char *path, const void *data, size_t size, bool sync, struct err *reterr);
int file_sync_folder(const char *path);
int file_make_dir(const char *path, struct err *reterr);

#endif
