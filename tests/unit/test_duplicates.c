/* Records with the same bytes as an earlier one: which they are, what is kept of that, and what becomes of
 * them in a window. */
#include "base/rng.h"
#include "corpus/sieve.h"
#include "support/window_rig.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- sieve ---- */

static void mark(void *arg, uint64_t number)
{
    uint8_t *marks = arg;
    assert_int_equal(marks[number]++, 0);
}

/* n hashes of which about a half are new; the sieve takes itself to be for `room` of them. */
static void check_sieve(const char *path, uint32_t n, uint64_t room, uint32_t alike)
{
    struct sieve *s = NULL;
    struct err err = {""};
    struct rng rng;
    uint8_t *marks = calloc(n, 1);
    uint8_t *have = calloc(n, 1); /* which of the values below n / 2 came */
    assert_true(marks != NULL && have != NULL);
    uint32_t *values = calloc(n, sizeof *values);
    assert_non_null(values);
    rng_init(&rng, (struct rng_key){.seed = n, .pass = alike});
    if (sieve_new(path, room, &s, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_not_equal(access(path, F_OK), 0);
    for (uint32_t i = 0; i < n; i++) {
        values[i] = rng_below(&rng, n / 2 + 1);
        /* The halves alone tell nothing: low and high of two values are often the same. */
        const uint64_t low = values[i] % alike, high = (uint64_t)(values[i] / alike) * 0x9e3779b97f4a7c15u;
        assert_int_equal(sieve_add(s, low, high, &err), 0);
    }
    if (sieve_run(s, mark, marks, &err) != 0)
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(marks[i], have[values[i]]);
        have[values[i]] = 1;
    }
    sieve_free(s);
    free(marks);
    free(have);
    free(values);
}

static void sieve_finds_all_that_came_before(void **state)
{
    const char *path = folder_path(*state, "sieve");
    check_sieve(path, 1, 1, 1);
    check_sieve(path, 100, 100, 7);
    check_sieve(path, 50000, 50000, 300);
    check_sieve(path, 300000, 1u << 20, 300);  /* 2 partitions of several chunks */
    check_sieve(path, 300000, 1u << 27, 1000); /* 256 */
    check_sieve(path, 20000, UINT32_MAX, 10);  /* as many as there can be */
}

static void sieve_says_where_it_cannot_be(void **state)
{
    struct sieve *s = NULL;
    struct err err = {""};
    assert_int_equal(sieve_new(folder_path(*state, "none/sieve"), 5, &s, &err), -ENOENT);
    assert_non_null(strstr(err.text, "none/sieve: create"));
    assert_null(s);
}

/* ---- which records ---- */

struct setting {
    struct folder *folder;
    char pattern[128], state_dir[128];
    char *paths[1];
    struct conf_corpus conf;
};

static void setting_init(struct setting *s, struct folder *f)
{
    s->folder = f;
    (void)snprintf(s->pattern, sizeof s->pattern, "%s/*.[jt]*", f->path);
    (void)snprintf(s->state_dir, sizeof s->state_dir, "%s/state", f->path);
    s->paths[0] = s->pattern;
    s->conf = (struct conf_corpus){
        .name = (char *)"tulu", .paths = s->paths, .n_paths = 1, .duplicates = DUPLICATES_DROP};
}

static struct corpus *open_it(struct setting *s, const uint64_t *version)
{
    struct corpus *c = NULL;
    struct err err = {""};
    int rc = version != NULL
                 ? corpus_open_version(&s->conf, s->state_dir, *version, &c, &err)
                 : corpus_open(&s->conf, &(struct corpus_place){.state_dir = s->state_dir, .io = IO_PREAD},
                               NULL, &c, &err);
    if (rc != 0)
        fail_msg("%s", err.text);
    return c;
}

/* want: a letter a record, 'd' for a duplicate. */
static void check_corpus(const struct corpus *c, const char *want)
{
    uint64_t n = 0;
    assert_int_equal(corpus_records(c), strlen(want));
    for (uint64_t i = 0; i < corpus_records(c); i++) {
        if (corpus_is_duplicate(c, i) != (want[i] == 'd'))
            fail_msg("record %" PRIu64 " of %s", i, want);
        n += want[i] == 'd';
    }
    assert_int_equal(corpus_duplicates(c), n);
}

static void check(struct setting *s, const uint64_t *version, const char *want)
{
    struct corpus *c = open_it(s, version);
    check_corpus(c, want);
    corpus_close(c);
}

#define A "{\"text\":\"a\"}"
#define B "{\"text\":\"b\"}"

static void white_space_around_and_commas_do_not_count(void **state)
{
    struct setting s;
    setting_init(&s, *state);
    (void)folder_write_text(s.folder, "1.jsonl", A "\n  " A " \t\r\n\n" B "\n" A "\n{\"text\": \"a\"}\n" B);
    (void)folder_write_text(s.folder, "2.json", "[" A ",\n " B " ,{\"text\":\"c\"},{\"text\":\"c\"}\n]");
    check(&s, NULL,
          "-d-d-d"
          "dd-d");
    s.conf.duplicates = DUPLICATES_KEEP;
    check(&s, NULL, "----------");
}

static void lines_of_text_count_but_for_their_end(void **state)
{
    struct setting s;
    setting_init(&s, *state);
    (void)folder_write_text(s.folder, "1.txt", "one\n one\none\r\n\n\none \none\nOne\n one,\n one");
    check(&s, NULL, "--d-d--d");
}

/* Records larger than what is read at once: the same but for their white space, their first or last byte. */
static void large_records_are_compared_whole(void **state)
{
    enum { SIZE = 5 << 20 };
    struct setting s;
    setting_init(&s, *state);
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    s.conf.format = FORMAT_TEXT;
    static const char *const ends[] = {"xx", "xy", "yx", "xx", "yx"};
    assert_non_null(f);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        fprintf(f, "%*s{\"text\":\"%c", i > 2 ? 3 << 20 : 0, "", ends[i][0]);
        for (int k = 0; k < SIZE / 8; k++)
            fprintf(f, " word %c%c", 'a' + k % 26, 'a' + k / 26 % 26);
        fprintf(f, "%c\"}%*s\n", ends[i][1], i > 3 ? 2 << 20 : 0, "");
    }
    assert_int_equal(fclose(f), 0);
    (void)folder_write_text(s.folder, "1.jsonl", text);
    check(&s, NULL, "---dd");
    free(text);
}

