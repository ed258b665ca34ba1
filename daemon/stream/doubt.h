/* doubt - what is remembered of a tokenizer whose fast path gave wrong ids, so that a restart does not repeat
 * it: that the model is libsentencepiece's job, and of each generation how far it had been made before.
 *
 * Files, of a few lines of text: state_dir/tokenizers/SHA256, and N.doubt beside a generation's ledger. Both
 * count for the release that wrote them: another one's code may be right, or wrong in another way.
 * Threads: pure; any.
 */
#ifndef SKIPALIGN_STREAM_DOUBT_H
#define SKIPALIGN_STREAM_DOUBT_H

#include "base/err.h"
#include "text/tokenizer.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* doubt_model_path - where it stands.   doubt_model_known - does it? One that cannot be read counts as such.
 * doubt_model_write - onto the disk.   Errors: -errno; with the path. */
void doubt_model_path(const char *state_dir, const char *sha256, char ret[PATH_MAX]);
bool doubt_model_known(const char *state_dir, const char *sha256);
int doubt_model_write(const char *state_dir, const struct tokenizer *t, struct err *reterr);

/* Of a generation: its first `windows` windows lie as the fast path had them, and of its steps these had been
 * handed out by then. */
struct doubt {
    uint64_t windows;
    uint64_t first_step, end_step;
};

/* doubt_read - 1: found; 0: missing, damaged, or of another ledger (fingerprint) or release.
 * doubt_write - onto the disk.   Errors: -errno; with the path. */
int doubt_read(const char *folder, uint32_t generation, uint64_t fingerprint, struct doubt *ret);
int doubt_write(const char *folder, uint32_t generation, uint64_t fingerprint, const struct doubt *d,
                struct err *reterr);

#endif
