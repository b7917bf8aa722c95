#ifndef BF_DISPATCHER_CLI_BATCHES_H
#define BF_DISPATCHER_CLI_BATCHES_H

/*
 * Batches as the dispatcher tells of them: names that are the same again, ask,
 * open, seal, wait. Blocking, one thread.
 */

#include <jansson.h>

#include "dispatcher/cli/exits.h"
#include "schemas/ids.h"

struct bf_cli;
struct bf_client;
struct bf_err;

/* One of them; everything is borrowed. */
struct bf_batches {
    struct bf_client *client;
    const char *workspace;
    const char *batch;
};

/*
 * A name for what comes from this file (without folders) and has this digest,
 * in hex: "clip-0123456789ab".
 */
void bf_batches_name(const char *file, const char *hex,
                     char out[BF_MAX_ID + 1]);

/* Option --batch, of so many characters at most; NULL: not given. */
int bf_batches_given(struct bf_cli *cli, size_t max, const char **ret,
                     struct bf_err *err);

/* GET /v1/batches/...; new reference in *ret, NULL there: no such batch. */
int bf_batches_get(const struct bf_batches *at, json_t **ret,
                   struct bf_err *err);

/* Of what bf_batches_get() gave, which may be NULL: jobs, and ended ones. */
uint64_t bf_batches_total(const json_t *doc);
uint64_t bf_batches_ended(const json_t *doc);
bool bf_batches_is(const json_t *doc, const char *state);

/* OK when all its jobs have succeeded, else JOB. */
enum bf_exit bf_batches_exit(const json_t *doc);

/* In full, for people without what there is none of. took_s below 0: untold. */
int bf_batches_show(struct bf_cli *cli, const json_t *doc, double took_s,
                    struct bf_err *err);

/* Saying the same again is no error. rate: a JSON number, NULL for none. */
int bf_batches_open(const struct bf_batches *at, const char *rate,
                    struct bf_err *err);
int bf_batches_seal(const struct bf_batches *at, uint64_t count,
                    struct bf_err *err);

/*
 * Until so many jobs are there and all have ended, or the batch has failed;
 * with progress. things: what they are called. RETRY "pending" when
 * bf_mono_ms() is past until_ms; REJECT "refused" when fewer are there, all of
 * which have ended, and no other comes. New reference in *ret.
 */
struct bf_batches_goal {
    uint64_t jobs;
    const char *things;
    int64_t until_ms;
    uint64_t gap_s; /* too few have come when none has for so long; 0: 60 */
};
int bf_batches_wait(struct bf_cli *cli, const struct bf_batches *at,
                    const struct bf_batches_goal *goal, json_t **ret,
                    struct bf_err *err);

#endif
