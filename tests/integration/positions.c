/* positions - the daemon's position ids for test_positions.py: cases (support/position_case.h) on standard
 * input; for each, on standard output, int32: outcome, number of tokens, ids. With an argument, of
 * each line of standard input, as a line: `marks`: its mark, \n and \\ standing for themselves; `names`: what
 * stands for a corpus of that name in keys. */
#include "support/position_case.h"

#include "base/err.h"

#include <string.h>

static int mark_lines(void)
{
    char line[4096];
    while (fgets(line, sizeof line, stdin) != NULL) {
        size_t n = 0;
        for (const char *p = line; *p != '\n' && *p != '\0'; p++)
            line[n++] = *p == '\\' ? (*++p == 'n' ? '\n' : *p) : *p;
        printf("%d\n", pos_mark((struct slice){line, n}));
    }
    return 0;
}

static int hash_names(void)
{
    char line[128];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        printf("%u\n", (uint32_t)rng_name_hash(line));
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct position_case c = {0};
    if (argc > 1)
        return strcmp(argv[1], "marks") == 0 ? mark_lines() : hash_names();
    while (position_case_read(&c, stdin)) {
        position_case_draw(&c);
        const int32_t head[2] = {c.outcome, (int32_t)c.doc.n_tokens};
        CHECK(fwrite(head, sizeof head, 1, stdout) == 1);
        CHECK(fwrite(c.ids, sizeof c.ids[0], c.doc.n_tokens, stdout) == c.doc.n_tokens);
    }
    position_case_fini(&c);
    return 0;
}