/* Many records of random words, against a look at each pair. */
static void random_records(void **state)
{
    enum { N = 4000 };
    struct setting s;
    char want[N + 1], *text;
    size_t size;
    static char records[N][16];
    struct rng rng;
    setting_init(&s, *state);
    rng_init(&rng, (struct rng_key){.seed = 5});
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    for (uint32_t i = 0; i < N; i++) {
        (void)snprintf(records[i], sizeof records[i], "%u", rng_below(&rng, N));
        want[i] = '-';
        for (uint32_t k = 0; k < i && want[i] == '-'; k++)
            want[i] = strcmp(records[k], records[i]) == 0 ? 'd' : '-';
        fprintf(f, "{\"text\":\"%s\"}%.*s\n", records[i], (int)rng_below(&rng, 4), "   ");
    }
    want[N] = '\0';
    assert_int_equal(fclose(f), 0);
    (void)folder_write_text(s.folder, "1.jsonl", text);
    check(&s, NULL, want);
    free(text);
}

/* ---- what is kept ---- */

static const char *file_of(struct setting *s, uint64_t fingerprint)
{
    char name[64];
    (void)snprintf(name, sizeof name, "state/corpora/tulu.%016" PRIx64 ".duplicates", fingerprint);
    return folder_path(s->folder, name);
}

static ino_t inode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

static void what_is_kept_is_found_again_or_made_again(void **state)
{
    struct setting s;
    setting_init(&s, *state);
    (void)folder_write_text(s.folder, "1.jsonl", A "\n" A "\n" B "\n");
    struct corpus *c = open_it(&s, NULL);
    const uint64_t version = corpus_fingerprint(c);
    char *path = strdup(file_of(&s, version));
    const ino_t inode = inode_of(path);
    char whole[64], again[64];
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    const size_t size = fread(whole, 1, sizeof whole, f);
    assert_int_equal(size, 49);
    check(&s, NULL, "-d-");
    assert_int_equal(inode_of(path), inode);

    for (size_t at = 0; at < size; at++) { /* a byte that is another, anywhere */
        assert_int_equal(fseek(f, (long)at, SEEK_SET), 0);
        assert_int_not_equal(fputc(whole[at] ^ 4, f), EOF);
        assert_int_equal(fclose(f), 0);
        check(&s, NULL, "-d-");
        f = fopen(path, "r+");
        assert_non_null(f);
        assert_int_equal(fread(again, 1, sizeof again, f), size);
        assert_memory_equal(whole, again, size);
    }
    assert_int_equal(fclose(f), 0);
    assert_int_equal(truncate(path, 48), 0);
    check(&s, NULL, "-d-");
    assert_int_equal(unlink(path), 0);
    check(&s, NULL, "-d-");
    check_corpus(c, "-d-"); /* opened before all of that */
    corpus_close(c);
    free(path);
}

static void each_version_has_its_own(void **state)
{
    struct setting s;
    struct err err;
    setting_init(&s, *state);
    (void)folder_write_text(s.folder, "1.jsonl", A "\n" B "\n" A "\n");
    struct corpus *c = open_it(&s, NULL);
    const uint64_t first = corpus_fingerprint(c);
    (void)folder_write_text(s.folder, "1.jsonl", A "\n" B "\n" A "\n" B "\n" A "\n{\"text\":\"c\"}\n");
    struct corpus *d = open_it(&s, NULL);
    const uint64_t second = corpus_fingerprint(d);
    check_corpus(c, "--d");
    check_corpus(d, "--ddd-");
    check(&s, &first, "--d");
    assert_int_equal(unlink(file_of(&s, first)), 0);
    check(&s, &first, "--d"); /* made again, of the first records alone */
    corpus_close(c);
    corpus_close(d);

    assert_int_equal(corpus_prune(s.state_dir, "tulu", &second, 1, &err), 0);
    assert_int_not_equal(access(file_of(&s, first), F_OK), 0);
    assert_int_equal(access(file_of(&s, second), F_OK), 0);
    check(&s, NULL, "--ddd-");
}

