/* fuzz_wire.c - any bytes as the messages that section wire reads by hand, beside nanopb
 * Asks   that the two agree on every input: what wire reads nanopb reads too, and the same of it; what wire
 *        leaves alone is what nanopb says of it. */
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"
#include <stdio.h>
#include <stdlib.h>
#include "same.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t nothing[1] = { 0 };
    ensign_slice_t bytes = ensi_slice(size ? data : nothing, size);
    compare_event(bytes, false);
    compare_event(bytes, true);
    compare_ack(bytes);
    return 0;
}
