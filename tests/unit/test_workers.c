#include "base/workers.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Jobs that note when they ran, and when they were given back. */
struct noted {
    struct job job;
    char name;
};

static sem_t started, go;
static char ran[16], given_back[16];
static size_t n_ran, n_given_back; /* one worker writes the first, its owner the other */

static void note_run(struct job *j, void *scratch)
{
    (void)scratch;
    ran[n_ran++] = ((struct noted *)j)->name;
}

static void wait_then_note_run(struct job *j, void *scratch)
{
    (void)sem_post(&started);
    while (sem_wait(&go) != 0)
        ;
    note_run(j, scratch);
}

static void note_done(struct job *j)
{
    given_back[n_given_back++] = ((struct noted *)j)->name;
}

static void urgent_jobs_go_before_those_that_wait(void **state)
{
    (void)state;
    struct workers *w;
    struct err err;
    struct noted jobs[5];
    static const bool urgent[5] = {false, false, true, false, true};
    (void)sem_init(&started, 0, 0);
    (void)sem_init(&go, 0, 0);
    assert_int_equal(workers_start(1, NULL, NULL, &w, &err), 0);
    for (int i = 0; i < 5; i++)
        jobs[i] = (struct noted){
            .job = {.run = i == 0 ? wait_then_note_run : note_run, .done = note_done, .urgent = urgent[i]},
            .name = (char)('a' + i)};
    workers_submit(w, &jobs[0].job);
    while (sem_wait(&started) != 0)
        ;
    for (int i = 1; i < 5; i++)
        workers_submit(w, &jobs[i].job);
    (void)sem_post(&go);
    while (n_given_back < 5)
        (void)workers_wait(w);
    workers_stop(w);
    assert_string_equal(ran, "acebd");
    assert_string_equal(given_back, "acebd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urgent_jobs_go_before_those_that_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
