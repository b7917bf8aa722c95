/*
 * Whatever a result record holds: it is refused with a reason, or what a reader
 * is given keeps the rules that it relies on.
 */

#include "schemas/json.h"
#include "schemas/result.h"
#include "tests/fuzz/record_input.h"

static void check_taken(const struct bf_record *rec,
                        const struct bf_result *result)
{
    bf_autojson json_t *report =
        bf_json_parse_nul(result->report, BF_MAX_REPORT, NULL);

    bf_assert(report);
    bf_assert(bf_workspace_ok(result->subject.workspace));
    bf_assert(bf_job_id_ok(result->subject.job));
    bf_assert(bf_slice_eq(rec->key, result->subject.workspace));
    bf_assert(result->subject.attempt > 0);
    bf_assert(result->value.ptr);
    bf_assert(result->value.len == 0 ||
              result->outcome == BF_OUTCOME_SUCCEEDED);
    bf_assert(result->source_partition >= 0 && result->source_offset >= 0);
    bf_assert(!result->run_id.ptr || bf_hex128_ok(result->run_id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_autorecord struct bf_record rec;
    struct bf_result result;
    struct bf_err err = {0};

    if (input_record(data, size, "bf.results", &rec))
        return 0;
    if (bf_result_parse(&rec, &result, &err) == 0)
        check_taken(&rec, &result);
    else
        bf_assert(err.kind == BF_ERR_REJECT && err.msg[0]);
    return 0;
}
