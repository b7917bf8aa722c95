#ifndef BF_DISPATCHER_CLI_IMAGES_H
#define BF_DISPATCHER_CLI_IMAGES_H

/*
 * A folder of images: its files that end in .jpg, .jpeg or .png, by name, as
 * sort(1) has it in the C locale. One thread; errors are REJECT "local".
 */

#include <stddef.h>

struct bf_buf;
struct bf_err;
struct bf_hash;

struct bf_images {
    char *folder;
    char **names;
    size_t count;
};

/* max: more of them are refused, and so is none. */
int bf_images_init(struct bf_images *images, const char *folder, size_t max,
                   struct bf_err *err);
void bf_images_release(struct bf_images *images);

/* Its bytes into an empty buffer, whose ceiling holds. */
int bf_images_read(const struct bf_images *images, size_t i, struct bf_buf *out,
                   struct bf_err *err);

/* All names and bytes; scratch is an empty buffer for an image. */
int bf_images_hash(const struct bf_images *images, struct bf_hash *hash,
                   struct bf_buf *scratch, struct bf_err *err);

/* One name a line: the first line is image 0. */
int bf_images_list(const struct bf_images *images, struct bf_buf *out,
                   struct bf_err *err);

/* The path of one of them; the caller frees it. NULL: no memory. */
char *bf_images_path(const struct bf_images *images, size_t i);

#endif
