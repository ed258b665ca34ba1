/* ledger - what each window of one generation of a stream came to: how many slots it took, how many rows it
 * gave, what was not used.
 *
 * It makes opening at any step a look-up. It can always be computed again, so it is appended to without
 * fsync; an entry that is torn or damaged, or lacks records in the quarantine, is recognised by checksums,
 * and it and the rest are made anew. So is all of a ledger that is of another fingerprint (another recipe or
 * start): what a stream was is the timeline's to say. Files: N.ledger in the stream's folder, and
 * N.quarantine beside it with the first records that were not used.
 *
 * Owner:   one thread.
 */
#ifndef SKIPALIGN_STREAM_LEDGER_H
#define SKIPALIGN_STREAM_LEDGER_H

#include "base/err.h"
#include "stream/supply.h"

#include <stdint.h>

struct ledger;

enum ledger_found {
    LEDGER_NONE,  /* there was no file */
    LEDGER_WHOLE, /* all of it is believed */
    LEDGER_TORN,  /* its end is not; ledger_windows of it are */
    LEDGER_OTHER, /* damaged, or of another fingerprint or format: nothing is believed */
};

/* ledger_open - folder: of the stream, made where it is missing. A disk that is full or fails costs the file
 * only, see ledger_append. Errors: the folder cannot be made, the files cannot be opened. */
int ledger_open(const char *folder, uint32_t generation, uint64_t fingerprint, struct ledger **ret,
                enum ledger_found *ret_found, struct err *reterr);
void ledger_close(struct ledger *l); /* NULL is fine */

uint64_t ledger_windows(const struct ledger *l);
/* First slot and first row of window w <= ledger_windows: for w equal to it, where the next one starts. */
uint64_t ledger_first_slot(const struct ledger *l, uint64_t w);
uint64_t ledger_first_row(const struct ledger *l, uint64_t w);
uint64_t ledger_tokens(const struct ledger *l, uint64_t w); /* of window w < ledger_windows */
/* ledger_window_bytes - memory that window w < ledger_windows is likely to need while it is made again. */
uint64_t ledger_window_bytes(const struct ledger *l, uint64_t w);
/* ledger_find - the window that holds a row below ledger_first_row(ledger_windows). */
uint64_t ledger_find(const struct ledger *l, uint64_t row);

/* ledger_append - the next window (its number is ledger_windows). Memory always has it; if the file cannot be
 * written the ledger goes on without: ledger_failure says why. Errors: -ENOMEM. */
int ledger_append(struct ledger *l, const struct window *w);
const char *ledger_failure(const struct ledger *l);
/* ledger_cut - forget windows from n on, in the file, too; what the file did not have, as it could not be
 * written, is forgotten with them. Errors: -ENOMEM; -errno of the file. */
int ledger_cut(struct ledger *l, uint64_t n);

const struct stream_counts *ledger_counts(const struct ledger *l);
void ledger_quarantine(const struct ledger *l, const struct quarantined **ret, uint32_t *ret_n);

#endif
