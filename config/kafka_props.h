#ifndef BF_CONFIG_KAFKA_PROPS_H
#define BF_CONFIG_KAFKA_PROPS_H

/*
 * What we know about librdkafka's own properties: which carry secrets, which
 * are ours alone, and whether this librdkafka would take a value. Pure but for
 * a scratch configuration object; any thread.
 */

#include <stdbool.h>

struct bf_err;

/* Its value must never be printed. Errs on the side of silence. */
bool bf_kafka_prop_is_secret(const char *name);

/*
 * REJECT "unknown_property", "bad_value" or "own_property" (exactly-once or an
 * option of ours depends on it; the message says which). Never quotes the
 * value of a secret.
 */
int bf_kafka_prop_check(const char *name, const char *value,
                        struct bf_err *err);

#endif
