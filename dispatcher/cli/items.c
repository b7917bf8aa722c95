#include "dispatcher/cli/items.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "dispatcher/cli/cli.h"
#include "schemas/err.h"
#include "schemas/hash.h"

/* ---- lines --------------------------------------------------------------- */

static bool blank(struct bf_slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] == '\0' || !strchr(" \t\r\n", line.ptr[i]))
            return false;
    }
    return true;
}

static int next_line(struct bf_items *items, struct bf_slice *ret,
                     struct bf_err *err)
{
    do {
        ssize_t got;

        errno = 0;
        got = getline(&items->text, &items->cap, items->file);
        if (got < 0)
            return ferror(items->file) || errno == ENOMEM
                       ? bf_cli_errno(err, "read", "the lines")
                       : 0;
        items->line++;
        *ret = (struct bf_slice){items->text, (size_t)got};
    } while (blank(*ret));
    if (ret->len > BF_ITEM_BYTES)
        return bf_err_set(err, BF_ERR_REJECT, "local",
                          "line %" PRIu64 " is larger than %u bytes",
                          items->line, BF_ITEM_BYTES);
    if (ret->ptr[ret->len - 1] == '\n')
        ret->len--;
    return 1;
}

/* Two passes need a file; what comes through a pipe becomes one. */
static int spool(struct bf_items *items, FILE *in, struct bf_err *err)
{
    char chunk[65536];
    size_t got;

    items->file = tmpfile();
    if (!items->file)
        return bf_cli_errno(err, "write", "a temporary file");
    while ((got = fread(chunk, 1, sizeof(chunk), in)) > 0) {
        if (fwrite(chunk, 1, got, items->file) != got)
            return bf_cli_errno(err, "write", "a temporary file");
    }
    if (ferror(in))
        return bf_cli_errno(err, "read", "the input");
    rewind(items->file);
    return 0;
}

static int count_lines(struct bf_items *items, struct bf_err *err)
{
    struct bf_hash hash;
    struct bf_slice line;
    int got;

    bf_hash_init(&hash, BF_HASH128_BYTES);
    while ((got = next_line(items, &line, err)) > 0) {
        if (items->count++ == BF_ITEMS_MAX)
            return bf_err_set(err, BF_ERR_REJECT, "local",
                              "more than %u lines: send them in pieces",
                              BF_ITEMS_MAX);
        bf_hash_part(&hash, line);
    }
    bf_hash_final_hex(&hash, items->digest);
    rewind(items->file);
    items->line = 0;
    return got;
}

static int open_file(struct bf_items *items, FILE *in, const char *path,
                     struct bf_err *err)
{
    if (strcmp(path, "-") == 0) {
        items->name = "";
        if (spool(items, in, err))
            return -1;
    } else {
        items->file = fopen(path, "rbe");
        if (!items->file)
            return bf_cli_errno(err, "read", path);
    }
    if (count_lines(items, err))
        return -1;
    if (items->count == 0)
        return bf_err_set(err, BF_ERR_REJECT, "local", "%.160s has no lines",
                          path);
    return 0;
}

/* ---- files --------------------------------------------------------------- */

static int open_folder(struct bf_items *items, const char *path,
                       struct bf_err *err)
{
    struct bf_hash hash;

    bf_hash_init(&hash, BF_HASH128_BYTES);
    if (bf_folder_init(&items->folder, path, NULL, BF_ITEMS_MAX, err) ||
        bf_folder_hash(&items->folder, &hash, &items->bytes, err))
        return -1;
    bf_hash_final_hex(&hash, items->digest);
    items->count = items->folder.count;
    return 0;
}

/* ---- both ---------------------------------------------------------------- */

int bf_items_init(struct bf_items *items, FILE *in, const char *path,
                  struct bf_err *err)
{
    struct stat stat_;

    *items = (struct bf_items){
        .name = bf_folder_last(path),
        .bytes = BF_BUF_INIT(BF_ITEM_FILE),
    };
    if (strcmp(path, "-") != 0 && stat(path, &stat_) == 0 &&
        S_ISDIR(stat_.st_mode))
        return open_folder(items, path, err);
    return open_file(items, in, path, err);
}

void bf_items_release(struct bf_items *items)
{
    if (items->file)
        fclose(items->file);
    bf_folder_release(&items->folder);
    bf_buf_release(&items->bytes);
    free(items->text);
    *items = (struct bf_items){0};
}

int bf_items_next(struct bf_items *items, struct bf_item *ret,
                  struct bf_err *err)
{
    int got = items->next < items->count;

    /* lines that were added meanwhile are none of these */
    if (got > 0 && items->file)
        got = next_line(items, &ret->bytes, err);
    if (got <= 0)
        return got;
    ret->index = items->next++;
    ret->number = items->file ? items->line : ret->index;
    if (items->file)
        return 1;
    bf_buf_clear(&items->bytes);
    if (bf_folder_read(&items->folder, ret->index, &items->bytes, err))
        return -1;
    ret->bytes = bf_buf_slice(&items->bytes);
    return 1;
}

void bf_items_rewind(struct bf_items *items)
{
    if (items->file)
        rewind(items->file);
    items->line = 0;
    items->next = 0;
}

void bf_items_name(void *arg, uint64_t number, char *out, size_t size)
{
    const struct bf_items *items = arg;

    if (items->file)
        snprintf(out, size, "line %" PRIu64, number);
    else
        snprintf(out, size, "%s", items->folder.names[number]);
}
