/* Fetches through the reader's thread: every case on io_uring and on pread. */
#include "corpus/reader.h"

#include "corpus/record.h"
#include "support/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FILE_SIZE (3u << 20)

static const enum io_kind kinds[] = {IO_URING, IO_PREAD};
static char *content;

static int make_content(void **state)
{
    (void)state;
    content = malloc(FILE_SIZE);
    if (content == NULL)
        return -1;
    for (uint32_t i = 0; i < FILE_SIZE; i++)
        content[i] = (char)(i * 2654435761u >> 11);
    return 0;
}

static int free_content(void **state)
{
    (void)state;
    free(content);
    return 0;
}

/* NULL: the kernel refuses this kind. */
static struct reader *start(enum io_kind kind)
{
    struct reader *r = NULL;
    enum io_kind became;
    struct err err;
    int rc = reader_start(kind, &r, &became, &err);
    if (rc != 0 && kind == IO_URING) {
        print_message("io_uring: skipped: %s\n", err.text);
        return NULL;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(became, kind);
    return r;
}

/* A fetch, and the test's wait for its end. */
struct task {
    struct fetch fetch;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    uint32_t n_done;
};

static void on_done(struct fetch *f)
{
    struct task *t = (struct task *)f; /* its first member */
    (void)pthread_mutex_lock(&t->lock);
    t->n_done++;
    (void)pthread_cond_signal(&t->ended);
    (void)pthread_mutex_unlock(&t->lock);
}

static void task_submit(struct task *t, struct reader *r, struct fetch_read *reads, uint32_t n)
{
    *t = (struct task){.fetch = {.reads = reads, .n_reads = n, .done = on_done}};
    assert_int_equal(pthread_mutex_init(&t->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&t->ended, NULL), 0);
    reader_submit(r, &t->fetch);
}

/* Of one that nobody waits for. */
static void release_when_done(struct fetch *f)
{
    fetch_release(f);
    ((struct task *)f)->n_done++;
}

static void task_wait(struct task *t)
{
    (void)pthread_mutex_lock(&t->lock);
    while (t->n_done == 0)
        (void)pthread_cond_wait(&t->ended, &t->lock);
    (void)pthread_mutex_unlock(&t->lock);
}

static void task_release(struct task *t)
{
    assert_int_equal(t->n_done, 1);
    fetch_release(&t->fetch);
    (void)pthread_cond_destroy(&t->ended);
    (void)pthread_mutex_destroy(&t->lock);
}

static void check_read(const struct fetch_read *read)
{
    static const char zeros[RECORD_PADDING];
    assert_int_equal(read->error, 0);
    assert_non_null(read->data);
    assert_memory_equal(read->data, content + read->offset, read->size);
    assert_memory_equal(read->data + read->size, zeros, RECORD_PADDING);
}

/* Thousands of reads in fetches that overlap in time; sizes from 0 over a slab's to far beyond it. */
static void test_many_fetches(void **state)
{
    enum { FETCHES = 12, READS = 700, ROUNDS = 3 };
    int fd = open(folder_write(*state, "f", content, FILE_SIZE), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct fetch_read *reads = calloc(FETCHES * READS, sizeof *reads);
    struct task *tasks = calloc(FETCHES, sizeof *tasks);
    assert_non_null(reads);
    assert_non_null(tasks);
    for (size_t k = 0; k < 2; k++) {
        struct reader *r = start(kinds[k]);
        if (r == NULL)
            continue;
        uint64_t bytes = 0;
        srand(3);
        for (int round = 0; round < ROUNDS; round++) {
            for (uint32_t i = 0; i < FETCHES; i++) {
                struct fetch_read *mine = reads + i * READS;
                for (uint32_t j = 0; j < READS; j++) {
                    uint32_t max = j % 100 == 99 ? 400000 : j % 10 == 9 ? 20000 : 1500;
                    uint32_t size = (uint32_t)rand() % max;
                    mine[j] = (struct fetch_read){
                        .fd = fd, .size = size, .offset = (uint32_t)rand() % (FILE_SIZE - size), .error = 77};
                    bytes += size;
                }
                task_submit(&tasks[i], r, mine, READS);
            }
            for (uint32_t i = 0; i < FETCHES; i++) {
                task_wait(&tasks[i]);
                for (uint32_t j = 0; j < READS; j++)
                    check_read(&reads[i * READS + j]);
                task_release(&tasks[i]);
            }
        }
        struct reader_stats stats;
        reader_get_stats(r, &stats);
        assert_int_equal(stats.reads, FETCHES * READS * ROUNDS);
        assert_int_equal(stats.bytes, bytes);
        reader_stop(r);
    }
    free(tasks);
    free(reads);
    (void)close(fd);
}

/* A file that shrinks while it is served, a read past its end, and a descriptor that is not one. */
static void test_errors_stay_with_their_read(void **state)
{
    const char *path = folder_write(*state, "f", content, 100000);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t k = 0; k < 2; k++) {
        struct reader *r = start(kinds[k]);
        if (r == NULL)
            continue;
        struct fetch_read reads[5] = {{.fd = fd, .offset = 10, .size = 100},
                                      {.fd = fd, .offset = 60000, .size = 100},
                                      {.fd = fd, .offset = 49950, .size = 100},
                                      {.fd = -1, .offset = 0, .size = 100},
                                      {.fd = fd, .offset = 49900, .size = 100}};
        struct task t;
        assert_int_equal(truncate(path, 50000), 0);
        task_submit(&t, r, reads, 5);
        task_wait(&t);
        check_read(&reads[0]);
        assert_int_equal(reads[1].error, ENODATA);
        assert_int_equal(reads[2].error, ENODATA);
        assert_int_equal(reads[3].error, EBADF);
        check_read(&reads[4]);
        task_release(&t);
        reader_stop(r);
    }
    (void)close(fd);
}

static void test_fetch_without_work(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct reader *r = start(kinds[k]);
        if (r == NULL)
            continue;
        struct task none, empty;
        struct fetch_read reads[2] = {{.fd = -1}, {.fd = -1}};
        task_submit(&none, r, NULL, 0);
        task_submit(&empty, r, reads, 2);
        task_wait(&none);
        task_wait(&empty);
        check_read(&reads[0]);
        check_read(&reads[1]);
        task_release(&none);
        task_release(&empty);
        reader_stop(r);
    }
}

