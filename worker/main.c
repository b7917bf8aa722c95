#include <stdio.h>

#include "config/log.h"
#include "config/settings.h"
#include "schemas/check.h"
#include "schemas/err.h"
#include "worker/supervise.h"
#include "worker/worker.h"

static int work(void *arg, struct bf_shift *shift)
{
    const struct bf_settings *settings = arg;
    struct bf_err err = {0};
    struct bf_worker *worker = bf_worker_new(settings, &err);
    int code;

    if (worker)
        code = bf_worker_run(worker, shift, &err) ? 1 : 0;
    else
        code = err.kind == BF_ERR_REJECT ? BF_WORK_WRONG : 1;
    if (code)
        bf_log_err(BF_LOG_ERROR, "worker_down", &err);
    bf_worker_free(worker);
    return code;
}

/* Exit codes: 0 stopped as asked, 1 failed, 2 configured wrong. */
int main(int argc, char **argv)
{
    bf_autosettings struct bf_settings *settings = NULL;
    struct bf_err err = {0};
    int code;

    code = bf_settings_load(&settings, BF_PROGRAM_WORKER, argc, argv, &err);
    if (code == BF_SETTINGS_ANSWERED)
        return 0;
    if (code) {
        fprintf(stderr, "blockfleet-worker: %s\n", err.msg);
        return BF_WORK_WRONG;
    }
    bf_log_init(&(struct bf_log_conf){.level = settings->log.level,
                                      .format = settings->log.format,
                                      .fd = STDERR_FILENO,
                                      .per_second = settings->log.rate});
    return bf_supervise((unsigned int)settings->worker.processes, work,
                        settings);
}
