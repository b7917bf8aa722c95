#include "config/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "schemas/check.h"

/* The fields of /proc/self/stat from the third on, as proc(5) counts. */
enum { F_UTIME = 14, F_STIME = 15, F_THREADS = 20, F_START = 22 };
enum { F_VSIZE = 23, F_RSS = 24, F_FIRST = 3, F_LAST = 24 };

static int read_text(const char *path, char *out, size_t size)
{
    bf_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

    if (n <= 0)
        return -1;
    out[n] = '\0';
    return 0;
}

static int read_stat(uint64_t ret[static F_LAST + 1])
{
    char text[2048];
    char *at;

    if (read_text("/proc/self/stat", text, sizeof(text)))
        return -1;
    at = strrchr(text, ')'); /* the name may hold anything */
    for (int i = F_FIRST; at && i <= F_LAST; i++) {
        at = strchr(at + 1, ' ');
        if (at)
            ret[i] = strtoull(at + 1, NULL, 10);
    }
    return at ? 0 : -1;
}

/* When the machine started, in seconds since 1970. */
static uint64_t boot_s(void)
{
    FILE *file = fopen("/proc/stat", "re");
    char line[4096];
    uint64_t at = 0;

    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "btime ", 6) == 0)
            at = strtoull(line + 6, NULL, 10);
    }
    if (file)
        fclose(file);
    return at;
}

static uint64_t count_fds(void)
{
    DIR *list = opendir("/proc/self/fd");
    uint64_t count = 0;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): each call has its own list */
    while (list && readdir(list))
        count++;
    if (list)
        closedir(list);
    return count > 3 ? count - 3 : 0; /* . and .. and the list itself */
}

int bf_proc_read(struct bf_proc *ret)
{
    double ticks = (double)sysconf(_SC_CLK_TCK);
    uint64_t stat[F_LAST + 1] = {0};
    struct rlimit files = {0};

    if (read_stat(stat))
        return -1;
    getrlimit(RLIMIT_NOFILE, &files);
    *ret = (struct bf_proc){
        .cpu_s = (double)(stat[F_UTIME] + stat[F_STIME]) / ticks,
        .start_s = (double)boot_s() + (double)stat[F_START] / ticks,
        .resident_bytes = stat[F_RSS] * (uint64_t)sysconf(_SC_PAGESIZE),
        .virtual_bytes = stat[F_VSIZE],
        .threads = stat[F_THREADS],
        .open_fds = count_fds(),
        .max_fds = files.rlim_cur,
    };
    return 0;
}
