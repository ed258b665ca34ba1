#include "config/value.h"

#include "base/nearest.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_BYTES 72 /* of a value in a message; enough to know it again */

const char *value_escape(struct slice text, char ret[VALUE_ESCAPE])
{
    size_t n = 0;
    for (size_t i = 0; i < text.size && i < SHOWN_BYTES; i++) {
        unsigned char c = (unsigned char)text.data[i];
        /* Bytes of UTF-8 pass: libyaml has checked them. Control characters could drive a terminal. */
        if (c < 0x20 || c == 0x7f)
            n += (size_t)snprintf(ret + n, 5, "\\x%02x", c);
        else
            ret[n++] = (char)c;
    }
    (void)snprintf(ret + n, 4, "%s", text.size > SHOWN_BYTES ? "..." : "");
    return ret;
}

static int set_text(struct slice text, char **field)
{
    char *copy = malloc(text.size + 1);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    *field = copy;
    return 0;
}

static int check_length(const struct key *k, struct slice text, struct err *reterr)
{
    if (memchr(text.data, '\0', text.size) != NULL)
        return err_set(reterr, ERR_CONFIG, "holds a NUL byte, which no text may");
    if (text.size == 0 && k->min > 0)
        return err_set(reterr, ERR_CONFIG, "is empty; %s", k->help);
    if ((int64_t)text.size > k->max)
        return err_set(reterr, ERR_CONFIG, "has %zu bytes; at most %" PRId64 " are allowed", text.size,
                       k->max);
    return 0;
}

static int set_name(struct slice text, char **field, struct err *reterr)
{
    char shown[VALUE_ESCAPE];
    size_t ok = 0;
    while (ok < text.size && (isalnum((unsigned char)text.data[ok]) || strchr("._-", text.data[ok]) != NULL))
        ok++;
    if (ok < text.size || text.size == 0 || text.size > 64 || slice_is(text, ".") || slice_is(text, ".."))
        return err_set(reterr, ERR_CONFIG,
                       "\"%s\" cannot be a name; allowed are 1 to 64 letters, digits, '.', '_' and '-', "
                       "but not \".\" or \"..\"",
                       value_escape(text, shown));
    return set_text(text, field);
}

static int set_path(struct slice text, const char *folder, char **field)
{
    if (folder == NULL || folder[0] == '\0' || text.data[0] == '/')
        return set_text(text, field);
    size_t n = strlen(folder);
    char *joined = malloc(n + 1 + text.size + 1);
    if (joined == NULL)
        return -ENOMEM;
    memcpy(joined, folder, n);
    joined[n] = '/';
    memcpy(joined + n + 1, text.data, text.size);
    joined[n + 1 + text.size] = '\0';
    *field = joined;
    return 0;
}

static bool port_is_good(const char *port)
{
    char *end;
    if (strcmp(port, "*") == 0)
        return true;
    if (!isdigit((unsigned char)port[0]) || strlen(port) > 5)
        return false;
    return strtol(port, &end, 10) <= 65535 && *end == '\0';
}

static int set_endpoint(struct slice text, char **field, struct err *reterr)
{
    char shown[VALUE_ESCAPE];
    char *copy;
    int rc = set_text(text, &copy);
    if (rc != 0)
        return rc;
    const char *colon = strrchr(copy, ':');
    bool clean = true;
    for (const char *p = copy; *p != '\0'; p++)
        clean = clean && (unsigned char)*p > ' ' && *p != 0x7f;
    /* A Unix socket's path has 107 bytes at most. */
    if (text.size == 0 ||
        (clean && strncmp(copy, "ipc://", 6) == 0 && copy[6] != '\0' && text.size <= 6 + 107) ||
        (clean && strncmp(copy, "tcp://", 6) == 0 && colon > copy + 6 && port_is_good(colon + 1))) {
        *field = copy;
        return 0;
    }
    free(copy);
    return err_set(
        reterr, ERR_CONFIG,
        "\"%s\" is no endpoint of ours; allowed are tcp://HOST:PORT (tcp://127.0.0.1:5757, tcp://*:5757), "
        "ipc://PATH (at most 107 bytes), and \"\" for no such door",
        value_escape(text, shown));
}

/* read_whole - decimal digits with an optional minus sign and no leading zero: what all versions of YAML read
 * alike. ret_n: bytes read.   Errors: -EINVAL: no whole number; -ERANGE: beyond int64_t. */
static int read_whole(struct slice text, int64_t *ret, size_t *ret_n)
{
    bool negative = text.size > 0 && text.data[0] == '-', over = false;
    size_t start = negative, i = start;
    int64_t value = 0;
    for (; i < text.size && isdigit((unsigned char)text.data[i]); i++) {
        int digit = text.data[i] - '0';
        over = over || __builtin_mul_overflow(value, 10, &value) ||
               __builtin_add_overflow(value, negative ? -digit : digit, &value);
    }
    if (i == start || (i > start + 1 && text.data[start] == '0'))
        return -EINVAL;
    *ret = value;
    *ret_n = i;
    return over ? -ERANGE : 0;
}

