#include "dispatcher/cli/folder.h"

#include <dirent.h>
#include <strings.h>
#include <sys/stat.h>

#include "dispatcher/cli/cli.h"
#include "schemas/err.h"
#include "schemas/hash.h"

#define READ_BYTES 65536U

bool bf_folder_is_image(const char *name)
{
    static const char *const ends[] = {".jpg", ".jpeg", ".png"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && i < bf_countof(ends); i++) {
        if (strcasecmp(dot, ends[i]) == 0)
            return true;
    }
    return false;
}

const char *bf_folder_last(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    return strspn(name, ".") == strlen(name) ? "" : name;
}

static int add_name(struct bf_folder *folder, size_t *cap, const char *name,
                    struct bf_err *err)
{
    if (folder->count == *cap) {
        size_t more = *cap ? *cap * 2 : 64;
        char **names =
            reallocarray(folder->names, more, sizeof(*folder->names));

        if (!names)
            return bf_err_oom(err);
        folder->names = names;
        *cap = more;
    }
    folder->names[folder->count] = strdup(name);
    if (!folder->names[folder->count])
        return bf_err_oom(err);
    folder->count++;
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

/* A file, or a link to one. */
static bool is_file(DIR *dir, const char *name, size_t *ret_size)
{
    struct stat stat_;

    if (name[0] == '.' || fstatat(dirfd(dir), name, &stat_, 0) ||
        !S_ISREG(stat_.st_mode))
        return false;
    *ret_size = (size_t)stat_.st_size;
    return true;
}

static int list(struct bf_folder *folder, bool (*wanted)(const char *),
                size_t max, struct bf_err *err)
{
    bf_cleanup(closedirp) DIR *dir = opendir(folder->path);
    const struct dirent *entry;
    size_t cap = 0, size = 0;

    if (!dir)
        return bf_cli_errno(err, "read", folder->path);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): each call has its own list */
    while ((entry = readdir(dir)) != NULL) {
        if (!is_file(dir, entry->d_name, &size) ||
            (wanted && !wanted(entry->d_name)))
            continue;
        if (folder->count == max)
            return bf_err_set(err, BF_ERR_REJECT, "local",
                              "%.160s has more than %zu files", folder->path,
                              max);
        if (add_name(folder, &cap, entry->d_name, err))
            return -1;
        folder->bytes += size;
        folder->largest = size > folder->largest ? size : folder->largest;
    }
    return 0;
}

int bf_folder_init(struct bf_folder *folder, const char *path,
                   bool (*wanted)(const char *name), size_t max,
                   struct bf_err *err)
{
    *folder = (struct bf_folder){.path = strdup(path)};
    if (!folder->path)
        return bf_err_oom(err);
    if (list(folder, wanted, max, err))
        return -1;
    if (folder->count == 0)
        return bf_err_set(
            err, BF_ERR_REJECT, "local", "%.160s has no %sfiles", path,
            wanted == bf_folder_is_image ? ".jpg, .jpeg or .png " : "");
    qsort(folder->names, folder->count, sizeof(*folder->names), by_name);
    return 0;
}

void bf_folder_release(struct bf_folder *folder)
{
    for (size_t i = 0; i < folder->count; i++)
        free(folder->names[i]);
    free(folder->names);
    free(folder->path);
    *folder = (struct bf_folder){0};
}

char *bf_folder_path(const struct bf_folder *folder, size_t i)
{
    char *path;

    bf_assert(i < folder->count);
    return asprintf(&path, "%s/%s", folder->path, folder->names[i]) < 0 ? NULL
                                                                        : path;
}

static void fclosep(FILE **file)
{
    if (*file)
        fclose(*file);
}

int bf_folder_read(const struct bf_folder *folder, size_t i, struct bf_buf *out,
                   struct bf_err *err)
{
    bf_autofree char *path = bf_folder_path(folder, i);
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

int bf_folder_hash(const struct bf_folder *folder, struct bf_hash *hash,
                   struct bf_buf *scratch, struct bf_err *err)
{
    for (size_t i = 0; i < folder->count; i++) {
        bf_buf_clear(scratch);
        if (bf_folder_read(folder, i, scratch, err))
            return -1;
        bf_hash_str(hash, folder->names[i]);
        bf_hash_part(hash, bf_buf_slice(scratch));
    }
    return 0;
}

int bf_folder_list(const struct bf_folder *folder, struct bf_buf *out,
                   struct bf_err *err)
{
    for (size_t i = 0; i < folder->count; i++) {
        if (bf_buf_addf(out, err, "%s\n", folder->names[i]))
            return -1;
    }
    return 0;
}
