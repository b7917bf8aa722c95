#ifndef BF_DISPATCHER_CLI_JOBS_H
#define BF_DISPATCHER_CLI_JOBS_H

/* Jobs as the dispatcher tells of them: ask, wait, show. */

#include <jansson.h>

#include "dispatcher/cli/cli.h"

/*
 * The job's status object; new reference in *ret. wait_s: let the dispatcher
 * hold its answer up to that long, until the job has ended.
 */
int bf_jobs_get(struct bf_client *client, const char *workspace, const char *id,
                unsigned wait_s, json_t **ret, struct bf_err *err);

/* The same, asked again until the job has ended or bf_mono_ms() is past. */
int bf_jobs_wait(struct bf_client *client, const char *workspace,
                 const char *id, int64_t until_mono_ms, json_t **ret,
                 struct bf_err *err);

bool bf_jobs_ended(const json_t *job);

/* OK, JOB or PENDING; for several, the worst. */
enum bf_exit bf_jobs_exit(const json_t *job);
enum bf_exit bf_jobs_worse(enum bf_exit a, enum bf_exit b);

/*
 * One job in full: how it ended, the user's error with the line of code when
 * code is at hand (else NULL), its output. With --json: the object.
 */
int bf_jobs_show(struct bf_cli *cli, const json_t *job, const char *code,
                 struct bf_err *err);

/* Several as a table. */
int bf_jobs_table(struct bf_cli *cli, const json_t *jobs, struct bf_err *err);

/*
 * Lines of code around line (from 1), the line itself marked with >>>. Nothing
 * when there is no such line. Pure.
 */
int bf_jobs_snippet(const char *code, int64_t line, struct bf_buf *out,
                    struct bf_err *err);

/* The result's bytes into a file; *ret_bytes how many. */
int bf_jobs_result(struct bf_client *client, const char *workspace,
                   const char *id, FILE *sink, int64_t *ret_bytes,
                   struct bf_err *err);

#endif
