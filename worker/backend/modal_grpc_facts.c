#include "worker/backend/modal_grpc_facts.h"

#include "schemas/check.h"

#define FACT(cause, what, sign)                                                \
    {                                                                          \
        cause, BF_TRY_##what, BF_REASON_NONE, BF_SIGN_##sign, NULL             \
    }
#define STOP(cause, words)                                                     \
    {                                                                          \
        cause, BF_TRY_CREDENTIAL, BF_REASON_NONE, BF_SIGN_CREDENTIAL, words    \
    }

#define BIT(stage) (1U << BF_STAGE_##stage)
#define BEFORE (BIT(AUTH) | BIT(CLASS) | BIT(BIND) | BIT(UPLOAD) | BIT(MAP))
#define AFTER (BIT(OUTPUTS) | BIT(DOWNLOAD))

#define ANY BF_GRPC_STATUSES /* of what follows as the row says */

/*
 * The first that fits. Whatever an operator has to put right stops the
 * credential and lets jobs wait. An operator's mistake and a drift of Modal's
 * API look alike, and neither is to cost a job.
 */
static const struct row {
    unsigned stages;
    enum bf_grpc_follows follows;
    enum bf_grpc_status status;
    struct bf_modal_grpc_fact fact;
} rows[] = {
    {BEFORE, BF_GRPC_STOP, BF_GRPC_UNAUTHENTICATED,
     STOP("bad_credentials",
          "Modal refuses MODAL_TOKEN_ID and MODAL_TOKEN_SECRET")},
    {BEFORE, BF_GRPC_STOP, BF_GRPC_PERMISSION_DENIED,
     STOP("forbidden", "this Modal token may not call this app")},
    {BEFORE, BF_GRPC_STOP, ANY,
     STOP("client_refused", "Modal does not take this client any more")},
    {BIT(CLASS), BF_GRPC_GONE, ANY,
     STOP("no_app", "there is no such app, class or environment at Modal: "
                    "modal.app, modal.environment")},
    {BIT(AUTH) | BIT(CLASS), BF_GRPC_REFUSED, ANY,
     STOP("refused", "Modal refuses to tell of modal.app")},
    {BEFORE, BF_GRPC_GONE, ANY, FACT("id_gone", NOT_STARTED, FAULT)},
    {BEFORE, BF_GRPC_LATER, ANY, FACT("busy", NOT_STARTED, NONE)},
    {BEFORE, BF_GRPC_REFUSED, ANY, FACT("refused", REFUSED, NONE)},
    {BEFORE, BF_GRPC_AGAIN, ANY, FACT("unavailable", NOT_STARTED, FAULT)},

    {AFTER, BF_GRPC_GONE, ANY, FACT("call_gone", NOBODY_KNOWS, NONE)},
    {AFTER, BF_GRPC_STOP, ANY,
     FACT("result_refused", NOBODY_KNOWS, CREDENTIAL)},
    {AFTER, BF_GRPC_REFUSED, ANY, FACT("result_refused", NOBODY_KNOWS, NONE)},
    {AFTER, BF_GRPC_AGAIN, ANY, FACT("result_lost", NOBODY_KNOWS, FAULT)},
    {AFTER, BF_GRPC_LATER, ANY, FACT("result_lost", NOBODY_KNOWS, NONE)},
};

/* FunctionMap was sent, and nobody said what came of it. */
static const struct bf_modal_grpc_fact unsure =
    FACT("call_unsure", NOBODY_KNOWS, FAULT);

const struct bf_modal_grpc_fact *
bf_modal_grpc_failure(enum bf_modal_stage stage, enum bf_grpc_status status,
                      bool maybe)
{
    enum bf_grpc_follows follows = bf_grpc_follows(status);

    bf_assert(stage < BF_STAGES);
    if (stage == BF_STAGE_MAP && maybe)
        return &unsure;
    for (size_t i = 0; i < bf_countof(rows); i++) {
        if ((rows[i].stages & 1U << stage) && rows[i].follows == follows &&
            (rows[i].status == ANY || rows[i].status == status))
            return &rows[i].fact;
    }
    return bf_modal_grpc_nonsense(stage);
}

const struct bf_modal_grpc_fact *
bf_modal_grpc_nonsense(enum bf_modal_stage stage)
{
    static const struct bf_modal_grpc_fact
        no_class = STOP("unfit_app", "modal.app cannot be called as we do"),
        before = FACT("no_sense", NOT_STARTED, FAULT),
        after = FACT("no_sense", NOBODY_KNOWS, FAULT);

    if (stage == BF_STAGE_CLASS)
        return &no_class;
    return stage < BF_STAGE_MAP ? &before : &after;
}

const struct bf_modal_grpc_fact *
bf_modal_grpc_result(enum bf_modal_status status)
{
    static const struct bf_modal_grpc_fact facts[] = {
        [BF_MODAL_UNKNOWN] = FACT("unknown_status", NOBODY_KNOWS, FAULT),
        [BF_MODAL_SUCCESS] = FACT("answered", SUCCEEDED, GOOD),
        /* The app's own method raised, which user code cannot make it do. */
        [BF_MODAL_FAILURE] = FACT("container_failure", NOBODY_KNOWS, FAULT),
        [BF_MODAL_TERMINATED] = FACT("terminated", NOBODY_KNOWS, NONE),
        [BF_MODAL_TIMEOUT] = FACT("timed_out", TIMED_OUT, GOOD),
        [BF_MODAL_INIT_FAILURE] = FACT("init_failure", NOT_STARTED, FAULT),
        [BF_MODAL_INTERNAL_FAILURE] =
            FACT("internal_failure", NOBODY_KNOWS, FAULT),
        [BF_MODAL_IDLE_TIMEOUT] = FACT("idle_timeout", NOBODY_KNOWS, NONE),
        [BF_MODAL_OUT_OF_MEMORY] = {"out_of_memory", BF_TRY_FAILED,
                                    BF_REASON_OOM, BF_SIGN_GOOD, NULL},
    };
    _Static_assert(bf_countof(facts) == BF_MODAL_STATUSES, "a row each");

    bf_assert(status < BF_MODAL_STATUSES);
    return &facts[status];
}
