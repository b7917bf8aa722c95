/*
 * Our own allocations, and nobody else's, can be made to fail: programs of test
 * builds without a sanitizer are linked with --wrap of the functions below,
 * which only reaches calls from the objects that are linked in, never those
 * inside librdkafka, libcurl, SQLite and their like.
 *
 * BLOCKFLEET_TEST_ALLOC=after:one_in:seed: the first `after` allocations are
 * spared; of those behind them one in `one_in` fails, which ones is the seed's
 * choice. one_in = 0: only the first of them fails. How many allocations there
 * were is the last line on stderr when the program exits.
 *
 * BLOCKFLEET_TEST_LEAK=bytes: each allocation takes so many more, for ever. It
 * is how ./run soak is shown to see a leak.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* NOLINTBEGIN(bugprone-reserved-identifier): ld's names for --wrap */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *ptr, size_t size);
void *__real_reallocarray(void *ptr, size_t n, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *ptr, size_t size);
void *__wrap_reallocarray(void *ptr, size_t n, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);
int __wrap_vasprintf(char **ret, const char *fmt, va_list args);
int __wrap_asprintf(char **ret, const char *fmt, ...);
FILE *__real_open_memstream(char **text, size_t *len);
FILE *__wrap_open_memstream(char **text, size_t *len);

static uint64_t after, one_in, seed;
static size_t leaked_bytes;
static bool enabled;
static atomic_uint_fast64_t count;

/* Before main(), when there is one thread. */
__attribute__((constructor)) static void read_plan(void)
{
    const char *text = getenv("BLOCKFLEET_TEST_ALLOC");
    const char *leaked = getenv("BLOCKFLEET_TEST_LEAK");
    unsigned long numbers[3] = {0};
    char *end = NULL;

    for (size_t i = 0; text && i < 3; i++) {
        numbers[i] = strtoul(text, &end, 10);
        text = *end == ':' ? end + 1 : NULL;
    }
    after = numbers[0];
    one_in = numbers[1];
    seed = numbers[2];
    enabled = end != NULL;
    leaked_bytes = leaked ? strtoul(leaked, NULL, 10) : 0;
}

__attribute__((destructor)) static void report(void)
{
    if (enabled)
        dprintf(STDERR_FILENO, "%lu allocations\n",
                (unsigned long)atomic_load(&count));
}

/* splitmix64, Steele, Lea and Flood 2014 */
static uint64_t mixed(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Written to, or the kernel would never give it. */
static void leak(void)
{
    void *lost = leaked_bytes > 0 ? __real_malloc(leaked_bytes) : NULL;

    if (lost)
        explicit_bzero(lost, leaked_bytes);
}

static bool fails(void)
{
    uint64_t n;

    leak();
    if (!enabled)
        return false;
    n = atomic_fetch_add(&count, 1);
    if (n < after || (one_in == 0 ? n != after : mixed(n ^ seed) % one_in != 0))
        return false;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *ptr, size_t size)
{
    return fails() ? NULL : __real_realloc(ptr, size);
}

void *__wrap_reallocarray(void *ptr, size_t n, size_t size)
{
    return fails() ? NULL : __real_reallocarray(ptr, n, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t len)
{
    return fails() ? NULL : __real_strndup(text, len);
}

int __wrap_vasprintf(char **ret, const char *fmt, va_list args)
{
    return fails() ? -1 : vasprintf(ret, fmt, args);
}

int __wrap_asprintf(char **ret, const char *fmt, ...)
{
    va_list args;
    int len;

    va_start(args, fmt);
    len = __wrap_vasprintf(ret, fmt, args);
    va_end(args);
    return len;
}

FILE *__wrap_open_memstream(char **text, size_t *len)
{
    return fails() ? NULL : __real_open_memstream(text, len);
}
/* NOLINTEND(bugprone-reserved-identifier) */
