#include "dispatcher/cli/progress.h"

#include "config/clock.h"
#include "dispatcher/cli/cli.h"

#define EVERY_MS 100
#define PLAIN_EVERY_MS 5000
#define BAR 30

void bf_progress_init(struct bf_progress *progress, struct bf_cli *cli,
                      const char *what, uint64_t total)
{
    *progress = (struct bf_progress){
        .cli = cli,
        .what = what,
        .total = total,
        .began_ms = bf_mono_ms(),
    };
}

/* For logs: nothing at all when it is soon over. */
static void set_plain(struct bf_progress *progress, const char *note)
{
    int64_t now_ms = bf_mono_ms();
    int64_t since_ms =
        progress->drawn_ms > 0 ? progress->drawn_ms : progress->began_ms;

    if (!progress->plain || now_ms - since_ms < PLAIN_EVERY_MS)
        return;
    progress->drawn_ms = now_ms;
    bf_cli_say(progress->cli, "%s  %s", progress->what, note);
}

void bf_progress_set(struct bf_progress *progress, uint64_t done,
                     const char *note)
{
    static const char full[] = "##############################";
    int64_t now_ms = bf_mono_ms();
    uint64_t total = progress->total;
    int filled;

    if (!progress->cli->progress) {
        set_plain(progress, note);
        return;
    }
    if (now_ms - progress->drawn_ms < EVERY_MS && done != total)
        return;
    progress->drawn_ms = now_ms;
    if (total == 0) {
        fprintf(progress->cli->err, "\r%s  %llu  %s\033[K", progress->what,
                (unsigned long long)done, note);
        return;
    }
    done = done > total ? total : done;
    filled = (int)((double)done / (double)total * BAR);
    fprintf(progress->cli->err, "\r%s  [%-*.*s] %3d %%  %s\033[K",
            progress->what, BAR, filled, full,
            (int)((double)done / (double)total * 100), note);
}

void bf_progress_end(struct bf_progress *progress)
{
    if (progress->cli->progress && progress->drawn_ms > 0)
        fprintf(progress->cli->err, "\r\033[K");
}
