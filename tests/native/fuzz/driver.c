/* The fuzz targets without a fuzzer, and a digest of all that they computed.
 *
 *     driver TARGET FILE...               replays files
 *     driver TARGET --random ROUNDS SEED  makes its cases up
 *
 * The same cases give the same digest on every machine and with every compiler.
 */
#include "input.h"

#include <signal.h>
#include <string.h>

typedef void (*target)(input *);

static const struct {
    const char *name;
    target run;
} TARGETS[] = {{"letterbox", fuzz_letterbox},
               {"decode", fuzz_decode},
               {"assign", fuzz_assign},
               {"tracker", fuzz_tracker}};

static char running[256] = "none";

static void say_which(int number)
{
    fprintf(stderr, "signal %d in case: %s\n", number, running);
}

static target target_named(const char *name)
{
    for (size_t i = 0; i < sizeof TARGETS / sizeof TARGETS[0]; ++i) {
        if (strcmp(TARGETS[i].name, name) == 0) {
            return TARGETS[i].run;
        }
    }
    fprintf(stderr, "%s: expected letterbox, decode, assign or tracker\n", name);
    exit(2);
}

static uint64_t run_case(target run, const uint8_t *bytes, size_t n, uint64_t digest)
{
    input in = {.at = bytes, .end = bytes + n, .digest = digest};
    run(&in);
    return in.digest;
}

static uint64_t replay(target run, const char *path, uint64_t digest)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(2);
    }
    long size = ftell(file);
    rewind(file);
    uint8_t *bytes = block((size_t)size);
    if (fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        perror(path);
        exit(2);
    }
    fclose(file);
    snprintf(running, sizeof running, "%s", path);
    digest = run_case(run, bytes, (size_t)size, digest);
    free(bytes);
    return digest;
}

static uint64_t make_up(target run, long round, uint64_t seed, uint64_t digest)
{
    uint64_t state = (seed << 40) + ((uint64_t)round << 8);
    uint64_t most = next_bits(&state) % 4 ? 400 : 4000;
    size_t size = next_bits(&state) % most;
    uint8_t *bytes = block(size);
    for (size_t i = 0; i < size; ++i) {
        bytes[i] = (uint8_t)next_bits(&state);
    }
    snprintf(running, sizeof running, "round %ld of seed %llu", round, (unsigned long long)seed);
    digest = run_case(run, bytes, size, digest);
    free(bytes);
    return digest;
}

int main(int argc, char **argv)
{
    uint64_t digest = 0xcbf29ce484222325u;
    if (argc < 3) {
        fprintf(stderr, "use: driver TARGET FILE... | driver TARGET --random ROUNDS SEED\n");
        return 2;
    }
    target run = target_named(argv[1]);
    long cases = argc - 2;
    signal(SIGABRT, say_which);
    if (argc == 5 && strcmp(argv[2], "--random") == 0) {
        cases = strtol(argv[3], NULL, 10);
        for (long round = 0; round < cases; ++round) {
            digest = make_up(run, round, strtoull(argv[4], NULL, 10), digest);
        }
    } else {
        for (int i = 2; i < argc; ++i) {
            digest = replay(run, argv[i], digest);
        }
    }
    printf("%s: %ld cases, digest %016llx\n", argv[1], cases, (unsigned long long)digest);
    return 0;
}
