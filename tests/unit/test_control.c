/* The control socket: where it listens, what it refuses, and that nobody is hurt by what anyone sends. */
#include "control/commands.h"
#include "control/control.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

struct fixture {
    char folder[32], path[64], endpoint[80];
    struct conf conf;
    struct conf_stream streams[2];
    struct roster roster;
    struct control_context context;
    struct control *control;
    void *zmq;
};

static char name_chat[] = "chat", name_code[] = "code";

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (f == NULL)
        return -1;
    strcpy(f->folder, "/tmp/test_control.XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        return -1;
    (void)snprintf(f->path, sizeof f->path, "%s/control", f->folder);
    (void)snprintf(f->endpoint, sizeof f->endpoint, "ipc://%s", f->path);
    f->streams[0] = (struct conf_stream){.name = name_chat, .seq_len = 4096, .global_batch = 6};
    f->streams[1] = (struct conf_stream){.name = name_code, .seq_len = 4096, .global_batch = 6};
    f->conf = (struct conf){.control_listen = f->endpoint, .streams = f->streams, .n_streams = 2};
    f->roster = (struct roster){.running = &f->conf, .file = &f->conf};
    f->context = (struct control_context){.roster = &f->roster};
    f->zmq = zmq_ctx_new();
    *state = f;
    return f->zmq != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    control_close(f->control);
    (void)zmq_ctx_term(f->zmq);
    (void)unlink(f->path);
    (void)rmdir(f->folder);
    free(f);
    return 0;
}

static void open_control(struct fixture *f)
{
    struct err err = {""};
    if (control_open(&f->context, &f->control, &err) != 0)
        fail_msg("%s", err.text);
}

static void *client(struct fixture *f, int type)
{
    const int zero = 0;
    void *socket = zmq_socket(f->zmq, type);
    assert_non_null(socket);
    (void)zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero);
    assert_int_equal(zmq_connect(socket, f->endpoint), 0);
    return socket;
}

/* Serves until the client has a reply, and gives its code: "" for one that is no error. */
static void reply_code(struct fixture *f, void *socket, char ret[64])
{
    char data[8192];
    int n;
    while ((n = zmq_recv(socket, data, sizeof data, ZMQ_DONTWAIT)) < 0 ||
           n == 0) /* 0: a DEALER sees the delimiter */
        assert_int_equal(control_wait(f->control, -1, 1), CONTROL_TIMEOUT);
    const struct token_cursor reply = {data, data + n};
    assert_in_range(n, 1, sizeof data);
    assert_int_equal(ctl_get_uint(reply, "version"), CTL_VERSION);
    const struct token code = ctl_get_text(reply, "code"), words = ctl_get_text(reply, "error");
    assert_int_equal(ctl_get_bool(reply, "ok"), code.size == 0);
    assert_int_equal(words.size == 0, code.size == 0);
    (void)snprintf(ret, 64, "%.*s", (int)code.size, code.data);
}

/* A whole request without arguments. */
static void begin(struct ctl_writer *w, const char *command)
{
    ctl_init(w);
    ctl_put_map(w, NULL);
    ctl_put_uint(w, "version", CTL_VERSION);
    ctl_put_text(w, "command", command);
    ctl_put_map(w, "arguments");
}

static void send_request(struct ctl_writer *w, void *socket)
{
    ctl_put_end(w);
    ctl_put_end(w);
    assert_int_equal(w->rc, 0);
    assert_true(zmq_send(socket, w->buf.data, w->buf.size, 0) >= 0);
    ctl_fini(w);
}

/* ---- where it listens ---- */

