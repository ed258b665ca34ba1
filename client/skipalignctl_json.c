/* Results for programs: msgpack as JSON, and as YAML. */
#include "proto/utf8.h"
#include "skipalignctl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Strings are UTF-8 from the feeder's writer; should one not be, its stray bytes become U+FFFD. */
static void put_string(FILE *out, const char *text, size_t size)
{
    uint32_t point;
    (void)putc('"', out);
    for (size_t at = 0; at < size;) {
        const unsigned n = utf8_next(text + at, size - at, &point);
        if (n == 0)
            (void)fputs("\\ufffd", out);
        else if (point == '"' || point == '\\')
            (void)fprintf(out, "\\%c", (char)point);
        else if (point == '\n')
            (void)fputs("\\n", out);
        else if (point < 0x20 || (point >= 0x7f && point < 0xa0))
            (void)fprintf(out, "\\u%04x", point);
        else
            (void)fwrite(text + at, 1, n, out);
        at += n > 0 ? n : 1;
    }
    (void)putc('"', out);
}

/* The shortest form that reads back as the same number. */
static void put_real(FILE *out, double value)
{
    char text[32];
    if (!isfinite(value)) {
        (void)fputs("null", out);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    (void)fprintf(out, strpbrk(text, ".e") != NULL ? "%s" : "%s.0", text);
}

static void put_scalar(FILE *out, const struct token *t, char head)
{
    switch (t->kind) {
    case TOKEN_BOOL:
        (void)fputs(t->number != 0 ? "true" : "false", out);
        break;
    case TOKEN_UINT:
        (void)fprintf(out, "%" PRIu64, t->number);
        break;
    case TOKEN_NEGATIVE:
        (void)fprintf(out, "%" PRId64, (int64_t)t->number);
        break;
    case TOKEN_FLOAT:
        put_real(out, ctl_real(t, head));
        break;
    case TOKEN_STR:
    case TOKEN_BIN:
        put_string(out, t->data, t->size);
        break;
    default:
        (void)fputs("null", out);
    }
}

/* Replies are walked through before they are printed, and call_ask refuses what nests deeper than CTL_DEPTH.
 */
static void put_json(FILE *out, struct token_cursor *at)
{
    struct token t;
    const char *head = at->at;
    if (!token_next(at, &t))
        return;
    if (t.kind != TOKEN_MAP && t.kind != TOKEN_ARRAY) {
        put_scalar(out, &t, *head);
        return;
    }
    (void)putc(t.kind == TOKEN_MAP ? '{' : '[', out);
    for (uint64_t i = 0; i < t.number; i++) {
        if (i > 0)
            (void)fputs(", ", out);
        put_json(out, at);
        if (t.kind == TOKEN_MAP) {
            (void)fputs(": ", out);
            put_json(out, at);
        }
    }
    (void)putc(t.kind == TOKEN_MAP ? '}' : ']', out);
}

void json_print(FILE *out, struct token_cursor value)
{
    put_json(out, &value);
    (void)putc('\n', out);
}

/* Plain where YAML reads the same string back without quotes for sure. */
static bool is_plain(const struct token *t)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
    const char first = t->size > 0 ? t->data[0] : '\0';
    if (!((first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') || first == '/'))
        return false;
    for (size_t i = 0; i < t->size; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./", t->data[i]) ==
                NULL ||
            t->data[i] == 0)
            return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == t->size && strncasecmp(words[i], t->data, t->size) == 0)
            return false;
    return true;
}

static void put_word(FILE *out, const struct token *t, char head)
{
    if (t->kind == TOKEN_STR && is_plain(t))
        (void)fwrite(t->data, 1, t->size, out);
    else
        put_scalar(out, t, head); /* JSON's strings are YAML's double-quoted ones */
}

/* A value after its key or dash; `start`: on the same line as a dash. */
static void put_yaml(FILE *out, struct token_cursor *at, unsigned indent, bool start)
{
    struct token t, key;
    const char *head = at->at;
    if (!token_next(at, &t))
        return;
    if (t.kind != TOKEN_MAP && t.kind != TOKEN_ARRAY) {
        (void)putc(' ', out);
        put_word(out, &t, *head);
        (void)putc('\n', out);
        return;
    }
    if (t.number == 0) {
        (void)fputs(t.kind == TOKEN_MAP ? " {}\n" : " []\n", out);
        return;
    }
    if (!start)
        (void)putc('\n', out);
    for (uint64_t i = 0; i < t.number; i++) {
        if (start && i == 0)
            (void)putc(' ', out);
        else
            (void)fprintf(out, "%*s", (int)indent, "");
        if (t.kind == TOKEN_MAP) {
            const char *name = at->at;
            if (!token_next(at, &key))
                return;
            put_word(out, &key, *name);
            (void)putc(':', out);
            put_yaml(out, at, indent + 2, false);
        } else {
            (void)putc('-', out);
            put_yaml(out, at, indent + 2, true);
        }
    }
}

void yaml_print(FILE *out, struct token_cursor value)
{
    struct token t;
    struct token_cursor at = value;
    if (!token_next(&at, &t) || t.kind != TOKEN_MAP)
        return;
    for (uint64_t i = 0; i < t.number; i++) {
        struct token key;
        const char *name = at.at;
        if (!token_next(&at, &key))
            return;
        put_word(out, &key, *name);
        (void)putc(':', out);
        put_yaml(out, &at, 2, false);
    }
}
