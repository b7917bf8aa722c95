#include "worker/admit.h"

#include "schemas/err.h"
#include "schemas/ids.h"

/* Signed by a key that may, for the place where it stands? */
static int check_trust(const struct bf_admit_rules *rules,
                       const struct bf_record *rec, struct bf_err *err)
{
    struct bf_slice workspace = bf_record_get(rec, "bf_workspace");

    if (!bf_workspace_ok(workspace))
        return bf_err_set(err, BF_ERR_REJECT, "bad_workspace",
                          "bf_workspace is absent or not [A-Za-z0-9_-]{1,64}");
    return bf_verify(rules->verifier, BF_PURPOSE_JOB, rec, workspace,
                     rules->now_ms, err);
}

enum bf_admission bf_admit(const struct bf_admit_rules *rules,
                           const struct bf_record *rec, struct bf_job *ret_job,
                           struct bf_block **ret_block, struct bf_err *err)
{
    int rc;

    *ret_job = (struct bf_job){.generation = 0};
    if (check_trust(rules, rec, err))
        return BF_ADMIT_UNTRUSTED;
    rc = bf_job_parse(rec, ret_job, err);
    /* First: a misplaced record gets no answer, whatever else is wrong. */
    if (!bf_job_placed(rec, ret_job, ret_job->spread, rules->shards)) {
        bf_err_set(err, BF_ERR_REJECT, "misplaced",
                   "key or partition are not what workspace, order key and "
                   "job id ask for");
        return BF_ADMIT_UNTRUSTED;
    }
    if (rc)
        return ret_job->id.len > 0 ? BF_ADMIT_REJECTED : BF_ADMIT_NOBODY;
    if (ret_job->expires_at_ms <= rules->now_ms) {
        bf_err_set(err, BF_ERR_REJECT, "expired",
                   "not started before bf_expires_at_ms");
        return BF_ADMIT_EXPIRED;
    }
    *ret_block = bf_blocks_get(rules->blocks, ret_job->block, err);
    return *ret_block ? BF_ADMIT_RUN : BF_ADMIT_REJECTED;
}