static void test_file_mode(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    open_control(f);
    assert_int_equal(stat(f->path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0660);
}

static void expect_refusal(struct fixture *f, int rc, const char *words)
{
    struct err err = {""};
    struct control *none = NULL;
    assert_int_equal(control_open(&f->context, &none, &err), rc);
    assert_null(none);
    if (strstr(err.text, words) == NULL || strstr(err.text, "control.listen") == NULL)
        fail_msg("'%s' does not say '%s'", err.text, words);
}

static void test_folder_missing(void **state)
{
    struct fixture *f = *state;
    (void)snprintf(f->endpoint, sizeof f->endpoint, "ipc://%s/no/control", f->folder);
    expect_refusal(f, -ENOENT, "create it");
}

static void test_second_daemon(void **state)
{
    struct fixture *f = *state;
    open_control(f);
    expect_refusal(f, -EADDRINUSE, "another daemon");
    char code[64];
    struct ctl_writer w;
    void *socket = client(f, ZMQ_REQ); /* the first one is still there */
    begin(&w, "commands");
    send_request(&w, socket);
    reply_code(f, socket, code);
    assert_string_equal(code, "");
    (void)zmq_close(socket);
}

static void test_left_behind(void **state)
{
    struct fixture *f = *state;
    open_control(f);
    char aside[80];
    (void)snprintf(aside, sizeof aside, "%s.old", f->path);
    assert_int_equal(rename(f->path, aside), 0); /* as kill -9 leaves it: a socket that nobody listens on */
    control_close(f->control);
    f->control = NULL;
    assert_int_equal(rename(aside, f->path), 0);
    assert_int_equal(ctl_probe(f->path), -ECONNREFUSED);
    open_control(f);
    assert_int_equal(ctl_probe(f->path), 0);
}

static void test_not_a_socket(void **state)
{
    struct fixture *f = *state;
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    (void)fclose(file);
    expect_refusal(f, -ENOTSOCK, "not a socket");
    assert_int_equal(access(f->path, F_OK), 0); /* and it is still there */
}

static void test_not_an_endpoint(void **state)
{
    struct fixture *f = *state;
    strcpy(f->endpoint, "carrier-pigeon://roof");
    expect_refusal(f, -EPROTONOSUPPORT, "an endpoint is");
}

static void test_path_too_long(void **state)
{
    struct fixture *f = *state;
    char endpoint[256], name[120];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%s/%s", f->folder, name);
    f->conf.control_listen = endpoint;
    expect_refusal(f, -ENAMETOOLONG, "107");
}

static void test_no_socket(void **state)
{
    struct fixture *f = *state;
    const int fd = eventfd(1, EFD_CLOEXEC);
    f->endpoint[0] = '\0';
    open_control(f);
    assert_int_equal(control_wait(f->control, -1, 0), CONTROL_TIMEOUT);
    assert_int_equal(control_wait(f->control, fd, -1), CONTROL_FD);
    (void)close(fd);
}

/* ---- what it refuses ---- */

struct bad {
    const char *data;
    size_t size;
    const char *code;
};
#define BYTES(text, code)            \
    {                                \
        text, sizeof(text) - 1, code \
    }

static void test_bad_messages(void **state)
{
    struct fixture *f = *state;
    static const struct bad cases[] = {
        BYTES("", "bad-message"),
        BYTES("status", "bad-message"),
        BYTES("\xc1", "bad-message"),
        BYTES("\x93\1\2\3", "bad-message"),
        BYTES("\xdf\xff\xff\xff\xff", "bad-message"), /* four billion members in five bytes */
        BYTES("\x80\x80", "bad-message"),             /* two maps */
        BYTES("\x80", "bad-version"),                 /* no version */
        BYTES("\x82\xa7version\2\xa7"
              "command\xa6status",
              "bad-version"),
        BYTES("\x81\xa7version\1", "unknown-command"),
        BYTES("\x82\xa7version\1\xa7"
              "command\5",
              "unknown-command"),
        BYTES("\x82\xa7version\1\xa7"
              "command\xa6stauts",
              "unknown-command"),
        BYTES("\x83\xa7version\1\xa7"
              "command\xa8"
              "commands\xa9"
              "arguments\5",
              "bad-message"),
        BYTES("\x83\xa7version\1\xa7"
              "command\xa8"
              "commands\xa9"
              "arguments\x81\5\5",
              "bad-message"),
        BYTES("\x83\xa7version\1\xa7"
              "command\xa8"
              "commands\xa9"
              "arguments\x81\xa1x\5",
              "bad-argument"),
        BYTES("\x82\xa7version\1\xa7"
              "command\xa8"
              "commands",
              ""), /* no arguments are fine */
    };
    open_control(f);
    void *socket = client(f, ZMQ_REQ);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char code[64];
        assert_true(zmq_send(socket, cases[i].data, cases[i].size, 0) >= 0);
        reply_code(f, socket, code);
        if (strcmp(code, cases[i].code) != 0)
            fail_msg("case %zu: '%s' instead of '%s'", i, code, cases[i].code);
    }
    (void)zmq_close(socket);
}

/* One argument, or none, of each wrong kind; the handler must not be reached: there is no feed behind this
 * control. */
