#ifndef BF_DISPATCHER_SEAM_PRIVATE_H
#define BF_DISPATCHER_SEAM_PRIVATE_H

/* What the two files of the seam share: how a call comes, and how it ends. */

#include "dispatcher/gunzip.h"
#include "dispatcher/post.h"
#include "dispatcher/reader.h"
#include "dispatcher/recent.h"
#include "dispatcher/seam.h"
#include "dispatcher/seam_call.h"
#include "dispatcher/seam_reply.h"

struct bf_seam {
    struct bf_recent *codes;
    struct bf_recent *validations;
    struct bf_seam_waiting *waiting;
    struct bf_seam_stats stats;
};

/* An answer that has begun; its readers outlive the request now and then. */
struct bf_seam_said {
    unsigned holders;
    uint64_t spaces;
    struct bf_buf body; /* after them */
    bool done;
    bool cut;
};

/* What a thread of a pool found out. */
enum bf_seam_found {
    BF_SEAM_NOTHING,   /* the job has not ended */
    BF_SEAM_ELSEWHERE, /* its result has to be fetched */
    BF_SEAM_REPLY,
    BF_SEAM_FAULT, /* problem says what to tell */
};

struct bf_seam_waiting {
    struct bf_post post; /* first */
    struct bf_gunzip *gunzip;
    struct bf_buf body;
    char workspace[BF_MAX_ID + 1];
    char job[BF_MAX_ID + 1]; /* "": there is none yet */
    char code_hash[BF_MD5_SIZE];
    bool is_validation;

    /* for the end of the job */
    struct bf_seam_waiting *next, *prev;
    bool listed;
    uint64_t key;
    int64_t speak_ms;   /* bf_mono_ms(): the next space */
    int64_t until_ms;   /* the latest */
    int64_t latest_ms;  /* even if nobody knows whether the job has started */
    int64_t expires_ms; /* of the job, bf_now_ms() */
    bool extended;      /* the job has started, and has its own time */
    bool hurried;       /* the dispatcher is stopping */
    struct bf_seam_said *said;

    /* a question, on a thread of a pool */
    struct bf_task task;
    bool asked; /* it is there now */
    bool again; /* the job ended meanwhile: ask once more */
    enum bf_seam_found found;
    int64_t known_ms; /* all that was in Kafka then was looked at; 0: none */
    struct bf_reader_end end;
    struct bf_result_place place;
    struct bf_buf result, reply;
    struct bf_problem problem;
};

/*
 * Wait for the job's end from now on: before it leaves, so that no end is
 * missed. run_ms: what a run may take; 0: it is told when one begins.
 */
void bf_seam_expect(struct bf_seam_waiting *call, int64_t run_ms);
/* It waits no more. */
void bf_seam_unlist(struct bf_seam_waiting *call);

/* Not the user's fault: refused, or cut when the answer has begun. */
void bf_seam_fail(struct bf_seam_waiting *call,
                  const struct bf_problem *problem);

/* Frees the call when neither its request nor Kafka nor a pool has it. */
void bf_seam_let_go(struct bf_seam_waiting *call);

/* NULL is a no-op. */
void bf_seam_said_free(struct bf_seam_said *said);

#endif
