#ifndef BF_DISPATCHER_CLI_ITEMS_H
#define BF_DISPATCHER_CLI_ITEMS_H

/*
 * What `batch` makes a job of each: the lines of a file, or the files of a
 * folder. Read twice, first to count and to tell them from others. One thread;
 * errors are REJECT "local".
 */

#include <stdio.h>

#include "dispatcher/cli/folder.h"
#include "schemas/buf.h"
#include "schemas/limits.h"

#define BF_ITEMS_MAX 10000000U
#define BF_ITEM_BYTES                                                          \
    (24U << 20)                  /* of a line: more than a request may have    \
                                  */
#define BF_ITEM_FILE (10U << 20) /* of a file: its base64 must fit */

struct bf_items {
    const char *name;        /* what they are from, without folders; borrowed */
    struct bf_folder folder; /* of no files: lines */
    uint64_t count;
    char digest[BF_HEX128_SIZE];
    FILE *file; /* private from here on; owned */
    uint64_t next;
    uint64_t line;
    char *text;
    size_t cap;
    struct bf_buf bytes;
};

/* in: read to its end when path is "-". */
int bf_items_init(struct bf_items *items, FILE *in, const char *path,
                  struct bf_err *err);
void bf_items_release(struct bf_items *items);
#define bf_autoitems bf_cleanup(bf_items_release)

/*
 * The next one: 1; 0: there is none; -1. number: of its line from 1, of its
 * file from 0. Lines of white space are none. The bytes are borrowed until the
 * next call.
 */
struct bf_item {
    uint64_t index; /* from 0, without gaps */
    uint64_t number;
    struct bf_slice bytes;
};
int bf_items_next(struct bf_items *items, struct bf_item *ret,
                  struct bf_err *err);

/* The next one is the first again. */
void bf_items_rewind(struct bf_items *items);

/* "line 7", or the file's name; a bf_sender_name_fn. */
void bf_items_name(void *arg, uint64_t number, char *out, size_t size);

#endif