static void expect_argument_error(struct fixture *f, const char *command, void (*put)(struct ctl_writer *),
                                  const char *code, const char *words)
{
    struct ctl_writer w;
    struct request q;
    begin(&w, command);
    put(&w);
    ctl_put_end(&w);
    ctl_put_end(&w);
    request_run(&q, &f->context, w.buf.data, w.buf.size);
    assert_true(q.failed);
    assert_int_equal(request_seal(&q), 0);
    const struct token_cursor reply = {q.reply.buf.data, q.reply.buf.data + q.reply.buf.size};
    const struct token got = ctl_get_text(reply, "code"), text = ctl_get_text(reply, "error");
    if (!token_is(&got, code) || memmem(text.data, text.size, words, strlen(words)) == NULL)
        fail_msg("%.*s: '%.*s' does not say '%s'", (int)got.size, got.data, (int)text.size, text.data, words);
    request_fini(&q);
    ctl_fini(&w);
}

static void put_nothing(struct ctl_writer *w)
{
    (void)w;
}

static void put_number_for_name(struct ctl_writer *w)
{
    ctl_put_uint(w, "stream", 5);
}

static void put_nul_in_name(struct ctl_writer *w)
{
    ctl_put_bytes(w, "stream", "chat\0x", 6);
}

static void put_long_name(struct ctl_writer *w)
{
    char name[100] = {0};
    memset(name, 'x', sizeof name - 1);
    ctl_put_text(w, "stream", name);
}

static void put_misspelt_stream(struct ctl_writer *w)
{
    ctl_put_text(w, "stream", "caht");
}

static void put_negative_step(struct ctl_writer *w)
{
    ctl_put_text(w, "stream", "chat");
    ctl_put_int(w, "step", -1);
}

static void put_map_for_step(struct ctl_writer *w)
{
    ctl_put_text(w, "stream", "chat");
    ctl_put_map(w, "step");
    ctl_put_end(w);
}

static void put_huge_step(struct ctl_writer *w)
{
    ctl_put_text(w, "stream", "chat");
    ctl_put_uint(w, "step", (uint64_t)1 << 63);
}

static void put_world_0(struct ctl_writer *w)
{
    ctl_put_text(w, "stream", "chat");
    ctl_put_uint(w, "world", 0);
}

static void put_rank_2(struct ctl_writer *w)
{
    ctl_put_text(w, "stream", "chat");
    ctl_put_uint(w, "world", 2);
    ctl_put_uint(w, "rank", 2);
}

static void put_unknown(struct ctl_writer *w)
{
    ctl_put_text(w, "stream", "chat");
    ctl_put_uint(w, "stpe", 1);
}

static void put_number_for_flag(struct ctl_writer *w)
{
    ctl_put_uint(w, "drain", 1);
}

static void put_text_for_list(struct ctl_writer *w)
{
    ctl_put_text(w, "edits", "chat.seed");
}

static void put_number_in_list(struct ctl_writer *w)
{
    ctl_put_list(w, "edits");
    ctl_put_text(w, NULL, "chat.seed");
    ctl_put_uint(w, NULL, 5);
    ctl_put_end(w);
}

static void put_nul_in_list(struct ctl_writer *w)
{
    ctl_put_list(w, "edits");
    ctl_put_text(w, NULL, "chat.seed");
    ctl_put_bytes(w, NULL, "5\0", 2);
    ctl_put_end(w);
}

static void put_long_text_in_list(struct ctl_writer *w)
{
    char *text = calloc(1, ARGUMENT_BYTES_MAX + 2);
    assert_non_null(text);
    memset(text, 'x', ARGUMENT_BYTES_MAX + 1);
    ctl_put_list(w, "edits");
    ctl_put_text(w, NULL, "chat.seed");
    ctl_put_text(w, NULL, text);
    ctl_put_end(w);
    free(text);
}

static void put_three_edits(struct ctl_writer *w)
{
    ctl_put_list(w, "edits");
    ctl_put_text(w, NULL, "chat.seed");
    ctl_put_text(w, NULL, "5");
    ctl_put_text(w, NULL, "chat.epochs");
    ctl_put_end(w);
}

static void put_one_edit(struct ctl_writer *w)
{
    ctl_put_list(w, "edits");
    ctl_put_text(w, NULL, "chat.seed");
    ctl_put_end(w);
}

