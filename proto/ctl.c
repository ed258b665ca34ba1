#include "proto/ctl.h"

#include "proto/utf8.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char map32 = '\xdf', array32 = '\xdd';

void ctl_init(struct ctl_writer *w)
{
    *w = (struct ctl_writer){0};
    msgpack_sbuffer_init(&w->buf);
}

void ctl_fini(struct ctl_writer *w)
{
    msgpack_sbuffer_destroy(&w->buf);
}

/* Whatever fails in a packer is memory; one failure stops the writer, so that only the end has to ask. */
static void check(struct ctl_writer *w, int rc)
{
    if (rc != 0)
        w->rc = -ENOMEM;
}

/* Before each value: counts it where it is a member, and writes its key. The packer is made anew each time,
 * so that a writer holds no pointer to itself and can be moved. */
static bool begin(struct ctl_writer *w, const char *key, msgpack_packer *ret)
{
    *ret = (msgpack_packer){.data = &w->buf, .callback = msgpack_sbuffer_write};
    if (w->rc == 0 && w->depth > 0)
        w->open[w->depth - 1].n++;
    if (w->rc == 0 && key != NULL)
        check(w, msgpack_pack_str_with_body(ret, key, strlen(key)));
    return w->rc == 0;
}

static void put_open(struct ctl_writer *w, const char *key, const char *head)
{
    msgpack_packer pk;
    if (!begin(w, key, &pk))
        return;
    if (w->depth == CTL_DEPTH) {
        w->rc = -ENOMEM;
        return;
    }
    check(w, msgpack_sbuffer_write(&w->buf, head, 1));
    w->open[w->depth].at = w->buf.size;
    w->open[w->depth].n = 0;
    w->depth++;
    check(w, msgpack_sbuffer_write(&w->buf, "\0\0\0", 4));
}

void ctl_put_map(struct ctl_writer *w, const char *key)
{
    put_open(w, key, &map32);
}

void ctl_put_list(struct ctl_writer *w, const char *key)
{
    put_open(w, key, &array32);
}

void ctl_put_end(struct ctl_writer *w)
{
    if (w->rc != 0)
        return;
    w->depth--;
    const uint32_t n = w->open[w->depth].n;
    const char count[4] = {(char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n};
    memcpy(w->buf.data + w->open[w->depth].at, count, sizeof count);
}

void ctl_put_nil(struct ctl_writer *w, const char *key)
{
    msgpack_packer pk;
    if (begin(w, key, &pk))
        check(w, msgpack_pack_nil(&pk));
}

void ctl_put_bool(struct ctl_writer *w, const char *key, bool value)
{
    msgpack_packer pk;
    if (begin(w, key, &pk))
        check(w, value ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk));
}

void ctl_put_uint(struct ctl_writer *w, const char *key, uint64_t value)
{
    msgpack_packer pk;
    if (begin(w, key, &pk))
        check(w, msgpack_pack_uint64(&pk, value));
}

void ctl_put_int(struct ctl_writer *w, const char *key, int64_t value)
{
    msgpack_packer pk;
    if (begin(w, key, &pk))
        check(w, msgpack_pack_int64(&pk, value));
}

void ctl_put_real(struct ctl_writer *w, const char *key, double value)
{
    msgpack_packer pk;
    if (begin(w, key, &pk))
        check(w, msgpack_pack_double(&pk, value));
}

/* How many bytes from data on are UTF-8. */
static size_t valid(const char *data, size_t size)
{
    uint32_t point;
    size_t at = 0;
    for (unsigned n; (n = utf8_next(data + at, size - at, &point)) > 0;)
        at += n;
    return at;
}

