/* fuzz - what a target is: one file that feeds some bytes to one parser of the project and CHECKs
 * (base/err.h) what must hold of the answer.
 *
 * Built with libFuzzer (tests/fuzz/run) a target looks for bytes that break it; built with replay.c it is an
 * ordinary test of the bytes in TARGET.in/: seeds, and whatever broke it once.
 */
#ifndef SKIPALIGN_TESTS_FUZZ_FUZZ_H
#define SKIPALIGN_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
