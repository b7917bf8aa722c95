/* blockfleet-dispatcher: flags, signals, exit code; nothing else. */

#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include "config/log.h"
#include "config/settings.h"
#include "dispatcher/dispatcher.h"
#include "schemas/err.h"

#define EXIT_USAGE 2

static int stop_signals(struct bf_err *err)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a full disk */
    /* It has no children; as pid 1 it gets those of others: reap them. */
    signal(SIGCHLD, SIG_IGN);
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return bf_err_set(err, BF_ERR_FATAL, "signalfd", "cannot be made");
    return fd;
}

/*
 * The usual 1024 is for select(), which nothing here calls: 1024 connections
 * and their uploads' files need more.
 */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit))
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int run(const struct bf_settings *settings, struct bf_err *err)
{
    bf_autoclose int stop_fd = stop_signals(err);
    bf_autodispatcher struct bf_dispatcher *dispatcher = NULL;

    if (stop_fd < 0)
        return -1;
    dispatcher = bf_dispatcher_new(settings, err);
    return dispatcher ? bf_dispatcher_run(dispatcher, stop_fd, err) : -1;
}

int main(int argc, char **argv)
{
    bf_autosettings struct bf_settings *settings = NULL;
    struct bf_err err;
    int rc =
        bf_settings_load(&settings, BF_PROGRAM_DISPATCHER, argc, argv, &err);

    if (rc == BF_SETTINGS_ANSWERED)
        return EXIT_SUCCESS;
    if (rc) {
        bf_log_err(BF_LOG_ERROR, "bad_settings", &err);
        return EXIT_USAGE;
    }
    bf_log_init(&(struct bf_log_conf){.level = settings->log.level,
                                      .format = settings->log.format,
                                      .fd = STDERR_FILENO,
                                      .per_second = settings->log.rate});
    raise_descriptors();
    if (run(settings, &err)) {
        bf_log_err(BF_LOG_ERROR, "failed", &err);
        return EXIT_FAILURE;
    }
    bf_log_info("stopped");
    return EXIT_SUCCESS;
}
