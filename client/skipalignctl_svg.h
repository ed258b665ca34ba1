/* skipalignctl_svg - drawings for papers, issues and dark screens.
 *
 * A drawing has its own background. Shapes carry the colours of a light one, and a style sheet has those of a
 * dark one for viewers that ask for it; both are of Okabe and Ito's palette, which colour-blind eyes tell
 * apart, and nothing is told by colour alone. Text stays text, in whatever sans-serif font there is; no
 * scripts. Text from a corpus or a file goes through svg_text, which escapes it.
 *
 * Units:   pixels of a drawing SVG_WIDTH wide.
 */
#ifndef SKIPALIGN_CTL_SVG_H
#define SKIPALIGN_CTL_SVG_H

#include "skipalignctl.h"

#include <stdio.h>

#define SVG_WIDTH 1000.0
#define SVG_MARGIN 24.0

/* What a shape or a text is. */
enum ink {
    INK_PAPER,
    INK_TEXT,
    INK_QUIET,   /* what explains: ticks, notes, jumps */
    INK_LINE,    /* axes, lanes */
    INK_MASKED,  /* context */
    INK_TRAINED, /* labels that are not -100 */
    INK_GHOST,   /* what it would be without skipping */
    INK_HERE,    /* distances: of the stream */
    INK_ORDINARY,
    INK_LONG,
    INK__COUNT,
};

struct svg {
    FILE *out;
    char *text;
    size_t size;
};

/* svg_begin - a drawing of this height; title and description are for those who cannot see it. Returns false
 * where there is no memory. svg_end   - into the file `path`; "-": to standard output. Returns 0 or the exit
 * status, when the reason has been printed. */
bool svg_begin(struct svg *s, double height, const char *title, const char *description);
int svg_end(struct svg *s, const char *path);

void svg_rect(struct svg *s, enum ink ink, double x, double y, double width, double height);
void svg_line(struct svg *s, enum ink ink, double x1, double y1, double x2, double y2);
void svg_dashed(struct svg *s, enum ink ink, double x1, double y1, double x2, double y2);
void svg_arc(struct svg *s, enum ink ink, double x1, double x2, double y, double rise); /* above, dashed */
/* svg_steps - a staircase: height y[i] between x[i] and x[i + 1]. */
void svg_steps(struct svg *s, enum ink ink, const char *dashes, const double *x, const double *y, unsigned n);

enum anchor { ANCHOR_START, ANCHOR_MIDDLE, ANCHOR_END };
struct svg_font {
    double size;
    enum anchor anchor;
    bool bold;
};
void svg_text(struct svg *s, enum ink ink, struct svg_font font, double x, double y, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

/* svg_legend - a swatch and its words; returns where the next one begins. */
double svg_legend(struct svg *s, enum ink ink, double x, double y, const char *words);

#endif
