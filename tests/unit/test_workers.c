#include "base/workers.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Jobs that note when they ran, and when they were given back. */
struct noted {
    struct job job;
    char name;
    sem_t *until; /* it goes on when this is posted; NULL: at once */
};

static sem_t started, go_long, go_urgent;
static char ran[16], given_back[16];
static atomic_size_t n_ran;
static size_t n_given_back;

static void wait_for(sem_t *s)
{
    while (sem_wait(s) != 0)
        ;
}

static void note_run(struct job *j, void *scratch)
{
    struct noted *n = (struct noted *)j;
    (void)scratch;
    if (n->until != NULL) {
        (void)sem_post(&started);
        wait_for(n->until);
    }
    ran[atomic_fetch_add(&n_ran, 1)] = n->name;
}

static void note_done(struct job *j)
{
    given_back[n_given_back++] = ((struct noted *)j)->name;
}

static int start(void **state)
{
    struct err err;
    memset(ran, 0, sizeof ran);
    memset(given_back, 0, sizeof given_back);
    n_ran = n_given_back = 0;
    (void)sem_init(&started, 0, 0);
    (void)sem_init(&go_long, 0, 0);
    (void)sem_init(&go_urgent, 0, 0);
    return workers_start(1, NULL, NULL, (struct workers **)state, &err);
}

static int stop(void **state)
{
    workers_stop(*state);
    return 0;
}

static void submit(struct workers *w, struct noted *n, char name, bool urgent, sem_t *until)
{
    *n = (struct noted){
        .job = {.run = note_run, .done = note_done, .urgent = urgent}, .name = name, .until = until};
    workers_submit(w, &n->job);
    if (until != NULL)
        wait_for(&started);
}

static void wait_until_given_back(struct workers *w, size_t n)
{
    while (n_given_back < n)
        (void)workers_wait(w);
}

static void urgent_jobs_wait_for_no_long_one(void **state)
{
    struct workers *w = *state;
    struct noted jobs[3];
    submit(w, &jobs[0], 'a', false, &go_long);
    submit(w, &jobs[1], 'b', false, NULL);
    submit(w, &jobs[2], 'c', true, NULL);
    wait_until_given_back(w, 1);
    assert_string_equal(given_back, "c");
    (void)sem_post(&go_long);
    wait_until_given_back(w, 3);
    assert_string_equal(given_back, "cab");
}

static void urgent_jobs_go_before_those_that_wait(void **state)
{
    struct workers *w = *state;
    struct noted jobs[6];
    submit(w, &jobs[0], 'a', false, &go_long);
    submit(w, &jobs[1], 'u', true, &go_urgent); /* the other thread is busy, too */
    for (int i = 2; i < 6; i++)
        submit(w, &jobs[i], (char)('a' + i - 1), i == 3 || i == 5, NULL);
    (void)sem_post(&go_long);
    wait_until_given_back(w, 5);
    assert_string_equal(ran, "acebd");
    (void)sem_post(&go_urgent);
    wait_until_given_back(w, 6);
    assert_string_equal(given_back, "acebdu");
}

static pthread_t ran_on, last;

static void note_thread(struct job *j, void *scratch)
{
    ran_on = pthread_self();
    note_run(j, scratch);
}

static void few_threads_do_what_few_can(void **state)
{
    struct workers *w;
    struct err err;
    struct noted job = {.job = {.run = note_thread, .done = note_done}, .name = 'j'};
    (void)state;
    assert_int_equal(workers_start(4, NULL, NULL, &w, &err), 0);
    /* A thread that is only just starting may take one, too, and the one that was called comes back to the
     * front. */
    for (unsigned others = 0, same = 0; same < 50; n_ran = n_given_back = 0) {
        workers_submit(w, &job.job);
        wait_until_given_back(w, 1);
        same = pthread_equal(ran_on, last) ? same + 1 : 0;
        others += same == 0;
        assert_true(others <= 8);
        last = ran_on;
    }
    workers_stop(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(urgent_jobs_wait_for_no_long_one, start, stop),
        cmocka_unit_test_setup_teardown(urgent_jobs_go_before_those_that_wait, start, stop),
        cmocka_unit_test_setup_teardown(few_threads_do_what_few_can, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
