#ifndef BF_DISPATCHER_CLI_BATCH_JOB_H
#define BF_DISPATCHER_CLI_BATCH_JOB_H

/*
 * An item of `batch` as a job, whose id follows from the batch and the item's
 * place, so that the same command sent again is the same jobs.
 *
 * With --code, a line is the job's inputs; without, a whole job, and options
 * are what it does not say itself. Of a folder, a .json file is inputs; of
 * others they are file, its name, and image or content (bytes).
 *
 * A place says nothing of what is there: a label has a digest of the item, so
 * that a file with lines put in or taken out is not taken for the one sent.
 */

#include <jansson.h>

#include "dispatcher/cli/items.h"
#include "dispatcher/cli/seen.h"
#include "schemas/ids.h"

struct bf_cli;
struct bf_err;

#define BF_BATCH_NAME (BF_MAX_ID - 11) /* characters; ".NNNNNNNNNN" follows */

struct bf_batch_job {
    const struct bf_items *items; /* borrowed */
    json_t *members;              /* of every job */
    bool whole;                   /* lines are jobs */
    struct bf_buf given;          /* --set, as "{...}" */
    char batch[BF_MAX_ID + 1];
    struct bf_seen ids; /* private: of whole jobs so far */
};

#define BF_BATCH_LABEL "blockfleet.item"
#define BF_BATCH_MARK_SIZE 17 /* 16 hex digits and a '\0' */

/* From options. code: an initialised buffer that keeps the block's text. */
int bf_batch_job_init(struct bf_batch_job *job, struct bf_cli *cli,
                      const struct bf_items *items, struct bf_buf *code,
                      struct bf_err *err);
void bf_batch_job_release(struct bf_batch_job *job);

/* What tells an item from others, as in the label; never 0 or 1. */
uint64_t bf_batch_job_mark(const struct bf_batch_job *job,
                           const struct bf_item *item);

/* Of a job's document; 1: it has none. */
uint64_t bf_batch_job_marked(const json_t *doc);

/*
 * Append an item's job, one line without its end. REJECT: this one cannot be
 * one. Each item once: an id that an earlier one had is refused.
 */
int bf_batch_job_line(struct bf_batch_job *job, const struct bf_item *item,
                      struct bf_buf *out, struct bf_err *err);

#endif