static void put_long_who(struct ctl_writer *w)
{
    char name[200] = {0};
    memset(name, 'x', sizeof name - 1);
    ctl_put_text(w, "who", name);
}

static void put_stream_twice(struct ctl_writer *w)
{
    ctl_put_text(w, "stream", "chat");
    ctl_put_text(w, "stream", "code");
}

static void put_wrong_kind(struct ctl_writer *w)
{
    ctl_put_text(w, "kind", "tokenizer");
    ctl_put_text(w, "name", "x");
}

static void put_generation_0(struct ctl_writer *w)
{
    ctl_put_text(w, "stream", "chat");
    ctl_put_uint(w, "generation", 0);
}

static void test_wrong_arguments_of_changes(void **state)
{
    struct fixture *f = *state;
    expect_argument_error(f, "set", put_nothing, "bad-argument", "'edits' is missing");
    expect_argument_error(f, "set", put_text_for_list, "bad-argument", "a list of 2 to");
    expect_argument_error(f, "set", put_one_edit, "bad-argument", "a list of 2 to");
    expect_argument_error(f, "set", put_number_in_list, "bad-argument", "a list of 2 to");
    expect_argument_error(f, "set", put_nul_in_list, "bad-argument", "none of them NUL");
    expect_argument_error(f, "set", put_long_text_in_list, "bad-argument", "32768 bytes");
    expect_argument_error(f, "set", put_three_edits, "bad-argument", "missing after 'chat.epochs'");
    expect_argument_error(f, "reload", put_long_who, "bad-argument", "128 bytes");
    expect_argument_error(f, "pause", put_stream_twice, "bad-argument", "'stream' is there twice");
    expect_argument_error(f, "add", put_wrong_kind, "bad-argument", "corpus, stream and template");
    expect_argument_error(f, "remove", put_wrong_kind, "bad-argument", "corpus, stream and template");
    expect_argument_error(f, "revert", put_generation_0, "bad-argument", "1 to 4294967295");
    expect_argument_error(f, "history", put_misspelt_stream, "unknown-stream", "did you mean 'chat'");
    expect_argument_error(f, "cancel", put_nothing, "unchanged", "no change is being prepared");
}

static void test_wrong_arguments(void **state)
{
    struct fixture *f = *state;
    expect_argument_error(f, "preview", put_nothing, "bad-argument", "'stream' is missing");
    expect_argument_error(f, "preview", put_number_for_name, "bad-argument", "'stream' is a text");
    expect_argument_error(f, "preview", put_nul_in_name, "bad-argument", "NUL");
    expect_argument_error(f, "preview", put_long_name, "bad-argument", "64 bytes");
    expect_argument_error(f, "preview", put_misspelt_stream, "unknown-stream", "did you mean 'chat'");
    expect_argument_error(f, "tail", put_misspelt_stream, "unknown-stream", "chat, code");
    expect_argument_error(f, "quarantine", put_misspelt_stream, "unknown-stream", "'caht'");
    expect_argument_error(f, "preview", put_negative_step, "bad-argument", "'step' is a number, 0 to");
    expect_argument_error(f, "preview", put_map_for_step, "bad-argument", "'step' is a number");
    expect_argument_error(f, "preview", put_huge_step, "bad-argument", "9223372036854775807");
    expect_argument_error(f, "preview", put_world_0, "bad-argument", "1 to 4294967295");
    expect_argument_error(f, "preview", put_rank_2, "bad-argument", "are 0 to 1");
    expect_argument_error(f, "preview", put_unknown, "bad-argument", "stream, step, rank");
    expect_argument_error(f, "stop", put_number_for_flag, "bad-argument", "'drain' is a bool");
    expect_argument_error(f, "status", put_unknown, "bad-argument", "takes none");
}

/* ---- nobody is hurt ---- */

static void test_random_bytes(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 20250101;
    for (unsigned round = 0; round < 20000; round++) {
        static const char start[] = "\x83\xa7version\1\xa7"
                                    "command\xa8"
                                    "commands\xa9"
                                    "arguments";
        const size_t kept = round % 3 == 0 ? 0 : sizeof start - 1, size = kept + round % 40;
        struct request q;
        char *data = malloc(size > 0 ? size : 1);
        assert_non_null(data);
        memcpy(data, start, kept);
        for (size_t i = kept; i < size; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            data[i] = (char)(seed >> 56);
        }
        request_run(&q, &f->context, data, size);
        assert_int_equal(request_seal(&q), 0);
        request_fini(&q);
        free(data);
    }
}

