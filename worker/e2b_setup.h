#ifndef BF_WORKER_E2B_SETUP_H
#define BF_WORKER_E2B_SETUP_H

/* From the settings to the backend e2b: its key, and what must hold. */

#include "config/settings.h"
#include "schemas/sign.h"
#include "worker/backend/e2b.h"

struct bf_e2b_setup {
    const struct bf_settings *settings;
    uint32_t shards;
    const struct bf_signer *signer; /* purpose run; NULL: none */
    bf_e2b_owner_fn *owner;
    const void *owner_arg;
};

/*
 * Everything is borrowed but the key, which leaves the environment. REJECT for
 * what is missing or would go out for everybody to read.
 */
struct bf_e2b *bf_e2b_open(const struct bf_e2b_setup *setup,
                           struct bf_err *err);

#endif
