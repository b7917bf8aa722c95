#ifndef BF_WORKER_BACKEND_MODAL_WEB_H
#define BF_WORKER_BACKEND_MODAL_WEB_H

/*
 * What Modal's web edge says, and what that tells of a run: tables and text,
 * no more. Sources: modal.com/docs/guide/webhook-timeouts, …/webhook-proxy-auth
 * and the bodies that its edge ("modal-http: …") was seen to send. Pure.
 */

#include "worker/breaker.h"
#include "worker/verdict.h"

struct bf_err;

/* Which request the answer is to. */
enum bf_modal_phase {
    BF_MODAL_POST,   /* the call itself */
    BF_MODAL_RESULT, /* "303 See Other": a call that runs, asked after */
};

/* What is to be done about an answer. */
enum bf_modal_next {
    BF_MODAL_END,       /* what the row says */
    BF_MODAL_READ,      /* 200: the answer says more */
    BF_MODAL_FOLLOW,    /* it runs: ask at `location` */
    BF_MODAL_ASK,       /* it may run: ask again, the same */
    BF_MODAL_ASK_A_FEW, /* ask again a few times, then what the row says */
};

struct bf_modal_fact {
    const char *cause; /* a literal */
    enum bf_modal_next next;
    enum bf_try what;  /* END, ASK_A_FEW */
    enum bf_sign sign; /* for the breaker */
    const char *words; /* for the operator, of a CREDENTIAL; or NULL */
};

/*
 * A whole answer, or the status and what there is of one that broke off.
 * Never NULL.
 */
const struct bf_modal_fact *bf_modal_fact(enum bf_modal_phase phase, int status,
                                          struct bf_slice body);

/* Row by row, for the test that has one of its own for each. NULL: the end. */
const struct bf_modal_fact *bf_modal_fact_at(size_t i);

/* "fc-" and what Modal makes ids of; anything else is not believed. */
bool bf_modal_is_call_id(struct bf_slice id);

/*
 * The URL to ask for the result at: location against the URL that was called.
 * REJECT "bad_location" when it leaves scheme, host or port, when it has a
 * fragment, spaces or control characters, or no call id; *ret_call_id borrows
 * from *ret_url, which is empty before.
 */
int bf_modal_result_url(const char *called, struct bf_slice location,
                        struct bf_buf *ret_url, struct bf_slice *ret_call_id,
                        struct bf_err *err);

/* modal.url with ?workspace_id=… behind what it has of a query. */
int bf_modal_call_url(const char *url, struct bf_slice workspace,
                      struct bf_buf *ret, struct bf_err *err);

#endif
