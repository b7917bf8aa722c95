#ifndef BF_DISPATCHER_CLI_PROGRESS_H
#define BF_DISPATCHER_CLI_PROGRESS_H

/*
 * One line on a terminal that shows how far something is; redraws at most ten
 * times a second. Quiet when cli->progress is off, or a plain line now and
 * then.
 */

#include <stdbool.h>
#include <stdint.h>

struct bf_cli;

struct bf_progress {
    struct bf_cli *cli;
    const char *what; /* "submitting"; borrowed */
    uint64_t total;   /* 0: unknown */
    int64_t began_ms;
    int64_t drawn_ms;
    bool plain; /* no terminal: a line every few seconds; not with --json */
};

void bf_progress_init(struct bf_progress *progress, struct bf_cli *cli,
                      const char *what, uint64_t total);

/* done of total; note: a few words after the bar, may be "". */
void bf_progress_set(struct bf_progress *progress, uint64_t done,
                     const char *note);

/* Take the line away. */
void bf_progress_end(struct bf_progress *progress);

#endif
