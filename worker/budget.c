#include "worker/budget.h"

#include "schemas/check.h"

bool bf_budget_reserve(struct bf_budget *budget, size_t bytes, size_t others)
{
    size_t used = budget->held + budget->reserved + others;

    if (budget->reserved > 0 &&
        (used >= budget->max_bytes || bytes > budget->max_bytes - used))
        return false;
    budget->reserved += bytes;
    return true;
}

void bf_budget_release(struct bf_budget *budget, size_t bytes)
{
    bf_assert(bytes <= budget->reserved);
    budget->reserved -= bytes;
}

bool bf_budget_has_room(const struct bf_budget *budget, size_t others)
{
    return budget->held + budget->reserved + others < budget->max_bytes;
}
