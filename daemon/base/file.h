/* file - small whole files and folders; any thread.
 *
 * file_read        - all of a file of at most max bytes, with a NUL after it.   Owner: the caller frees *ret.
 *                    Errors: -errno; ERR_LIMIT if larger; -EISDIR for a folder.
 * file_sync_folder - after a rename: the folder that holds path, to the disk. -errno.
 * file_make_dir    - mkdir -p; an existing folder is fine.
 * The errors of the first and the last say the path.
 */
#ifndef SKIPALIGN_BASE_FILE_H
#define SKIPALIGN_BASE_FILE_H

#include "base/err.h"

#include <stddef.h>

int file_read(const char *path, size_t max, char **ret, size_t *ret_size, struct err *reterr);
int file_sync_folder(const char *path);
int file_make_dir(const char *path, struct err *reterr);

#endif
