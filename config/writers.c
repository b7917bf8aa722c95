#include "config/writers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "schemas/err.h"

#define MAX_PATH 4096

static int unseen(const char *path, struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_REJECT, "keys_dir",
                      "cannot look at %.150s (errno %d)", path, errno);
}

static int dir_of(const char *path, char ret[static MAX_PATH],
                  struct bf_err *err)
{
    const char *slash = strrchr(path, '/');
    int len = slash ? (int)(slash - path) + 1 : 1;

    if (len >= MAX_PATH)
        return bf_err_set(err, BF_ERR_REJECT, "keys_dir",
                          "a file of keys has too long a name");
    snprintf(ret, MAX_PATH, "%.*s", len, slash ? path : ".");
    return 0;
}

static int check_dir(const struct stat *folder, const char *dir,
                     struct bf_err *err)
{
    if (!(folder->st_mode & S_IWOTH) || (folder->st_mode & S_ISVTX))
        return 0;
    return bf_err_set(err, BF_ERR_REJECT, "keys_mode",
                      "%.150s: everybody may write there; chmod o-w", dir);
}

int bf_writers_check_dir(const char *dir, struct bf_err *err)
{
    struct stat folder;

    return stat(dir, &folder) ? unseen(dir, err) : check_dir(&folder, dir, err);
}

int bf_writers_check(int fd, const char *path, struct bf_err *err)
{
    struct stat file, folder;
    char dir[MAX_PATH];

    if (dir_of(path, dir, err))
        return -1;
    if (fstat(fd, &file) || stat(dir, &folder))
        return unseen(path, err);
    if (file.st_mode & S_IWOTH)
        return bf_err_set(err, BF_ERR_REJECT, "keys_mode",
                          "%.150s: everybody may write it; chmod o-w", path);
    if (check_dir(&folder, dir, err))
        return -1;
    if ((folder.st_mode & S_IWOTH) && file.st_uid != 0 &&
        file.st_uid != geteuid() && file.st_uid != folder.st_uid)
        return bf_err_set(err, BF_ERR_REJECT, "keys_owner",
                          "%.150s belongs to user %u, who owns neither its "
                          "directory nor this process",
                          path, (unsigned)file.st_uid);
    return 0;
}
