/*
 * Whatever an unsigned hint holds: it is refused, or building what was read
 * gives a record that reads and builds the same again.
 */

#include "schemas/event.h"
#include "tests/fuzz/record_input.h"

static void check_taken(const struct bf_event *event)
{
    bf_autorecord struct bf_record first, second;
    bf_autoevent struct bf_event back;

    bf_record_init(&first, "bf.events", 3);
    bf_record_init(&second, "bf.events", 3);
    if (bf_event_build(event, "fuzz", &first, NULL))
        return; /* escapes grow: it may have come to pass the ceiling */
    bf_assert(bf_event_parse(&first, &back, NULL) == 0);
    bf_assert(bf_event_build(&back, "fuzz", &second, NULL) == 0);
    bf_assert(records_same(&first, &second));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_autorecord struct bf_record rec;
    struct bf_event event;
    struct bf_err err = {0};

    if (input_record(data, size, "bf.events", &rec))
        return 0;
    if (bf_event_parse(&rec, &event, &err)) {
        bf_assert(err.kind == BF_ERR_REJECT && err.msg[0]);
        return 0;
    }
    check_taken(&event);
    bf_event_release(&event);
    return 0;
}
