/*
 * Whatever a control record holds: it is refused, or building what was read
 * gives a record that reads and builds the same again.
 */

#include "schemas/control.h"
#include "tests/fuzz/record_input.h"

static void check_taken(const struct bf_control *control)
{
    bf_autorecord struct bf_record first, second;
    bf_autocontrol struct bf_control back;

    bf_record_init(&first, "bf.control", 3);
    bf_record_init(&second, "bf.control", 3);
    bf_assert(bf_control_build(control, "fuzz", &first, NULL) == 0);
    bf_assert(bf_control_parse(&first, &back, NULL) == 0);
    bf_assert(bf_control_build(&back, "fuzz", &second, NULL) == 0);
    bf_assert(records_same(&first, &second));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_autorecord struct bf_record rec;
    struct bf_control control;
    struct bf_err err = {0};

    if (input_record(data, size, "bf.control", &rec))
        return 0;
    if (bf_control_parse(&rec, &control, &err)) {
        bf_assert(err.kind == BF_ERR_REJECT);
        bf_assert(strcmp(err.code, "bad_control") == 0);
        return 0;
    }
    check_taken(&control);
    bf_control_release(&control);
    return 0;
}
