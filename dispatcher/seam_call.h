#ifndef BF_DISPATCHER_SEAM_CALL_H
#define BF_DISPATCHER_SEAM_CALL_H

/*
 * A call as an existing Roboflow inference server sends it to the execute_block
 * endpoint of its Modal app, and the job that is made of it. Pure.
 *
 * Source: roboflow-workflows 0.2.14, dynamic_blocks/modal_executor.py:
 * ModalExecutor._post_execute(), validate_code_in_modal().
 */

#include "dispatcher/problem.h"
#include "schemas/block.h"
#include "schemas/json.h"
#include "schemas/limits.h"
#include "schemas/outcome.h"

/*
 * Of the plain body. Inputs come as a JSON string of ASCII (json.dumps twice):
 * a quote or a backslash takes two bytes there, everything else one.
 */
#define BF_SEAM_BODY_BYTES                                                     \
    (2 * ((size_t)BF_MAX_INPUTS + BF_MAX_BLOCK) + (64U << 10))

/* The code of a call, as two members of a block: what is kept by its hash. */
#define BF_SEAM_CODE_BYTES BF_MAX_BLOCK

struct bf_seam_call {
    json_t *doc; /* private; slices point into it */
    char code_hash[BF_MD5_SIZE];
    struct bf_slice run_function;
    struct bf_slice inputs;
    const json_t *context; /* NULL: none */
    struct bf_buf code;    /* empty: the hash has to do */
    /*
     * A snippet that only compiles the user's code: the same answer whenever
     * it is asked.
     */
    bool is_validation;
};

/* Members that are not known are no error. *ret untouched on failure. */
int bf_seam_call_read(struct bf_slice body, struct bf_seam_call *ret,
                      struct bf_problem *problem);
void bf_seam_call_release(struct bf_seam_call *call);
#define bf_autoseam_call bf_cleanup(bf_seam_call_release)

/* Besides what the call says. */
struct bf_seam_terms {
    struct bf_slice workspace;
    struct bf_slice code; /* the call's, or what was kept of its hash */
    int64_t expires_at_ms;
    int64_t timeout_ms;
    enum bf_execution execution;
};

/* The job in the JSON that bf_shipment_new() reads. */
int bf_seam_call_job(const struct bf_seam_call *call,
                     const struct bf_seam_terms *terms, struct bf_buf *out,
                     struct bf_problem *problem);

#endif
