/* Results for people: colours, widths, numbers and tables on a terminal. */
#include "proto/utf8.h"
#include "skipalignctl.h"

#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define WIDTH_DEFAULT 100 /* where there is no terminal to ask */
#define WIDTH_MIN 40
#define WIDTH_MAX 120 /* longer lines are hard to read */

static const char *const escapes[STYLE__COUNT] = {
    [STYLE_PLAIN] = "",          [STYLE_DIM] = "\033[2m",      [STYLE_BOLD] = "\033[1m",
    [STYLE_USER] = "\033[36m",   [STYLE_TRAINED] = "\033[32m", [STYLE_TRAINED_BOLD] = "\033[1;32m",
    [STYLE_SYMBOL] = "\033[35m", [STYLE_JUMP] = "\033[33m",    [STYLE_BAD] = "\033[1;31m",
    [STYLE_ADDED] = "\033[32m",  [STYLE_REMOVED] = "\033[31m",
};

void paper_open(struct paper *p, FILE *out)
{
    struct winsize size;
    const char *none = getenv("NO_COLOR"), *term = getenv("TERM"), *columns = getenv("COLUMNS");
    const bool terminal = isatty(fileno(out));
    *p = (struct paper){.out = out, .terminal = terminal, .width = WIDTH_DEFAULT};
    p->colour = terminal && (none == NULL || *none == '\0') && (term == NULL || strcmp(term, "dumb") != 0);
    if (columns != NULL && atoi(columns) > 0)
        p->width = (unsigned)atoi(columns);
    else if (terminal && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        p->width = size.ws_col;
    p->width = p->width < WIDTH_MIN ? WIDTH_MIN : p->width > WIDTH_MAX ? WIDTH_MAX : p->width;
    (void)setlocale(LC_CTYPE, "C.UTF-8"); /* for wcwidth; what we write is UTF-8 whatever the locale */
}

size_t paper_clean(const char *text, size_t size, char ret[16], size_t *ret_n, unsigned *ret_width)
{
    uint32_t point;
    const unsigned n = utf8_next(text, size, &point);
    const int width = n == 0 || point < 0x20 ? -1 : wcwidth((wchar_t)point);
    /* Marks that turn the direction of writing, too: they would reorder the rest of the line. */
    const bool turns =
        n > 0 && ((point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069) ||
                  point == 0x200e || point == 0x200f || point == 0x061c);
    if (n == 0)
        *ret_width = (unsigned)(*ret_n = (size_t)snprintf(ret, 16, "\\x%02x", (uint8_t)text[0]));
    else if (point == '\t')
        *ret_width = (unsigned)(*ret_n = (size_t)snprintf(ret, 16, "    "));
    else if (point < 0x20 || point == 0x7f)
        *ret_width = (unsigned)(*ret_n = (size_t)snprintf(ret, 16, "\\x%02x", point));
    else if (turns || width < 0)
        *ret_width = (unsigned)(*ret_n = (size_t)snprintf(ret, 16, "\\u{%x}", point));
    else {
        memcpy(ret, text, n);
        *ret_n = n;
        *ret_width = (unsigned)width;
    }
    return n > 0 ? n : 1;
}

unsigned paper_width(const char *text, size_t size)
{
    char clean[16];
    size_t n;
    unsigned width, all = 0;
    for (size_t at = 0; at < size; all += width)
        at += paper_clean(text + at, size - at, clean, &n, &width);
    return all;
}

void paper_put_text(const struct paper *p, enum style style, const char *text, size_t size)
{
    char clean[16];
    size_t n;
    unsigned width;
    const bool coloured = p->colour && style != STYLE_PLAIN;
    if (coloured)
        (void)fputs(escapes[style], p->out);
    for (size_t at = 0; at < size;) {
        at += paper_clean(text + at, size - at, clean, &n, &width);
        (void)fwrite(clean, 1, n, p->out);
    }
    if (coloured)
        (void)fputs("\033[0m", p->out);
}

void paper_put(const struct paper *p, enum style style, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    const int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    paper_put_text(p, style, text, (size_t)n);
    free(text);
}

void paper_end(const struct paper *p)
{
    (void)putc('\n', p->out);
}

/* ---- numbers ---- */

static char *next_buffer(void)
{
    static char buffers[16][512];
    static unsigned next;
    return buffers[next++ % 16];
}

const char *paper_count(uint64_t n)
{
    char digits[24], *text = next_buffer();
    const int size = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    char *to = text;
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

static const char *scaled(double n, double unit, const char *const *names, size_t n_names)
{
    char *text = next_buffer();
    size_t i = 0;
    while (n >= unit * 0.9995 && i + 1 < n_names) {
        n /= unit;
        i++;
    }
    (void)snprintf(text, 512, "%.*f%s",
                   i == 0    ? (n < 10 && n != (double)(int)n ? 1 : 0)
                   : n < 10  ? 2
                   : n < 100 ? 1
                             : 0,
                   n, names[i]);
    return text;
}

const char *paper_short(double n)
{
    static const char *const names[] = {"", " k", " M", " G", " T"};
    return scaled(n, 1000, names, sizeof names / sizeof *names);
}

const char *paper_bytes(double n)
{
    static const char *const names[] = {" B", " KiB", " MiB", " GiB", " TiB"};
    return scaled(n, 1024, names, sizeof names / sizeof *names);
}

const char *paper_seconds(double s)
{
    char *text = next_buffer();
    const uint64_t n = (uint64_t)s;
    if (s < 10)
        (void)snprintf(text, 512, "%.1f s", s);
    else if (n < 120)
        (void)snprintf(text, 512, "%u s", (unsigned)n);
    else if (n < 7200)
        (void)snprintf(text, 512, "%u min %u s", (unsigned)(n / 60), (unsigned)(n % 60));
    else if (n < 2 * 86400)
        (void)snprintf(text, 512, "%u h %u min", (unsigned)(n / 3600), (unsigned)(n / 60 % 60));
    else
        (void)snprintf(text, 512, "%llu days %u h", (unsigned long long)(n / 86400),
                       (unsigned)(n / 3600 % 24));
    return text;
}

const char *paper_text(struct token t)
{
    char *text = next_buffer();
    (void)snprintf(text, 512, "%.*s", t.size > 511 ? 511 : (int)t.size, t.data);
    return text;
}

/* ---- tables ---- */

void table_put(struct table *t, enum style style, const char *fmt, ...)
{
    if (t->n == t->cap) {
        const size_t cap = t->cap > 0 ? 2 * t->cap : 64;
        struct table_cell *cells = realloc(t->cells, cap * sizeof *cells);
        if (cells == NULL)
            return;
        t->cells = cells;
        t->cap = cap;
    }
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&t->cells[t->n].text, fmt, ap) >= 0)
        t->cells[t->n++].style = style;
    va_end(ap);
}

void table_print(struct table *t, const struct paper *p, const char *indent)
{
    unsigned widths[16] = {0};
    const size_t n_columns = strlen(t->format);
    for (size_t i = 0; i < t->n; i++) {
        const unsigned width = paper_width(t->cells[i].text, strlen(t->cells[i].text));
        if (width > widths[i % n_columns])
            widths[i % n_columns] = width;
    }
    for (size_t i = 0; i < t->n; i++) {
        const size_t column = i % n_columns;
        const char *text = t->cells[i].text;
        const unsigned pad = widths[column] - paper_width(text, strlen(text));
        const bool right = t->format[column] == '>', last = column + 1 == n_columns;
        (void)fprintf(p->out, "%s%*s", column == 0 ? indent : "  ", right ? (int)pad : 0, "");
        paper_put_text(p, t->cells[i].style, text, strlen(text));
        (void)fprintf(p->out, "%*s%s", right || last ? 0 : (int)pad, "", last ? "\n" : "");
        free(t->cells[i].text);
    }
    free(t->cells);
    *t = (struct table){.format = t->format};
}
