/* reads - records in shuffled order from a file that is not in memory: the reader, against one pread after
 * another. Each round: "READER_SECONDS READER_CPU PREAD_SECONDS PREAD_CPU", and the share of the file that
 * was in memory all the same before each of the two. */
#include "common.h"

#include "corpus/reader.h"
#include "stream/order.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WINDOW 1024 /* reads of a fetch: what a window of a stream asks for at once */
#define FETCHES 3   /* of two workers and one that is read ahead */
#define SEED 17

struct run {
    const struct corpus *corpus;
    struct reader *reader;
    uint64_t n, next; /* records, in the order that they are read in */
    struct fetch fetches[FETCHES];
    pthread_mutex_t lock;
    pthread_cond_t ended;
    struct fetch *done;
};

static struct run run = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

static struct corpus_extent extent(uint64_t i)
{
    struct corpus_extent e;
    corpus_get(run.corpus, order_permute(SEED, 0, 0, corpus_records(run.corpus), i), &e);
    return e;
}

/* The share of the file that stays in memory when the kernel is told to forget it. */
static double forget_file(int fd)
{
    size_t size = (size_t)lseek(fd, 0, SEEK_END), page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = (size + page - 1) / page, resident = 0;
    if (fdatasync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        bench_fail("the file cannot be put out of memory");
    unsigned char *in_memory = malloc(pages);
    void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (in_memory == NULL || map == MAP_FAILED || mincore(map, size, in_memory) != 0)
        bench_fail("mincore does not tell what is in memory");
    for (size_t i = 0; i < pages; i++)
        resident += in_memory[i] & 1;
    (void)munmap(map, size);
    free(in_memory);
    return (double)resident / (double)pages;
}

static void on_done(struct fetch *f)
{
    (void)pthread_mutex_lock(&run.lock);
    f->next = run.done;
    run.done = f;
    (void)pthread_cond_signal(&run.ended);
    (void)pthread_mutex_unlock(&run.lock);
}

static bool submit(struct fetch *f)
{
    struct fetch_read *reads = f->reads;
    *f = (struct fetch){.reads = reads, .done = on_done};
    for (; f->n_reads < WINDOW && run.next < run.n; f->n_reads++, run.next++) {
        struct corpus_extent e = extent(run.next);
        reads[f->n_reads] = (struct fetch_read){.fd = e.fd, .offset = e.offset, .size = (uint32_t)e.size};
    }
    if (f->n_reads > 0)
        reader_submit(run.reader, f);
    return f->n_reads > 0;
}

static struct fetch *take_done(void)
{
    (void)pthread_mutex_lock(&run.lock);
    while (run.done == NULL)
        (void)pthread_cond_wait(&run.ended, &run.lock);
    struct fetch *f = run.done;
    run.done = f->next;
    (void)pthread_mutex_unlock(&run.lock);
    return f;
}

static void read_by_reader(void)
{
    int going = 0;
    run.next = 0;
    for (int i = 0; i < FETCHES; i++)
        going += submit(&run.fetches[i]);
    while (going > 0) {
        struct fetch *f = take_done();
        for (uint32_t i = 0; i < f->n_reads; i++)
            if (f->reads[i].error != 0)
                bench_fail("the reader: %s", strerror((int)f->reads[i].error));
        fetch_release(f);
        going -= !submit(f);
    }
}

static void read_one_by_one(void)
{
    char *data = NULL;
    size_t size = 0;
    for (run.next = 0; run.next < run.n; run.next++) {
        struct corpus_extent e = extent(run.next);
        if (e.size > size && (data = realloc(data, size = e.size)) == NULL)
            bench_fail("no memory");
        bench_read(&e, data);
    }
    free(data);
}

static void measure(int fd, void (*read_all)(void))
{
    double in_memory = forget_file(fd), start = bench_seconds(), cpu = bench_cpu_seconds();
    read_all();
    printf("%f %f %f ", bench_seconds() - start, bench_cpu_seconds() - cpu, in_memory);
}

int main(int argc, char **argv)
{
    static const char usage[] = "reads CONFIG ROUNDS RECORDS";
    double rounds = bench_number(argc, argv, 2, usage);
    const struct conf *conf = bench_conf(argv[1]);
    struct corpus *corpus = bench_corpus(conf);
    enum io_kind kind;
    struct err err;
    if (reader_start(IO_URING, &run.reader, &kind, &err) != 0)
        bench_fail("%s", err.text);
    run.corpus = corpus;
    run.n = (uint64_t)bench_number(argc, argv, 3, usage);
    if (run.n > corpus_records(corpus))
        run.n = corpus_records(corpus);
    for (int i = 0; i < FETCHES; i++)
        if ((run.fetches[i].reads = calloc(WINDOW, sizeof(struct fetch_read))) == NULL)
            bench_fail("no memory");
    for (int i = 0; i < rounds; i++) {
        measure(extent(0).fd, read_by_reader);
        measure(extent(0).fd, read_one_by_one);
        printf("\n");
    }
    reader_stop(run.reader);
    for (int i = 0; i < FETCHES; i++)
        free(run.fetches[i].reads);
    corpus_close(corpus);
    return 0;
}
