#include "skipalignctl_svg.h"

#include "proto/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LEGEND_SIZE 13.0
#define CHARACTER_WIDTH 0.58 /* of a font's size, about: generous, as fonts differ */

static const struct {
    const char *name, *light, *dark;
} inks[INK__COUNT] = {
    [INK_PAPER] = {"paper", "#ffffff", "#0d1117"},       [INK_TEXT] = {"text", "#1b1f24", "#e6edf3"},
    [INK_QUIET] = {"quiet", "#57606a", "#9da7b3"},       [INK_LINE] = {"line", "#d0d7de", "#3d444d"},
    [INK_MASKED] = {"masked", "#0072B2", "#56B4E9"},     [INK_TRAINED] = {"trained", "#E69F00", "#E69F00"},
    [INK_GHOST] = {"ghost", "#9aa4af", "#6e7781"},       [INK_HERE] = {"here", "#56B4E9", "#0072B2"},
    [INK_ORDINARY] = {"ordinary", "#D55E00", "#E69F00"}, [INK_LONG] = {"long", "#1b1f24", "#e6edf3"},
};

static const char *const anchors[] = {"start", "middle", "end"};

/* XML knows few control characters, and marks that turn the direction of writing would turn the rest, too. */
static void put_escaped(FILE *out, const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        uint32_t point;
        const unsigned n = utf8_next(text + at, size - at, &point);
        const bool bad = n == 0 || point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0xfffe ||
                         point == 0xffff || (point >= 0x202a && point <= 0x202e) ||
                         (point >= 0x2066 && point <= 0x2069) || point == 0x200e || point == 0x200f;
        if (bad)
            (void)fputs("\xef\xbf\xbd", out);
        else if (point == '<')
            (void)fputs("&lt;", out);
        else if (point == '>')
            (void)fputs("&gt;", out);
        else if (point == '&')
            (void)fputs("&amp;", out);
        else
            (void)fwrite(text + at, 1, n, out);
        at += n > 0 ? n : 1;
    }
}

static void put_element(FILE *out, const char *name, const char *text)
{
    (void)fprintf(out, "<%s>", name);
    put_escaped(out, text, strlen(text));
    (void)fprintf(out, "</%s>\n", name);
}

bool svg_begin(struct svg *s, double height, const char *title, const char *description)
{
    *s = (struct svg){.out = NULL};
    s->out = open_memstream(&s->text, &s->size);
    if (s->out == NULL)
        return false;
    (void)fprintf(s->out,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
                  "height=\"%.0f\" role=\"img\" font-family=\"system-ui, -apple-system, Segoe UI, Helvetica, "
                  "Arial, sans-serif\">\n",
                  SVG_WIDTH, height, SVG_WIDTH, height);
    put_element(s->out, "title", title);
    put_element(s->out, "desc", description);
    (void)fputs("<style>@media (prefers-color-scheme: dark) {", s->out);
    for (int i = 0; i < INK__COUNT; i++)
        (void)fprintf(s->out, " .%s {fill: %s} .%s-line {stroke: %s}", inks[i].name, inks[i].dark,
                      inks[i].name, inks[i].dark);
    (void)fputs(" }</style>\n", s->out);
    (void)fprintf(s->out, "<rect class=\"paper\" width=\"%.0f\" height=\"%.0f\" rx=\"8\" fill=\"%s\"/>\n",
                  SVG_WIDTH, height, inks[INK_PAPER].light);
    return true;
}

static int write_file(const struct svg *s, const char *path)
{
    if (strcmp(path, "-") == 0)
        return fwrite(s->text, 1, s->size, stdout) == s->size ? 0 : errno;
    FILE *f = fopen(path, "we");
    if (f == NULL)
        return errno;
    int rc = fwrite(s->text, 1, s->size, f) == s->size ? 0 : errno;
    if (fclose(f) != 0 && rc == 0)
        rc = errno;
    return rc;
}

