#ifndef BF_WORKER_BACKEND_E2B_CAUSE_H
#define BF_WORKER_BACKEND_E2B_CAUSE_H

/*
 * What E2B's answers mean: one table from what was seen on the wire to what is
 * known of the user's code, what becomes of the sandbox and what to do next.
 * Sources: e2b-dev/infra, packages/{api,client-proxy,orchestrator,envd}. Pure.
 */

#include "worker/backend.h"
#include "worker/verdict.h"

/* What was asked. As bits, so that a row can be about several. */
enum bf_e2b_ask {
    BF_E2B_ASK_CREATE = 1,
    BF_E2B_ASK_CONNECT = 2,
    BF_E2B_ASK_LIST = 4,
    BF_E2B_ASK_TTL = 8,
    BF_E2B_ASK_KILL = 16,
    BF_E2B_ASK_PREPARE = 32, /* in the sandbox, without user code */
    BF_E2B_ASK_RUN = 64,     /* user code may start */
};

/* What the body of an answer to PREPARE or RUN turned out to be. */
enum bf_e2b_stream {
    BF_E2B_STREAM_NONE,        /* no 200, or not looked at */
    BF_E2B_STREAM_ANSWER,      /* the runner's answer: that one decides */
    BF_E2B_STREAM_READY,       /* PREPARE did what it should */
    BF_E2B_STREAM_NEEDS,       /* the runner is not there (any more) */
    BF_E2B_STREAM_CUT,         /* no last line, no end frame */
    BF_E2B_STREAM_BROKEN,      /* bytes that are no such stream */
    BF_E2B_STREAM_TOO_LARGE,   /* more than we keep of it */
    BF_E2B_STREAM_KERNEL_DIED, /* ContextRestarting and its like */
    BF_E2B_STREAM_ABORTED,     /* the kernel dropped it, unread */
    BF_E2B_STREAM_NOT_BEGUN,   /* it is whole, and the block did not begin */
    BF_E2B_STREAM_SILENT,      /* it is whole, began, and has no answer */
    BF_E2B_STREAM_DEADLINE,    /* envd killed it */
    BF_E2B_STREAM_PROMISED,    /* no 200: our block server did not run it */
};

struct bf_e2b_evidence {
    enum bf_e2b_ask ask;
    enum bf_reply_kind kind;
    bool unsent; /* DEADLINE, LATE */
    int status;
    const char *message;    /* of the error's body, or "" */
    const char *error_code; /* the same */
    bool about_port;        /* the same */
    enum bf_e2b_stream stream;
};

/* What becomes of the sandbox that was asked, or asked for. */
enum bf_e2b_fate {
    BF_E2B_KEEP,
    BF_E2B_FORGET, /* it is gone */
    BF_E2B_DELETE, /* dirty, or of no use */
    BF_E2B_GHOST,  /* it may exist, and nobody was told its id */
};

/* What to do next, where that is safe and sense; else the run ends. */
enum bf_e2b_next {
    BF_E2B_END,
    BF_E2B_GO_ON, /* it went well */
    BF_E2B_AGAIN, /* the same once more, in a moment */
    BF_E2B_FRESH, /* on another sandbox */
    BF_E2B_OLD,   /* by the routes of v1 */
    BF_E2B_EVICT, /* give up an idle sandbox, then again */
    BF_E2B_REDO,  /* prepare it, then again */
};

struct bf_e2b_cause {
    const char *name; /* for people and metrics */
    enum bf_try what; /* if the run ends with this */
    enum bf_e2b_fate fate;
    enum bf_e2b_next next;
    bool stop; /* credential or configuration: no more until it changes */
};

/* A row fits every evidence. */
const struct bf_e2b_cause *bf_e2b_judge(const struct bf_e2b_evidence *what);

/* For tests: each row's name, NULL past the last one. */
const char *bf_e2b_cause_name(size_t i);

#endif
