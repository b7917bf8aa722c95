/*
 * Whatever an entry of bf.state holds: it is refused, or building what was read
 * gives a record that reads and builds the same again.
 */

#include "schemas/state.h"
#include "tests/fuzz/record_input.h"

static void check_taken(const struct bf_record *rec,
                        const struct bf_entry *entry)
{
    bf_autorecord struct bf_record first, second;
    bf_autoentry struct bf_entry back;

    bf_record_init(&first, "bf.state", 3);
    bf_record_init(&second, "bf.state", 3);
    bf_assert(bf_entry_build(entry, "fuzz", 1, &first, NULL) == 0);
    bf_assert(bf_slice_eq(first.key, rec->key));
    bf_assert(bf_entry_parse(&first, &back, NULL) == 0);
    bf_assert(bf_entry_build(&back, "fuzz", 1, &second, NULL) == 0);
    bf_assert(records_same(&first, &second));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bf_autorecord struct bf_record rec;
    struct bf_err err = {0};
    struct bf_entry entry;

    if (input_record(data, size, "bf.state", &rec))
        return 0;
    if (bf_entry_parse(&rec, &entry, &err)) {
        bf_assert(err.kind == BF_ERR_REJECT);
        bf_assert(strcmp(err.code, "bad_state") == 0);
        return 0;
    }
    check_taken(&rec, &entry);
    bf_entry_release(&entry);
    return 0;
}
