#include "dispatcher/cli/target.h"

#include <unistd.h>

#include "schemas/err.h"

void bf_target_release(struct bf_target *target)
{
    if (target->partial && target->file) {
        fclose(target->file);
        unlink(target->partial);
    }
    free(target->partial);
}

int bf_target_open(struct bf_target *target, struct bf_cli *cli,
                   struct bf_err *err)
{
    target->path = bf_args_get(&cli->args, "output");
    target->file = cli->out;
    if (!target->path || strcmp(target->path, "-") == 0)
        return 0;
    if (asprintf(&target->partial, "%s.partial", target->path) < 0) {
        target->partial = NULL;
        return bf_err_oom(err);
    }
    target->file = fopen(target->partial, "wbe");
    if (!target->file)
        return bf_cli_errno(err, "write", target->partial);
    return 0;
}

int bf_target_close(struct bf_target *target, struct bf_err *err)
{
    FILE *file = target->file;

    if (!target->partial)
        return fflush(file) == 0 ? 0 : bf_cli_errno(err, "write", "the output");
    target->file = NULL;
    if (fclose(file) != 0 || rename(target->partial, target->path) != 0)
        return bf_cli_errno(err, "write", target->path);
    return 0;
}
