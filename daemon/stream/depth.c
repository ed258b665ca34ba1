#include "stream/depth.h"

#define CALM 8 /* windows */
#define CALM_MAX 4096

void depth_init(struct depth *d)
{
    *d = (struct depth){.windows = 1, .calm_wanted = CALM, .window = UINT64_MAX};
}

static void grow(struct depth *d, uint32_t max)
{
    if (d->shrunk && d->calm_wanted < CALM_MAX)
        d->calm_wanted *= 2;
    d->shrunk = false;
    d->calm = 0;
    d->windows = d->windows > max / 2 ? max : 2 * d->windows;
}

static void stay_calm(struct depth *d)
{
    if (++d->calm < d->calm_wanted || d->windows == 1)
        return;
    d->calm = 0;
    d->shrunk = true;
    d->windows--;
}

void depth_count(struct depth *d, uint64_t window, bool waited, uint32_t max)
{
    if (window == d->window && (d->waited || !waited))
        return;
    if (waited)
        grow(d, max);
    else
        stay_calm(d);
    d->window = window;
    d->waited = waited;
}
