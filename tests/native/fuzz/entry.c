/* libFuzzer's way into one target: compiled with -DTARGET=fuzz_... */
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {.at = data, .end = data + size};
    TARGET(&in);
    return 0;
}
