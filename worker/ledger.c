#include "worker/ledger.h"

#include "schemas/check.h"

#define WORDS bf_countof(((struct bf_ledger *)0)->words)

void bf_ledger_init(struct bf_ledger *ledger, int64_t base)
{
    bf_assert(base >= 0);
    *ledger = (struct bf_ledger){.base = base};
}

void bf_ledger_load(struct bf_ledger *ledger, const struct bf_meta *meta)
{
    bf_ledger_init(ledger, meta->base);
    for (size_t i = 0; i < BF_MAP_BYTES; i++)
        ledger->words[i / 8] |= (uint64_t)meta->map[i] << (i % 8 * 8);
}

void bf_ledger_store(const struct bf_ledger *ledger, struct bf_meta *meta)
{
    meta->base = ledger->base;
    for (size_t i = 0; i < BF_MAP_BYTES; i++)
        meta->map[i] =
            (unsigned char)(ledger->words[i / 8] >> (i % 8 * 8) & 0xff);
}

bool bf_ledger_has(const struct bf_ledger *ledger, int64_t offset)
{
    uint64_t bit;

    if (offset < ledger->base)
        return true;
    bit = (uint64_t)(offset - ledger->base);
    return bit < BF_WINDOW && (ledger->words[bit / 64] >> (bit % 64) & 1);
}

bool bf_ledger_fits(const struct bf_ledger *ledger, int64_t from, int64_t to)
{
    return from <= ledger->base || to <= ledger->base + BF_WINDOW;
}

/* Drop the lowest n bits, n <= BF_WINDOW. */
static void shift_down(uint64_t *words, uint64_t n)
{
    size_t whole = n / 64;
    unsigned int rest = n % 64;

    for (size_t i = 0; i < WORDS; i++) {
        size_t from = i + whole;
        uint64_t low = from < WORDS ? words[from] : 0;
        uint64_t high = from + 1 < WORDS ? words[from + 1] : 0;

        words[i] = rest == 0 ? low : low >> rest | high << (64 - rest);
    }
}

static uint64_t leading_ones(const uint64_t *words)
{
    uint64_t n = 0;

    for (size_t i = 0; i < WORDS; i++) {
        if (words[i] != UINT64_MAX)
            return n + (uint64_t)__builtin_ctzll(~words[i]);
        n += 64;
    }
    return n;
}

static void advance(struct bf_ledger *ledger, uint64_t n)
{
    ledger->base += (int64_t)n;
    shift_down(ledger->words, n < BF_WINDOW ? n : BF_WINDOW);
}

static int64_t set_bits(struct bf_ledger *ledger, uint64_t from, uint64_t to)
{
    int64_t fresh = 0;

    for (uint64_t i = from; i < to; i++) {
        uint64_t mask = 1ULL << (i % 64);

        if (ledger->words[i / 64] & mask)
            continue;
        ledger->words[i / 64] |= mask;
        fresh++;
    }
    return fresh;
}

int64_t bf_ledger_complete(struct bf_ledger *ledger, int64_t from, int64_t to)
{
    int64_t fresh = 0;
    uint64_t low, high;

    bf_assert(bf_ledger_fits(ledger, from, to));
    if (to <= ledger->base || to <= from)
        return 0;
    low = from > ledger->base ? (uint64_t)(from - ledger->base) : 0;
    high = (uint64_t)(to - ledger->base);
    if (high > BF_WINDOW) {
        /* Only from the base: fill the window, then jump what is left. */
        fresh = set_bits(ledger, 0, BF_WINDOW) + (int64_t)(high - BF_WINDOW);
        advance(ledger, high);
    } else {
        fresh = set_bits(ledger, low, high);
    }
    if (ledger->words[0] & 1)
        advance(ledger, leading_ones(ledger->words));
    return fresh;
}

int64_t bf_ledger_above(const struct bf_ledger *ledger)
{
    int64_t n = 0;

    for (size_t i = 0; i < WORDS; i++)
        n += __builtin_popcountll(ledger->words[i]);
    return n;
}
