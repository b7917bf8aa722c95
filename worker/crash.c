#include "worker/crash.h"

#ifdef BF_TESTING

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/time.h>

#include "schemas/buf.h"

/* Counts down over both threads; the one place with a mutable static. */
static atomic_ullong seen;

static bool due(const char *name)
{
    /* Nothing of ours changes the environment after main() began. */
    const char *want =
        getenv("BLOCKFLEET_CRASH"); /* NOLINT(concurrency-mt-unsafe) */
    size_t len = strlen(name);
    uint64_t nth = 1;

    if (!want || strncmp(want, name, len) != 0 ||
        (want[len] != '\0' && want[len] != ':'))
        return false;
    if (want[len] == ':' &&
        bf_slice_u64(bf_slice_str(want + len + 1), UINT32_MAX, &nth))
        return false;
    return atomic_fetch_add(&seen, 1) + 1 == nth;
}

void bf_crash_point(const char *name)
{
    if (due(name))
        kill(getpid(), SIGKILL);
}

void bf_crash_soon(const char *name, long after_us)
{
    struct itimerval timer = {.it_value = {.tv_usec = after_us}};

    /* SIGALRM has its default action, which ends the process at once. */
    if (due(name))
        setitimer(ITIMER_REAL, &timer, NULL);
}

#else

/* An empty translation unit is not C. */
typedef int bf_crash_unused;

#endif
