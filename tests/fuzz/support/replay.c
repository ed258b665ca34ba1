/* One test for each file of TARGET.in/: the target takes it without a word. */
#include "fuzz/support/fuzz.h"

#include "base/file.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define INPUT_MAX (1u << 24)

static void replay(void **state)
{
    char path[4096], *data;
    size_t size;
    struct err err;
    (void)snprintf(path, sizeof path, "%s/%s", FUZZ_INPUTS, (const char *)*state);
    if (file_read(path, INPUT_MAX, &data, &size, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(LLVMFuzzerTestOneInput((const uint8_t *)data, size), 0);
    free(data);
}

static int is_file(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

int main(void)
{
    struct dirent **files;
    const int n = scandir(FUZZ_INPUTS, &files, is_file, alphasort);
    struct CMUnitTest *tests = n > 0 ? calloc((size_t)n, sizeof *tests) : NULL;
    if (tests == NULL) {
        (void)fprintf(stderr, "%s: no files to feed\n", FUZZ_INPUTS);
        return 1;
    }
    for (int i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){
            .name = files[i]->d_name, .test_func = replay, .initial_state = files[i]->d_name};
    int rc = _cmocka_run_group_tests("fuzz", tests, (size_t)n, NULL, NULL);
    for (int i = 0; i < n; i++)
        free(files[i]);
    free(files);
    free(tests);
    return rc;
}