void ctl_put_bytes(struct ctl_writer *w, const char *key, const char *data, size_t size)
{
    static const char replacement[] = "\xef\xbf\xbd";
    const size_t n_replacement = sizeof replacement - 1;
    size_t clean = 0;
    for (size_t at = 0, n; at < size; at += n + 1) {
        n = valid(data + at, size - at);
        clean += n + (at + n < size ? n_replacement : 0);
    }
    if (clean > UINT32_MAX)
        w->rc = -ENOMEM;
    msgpack_packer pk;
    if (!begin(w, key, &pk))
        return;
    check(w, msgpack_pack_str(&pk, clean));
    for (size_t at = 0, n; at < size; at += n + 1) {
        n = valid(data + at, size - at);
        check(w, msgpack_pack_str_body(&pk, data + at, n));
        if (at + n < size)
            check(w, msgpack_pack_str_body(&pk, replacement, n_replacement));
    }
}

void ctl_put_text(struct ctl_writer *w, const char *key, const char *text)
{
    if (text == NULL)
        ctl_put_nil(w, key);
    else
        ctl_put_bytes(w, key, text, strlen(text));
}

struct token_cursor ctl_get(struct token_cursor map, const char *key)
{
    static const struct token_cursor absent = {NULL, NULL};
    struct token t;
    if (!token_next(&map, &t) || t.kind != TOKEN_MAP)
        return absent;
    for (uint64_t n = t.number; n > 0; n--) {
        struct token_cursor name = map;
        if (!token_skip(&map))
            return absent;
        if (token_next(&name, &t) && token_is(&t, key))
            return map;
        if (!token_skip(&map))
            return absent;
    }
    return absent;
}

uint64_t ctl_get_uint(struct token_cursor map, const char *key)
{
    struct token t;
    map = ctl_get(map, key);
    return token_next(&map, &t) && t.kind == TOKEN_UINT ? t.number : 0;
}

double ctl_real(const struct token *t, char head)
{
    double wide;
    float narrow;
    const uint32_t low = (uint32_t)t->number;
    memcpy(&wide, &t->number, sizeof wide);
    memcpy(&narrow, &low, sizeof narrow);
    return head == '\xca' ? (double)narrow : wide; /* 0xca: the first byte of a 32-bit one */
}

double ctl_get_real(struct token_cursor map, const char *key)
{
    struct token t;
    map = ctl_get(map, key);
    const struct token_cursor start = map;
    if (!token_next(&map, &t))
        return 0;
    return t.kind == TOKEN_FLOAT      ? ctl_real(&t, *start.at)
           : t.kind == TOKEN_UINT     ? (double)t.number
           : t.kind == TOKEN_NEGATIVE ? (double)(int64_t)t.number
                                      : 0;
}

bool ctl_get_bool(struct token_cursor map, const char *key)
{
    struct token t;
    map = ctl_get(map, key);
    return token_next(&map, &t) && t.kind == TOKEN_BOOL && t.number != 0;
}

struct token ctl_get_text(struct token_cursor map, const char *key)
{
    struct token t;
    map = ctl_get(map, key);
    return token_next(&map, &t) && t.kind == TOKEN_STR ? t : (struct token){.kind = TOKEN_STR, .data = ""};
}

bool ctl_is_nil(struct token_cursor value)
{
    struct token t;
    return !token_next(&value, &t) || t.kind == TOKEN_NIL;
}

uint64_t ctl_get_list(struct token_cursor map, const char *key, struct token_cursor *ret)
{
    struct token t;
    *ret = ctl_get(map, key);
    return token_next(ret, &t) && t.kind == TOKEN_ARRAY ? t.number : 0;
}

struct token_cursor ctl_take(struct token_cursor *list)
{
    const struct token_cursor value = *list;
    if (!token_skip(list))
        *list = (struct token_cursor){NULL, NULL};
    return value;
}

int ctl_probe(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    if (stat(path, &st) != 0)
        return -errno;
    if (!S_ISSOCK(st.st_mode))
        return -ENOTSOCK;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    const int rc = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : -errno;
    (void)close(fd);
    return rc == -EAGAIN ? 0 : rc; /* its queue is full, so there is somebody */
}
