#ifndef BF_DISPATCHER_CLI_FOLDER_H
#define BF_DISPATCHER_CLI_FOLDER_H

/*
 * The files of a folder by name, as sort(1) has it in the C locale; none whose
 * name begins with a dot, and nothing of the folders in it. One thread; errors
 * are REJECT "local".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bf_buf;
struct bf_err;
struct bf_hash;

struct bf_folder {
    char *path;
    char **names;
    size_t count;
    uint64_t bytes; /* of all of them, when they were listed */
    size_t largest; /* the same */
};

/* Does it end in .jpg, .jpeg or .png? */
bool bf_folder_is_image(const char *name);

/*
 * wanted: only those, NULL: all. max: more of them are refused, and so is
 * none.
 */
int bf_folder_init(struct bf_folder *folder, const char *path,
                   bool (*wanted)(const char *name), size_t max,
                   struct bf_err *err);
void bf_folder_release(struct bf_folder *folder);

/* Its bytes into an empty buffer, whose ceiling holds. */
int bf_folder_read(const struct bf_folder *folder, size_t i, struct bf_buf *out,
                   struct bf_err *err);

/* All names and bytes; scratch is an empty buffer for one of them. */
int bf_folder_hash(const struct bf_folder *folder, struct bf_hash *hash,
                   struct bf_buf *scratch, struct bf_err *err);

/* One name a line: the first line is file 0. */
int bf_folder_list(const struct bf_folder *folder, struct bf_buf *out,
                   struct bf_err *err);

/* The last part of a path; of "." and the like: "". */
const char *bf_folder_last(const char *path);

/* The path of one of them; the caller frees it. NULL: no memory. */
char *bf_folder_path(const struct bf_folder *folder, size_t i);

#endif
