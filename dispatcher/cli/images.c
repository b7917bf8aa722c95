#include "dispatcher/cli/images.h"

#include <dirent.h>
#include <strings.h>

#include "dispatcher/cli/cli.h"
#include "schemas/err.h"
#include "schemas/hash.h"

#define READ_BYTES 65536U

static bool is_image(const char *name)
{
    static const char *const ends[] = {".jpg", ".jpeg", ".png"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && i < bf_countof(ends); i++) {
        if (strcasecmp(dot, ends[i]) == 0)
            return name[0] != '.';
    }
    return false;
}

static int add_name(struct bf_images *images, size_t *cap, const char *name,
                    struct bf_err *err)
{
    if (images->count == *cap) {
        size_t more = *cap ? *cap * 2 : 64;
        char **names =
            reallocarray(images->names, more, sizeof(*images->names));

        if (!names)
            return bf_err_oom(err);
        images->names = names;
        *cap = more;
    }
    images->names[images->count] = strdup(name);
    if (!images->names[images->count])
        return bf_err_oom(err);
    images->count++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void closedirp(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static int list(struct bf_images *images, size_t max, struct bf_err *err)
{
    bf_cleanup(closedirp) DIR *dir = opendir(images->folder);
    const struct dirent *entry;
    size_t cap = 0;

    if (!dir)
        return bf_cli_errno(err, "read", images->folder);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): each call has its own list */
    while ((entry = readdir(dir)) != NULL) {
        if (!is_image(entry->d_name))
            continue;
        if (images->count == max)
            return bf_err_set(err, BF_ERR_REJECT, "local",
                              "%.160s has more than %zu images", images->folder,
                              max);
        if (add_name(images, &cap, entry->d_name, err))
            return -1;
    }
    return 0;
}

int bf_images_init(struct bf_images *images, const char *folder, size_t max,
                   struct bf_err *err)
{
    *images = (struct bf_images){.folder = strdup(folder)};
    if (!images->folder)
        return bf_err_oom(err);
    if (list(images, max, err))
        return -1;
    if (images->count == 0)
        return bf_err_set(err, BF_ERR_REJECT, "local",
                          "%.160s has no .jpg, .jpeg or .png files", folder);
    qsort(images->names, images->count, sizeof(*images->names), by_name);
    return 0;
}

void bf_images_release(struct bf_images *images)
{
    for (size_t i = 0; i < images->count; i++)
        free(images->names[i]);
    free(images->names);
    free(images->folder);
    *images = (struct bf_images){0};
}

char *bf_images_path(const struct bf_images *images, size_t i)
{
    char *path;

    bf_assert(i < images->count);
    return asprintf(&path, "%s/%s", images->folder, images->names[i]) < 0
               ? NULL
               : path;
}

static void fclosep(FILE **file)
{
    if (*file)
        fclose(*file);
}

int bf_images_read(const struct bf_images *images, size_t i, struct bf_buf *out,
                   struct bf_err *err)
{
    bf_autofree char *path = bf_images_path(images, i);
    bf_cleanup(fclosep) FILE *file = path ? fopen(path, "rbe") : NULL;
    char chunk[READ_BYTES];
    size_t got;

    if (!path)
        return bf_err_oom(err);
    if (!file)
        return bf_cli_errno(err, "read", path);
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        if (bf_buf_add(out, chunk, got, err))
            return bf_err_set(err, BF_ERR_REJECT, "local",
                              "%.160s is larger than %zu bytes", path,
                              out->max);
    }
    return ferror(file) ? bf_cli_errno(err, "read", path) : 0;
}

int bf_images_hash(const struct bf_images *images, struct bf_hash *hash,
                   struct bf_buf *scratch, struct bf_err *err)
{
    for (size_t i = 0; i < images->count; i++) {
        bf_buf_clear(scratch);
        if (bf_images_read(images, i, scratch, err))
            return -1;
        bf_hash_str(hash, images->names[i]);
        bf_hash_part(hash, bf_buf_slice(scratch));
    }
    return 0;
}

int bf_images_list(const struct bf_images *images, struct bf_buf *out,
                   struct bf_err *err)
{
    for (size_t i = 0; i < images->count; i++) {
        if (bf_buf_addf(out, err, "%s\n", images->names[i]))
            return -1;
    }
    return 0;
}
