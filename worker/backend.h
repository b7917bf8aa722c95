#ifndef BF_WORKER_BACKEND_H
#define BF_WORKER_BACKEND_H

/*
 * A backend speaks one provider's protocol: it turns a run into requests and
 * the replies into an end. It does no I/O; the worker owns sockets, clocks and
 * retries. Loop thread only. MUST NOT block or log. To add one: a file in
 * worker/backend/, a row in backend.c's table.
 */

#include "schemas/result.h"

struct bf_backend;
struct bf_err;

/* What is to be run. Outlives the run. */
struct bf_run_input {
    const struct bf_job *job;
    const struct bf_block *block;
    const char *run_id;
    uint32_t attempt;
};

enum bf_transport {
    BF_BY_TIMER,  /* nobody: an answer after delay_ms */
    BF_BY_HTTP,   /* POST url, JSON; signed by the worker */
    BF_BY_RUNNER, /* a frame to the local runner: head and body */
};

#define BF_REQUEST_SLICES 4

/* Its bytes are the run's, until the next step or the end of the run. */
struct bf_request {
    enum bf_transport by;
    int64_t delay_ms;
    const char *url;
    struct bf_slice head;
    struct bf_slice body[BF_REQUEST_SLICES]; /* sent one after the other */
    size_t nbody;
};

enum bf_reply_kind {
    BF_REPLY_NONE,      /* the first step only */
    BF_REPLY_OK,        /* the transport did its part: look at the rest */
    BF_REPLY_UNSENT,    /* nothing left us: user code certainly did not start */
    BF_REPLY_LOST,      /* it left, and no whole answer came back */
    BF_REPLY_DEADLINE,  /* killed by the worker at the run's deadline */
    BF_REPLY_TOO_LARGE, /* an answer came that is over the ceiling */
};

/* Borrowed for the step. */
struct bf_reply {
    enum bf_reply_kind kind;
    int status;           /* HTTP */
    struct bf_slice head; /* runner: JSON */
    struct bf_slice body;
    const char *error;      /* UNSENT, LOST: the transport's words */
    bool unsent;            /* DEADLINE: nothing had left us by then */
    int64_t retry_after_ms; /* HTTP; 0: not said */
};

/* How a run ended. Bytes are the run's, until it is freed. */
struct bf_run_end {
    enum bf_outcome outcome;
    enum bf_reason reason;
    enum bf_delivery delivery;
    bool again; /* did not run for certain, and may be tried again */
    bool more;  /* may have run, and the job allows one more attempt */
    int64_t again_after_ms; /* again: not before; 0: as we like */
    struct bf_slice result;
    struct bf_report report;
    const char *isolation; /* a literal */
    int64_t duration_us;   /* the supervisor's; -1: the worker's own clock */
    json_t *provider;      /* object of strings, or NULL */
};

enum bf_step {
    BF_STEP_SEND, /* *ret_request is filled in: send it */
    BF_STEP_DONE, /* *ret_end is filled in: the run is over */
};

/* One run; first member of each backend's own struct. */
struct bf_run {
    uint32_t magic; /* the backend's own, checked on every call */
    const struct bf_backend *backend;
};

/* What a backend is configured with, the same for all of its runs. */
struct bf_backend_config {
    const char *http_url;    /* http: where to POST */
    int64_t noop_delay_ms;   /* noop: at the most, spread by run id */
    char *const *workspaces; /* local: trusted ones, NULL-terminated */
    size_t stdout_bytes;     /* local: kept of stdout, and of stderr */
};

/*
 * Bytes that begin() is going to build, reserved in the worker's budget before
 * and until the run has ended. The slot is NULL where that is next to nothing.
 */
typedef size_t bf_backend_weigh_fn(const struct bf_run_input *input);

/* NULL with *err set on failure: REJECT code is a bf_reason's name. */
typedef struct bf_run *
bf_backend_begin_fn(const struct bf_backend_config *config,
                    const struct bf_run_input *input, struct bf_err *err);

/*
 * Take a reply (BF_REPLY_NONE on the first call only), say what comes next.
 * Returns an enum bf_step, or -1 with *err set and both ret_ arguments left as
 * they were. Every reply but NONE and OK is followed by DONE.
 */
typedef int bf_backend_step_fn(struct bf_run *run, const struct bf_reply *reply,
                               struct bf_request *ret_request,
                               struct bf_run_end *ret_end, struct bf_err *err);

/* Free a run in any state. NULL is a no-op. */
typedef void bf_backend_free_fn(struct bf_run *run);

struct bf_backend {
    const char *name; /* as in worker.backend and bf_backend */
    bf_backend_weigh_fn *weigh;
    bf_backend_begin_fn *begin;
    bf_backend_step_fn *step;
    bf_backend_free_fn *free;
};

/* NULL: no such backend. */
const struct bf_backend *bf_backend_find(struct bf_slice name);

extern const struct bf_backend bf_backend_noop;
extern const struct bf_backend bf_backend_http;
extern const struct bf_backend bf_backend_local;

#endif
