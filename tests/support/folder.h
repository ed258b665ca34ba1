/* folder - a temporary folder for one test, and files in it.
 *
 * All of these fail the test (cmocka) when the system does.   Owner: folder_free removes everything in it.
 */
#ifndef SKIPALIGN_TESTS_FOLDER_H
#define SKIPALIGN_TESTS_FOLDER_H

#include <stddef.h>

struct folder {
    char path[64];
    char file[512]; /* the last folder_path's answer */
};

/* folder_new, folder_free - a cmocka setup and its teardown: *state is the struct folder. */
int folder_new(void **state);
int folder_free(void **state);

/* folder_path - PATH/name; valid until the next call. */
const char *folder_path(struct folder *f, const char *name);
/* folder_write - a file of these bytes, made or replaced in place (the inode stays); its path as above. */
const char *folder_write(struct folder *f, const char *name, const void *data, size_t size);
const char *folder_write_text(struct folder *f, const char *name, const char *text);

#endif
