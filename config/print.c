#include "config/print.h"

struct bf_print bf_print_of(const char *path)
{
    struct stat st;

    if (stat(path, &st))
        return (struct bf_print){.there = false};
    return (struct bf_print){
        .there = true,
        .device = st.st_dev,
        .inode = st.st_ino,
        .size = st.st_size,
        .changed = st.st_ctim,
    };
}

bool bf_print_same(const struct bf_print *a, const struct bf_print *b)
{
    return a->there == b->there && a->device == b->device &&
           a->inode == b->inode && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}