/* An edit that moves nothing is seen by the file's time alone, and then nothing old is believed. */
static void files_that_were_written_again_are_read_again(void **state)
{
    struct setting s;
    setting_init(&s, *state);
    enum { N = 100000 };
    char *text = malloc(N * strlen(A "\n") + 1);
    assert_non_null(text);
    for (size_t i = 0; i < N; i++)
        memcpy(text + i * strlen(A "\n"), A "\n", strlen(A "\n") + 1);
    (void)folder_write_text(s.folder, "1.jsonl", text);
    struct corpus *c = open_it(&s, NULL);
    const uint64_t before = corpus_fingerprint(c);
    corpus_close(c);
    for (size_t at = N / 2; at < N; at++) { /* until one is found that no sampled block holds */
        text[at * strlen(A "\n") + 9] = 'b';
        (void)folder_write_text(s.folder, "1.jsonl", text);
        c = open_it(&s, NULL);
        assert_true(corpus_scanned(c));
        const bool same = corpus_fingerprint(c) == before;
        assert_int_equal(corpus_duplicates(c), N - 2);
        assert_false(corpus_is_duplicate(c, at));
        corpus_close(c);
        if (same)
            break;
        text[at * strlen(A "\n") + 9] = 'a';
    }
    free(text);
}

static int stop(void *arg, const char *doing, uint64_t done, uint64_t all)
{
    int *left = arg;
    assert_string_equal(doing, "finding duplicates in");
    assert_true(done <= all);
    return --*left == 0;
}

static void it_can_be_cancelled(void **state)
{
    struct setting s;
    struct corpus *c = NULL;
    struct err err = {""};
    setting_init(&s, *state);
    (void)folder_write_text(s.folder, "1.jsonl", A "\n" A "\n" B "\n");
    s.conf.duplicates = DUPLICATES_KEEP;
    check(&s, NULL, "---"); /* indexed: what follows is told of duplicates alone */
    s.conf.duplicates = DUPLICATES_DROP;
    int left = 1;
    assert_int_equal(corpus_open(&s.conf, &(struct corpus_place){.state_dir = s.state_dir, .io = IO_PREAD},
                                 &(struct corpus_progress){stop, &left}, &c, &err),
                     ERR_CANCELLED);
    assert_null(c);
    check(&s, NULL, "-d-");
}

/* ---- in a window ---- */

#define DIALOGUE(q, a)                                                                                  \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"" q "\"},{\"role\":\"assistant\",\"content\":\"" a \
    "\"}]}\n"

static void a_duplicate_is_not_read_and_not_sent(void **state)
{
    struct window_rig r;
    struct err err;
    const struct slot left[] = {{.record = 2}, {.record = 1}, {.record = 0}, {.record = 3}};
    window_rig_open(&r, *state, FORMAT_MESSAGES,
                    DIALOGUE("a", "b") DIALOGUE("c", "d") DIALOGUE("a", "b") DIALOGUE("a", "b"));
    struct window *w = window_rig_left(&r, left, 4);
    assert_int_equal(w->n_docs, 4);
    assert_int_equal(r.n_reads, 4);
    window_unref(w);

    corpus_close(r.corpus);
    r.corpus_conf.duplicates = DUPLICATES_DROP;
    assert_int_equal(
        corpus_open(&r.corpus_conf,
                    &(struct corpus_place){.state_dir = ((struct folder *)*state)->path, .io = IO_PREAD},
                    NULL, &r.corpus, &err),
        0);
    w = window_rig_left(&r, left, 4);
    assert_int_equal(w->n_docs, 2);
    assert_int_equal(r.n_reads, 2);
    assert_int_equal(w->docs[0].record, 1);
    assert_int_equal(w->docs[1].record, 0);
    assert_int_equal(w->n_unusable, 2);
    assert_int_equal(w->unusable[0].record, 2);
    assert_int_equal(w->unusable[0].reason, UNUSABLE_DUPLICATE);
    assert_string_equal(unusable_names[UNUSABLE_DUPLICATE], "duplicate");
    window_unref(w);
    window_rig_close(&r);
}

#define FRESH(test) cmocka_unit_test_setup_teardown(test, folder_new, folder_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(sieve_finds_all_that_came_before),
        FRESH(sieve_says_where_it_cannot_be),
        FRESH(white_space_around_and_commas_do_not_count),
        FRESH(lines_of_text_count_but_for_their_end),
        FRESH(large_records_are_compared_whole),
        FRESH(random_records),
        FRESH(what_is_kept_is_found_again_or_made_again),
        FRESH(each_version_has_its_own),
        FRESH(files_that_were_written_again_are_read_again),
        FRESH(it_can_be_cancelled),
        FRESH(a_duplicate_is_not_read_and_not_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