int svg_end(struct svg *s, const char *path)
{
    (void)fputs("</svg>\n", s->out);
    const bool whole = fclose(s->out) == 0;
    const int rc = whole ? write_file(s, path) : ENOMEM;
    free(s->text);
    if (rc == 0)
        return 0;
    (void)fprintf(stderr,
                  "skipalignctl: --svg: %s: %s; name a file that can be written, or - for the output\n", path,
                  strerror(rc));
    return EXIT_REFUSED;
}

/* ---- shapes ---- */

static void put_fill(struct svg *s, enum ink ink)
{
    (void)fprintf(s->out, " class=\"%s\" fill=\"%s\"", inks[ink].name, inks[ink].light);
}

static void put_stroke(struct svg *s, enum ink ink, double width, const char *dashes)
{
    (void)fprintf(s->out, " class=\"%s-line\" stroke=\"%s\" stroke-width=\"%.1f\"", inks[ink].name,
                  inks[ink].light, width);
    if (dashes != NULL)
        (void)fprintf(s->out, " stroke-dasharray=\"%s\"", dashes);
}

void svg_rect(struct svg *s, enum ink ink, double x, double y, double width, double height)
{
    (void)fputs("<rect", s->out);
    put_fill(s, ink);
    (void)fprintf(s->out, " x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", x, y, width, height);
}

static void put_line(struct svg *s, enum ink ink, double width, const char *dashes, const double at[4])
{
    (void)fputs("<line", s->out);
    put_stroke(s, ink, width, dashes);
    (void)fprintf(s->out, " x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", at[0], at[1], at[2], at[3]);
}

void svg_line(struct svg *s, enum ink ink, double x1, double y1, double x2, double y2)
{
    put_line(s, ink, 1, NULL, (const double[]){x1, y1, x2, y2});
}

void svg_dashed(struct svg *s, enum ink ink, double x1, double y1, double x2, double y2)
{
    put_line(s, ink, 1.2, "3 2.5", (const double[]){x1, y1, x2, y2});
}

void svg_arc(struct svg *s, enum ink ink, double x1, double x2, double y, double rise)
{
    (void)fputs("<path", s->out);
    put_stroke(s, ink, 1.2, "3 2.5");
    (void)fprintf(s->out, " fill=\"none\" d=\"M%.1f,%.1f Q%.1f,%.1f %.1f,%.1f\"/>\n", x1, y, (x1 + x2) / 2,
                  y - 2 * rise, x2, y);
}

void svg_steps(struct svg *s, enum ink ink, const char *dashes, const double *x, const double *y, unsigned n)
{
    (void)fputs("<path", s->out);
    put_stroke(s, ink, 2, dashes);
    (void)fputs(" fill=\"none\" stroke-linejoin=\"round\" d=\"", s->out);
    for (unsigned i = 0; i < n; i++)
        (void)fprintf(s->out, "%s%.1f,%.1f L%.1f,%.1f", i == 0 ? "M" : " L", x[i], y[i], x[i + 1], y[i]);
    (void)fputs("\"/>\n", s->out);
}

void svg_text(struct svg *s, enum ink ink, struct svg_font font, double x, double y, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    const int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    (void)fputs("<text", s->out);
    put_fill(s, ink);
    (void)fprintf(s->out, " x=\"%.1f\" y=\"%.1f\" font-size=\"%.0f\"", x, y, font.size);
    if (font.anchor != ANCHOR_START)
        (void)fprintf(s->out, " text-anchor=\"%s\"", anchors[font.anchor]);
    (void)fputs(font.bold ? " font-weight=\"bold\">" : ">", s->out);
    put_escaped(s->out, text, (size_t)n);
    (void)fputs("</text>\n", s->out);
    free(text);
}

double svg_legend(struct svg *s, enum ink ink, double x, double y, const char *words)
{
    svg_rect(s, ink, x, y - 11, LEGEND_SIZE, LEGEND_SIZE);
    svg_text(s, INK_QUIET, (struct svg_font){.size = LEGEND_SIZE}, x + 19, y, "%s", words);
    return x + 19 + (double)paper_width(words, strlen(words)) * LEGEND_SIZE * CHARACTER_WIDTH + 22;
}
