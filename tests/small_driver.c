/* A CUDA driver in small for the real pycuda: memory of the GPU is memory of the host, and all work is
 * done at once. The function that the variable SMALL_DRIVER_FAILS names fails; with
 * SMALL_DRIVER_INTEGRATED the GPU works on the host's memory. What else pycuda links against is
 * added by small_driver.py. */

#include <stdlib.h>
#include <string.h>

typedef unsigned long long address;

/* What small_driver_live counts: memory of the GPU, pinned memory, streams and events. */
static int live[4];
static int depth;
static int fake_context, fake_stream, fake_event;

static int fails(const char *name)
{
    const char *named = getenv("SMALL_DRIVER_FAILS");
    if (named == NULL || strcmp(named, name) != 0) {
        return 0;
    }
    return strcmp(name, "cuInit") == 0 ? 100 : 2; /* no device, out of memory */
}

#define CHECK if (fails(__func__)) return fails(__func__)
#define NEED_CONTEXT do { CHECK; if (depth != 1) return 201; } while (0)

int small_driver_live(int what) { return live[what]; }
int small_driver_depth(void) { return depth; }

int cuInit(unsigned flags) { (void)flags; CHECK; return 0; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }

int cuDeviceGet(int *device, int ordinal)
{
    CHECK;
    *device = 0;
    return ordinal == 0 ? 0 : 101;
}

int cuDeviceGetName(char *name, int size, int device)
{
    (void)device;
    CHECK;
    strncpy(name, "Small GPU", (size_t)size);
    return 0;
}

int cuDeviceGetAttribute(int *value, int which, int device)
{
    (void)device;
    *value = 0;
    if (which == 75) *value = 8;
    if (which == 76) *value = 7;
    if (which == 18) *value = getenv("SMALL_DRIVER_INTEGRATED") != NULL;
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device)
{
    (void)device;
    CHECK;
    *context = &fake_context;
    return 0;
}

int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return 0; }
int cuCtxPushCurrent_v2(void *context) { (void)context; CHECK; depth++; return 0; }

int cuCtxPopCurrent_v2(void **context)
{
    if (depth == 0) return 201;
    depth--;
    if (context != NULL) *context = &fake_context;
    return 0;
}

int cuCtxDetach(void *context) { (void)context; return 0; }
int cuCtxGetDevice(int *device) { *device = 0; return depth > 0 ? 0 : 201; }
int cuCtxSynchronize(void) { NEED_CONTEXT; return 0; }

int cuMemAlloc_v2(address *made, size_t size)
{
    NEED_CONTEXT;
    *made = (address)(size_t)calloc(1, size);
    live[0]++;
    return 0;
}

int cuMemFree_v2(address what) { free((void *)(size_t)what); live[0]--; return 0; }

int cuMemHostAlloc(void **made, size_t size, unsigned flags)
{
    (void)flags;
    NEED_CONTEXT;
    *made = calloc(1, size);
    live[1]++;
    return 0;
}

int cuMemFreeHost(void *what) { free(what); live[1]--; return 0; }

int cuMemHostGetDevicePointer_v2(address *device, void *host, unsigned flags)
{
    (void)flags;
    NEED_CONTEXT;
    *device = (address)(size_t)host;
    return 0;
}

int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t size, void *stream)
{
    (void)stream;
    NEED_CONTEXT;
    memcpy((void *)(size_t)to, from, size);
    return 0;
}

int cuMemcpyDtoHAsync_v2(void *to, address from, size_t size, void *stream)
{
    (void)stream;
    NEED_CONTEXT;
    memcpy(to, (const void *)(size_t)from, size);
    return 0;
}

int cuStreamCreate(void **made, unsigned flags)
{
    (void)flags;
    NEED_CONTEXT;
    *made = &fake_stream;
    live[2]++;
    return 0;
}

int cuStreamDestroy_v2(void *stream) { (void)stream; live[2]--; return 0; }
int cuStreamSynchronize(void *stream) { (void)stream; NEED_CONTEXT; return 0; }
int cuStreamQuery(void *stream) { (void)stream; NEED_CONTEXT; return 0; }

int cuStreamWaitEvent(void *stream, void *event, unsigned flags)
{
    (void)stream, (void)event, (void)flags;
    NEED_CONTEXT;
    return 0;
}

int cuEventCreate(void **made, unsigned flags)
{
    (void)flags;
    NEED_CONTEXT;
    *made = &fake_event;
    live[3]++;
    return 0;
}

int cuEventDestroy_v2(void *event) { (void)event; live[3]--; return 0; }
int cuEventRecord(void *event, void *stream) { (void)event, (void)stream; NEED_CONTEXT; return 0; }
int cuEventSynchronize(void *event) { (void)event; NEED_CONTEXT; return 0; }
int cuEventQuery(void *event) { (void)event; NEED_CONTEXT; return 0; }

int cuGetErrorString(int error, const char **words)
{
    *words = error == 2 ? "out of memory" : error == 100 ? "no device" : "an error";
    return 0;
}

int cuGetErrorName(int error, const char **words) { return cuGetErrorString(error, words); }
