#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/ledger.h"

#define SPAN 40000

/* The obvious model: one flag an offset, the base by walking. */
struct naive {
    bool done[SPAN];
    int64_t base;
};

static int64_t naive_complete(struct naive *model, int64_t from, int64_t to)
{
    int64_t fresh = 0;

    for (int64_t o = from; o < to; o++) {
        fresh += !model->done[o];
        model->done[o] = true;
    }
    while (model->base < SPAN && model->done[model->base])
        model->base++;
    return fresh;
}

static void assert_same(const struct bf_ledger *ledger,
                        const struct naive *model, int64_t around)
{
    assert_int_equal(ledger->base, model->base);
    for (int64_t o = around - 70; o < around + 70; o++) {
        if (o >= 0 && o < SPAN && o < model->base + BF_WINDOW)
            assert_int_equal(bf_ledger_has(ledger, o), model->done[o]);
    }
}

/* xorshift: the same orders on every machine. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void random_orders_agree_with_the_model(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct naive *model = calloc(1, sizeof(*model));
        struct bf_ledger ledger;
        uint64_t state = seed * 0x9e3779b97f4a7c15ULL;
        uint64_t reach = seed % 3 == 0 ? BF_WINDOW : 200;

        assert_non_null(model);
        bf_ledger_init(&ledger, 0);
        while (model->base < SPAN - BF_WINDOW - 40) {
            int64_t from = model->base + (int64_t)(next_random(&state) % reach);
            int64_t to = from + 1 + (int64_t)(next_random(&state) % 20);

            if (seed % 3 == 0 && next_random(&state) % 50 == 0)
                from = model->base;
            if (!bf_ledger_fits(&ledger, from, to))
                continue;
            assert_int_equal(bf_ledger_complete(&ledger, from, to),
                             naive_complete(model, from, to));
            assert_same(&ledger, model, from);
        }
        free(model);
    }
}

static void a_gap_wider_than_the_window_jumps(void **unused)
{
    struct bf_ledger ledger;

    (void)unused;
    bf_ledger_init(&ledger, 10);
    bf_ledger_complete(&ledger, 12, 13);
    assert_false(bf_ledger_fits(&ledger, 11, 11 + BF_WINDOW));
    assert_true(bf_ledger_fits(&ledger, 10, 1000000));
    assert_int_equal(bf_ledger_complete(&ledger, 10, 1000000), 1000000 - 11);
    assert_int_equal(ledger.base, 1000000);
    assert_int_equal(bf_ledger_above(&ledger), 0);
}

static void metadata_carries_it_whole(void **unused)
{
    struct bf_ledger ledger, again;
    struct bf_meta meta = {.txn_seq = 7};

    (void)unused;
    bf_ledger_init(&ledger, 5);
    for (int64_t o = 6; o < 5 + BF_WINDOW; o += 3)
        bf_ledger_complete(&ledger, o, o + 1);
    bf_ledger_store(&ledger, &meta);
    assert_int_equal(meta.map[0] & 1, 0);
    bf_ledger_load(&again, &meta);
    assert_memory_equal(&again, &ledger, sizeof(ledger));
    assert_int_equal(bf_ledger_above(&again), (BF_WINDOW - 1 + 2) / 3);
}

static void completing_twice_changes_nothing(void **unused)
{
    struct bf_ledger ledger;

    (void)unused;
    bf_ledger_init(&ledger, 0);
    assert_int_equal(bf_ledger_complete(&ledger, 5, 6), 1);
    assert_int_equal(bf_ledger_complete(&ledger, 5, 6), 0);
    assert_int_equal(bf_ledger_complete(&ledger, 0, 5), 5);
    assert_int_equal(ledger.base, 6);
    assert_int_equal(bf_ledger_complete(&ledger, 0, 6), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_orders_agree_with_the_model),
        cmocka_unit_test(a_gap_wider_than_the_window_jumps),
        cmocka_unit_test(metadata_carries_it_whole),
        cmocka_unit_test(completing_twice_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
