#include "worker/runner_files.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "schemas/buf.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "schemas/limits.h"
#include "worker/runner_pool.h"

#define MAX_ARGS 48
#define MAX_ENV 8

/* What of our environment a runner may see. */
static const char *const kept[] = {"PATH", "LANG", "LC_ALL", "TZ", "TMPDIR"};

struct bf_runner_files {
    char python[PATH_MAX];
    char *args[MAX_ARGS + 1]; /* owned */
    size_t nargs;
    char *env[MAX_ENV + 1];
    size_t nenv;
};

_Static_assert(bf_countof(kept) + 1 <= MAX_ENV, "room for HOME, too");

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
           access(path, X_OK) == 0;
}

static int find_python(struct bf_runner_files *files, const char *name,
                       struct bf_err *err)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody writes to it */
    const char *path = getenv("PATH");
    const char *dir = path ? path : "/usr/local/bin:/usr/bin:/bin";

    if (strchr(name, '/')) {
        snprintf(files->python, sizeof(files->python), "%s", name);
        return is_program(name) ? 0
                                : bf_err_set(err, BF_ERR_FATAL, "runner",
                                             "no program: %s", name);
    }
    for (; *dir; dir += strspn(dir, ":")) {
        int len = (int)strcspn(dir, ":");

        snprintf(files->python, sizeof(files->python), "%.*s/%s", len, dir,
                 name);
        if (is_program(files->python))
            return 0;
        dir += len;
    }
    return bf_err_set(err, BF_ERR_FATAL, "runner", "%s is not on PATH", name);
}

static int add_arg(struct bf_runner_files *files, const char *arg,
                   struct bf_err *err)
{
    if (files->nargs == MAX_ARGS)
        return bf_err_set(err, BF_ERR_FATAL, "runner", "too many arguments");
    files->args[files->nargs] = strdup(arg);
    if (!files->args[files->nargs])
        return bf_err_oom(err);
    files->nargs++;
    return 0;
}

static int add_number(struct bf_runner_files *files, const char *name,
                      size_t number, struct bf_err *err)
{
    char text[24];

    snprintf(text, sizeof(text), "%zu", number);
    return add_arg(files, name, err) || add_arg(files, text, err) ? -1 : 0;
}

static int add_env(struct bf_runner_files *files, const char *name,
                   const char *value, struct bf_err *err)
{
    char *entry;

    if (!value)
        return 0;
    if (asprintf(&entry, "%s=%s", name, value) < 0)
        return bf_err_oom(err);
    files->env[files->nenv++] = entry;
    return 0;
}

/* The package, or, for tests, a single script. */
static int check_package(const char *path, struct bf_err *err)
{
    char inside[PATH_MAX];
    struct stat st;

    snprintf(inside, sizeof(inside), "%s/__main__.py", path);
    if (access(inside, R_OK) == 0 ||
        (stat(path, &st) == 0 && S_ISREG(st.st_mode)))
        return 0;
    return bf_err_set(err, BF_ERR_FATAL, "runner", "no runner in %s", path);
}

static int fill(struct bf_runner_files *files,
                const struct bf_runner_pool_config *config, struct bf_err *err)
{
    const char *const *more = config->args;

    if (find_python(files, config->python, err) ||
        check_package(config->path, err) ||
        add_arg(files, files->python, err) || add_arg(files, "-I", err) ||
        add_arg(files, config->path, err) ||
        add_number(files, "--fd", 3, err) ||
        add_number(files, "--slots", config->slots, err) ||
        add_number(files, "--input-bytes", BF_MAX_INPUTS, err) ||
        add_number(files, "--result-bytes", BF_MAX_RESULT, err))
        return -1;
    for (; more && *more; more++) {
        if (add_arg(files, *more, err))
            return -1;
    }
    for (size_t i = 0; i < bf_countof(kept); i++) {
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody writes to it */
        if (add_env(files, kept[i], getenv(kept[i]), err))
            return -1;
    }
    return add_env(files, "HOME", "/nonexistent", err);
}

struct bf_runner_files *
bf_runner_files_new(const struct bf_runner_pool_config *config,
                    struct bf_err *err)
{
    struct bf_runner_files *files = calloc(1, sizeof(*files));

    if (!files) {
        bf_err_oom(err);
        return NULL;
    }
    if (fill(files, config, err)) {
        bf_runner_files_free(files);
        return NULL;
    }
    return files;
}

void bf_runner_files_free(struct bf_runner_files *files)
{
    if (!files)
        return;
    for (size_t i = 0; i < files->nargs; i++)
        free(files->args[i]);
    for (size_t i = 0; i < files->nenv; i++)
        free(files->env[i]);
    free(files);
}

struct bf_child_want bf_runner_files_want(const struct bf_runner_files *files)
{
    return (struct bf_child_want){.argv = files->args, .env = files->env};
}

/* ---- where it is ---- */

/* Beside the programs, from the directory that they are in. */
static const char *const places[] = {
    "/../lib/blockfleet/bfrunner",
    "/../../../worker/runner/bfrunner", /* build/<preset>/bin */
};

char *bf_runner_find(struct bf_err *err)
{
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    char path[PATH_MAX + 64];
    char *found = NULL;
    char *slash;

    program[len > 0 ? len : 0] = '\0';
    slash = strrchr(program, '/');
    if (slash)
        *slash = '\0';
    for (size_t i = 0; i < bf_countof(places) && !found; i++) {
        snprintf(path, sizeof(path), "%s%s", program, places[i]);
        if (check_package(path, err) == 0)
            found = realpath(path, NULL);
    }
    if (!found)
        bf_err_set(err, BF_ERR_FATAL, "runner",
                   "no runner beside %s: say local.runner_path", program);
    return found;
}
