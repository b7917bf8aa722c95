#ifndef BF_WORKER_BUDGET_H
#define BF_WORKER_BUDGET_H

/*
 * The memory of the jobs under way: what they hold already, and what is
 * reserved before it is built. Pure. Loop thread.
 */

#include <stdbool.h>
#include <stddef.h>

struct bf_budget {
    size_t max_bytes;
    size_t held;     /* by jobs, reservations not included */
    size_t reserved; /* by all reservations together */
};

/*
 * Room for so much more, beside what others hold outside of the budget? What
 * would never fit has it when nobody else has reserved anything: everything
 * gets its turn. False: nothing has changed, ask again later.
 */
bool bf_budget_reserve(struct bf_budget *budget, size_t bytes, size_t others);
void bf_budget_release(struct bf_budget *budget, size_t bytes);

/* May more be taken in? Tells before anybody knows how large it is. */
bool bf_budget_has_room(const struct bf_budget *budget, size_t others);

#endif