static void test_large_messages(void **state)
{
    struct fixture *f = *state;
    char code[64];
    struct ctl_writer w;
    open_control(f);
    void *greedy = client(f, ZMQ_REQ), *huge = client(f, ZMQ_DEALER), *other = client(f, ZMQ_REQ);
    char *data = calloc(1, 4 << 20);
    assert_non_null(data);
    assert_true(zmq_send(greedy, data, CTL_REQUEST_MAX + 1, 0) >= 0);
    reply_code(f, greedy, code);
    assert_string_equal(code, "bad-message");
    assert_true(zmq_send(huge, data, 4 << 20, 0) >= 0); /* hung up on */
    begin(&w, "commands");
    send_request(&w, other);
    reply_code(f, other, code);
    assert_string_equal(code, "");
    free(data);
    (void)zmq_close(greedy);
    (void)zmq_close(huge);
    (void)zmq_close(other);
}

static void test_many_frames(void **state)
{
    struct fixture *f = *state;
    char code[64];
    struct ctl_writer w;
    open_control(f);
    void *socket = client(f, ZMQ_DEALER);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(zmq_send(socket, "x", 1, ZMQ_SNDMORE) >= 0);
    begin(&w, "commands");
    send_request(&w, socket);
    reply_code(f, socket, code);
    assert_string_equal(code, "");
    assert_true(zmq_send(socket, "", 0, 0) >= 0); /* one empty frame is an empty request */
    reply_code(f, socket, code);
    assert_string_equal(code, "bad-message");
    (void)zmq_close(socket);
}

static void test_client_gone(void **state)
{
    struct fixture *f = *state;
    char code[64];
    struct ctl_writer w;
    open_control(f);
    for (unsigned i = 0; i < 100; i++) {
        void *socket = client(f, ZMQ_REQ);
        (void)zmq_setsockopt(socket, ZMQ_LINGER, &(int){-1}, sizeof(int));
        begin(&w, "commands");
        send_request(&w, socket);
        (void)zmq_close(socket); /* and does not wait for its reply */
    }
    void *socket = client(f, ZMQ_REQ);
    begin(&w, "commands");
    send_request(&w, socket);
    reply_code(f, socket, code);
    assert_string_equal(code, "");
    (void)zmq_close(socket);
}

/* ---- the end ---- */

static void expect_stop(struct fixture *f, bool drain, enum control_event event)
{
    char code[64];
    struct ctl_writer w;
    open_control(f);
    void *socket = client(f, ZMQ_REQ);
    begin(&w, "stop");
    if (drain)
        ctl_put_bool(&w, "drain", true);
    send_request(&w, socket);
    assert_int_equal(control_wait(f->control, -1, -1), event);
    reply_code(f, socket, code); /* serving goes on for as long as the caller wants */
    assert_string_equal(code, "");
    (void)zmq_close(socket);
}

static void test_stop(void **state)
{
    expect_stop(*state, false, CONTROL_STOP);
}

static void test_stop_drain(void **state)
{
    expect_stop(*state, true, CONTROL_DRAIN);
}

static void test_reply_survives_close(void **state)
{
    struct fixture *f = *state;
    char data[8192];
    struct ctl_writer w;
    open_control(f);
    void *socket = client(f, ZMQ_REQ);
    begin(&w, "stop");
    send_request(&w, socket);
    assert_int_equal(control_wait(f->control, -1, -1), CONTROL_STOP);
    control_close(f->control);
    f->control = NULL;
    const int n = zmq_recv(socket, data, sizeof data, 0);
    assert_true(n > 0 && ctl_get_bool((struct token_cursor){data, data + n}, "ok"));
    (void)zmq_close(socket);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_file_mode),
        CASE(test_folder_missing),
        CASE(test_second_daemon),
        CASE(test_left_behind),
        CASE(test_not_a_socket),
        CASE(test_not_an_endpoint),
        CASE(test_path_too_long),
        CASE(test_no_socket),
        CASE(test_bad_messages),
        CASE(test_wrong_arguments),
        CASE(test_wrong_arguments_of_changes),
        CASE(test_random_bytes),
        CASE(test_large_messages),
        CASE(test_many_frames),
        CASE(test_client_gone),
        CASE(test_stop),
        CASE(test_stop_drain),
        CASE(test_reply_survives_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
