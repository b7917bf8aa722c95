#ifndef BF_CONFIG_PROC_H
#define BF_CONFIG_PROC_H

/* What this process uses, from /proc (proc(5)). Any thread. */

#include <stdint.h>

struct bf_proc {
    double cpu_s;   /* user and system */
    double start_s; /* since 1970 */
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t threads;
    uint64_t open_fds;
    uint64_t max_fds; /* the soft limit */
};

/* 0; -1 where there is no /proc, *ret untouched. */
int bf_proc_read(struct bf_proc *ret);

#endif
