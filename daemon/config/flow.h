/* flow - values of any type in one line of YAML; private to the config stage. Texts stand in double quotes.
 */
#ifndef SKIPALIGN_CONFIG_FLOW_H
#define SKIPALIGN_CONFIG_FLOW_H

#include "config/schema.h"

#include <stdio.h>

/* flow_print - a row's value, and flow_print_rows - those of a group, absent ones left out. */
void flow_print(const struct key *k, const void *group, FILE *f);
void flow_print_rows(const struct key *rows, const void *group, FILE *f);

/* flow_stream - a stream without what check_conf would settle again, so that it follows when the key that it
 * comes from changes. positions: room for its own, which the result borrows. */
#define FLOW_POSITIONS 16
struct conf_stream flow_stream(const struct conf_stream *s, struct conf_positions positions[FLOW_POSITIONS]);

#endif
