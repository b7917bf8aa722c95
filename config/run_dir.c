#include "config/run_dir.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "schemas/check.h"
#include "schemas/err.h"

/* May anybody have made it first? */
static bool is_open_to_all(const char *dir)
{
    bf_autofree char *above = strdup(dir);
    char *slash = above ? strrchr(above, '/') : NULL;
    struct stat st;

    if (slash)
        slash[slash == above] = '\0';
    return !above || stat(slash ? above : ".", &st) || (st.st_mode & S_IWOTH);
}

/* Root takes what others own, where it is told to: not what they put there. */
static bool is_ours(const char *dir, const struct stat *st)
{
    uid_t me = geteuid();

    return st->st_uid == 0 || st->st_uid == me ||
           (me == 0 && !is_open_to_all(dir));
}

int bf_run_dir_make(const char *dir, struct bf_err *err)
{
    struct stat name, st;

    if ((mkdir(dir, 0700) && errno != EEXIST) || lstat(dir, &name) ||
        stat(dir, &st))
        return bf_err_set(err, BF_ERR_FATAL, "run_dir", "%s: %s", dir,
                          strerrorname_np(errno));
    if (!S_ISDIR(st.st_mode))
        return bf_err_set(err, BF_ERR_REJECT, "run_dir",
                          "%s is not a directory", dir);
    /* Of a symbolic link, who made it counts as much as where it leads. */
    if (!is_ours(dir, &name) || !is_ours(dir, &st))
        return bf_err_set(err, BF_ERR_REJECT, "run_dir",
                          "%s belongs to another user (%u)", dir,
                          (unsigned)(is_ours(dir, &name) ? st : name).st_uid);
    if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX))
        return bf_err_set(err, BF_ERR_REJECT, "run_dir",
                          "%s: everybody may write there; chmod o-w, or name a "
                          "directory below it",
                          dir);
    return 0;
}