/* What was submitted is finished by a stop that follows at once. */
static void test_stop_finishes(void **state)
{
    enum { FETCHES = 20, READS = 100 };
    int fd = open(folder_write(*state, "f", content, FILE_SIZE), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t k = 0; k < 2; k++) {
        struct reader *r = start(kinds[k]);
        if (r == NULL)
            continue;
        struct task *tasks = calloc(FETCHES, sizeof *tasks);
        struct fetch_read *reads = calloc(FETCHES * READS, sizeof *reads);
        assert_non_null(tasks);
        assert_non_null(reads);
        for (uint32_t i = 0; i < FETCHES; i++) {
            for (uint32_t j = 0; j < READS; j++)
                reads[i * READS + j] =
                    (struct fetch_read){.fd = fd, .offset = (i * READS + j) * 997, .size = 500};
            tasks[i].fetch =
                (struct fetch){.reads = reads + i * READS, .n_reads = READS, .done = release_when_done};
            reader_submit(r, &tasks[i].fetch);
        }
        reader_stop(r);
        for (uint32_t i = 0; i < FETCHES; i++)
            assert_int_equal(tasks[i].n_done, 1);
        free(reads);
        free(tasks);
    }
    reader_stop(NULL);
    (void)close(fd);
}

/* Threads that submit and release side by side, as the feed and its workers do. */
struct client {
    struct reader *reader;
    pthread_t thread;
    int fd;
    uint32_t n_wrong;
};

static void *client_run(void *arg)
{
    enum { READS = 50, ROUNDS = 40 };
    struct client *c = arg;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct fetch_read reads[READS];
        struct task t;
        for (uint32_t j = 0; j < READS; j++)
            reads[j] =
                (struct fetch_read){.fd = c->fd, .offset = (round * READS + j) * 1009, .size = 1 + j * 400};
        t = (struct task){.fetch = {.reads = reads, .n_reads = READS, .done = on_done}};
        (void)pthread_mutex_init(&t.lock, NULL);
        (void)pthread_cond_init(&t.ended, NULL);
        reader_submit(c->reader, &t.fetch);
        task_wait(&t);
        for (uint32_t j = 0; j < READS; j++)
            c->n_wrong +=
                reads[j].error != 0 || memcmp(reads[j].data, content + reads[j].offset, reads[j].size) != 0;
        fetch_release(&t.fetch);
        (void)pthread_cond_destroy(&t.ended);
        (void)pthread_mutex_destroy(&t.lock);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    enum { CLIENTS = 4 };
    int fd = open(folder_write(*state, "f", content, FILE_SIZE), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t k = 0; k < 2; k++) {
        struct reader *r = start(kinds[k]);
        if (r == NULL)
            continue;
        struct client clients[CLIENTS];
        for (uint32_t i = 0; i < CLIENTS; i++) {
            clients[i] = (struct client){.reader = r, .fd = fd};
            assert_int_equal(pthread_create(&clients[i].thread, NULL, client_run, &clients[i]), 0);
        }
        for (uint32_t i = 0; i < CLIENTS; i++) {
            assert_int_equal(pthread_join(clients[i].thread, NULL), 0);
            assert_int_equal(clients[i].n_wrong, 0);
        }
        reader_stop(r);
    }
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_fetches, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_errors_stay_with_their_read, folder_new, folder_free),
        cmocka_unit_test(test_fetch_without_work),
        cmocka_unit_test_setup_teardown(test_stop_finishes, folder_new, folder_free),
        cmocka_unit_test_setup_teardown(test_many_threads, folder_new, folder_free),
    };
    return cmocka_run_group_tests(tests, make_content, free_content);
}
