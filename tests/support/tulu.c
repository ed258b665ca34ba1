#include "support/tulu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

void tulu_init(struct tulu *t, const struct folder *f, const char *pattern)
{
    (void)snprintf(t->pattern, sizeof t->pattern, "%s/%s", f->path, pattern);
    (void)snprintf(t->state_dir, sizeof t->state_dir, "%s/state", f->path);
    t->paths[0] = t->pattern;
    t->conf = (struct conf_corpus){.name = (char *)"tulu", .paths = t->paths, .n_paths = 1};
    t->place =
        (struct corpus_place){.state_dir = t->state_dir, .io = IO_PREAD, .spool = 1u << 30, .threads = 2};
}

void tulu_check_records(const struct corpus *c, const char *wanted)
{
    char got[512];
    size_t n = 0;
    struct corpus_extent e;
    for (uint64_t i = 0; i < corpus_records(c); i++) {
        corpus_get(c, i, &e);
        assert_in_range(e.size, 1, sizeof got - 1 - n);
        assert_int_equal(pread(e.fd, got + n, e.size, (off_t)e.offset), (ssize_t)e.size);
        n += e.size;
    }
    got[n] = '\0';
    assert_string_equal(got, wanted);
}
