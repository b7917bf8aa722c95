#include <malloc.h>
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

/*
 * A job is some 150 small allocations, most of them librdkafka's headers, all
 * freed when its transaction is over. glibc would keep the small ones aside
 * and now and then merge all of them at once, out of the cache by then (17 %
 * of a job's time); give memory back after each transaction, to ask for it
 * page by page in the next one (3 us a job); and ask for each fetch anew. None
 * of this keeps more than what was needed at once before. (More in a thread's
 * own cache, tcache_count=1000, takes 13 % longer: last in, first out, a job's
 * pieces come to lie all over the heap.)
 */
static void tune_malloc(void)
{
    /* NOLINTBEGIN(concurrency-mt-unsafe): there are no threads yet */
    mallopt(M_MXFAST, 0);
    mallopt(M_TRIM_THRESHOLD, 32 << 20);
    mallopt(M_TOP_PAD, 1 << 20);
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    /* NOLINTEND(concurrency-mt-unsafe) */
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
    tune_malloc();
    bf_log_init(&(struct bf_log_conf){.level = settings->log.level,
                                      .format = settings->log.format,
                                      .fd = STDERR_FILENO,
                                      .per_second = settings->log.rate});
    return bf_supervise((unsigned int)settings->worker.processes, work,
                        settings);
}
