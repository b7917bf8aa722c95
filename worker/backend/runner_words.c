#include "worker/backend/runner_words.h"

#include "schemas/err.h"
#include "schemas/json.h"

int bf_run_head_put(const struct bf_run_input *input, bool with_code,
                    struct bf_buf *out, struct bf_err *err)
{
    const struct bf_job *job = input->job;
    char init_hash[BF_INIT_HASH_SIZE];
    struct bf_json_out json;

    bf_block_init_hash(input->block, init_hash);
    bf_json_start(&json, out, err);
    bf_json_open(&json, NULL, '{');
    bf_json_str(&json, "op", "run");
    bf_json_str(&json, "run_id", input->run_id);
    bf_json_text(&json, "workspace", job->workspace);
    bf_json_int(&json, "timeout_ms", job->timeout_ms);
    bf_json_str(&json, "run_function_name",
                bf_block_run_function(input->block));
    /* Strict JSON already: checked with the job's headers. */
    bf_json_raw(&json, "context",
                job->context.ptr ? job->context : BF_SLICE_LIT("{}"));
    bf_json_str(&json, "code_hash", bf_block_code_hash(input->block));
    if (with_code)
        bf_block_put_code(input->block, &json);
    else
        bf_json_str(&json, "init_hash", init_hash);
    bf_json_close(&json, '}');
    return bf_json_done(&json);
}

/* Of what it did not run, which only the runner itself can say. */
static const struct words_fault {
    const char *error_type;
    enum bf_try what;
} faults[] = {
    {"UnknownCodeHash", BF_TRY_NOT_STARTED},
    {"RunnerBusy", BF_TRY_NOT_STARTED},
    {"InvalidRequest", BF_TRY_REFUSED},
};

static enum bf_try try_of_fault(struct bf_slice error_type)
{
    for (size_t i = 0; i < bf_countof(faults); i++) {
        if (bf_slice_is(error_type, faults[i].error_type))
            return faults[i].what;
    }
    return BF_TRY_NOT_STARTED;
}

bool bf_done_wants_code(const json_t *done)
{
    return done && json_is_true(json_object_get(done, "server_error")) &&
           bf_slice_is(bf_json_slice(json_object_get(done, "error_type")),
                       "UnknownCodeHash");
}

int64_t bf_done_duration_us(const json_t *done)
{
    const json_t *duration = json_object_get(done, "duration_us");

    return json_is_integer(duration) && json_integer_value(duration) >= 0
               ? json_integer_value(duration)
               : -1;
}

struct bf_verdict_case bf_done_judge(const struct bf_run_input *input,
                                     const json_t *done,
                                     const struct bf_answer *answer,
                                     bool *ret_useless)
{
    struct bf_slice delivery = bf_json_slice(json_object_get(done, "delivery"));
    struct bf_slice reason = bf_json_slice(json_object_get(done, "reason"));
    struct bf_verdict_case which = bf_verdict_of(input, BF_TRY_NOBODY_KNOWS);

    *ret_useless = false;
    if (answer->server_error && bf_slice_is(delivery, "did_not_run"))
        which.what = try_of_fault(answer->report.error_type);
    else if (answer->server_error ||
             bf_verdict_word(reason, &which.what, &which.reason))
        *ret_useless = true;
    return which;
}
