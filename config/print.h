#ifndef BF_CONFIG_PRINT_H
#define BF_CONFIG_PRINT_H

/*
 * What tells one content of a file from the one that takes its place, without
 * reading it: for those who look every second whether it has changed.
 */

#include <stdbool.h>
#include <sys/stat.h>

struct bf_print {
    bool there;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed; /* of content, mode or owner */
};

/* A file that cannot be looked at is not there. */
struct bf_print bf_print_of(const char *path);

bool bf_print_same(const struct bf_print *a, const struct bf_print *b);

#endif
