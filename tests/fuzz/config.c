/* A configuration file: taken, or refused with lines that say where and what. */
#include "fuzz/support/fuzz.h"

#include "base/err.h"
#include "config/file.h"

#include <stdlib.h>
#include <string.h>

static void count(void *arg, const char *full_name, const char *value)
{
    *(size_t *)arg += strlen(full_name) + strlen(value);
}

/* Whole lines, each with the file's name, and none that could steer a terminal. */
static void check_errors(const struct conf_errors *e)
{
    uint32_t n = 0;
    CHECK(e->n > 0 && e->text != NULL);
    for (const char *line = e->text, *end; *line != '\0'; line = end + 1) {
        CHECK((end = strchr(line, '\n')) != NULL && strncmp(line, "/etc/c.yaml:", 12) == 0);
        for (const char *p = line; p < end; p++)
            CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
        n++;
    }
    CHECK(n == e->n || (n == e->n + 1 && strstr(e->text, ": there are more errors; ") != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf *c = NULL;
    struct conf_errors e = {0};
    int rc = conf_parse("/etc/c.yaml", (const char *)data, size, &c, &e);
    if (rc != 0) {
        CHECK(rc == ERR_CONFIG);
        check_errors(&e);
        conf_errors_fini(&e);
        return 0;
    }
    size_t shown = 0;
    CHECK(e.text == NULL && c->n_streams > 0 && conf_visit(c, count, &shown) == 0 && shown > 0);
    for (uint32_t i = 0; i < c->n_streams; i++) {
        char *canonical;
        CHECK(conf_stream_canonical(c, &c->streams[i], &canonical) == 0);
        free(canonical);
    }
    conf_free(c);
    return 0;
}
