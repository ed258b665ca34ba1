/* plan: what a configuration would give. The skipalignd installed with us makes it out, as for `config
 * check`; it speaks to us as on the control socket, through a pipe. */
#include "skipalignctl.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE 65536

/* ---- asking ---- */

/* Starts it with its output into a pipe, of which *ret_fd is our end. */
static int start_daemon(const struct call *c, pid_t *ret_pid, int *ret_fd)
{
    extern char **environ;
    char path[PATH_MAX];
    int ends[2];
    posix_spawn_file_actions_t actions;
    const char *daemon = daemon_path(path), *stream = call_text(c, "stream");
    const char *const arguments[] = {
        "skipalignd", "-c", c->words[0], "--plan", stream != NULL ? "--stream" : NULL, stream, NULL};
    if (pipe(ends) != 0)
        return errno;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    for (int i = 0; i < 2 && rc == 0; i++)
        rc = posix_spawn_file_actions_addclose(&actions, ends[i]);
    if (rc == 0)
        rc = posix_spawnp(ret_pid, daemon, &actions, NULL, (char *const *)(uintptr_t)arguments, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    if (rc == 0)
        *ret_fd = ends[0];
    else
        (void)close(ends[0]);
    return rc;
}

struct inbox {
    char *data;
    size_t n, cap, taken;
};

/* More of what it says; false: that was all. */
static bool fill(struct inbox *in, int fd)
{
    if (in->cap - in->n < PIECE) {
        char *grown = realloc(in->data, in->cap + 16 * PIECE);
        if (grown == NULL)
            return false;
        in->data = grown;
        in->cap += 16 * PIECE;
    }
    ssize_t n;
    do
        n = read(fd, in->data + in->n, PIECE);
    while (n < 0 && errno == EINTR);
    in->n += n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* The messages, as they become whole, up to the reply. */
static int read_reply(struct call *c, struct inbox *in, int fd, struct token_cursor *ret)
{
    int rc = CALL_MORE;
    while (rc == CALL_MORE) {
        struct token_cursor end = {in->data + in->taken, in->data + in->n};
        if (in->taken == in->n || !token_skip(&end)) {
            if (fill(in, fd))
                continue;
            (void)fputs("skipalignctl: skipalignd ended before it was done; what it said is above\n", stderr);
            return EXIT_REFUSED;
        }
        const char *start = in->data + in->taken;
        in->taken += (size_t)(end.at - start);
        rc = call_take(c, start, (size_t)(end.at - start), ret);
    }
    return rc;
}

static void show(struct token_cursor result);

int run_plan(struct call *c)
{
    struct inbox in = {0};
    struct token_cursor result;
    pid_t pid;
    int fd, status;
    int rc = start_daemon(c, &pid, &fd);
    if (rc != 0) {
        (void)fprintf(
            stderr,
            "skipalignctl: cannot run skipalignd: %s; is it installed beside skipalignctl or on the PATH?\n",
            strerror(rc));
        return EXIT_REFUSED;
    }
    rc = read_reply(c, &in, fd, &result);
    (void)close(fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (rc == 0 && c->json)
        json_print(stdout, result);
    else if (rc == 0)
        show(result);
    free(in.data);
    return rc;
}

/* ---- for people ---- */

static const char *estimate(struct token_cursor of, const char *key, double scale, char ret[64])
{
    const struct token_cursor e = ctl_get(of, key);
    const double value = ctl_get_real(e, "value") * scale, error = ctl_get_real(e, "error") * scale;
    if (scale == 100)
        (void)snprintf(ret, 64, error > 0 ? "%.1f ± %.1f %%" : "%.1f %%", value, error);
    else if (error > 0)
        (void)snprintf(ret, 64, "%s ± %s", paper_count((uint64_t)(value + 0.5)),
                       paper_count((uint64_t)(error + 1)));
    else if (value < 100 && value != (double)(uint64_t)value)
        (void)snprintf(ret, 64, "%.1f", value);
    else
        (void)snprintf(ret, 64, "%s", paper_count((uint64_t)(value + 0.5)));
    return ret;
}

static void put_head(const struct paper *p, const char *name)
{
    paper_put(p, STYLE_DIM, "  %-10s", name);
}

/* Reasons and their shares, as one line. */
static void put_reasons(const struct paper *p, const char *head, struct token_cursor of, const char *key)
{
    struct token_cursor map = ctl_get(of, key);
    struct token t, name;
    if (!token_next(&map, &t) || t.kind != TOKEN_MAP || t.number == 0)
        return;
    put_head(p, head);
    for (uint64_t i = 0; i < t.number && token_next(&map, &name); i++) {
        paper_put(p, STYLE_PLAIN, "%s%s %s", i > 0 ? ", " : "", paper_text(name),
                  coverage_percent(ctl_get_real(ctl_get(of, key), paper_text(name))));
        (void)token_skip(&map);
    }
    paper_end(p);
}

static void put_source(const struct paper *p, struct token_cursor s)
{
    const uint64_t records = ctl_get_uint(s, "records"), all = ctl_get_uint(s, "epoch_records");
    paper_put(p, STYLE_BOLD, "stream %s", paper_text(ctl_get_text(s, "stream")));
    if (ctl_get_bool(s, "exact"))
        paper_put(p, STYLE_DIM, "  exact: all %s records of an epoch were made", paper_count(all));
    else
        paper_put(p, STYLE_DIM, "  estimated from %s of the %s records of an epoch; ± is two standard errors",
                  paper_count(records), paper_count(all));
    paper_end(p);
}

static void put_steps(const struct paper *p, struct token_cursor s)
{
    char a[64], b[64], c[64];
    const uint64_t epochs = ctl_get_uint(s, "epochs");
    put_head(p, "an epoch");
    paper_put(p, STYLE_PLAIN, "%s steps of %s rows", estimate(s, "steps_per_epoch", 1, a),
              paper_count(ctl_get_uint(s, "global_batch")));
    if (epochs > 1)
        paper_put(p, STYLE_PLAIN, "; %s in its %s epochs", estimate(s, "steps", 1, b), paper_count(epochs));
    else if (epochs == 0)
        paper_put(p, STYLE_PLAIN, "; it goes on for ever");
    paper_end(p);
    put_head(p, "a step");
    paper_put(p, STYLE_PLAIN, "%s tokens, %s of them trained; %s padding",
              estimate(s, "tokens_per_step", 1, a), estimate(s, "supervised_per_step", 1, b),
              estimate(s, "padding", 100, c));
    paper_end(p);
}

static void put_documents(const struct paper *p, struct token_cursor s)
{
    char a[64];
    const double rows = ctl_get_real(s, "rows"), documents = ctl_get_real(s, "documents");
    put_head(p, "documents");
    paper_put(p, STYLE_PLAIN, "%s skip; %.1f a row", estimate(s, "skipping", 100, a),
              rows > 0 ? documents / rows : 0);
    paper_end(p);
    put_reasons(p, "do not", s, "kept");
    put_head(p, "records");
    paper_put(p, STYLE_PLAIN, "%s truncated, %s split", coverage_percent(ctl_get_real(s, "truncated")),
              coverage_percent(ctl_get_real(s, "split")));
    paper_end(p);
    put_reasons(p, "not used", s, "unusable");
}

static void put_cost(const struct paper *p, struct token_cursor s)
{
    const struct token_cursor speed = ctl_get(s, "speed"), memory = ctl_get(s, "memory");
    const uint64_t workers = ctl_get_uint(speed, "workers");
    put_head(p, "speed");
    paper_put(p, STYLE_PLAIN, "%s steps (%s tokens) a second made here by %" PRIu64 " worker%s, in %s",
              paper_short(ctl_get_real(speed, "steps_per_second")),
              paper_short(ctl_get_real(speed, "tokens_per_second")), workers, workers == 1 ? "" : "s",
              paper_seconds(ctl_get_real(speed, "seconds")));
    paper_end(p);
    put_head(p, "memory");
    paper_put(p, STYLE_PLAIN, "%s at most; a window takes %s, a step %s, the index %s",
              paper_bytes(ctl_get_real(memory, "configured")), paper_bytes(ctl_get_real(memory, "window")),
              paper_bytes(ctl_get_real(memory, "step")), paper_bytes(ctl_get_real(memory, "index")));
    paper_end(p);
}

static double unusable(struct token_cursor s)
{
    struct token_cursor map = ctl_get(s, "unusable");
    struct token t, name;
    double sum = 0;
    if (!token_next(&map, &t) || t.kind != TOKEN_MAP)
        return 0;
    for (uint64_t i = 0; i < t.number && token_next(&map, &name) && token_skip(&map); i++)
        sum += ctl_get_real(ctl_get(s, "unusable"), paper_text(name));
    return sum;
}

static void put_problem(const struct paper *p, struct token_cursor s)
{
    const double share = unusable(s), most = ctl_get_real(s, "max_unusable");
    if (share <= most)
        return;
    paper_put(p, STYLE_BAD, "  it would fail: %s of the records cannot be used, max_unusable allows %s",
              coverage_percent(share), coverage_percent(most));
    paper_end(p);
}

static void show(struct token_cursor result)
{
    struct token_cursor list;
    struct paper p;
    paper_open(&p, stdout);
    const uint64_t n = ctl_get_list(result, "streams", &list);
    for (uint64_t i = 0; i < n; i++) {
        const struct token_cursor s = ctl_take(&list);
        if (i > 0)
            paper_end(&p);
        put_source(&p, s);
        put_steps(&p, s);
        put_documents(&p, s);
        put_cost(&p, s);
        put_problem(&p, s);
        paper_end(&p);
        show_distances(&p, ctl_get(s, "distances"));
    }
}
