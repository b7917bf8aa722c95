#ifndef BF_WORKER_BACKEND_H
#define BF_WORKER_BACKEND_H

/*
 * A backend speaks one provider's protocol: it turns a run into requests and
 * the replies into an end. It does no I/O; the worker owns sockets, clocks and
 * retries. Loop thread only. MUST NOT block or log. To add one: a file in
 * worker/backend/, a row in backend.c's table.
 */

#include "schemas/result.h"
#include "schemas/usage.h"
#include "worker/http_kinds.h"

struct bf_backend;
struct bf_e2b;
struct bf_err;
struct bf_modal;
struct bf_modal_grpc;

/* What is to be run. Outlives the run. */
struct bf_run_input {
    const struct bf_job *job;
    const struct bf_block *block;
    const char *run_id;
    uint32_t attempt;
    uint32_t shard, epoch; /* of this worker, while it owns the shard */
};

enum bf_transport {
    BF_BY_TIMER,  /* nobody: an answer after delay_ms */
    BF_BY_HTTP,   /* a request to url, sent by the worker */
    BF_BY_RUNNER, /* a frame to the local runner: head and body */
};

#define BF_REQUEST_SLICES 4

/* Its bytes are the run's, until the next step or the end of the run. */
struct bf_request {
    enum bf_transport by;
    int64_t delay_ms;
    /*
     * User code may start through this one: the job's timeout begins to count
     * when it is sent (anew, if it was counting), and a reply that is lost
     * means that it may have run. Others go by the deadline of a run that is
     * counting, and by timeout_ms.
     */
    bool runs;
    int64_t grace_ms;   /* runs: on top of the job's timeout, a cold start */
    int64_t timeout_ms; /* of this step: LATE after it; 0: BF_STEP_MS */
    /* BY_HTTP */
    enum bf_method method;
    const char *url;
    const char *const *headers; /* "name: value" */
    size_t nheaders;
    const struct bf_secret_header *secrets; /* bound to the URL's origin */
    size_t nsecrets;
    bool sign;       /* PROTOCOL.md §9; brings content-type and key, too */
    bool idempotent; /* may be sent again by the transport itself */
    enum bf_http_version version;
    size_t max_reply_bytes; /* 0: the ceiling of a block's answer */
    /* all but BY_TIMER */
    struct bf_slice head;
    struct bf_slice body[BF_REQUEST_SLICES]; /* sent one after the other */
    size_t nbody;
};

/* Patience with a step that says nothing itself and starts no user code. */
#define BF_STEP_MS 60000

enum bf_reply_kind {
    BF_REPLY_NONE,      /* the first step only */
    BF_REPLY_OK,        /* the transport did its part: look at the rest */
    BF_REPLY_UNSENT,    /* nothing left us: user code certainly did not start */
    BF_REPLY_LOST,      /* it left, and no whole answer came back */
    BF_REPLY_LATE,      /* aborted: the step's own time is over */
    BF_REPLY_DEADLINE,  /* aborted by the worker at the run's deadline */
    BF_REPLY_TOO_LARGE, /* an answer came that is over the ceiling */
};

/* Borrowed for the step. */
struct bf_reply {
    enum bf_reply_kind kind;
    int status;           /* HTTP; also of a LOST answer whose body broke */
    struct bf_slice head; /* runner: JSON */
    struct bf_slice body;
    struct bf_slice headers; /* HTTP: see bf_reply_header() */
    const char *error;       /* UNSENT, LOST: the transport's words */
    bool unsent;             /* DEADLINE, LATE: nothing of it had left us */
    int64_t retry_after_ms;  /* HTTP; 0: not said */
    int64_t now_ms;          /* always: the worker's clock, Unix time */
    int64_t mono_ms;         /* always: the one that never goes back */
};

/*
 * A header of the answer, or a trailer, the last one of that name; ptr NULL
 * when there is none.
 */
struct bf_slice bf_reply_header(const struct bf_reply *reply, const char *name);

/* A stretch in which a sandbox cost something and ran nothing. */
struct bf_idle_end {
    struct bf_idle idle;
    uint32_t shard; /* whose transaction it goes with, if it is still ours */
    uint32_t epoch;
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
    int64_t vcpu_us;       /* vCPU-seconds in millionths; 0: not told */
    int64_t memory_gib_us; /* GiB-seconds in millionths; 0: not told */
    json_t *provider;      /* object of strings, or NULL */
    const char *cause;     /* what it was decided by, a literal; or NULL */
    const char *alarm;     /* an operator has to know: one sentence; or NULL */
    bool relief;           /* alarm says that it is over */
    const struct bf_idle_end *idle; /* to be committed, or NULL */
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

/*
 * What a backend is configured with, the same for all of its runs. The
 * provider's own state is shared by them, on the loop's thread.
 */
struct bf_backend_config {
    const char *http_url;    /* http: where to POST */
    int64_t noop_delay_ms;   /* noop: at the most, spread by run id */
    char *const *workspaces; /* local: trusted ones, NULL-terminated */
    size_t stdout_bytes;     /* local: kept of stdout, and of stderr */
    struct bf_modal *modal;
    struct bf_modal_grpc *modal_grpc;
    struct bf_e2b *e2b;
    bool stopping; /* chores: this worker is about to leave */
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
 * they were. DEADLINE is followed by DONE; every other reply may be followed by
 * SEND where the backend knows that it is safe. What is left to be cleaned up
 * after DONE is a chore.
 */
typedef int bf_backend_step_fn(struct bf_run *run, const struct bf_reply *reply,
                               struct bf_request *ret_request,
                               struct bf_run_end *ret_end, struct bf_err *err);

/*
 * Free a run in any state, also one under way that nobody waits for any more:
 * what it held of the shared state is given back. NULL is a no-op.
 */
typedef void bf_backend_free_fn(struct bf_run *run);

/*
 * The next piece of housekeeping, as a run without an input: driven by the
 * same step and free, its requests never `runs` or `sign`, of its end only
 * idle and alarm count. NULL: none now, and *ret_next_ms is when to ask again
 * at the latest (mono_ms); asked again after every step of a run, too.
 */
typedef struct bf_run *
bf_backend_chore_fn(const struct bf_backend_config *config, int64_t now_ms,
                    int64_t mono_ms, int64_t *ret_next_ms);

struct bf_backend {
    const char *name; /* as in worker.backend and bf_backend */
    bf_backend_weigh_fn *weigh;
    bf_backend_begin_fn *begin;
    bf_backend_step_fn *step;
    bf_backend_free_fn *free;
    bf_backend_chore_fn *chore; /* NULL: it has none */
};

/* NULL: no such backend. */
const struct bf_backend *bf_backend_find(struct bf_slice name);

extern const struct bf_backend bf_backend_noop;
extern const struct bf_backend bf_backend_http;
extern const struct bf_backend bf_backend_local;
extern const struct bf_backend bf_backend_modal;
/* modal, too, by modal.transport grpc: bf_backend_find() does not know it. */
extern const struct bf_backend bf_backend_modal_grpc;
extern const struct bf_backend bf_backend_e2b;

#endif
