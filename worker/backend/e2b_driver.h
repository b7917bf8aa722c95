#ifndef BF_WORKER_BACKEND_E2B_DRIVER_H
#define BF_WORKER_BACKEND_E2B_DRIVER_H

/*
 * How a runner of ours gets into a sandbox that knows nothing of us, and what
 * it says there: Python for the code interpreter's kernel, arguments for a
 * process of envd's, and the marked lines of their stdout. Source: worker/
 * runner/bfrunner/sandbox.py. Pure.
 */

#include <jansson.h>

#include "schemas/buf.h"

struct bf_err;

/* The runner's package, as it was when this was built. */
struct bf_slice bf_e2b_package(void);

/* Where it is put; its name says which version it is. */
#define BF_E2B_PATH 80
void bf_e2b_package_path(char out[BF_E2B_PATH]);
/* Of a run's inputs that are too large to come along. */
void bf_e2b_inputs_path(const char *word, char out[BF_E2B_PATH]);

/* For the kernel: unpack the package, start a runner. */
int bf_e2b_prepare_code(const char *word, struct bf_buf *out,
                        struct bf_err *err);

/* For the kernel: a run. given: base64, or "@" and a path. */
int bf_e2b_run_code(const char *word, struct bf_slice given, struct bf_buf *out,
                    struct bf_err *err);

/* For envd, where the package was put as a file: the same in one process. */
#define BF_E2B_ARGS 10
struct bf_e2b_args {
    struct bf_slice arg[BF_E2B_ARGS];
    char path[BF_E2B_PATH];
    char seconds[24];
};
void bf_e2b_run_args(const char *word, struct bf_slice given,
                     int64_t timeout_ms, struct bf_e2b_args *ret);

/* What was said in lines with this word. */
struct bf_e2b_said {
    bool ready, needs, begun;
    bool broken;  /* a marked line that is none of ours */
    bool ended;   /* head and body are whole */
    json_t *head; /* of the done frame */
    struct bf_buf body;
};

void bf_e2b_said_release(struct bf_e2b_said *said);

/* *ret is zeroed. RETRY on no memory is the only error. */
int bf_e2b_said_read(struct bf_slice out, const char *word,
                     struct bf_e2b_said *ret, struct bf_err *err);

#endif
