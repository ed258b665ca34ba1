#include "corpus/news.h"

#include "corpus/paths.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct tally {
    uint64_t n;
    const char *first; /* of them */
};

struct words {
    char *text;
    size_t used, cap;
};

static const char *const fates[FATE__COUNT] = {
    [FATE_SHORTER] = "became shorter", [FATE_EDITED] = "edited",
    [FATE_REPLACED] = "replaced",      [FATE_GONE] = "gone",
    [FATE_HIDDEN] = "cannot be read",  [FATE_COPY] = "its decompressed copy is lost",
};

static void tally_add(struct tally *t, const char *path)
{
    if (t->n++ == 0)
        t->first = path;
}

/* More words, as far as there is room. */
static void __attribute__((format(printf, 2, 3))) say(struct words *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(w->text + w->used, w->cap - w->used, fmt, args);
    va_end(args);
    if (n > 0)
        w->used = (size_t)n < w->cap - w->used ? w->used + (size_t)n : w->cap - 1;
}

static void say_tally(struct words *w, const char *what, const struct tally *t)
{
    if (t->n == 0)
        return;
    say(w, "%s%s: %s", w->used > 0 ? "; " : "", what, t->first);
    if (t->n > 1)
        say(w, " and %llu more", (unsigned long long)t->n - 1);
}

/* Both lists are sorted. */
static void say_new_files(struct words *w, const struct catalog *c, const struct paths *now)
{
    struct tally new = {0};
    uint32_t known = 0;
    for (size_t i = 0; i < now->n; i++) {
        while (known < c->n_files && strcmp(c->files[known].path, now->list[i]) < 0)
            known++;
        if (known == c->n_files || strcmp(c->files[known].path, now->list[i]) != 0)
            tally_add(&new, now->list[i]);
    }
    say_tally(w, "new", &new);
}

bool news_tell(const struct catalog *c, const struct conf_corpus *conf, char *text, size_t cap)
{
    struct tally tallies[FATE__COUNT] = {{0}};
    char little[2]; /* enough to tell that there are words */
    struct words w = {cap > 0 ? text : little, 0, cap > 0 ? cap : sizeof little};
    struct paths now = {0};
    struct err err;
    uint64_t size, grown = 0;
    w.text[0] = '\0';
    for (uint32_t i = 0; i < c->n_files; i++) {
        const struct catalog_file *f = &c->files[i];
        enum catalog_fate fate = catalog_look(f, &size);
        tally_add(&tallies[fate], f->path);
        if (fate == FATE_GREW)
            grown += size - f->size;
    }
    char grew[64];
    (void)snprintf(grew, sizeof grew, "grew by %llu bytes", (unsigned long long)grown);
    say_tally(&w, grew, &tallies[FATE_GREW]);
    for (size_t fate = FATE_SHORTER; fate < FATE__COUNT; fate++)
        say_tally(&w, fates[fate], &tallies[fate]);
    for (uint32_t i = 0; i < conf->n_paths; i++) {
        int rc = paths_expand(&now, conf->paths[i], &err);
        if (rc != 0 && rc != -ENOENT) /* that a file is gone has been said */
            say(&w, "%s%s", w.used > 0 ? "; " : "", err.text);
    }
    paths_sort_unique(&now);
    say_new_files(&w, c, &now);
    paths_fini(&now);
    return w.used > 0;
}

bool news_lost(const struct catalog *c)
{
    for (uint32_t i = 0; i < c->n_files; i++)
        if (catalog_lost(&c->files[i]))
            return true;
    return false;
}
