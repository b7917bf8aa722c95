#include "config/run_dir.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "schemas/err.h"

static bool is_ours(const struct stat *st)
{
    uid_t me = geteuid();

    return me == 0 || st->st_uid == 0 || st->st_uid == me;
}

int bf_run_dir_make(const char *dir, struct bf_err *err)
{
    struct stat name, st;

    if ((mkdir(dir, 0700) && errno != EEXIST) || lstat(dir, &name) ||
        stat(dir, &st))
        return bf_err_set(err, BF_ERR_FATAL, "run_dir", "%s: %s", dir,
                          strerrorname_np(errno));
    if (!S_ISDIR(st.st_mode))
        return bf_err_set(err, BF_ERR_FATAL, "run_dir", "%s is not a directory",
                          dir);
    /* Of a symbolic link, who made it counts as much as where it leads. */
    if (!is_ours(&name) || !is_ours(&st))
        return bf_err_set(err, BF_ERR_FATAL, "run_dir",
                          "%s belongs to another user (%u)", dir,
                          (unsigned)(is_ours(&name) ? st : name).st_uid);
    if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX))
        return bf_err_set(err, BF_ERR_FATAL, "run_dir",
                          "%s: everybody may write there; chmod o-w", dir);
    return 0;
}