static int out_of_range(const struct key *k, struct slice text, struct err *reterr)
{
    char shown[VALUE_ESCAPE], range[SCHEMA_RANGE];
    return err_set(reterr, ERR_CONFIG, "\"%s\" is out of range; allowed is %s%s%s", value_escape(text, shown),
                   schema_range(k, range), k->unit != NULL ? " " : "", k->unit != NULL ? k->unit : "");
}

static int not_a(const struct key *k, const char *what, struct slice text, struct err *reterr)
{
    char shown[VALUE_ESCAPE], range[SCHEMA_RANGE];
    return err_set(reterr, ERR_CONFIG, "\"%s\" is no %s; allowed is %s%s%s", value_escape(text, shown), what,
                   schema_range(k, range), k->unit != NULL ? " " : "", k->unit != NULL ? k->unit : "");
}

static int set_whole(const struct key *k, struct slice text, int64_t *field, struct err *reterr)
{
    int64_t value = 0;
    size_t n = 0;
    int rc = read_whole(text, &value, &n);
    if (rc == -EINVAL || n != text.size)
        return not_a(k, "whole number", text, reterr);
    if (rc != 0 || value < k->min || value > k->max)
        return out_of_range(k, text, reterr);
    *field = value;
    return 0;
}

static int set_bytes(const struct key *k, struct slice text, int64_t *field, struct err *reterr)
{
    static const struct {
        const char *name;
        int64_t bytes;
    } units[] = {{"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
    int64_t value = 0;
    size_t n = 0;
    int rc = read_whole(text, &value, &n);
    for (size_t i = 0; rc != -EINVAL && i < sizeof units / sizeof units[0]; i++) {
        if (!slice_is((struct slice){text.data + n, text.size - n}, units[i].name))
            continue;
        if (rc != 0 || __builtin_mul_overflow(value, units[i].bytes, &value) || value < k->min ||
            value > k->max)
            return out_of_range(k, text, reterr);
        *field = value;
        return 0;
    }
    return not_a(k, "size (a whole number with KiB, MiB or GiB after it, or nothing for bytes)", text,
                 reterr);
}

static int set_real(const struct key *k, struct slice text, double *field, struct err *reterr)
{
    char copy[64], *end = copy;
    /* strtod alone would also take "nan", "inf", hexadecimal and leading space. */
    if (text.size > 0 && text.size < sizeof copy && strspn(text.data, "0123456789.eE+-") >= text.size) {
        memcpy(copy, text.data, text.size);
        copy[text.size] = '\0';
        double value = strtod(copy, &end);
        if (end != copy && *end == '\0') {
            if (!(value >= k->real_min && value <= k->real_max))
                return out_of_range(k, text, reterr);
            *field = value;
            return 0;
        }
    }
    return not_a(k, "number", text, reterr);
}

static int set_bool(const struct key *k, struct slice text, bool *field, struct err *reterr)
{
    if (!slice_is(text, "true") && !slice_is(text, "false"))
        return not_a(k, "truth value", text, reterr);
    *field = text.data[0] == 't';
    return 0;
}

static int set_choice(const struct key *k, struct slice text, uint32_t *field, struct err *reterr)
{
    char shown[VALUE_ESCAPE], range[SCHEMA_RANGE];
    for (uint32_t i = 0; i < k->n_choices; i++) {
        if (slice_is(text, k->choices[i])) {
            *field = i;
            return 0;
        }
    }
    const char *near = nearest(text.data, k->choices, k->n_choices);
    return err_set(reterr, ERR_CONFIG, "\"%s\" is not one of %s%s%s%s", value_escape(text, shown),
                   schema_range(k, range), near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                   near != NULL ? "\"?" : "");
}

int value_set(const struct key *k, struct slice text, const char *folder, void *field, struct err *reterr)
{
    int rc;
    switch (k->type) {
    case KEY_TEXT:
        rc = check_length(k, text, reterr);
        return rc != 0 ? rc : set_text(text, field);
    case KEY_NAME:
        return set_name(text, field, reterr);
    case KEY_PATH:
        rc = check_length(k, text, reterr);
        return rc != 0 ? rc : set_path(text, folder, field);
    case KEY_ENDPOINT:
        rc = check_length(k, text, reterr);
        return rc != 0 ? rc : set_endpoint(text, field, reterr);
    case KEY_INT:
        return set_whole(k, text, field, reterr);
    case KEY_BYTES:
        return set_bytes(k, text, field, reterr);
    case KEY_REAL:
        return set_real(k, text, field, reterr);
    case KEY_BOOL:
        return set_bool(k, text, field, reterr);
    case KEY_CHOICE:
        return set_choice(k, text, field, reterr);
    default:
        CHECK(!"a type of one scalar");
        return ERR_CONFIG;
    }
}

static void print_real(double value, FILE *f)
{
    char text[32];
    int digits = 1;
    do /* the fewest digits that read back as the same number */
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
    while (digits++ < 17 && strtod(text, NULL) != value);
    fputs(text, f);
}

/* unsafe_character - what YAML would not read back as itself: control characters, U+0080 to U+009F, the line
 * separators U+2028 and U+2029, the byte order mark, U+FFFE and U+FFFF. Returns its bytes in UTF-8; 0: safe.
 */
static size_t unsafe_character(const char *p, size_t size, uint32_t *ret)
{
    const unsigned char *u = (const unsigned char *)p;
    uint32_t wide = size < 2 ? 0 : (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
    uint32_t wider = size < 3 ? 0 : (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
    if (u[0] < 0x20 || u[0] == 0x7f) {
        *ret = u[0];
        return 1;
    }
    if (u[0] == 0xc2 && wide >= 0x80 && wide < 0xa0) {
        *ret = wide;
        return 2;
    }
    if ((u[0] & 0xf0) == 0xe0 && (wider == 0x2028 || wider == 0x2029 || wider == 0xfeff || wider >= 0xfffe)) {
        *ret = wider;
        return 3;
    }
    return 0;
}

void value_print_quoted(struct slice text, FILE *f)
{
    fputc('"', f);
    for (size_t i = 0, n = 0; i<text.size; i += n> 0 ? n : 1) {
        char c = text.data[i];
        uint32_t code;
        n = unsafe_character(text.data + i, text.size - i, &code);
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", f);
        else if (n > 0)
            fprintf(f, "\\u%04" PRIx32, code);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

static void print_paths(const char *const *paths, uint32_t n, FILE *f)
{
    fputc('[', f);
    for (uint32_t i = 0; i < n; i++) {
        fputs(i > 0 ? ", " : "", f);
        value_print_quoted(slice_of(paths[i]), f);
    }
    fputc(']', f);
}

static void print_ids(const struct conf_special *ids, uint32_t n, FILE *f)
{
    fputc('{', f);
    for (uint32_t i = 0; i < n; i++) {
        /* libyaml takes a key for one within 1,024 characters, or where it is marked; six make one of ours.
         */
        fputs(i > 0 ? ", " : "", f);
        fputs(strlen(ids[i].piece) > 1024 / 6 - 4 ? "? " : "", f);
        value_print_quoted(slice_of(ids[i].piece), f);
        fprintf(f, ": %" PRId32, ids[i].id);
    }
    fputc('}', f);
}

static void print_stages(const struct conf_stage *stages, uint32_t n, FILE *f)
{
    fputc('{', f);
    for (uint32_t i = 0; i < n; i++) {
        fputs(i > 0 ? ", " : "", f);
        print_real(stages[i].epoch, f);
        fprintf(f, ": %" PRId64, stages[i].max_position);
    }
    fputc('}', f);
}

static void print_text(const char *text, bool quoted, FILE *f)
{
    if (quoted)
        value_print_quoted(slice_of(text), f);
    else
        fputs(text, f);
}

void value_print(const struct key *k, const void *group, bool quoted, FILE *f)
{
    const char *base = group;
    const void *field = base + k->offset;
    switch (k->type) {
    case KEY_TEXT:
    case KEY_NAME:
    case KEY_PATH:
    case KEY_ENDPOINT:
        print_text(*(char *const *)field, quoted, f);
        break;
    case KEY_INT:
        fprintf(f, "%" PRId64, *(const int64_t *)field);
        break;
    case KEY_BYTES:
        schema_print_bytes(*(const int64_t *)field, f);
        break;
    case KEY_REAL:
        print_real(*(const double *)field, f);
        break;
    case KEY_BOOL:
        fputs(*(const bool *)field ? "true" : "false", f);
        break;
    case KEY_CHOICE:
        fputs(k->choices[*(const uint32_t *)field], f);
        break;
    case KEY_PATHS:
        print_paths(*(const char *const *const *)field,
                    *(const uint32_t *)(const void *)(base + k->count_offset), f);
        break;
    case KEY_IDS:
        print_ids(*(const struct conf_special *const *)field,
                  *(const uint32_t *)(const void *)(base + k->count_offset), f);
        break;
    case KEY_STAGES:
        print_stages(*(const struct conf_stage *const *)field,
                     *(const uint32_t *)(const void *)(base + k->count_offset), f);
        break;
    default:
        CHECK(!"a type with a value of its own");
    }
}
