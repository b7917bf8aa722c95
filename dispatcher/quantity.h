#ifndef BF_DISPATCHER_QUANTITY_H
#define BF_DISPATCHER_QUANTITY_H

/*
 * What a row of bf.usage counts: decimal strings on the wire (PROTOCOL.md
 * §5.4), whole numbers here, seconds as microseconds, never floats. Pure.
 */

#include "schemas/buf.h"

/* In the order of a row's members. */
enum bf_quantity {
    BF_QUANTITY_RUNS,
    BF_QUANTITY_DURATION,
    BF_QUANTITY_EXECUTION,
    BF_QUANTITY_INPUT,
    BF_QUANTITY_OUTPUT,
    BF_QUANTITY_VCPU,
    BF_QUANTITY_MEMORY,
    BF_QUANTITIES,
};

const char *bf_quantity_name(enum bf_quantity which);
/* null stands for: nobody knows. */
bool bf_quantity_optional(enum bf_quantity which);
/* By its name; -1: none. */
int bf_quantity_find(struct bf_slice name);

/* is_signed: a "-" may stand before it. -1: it is no such number, or NULL. */
int bf_quantity_parse(enum bf_quantity which, const char *text, bool is_signed,
                      int64_t *ret);

/* The reverse, as a row spells it: "-12", "0.250000". */
#define BF_QUANTITY_SIZE 32
void bf_quantity_text(enum bf_quantity which, int64_t value,
                      char out[static BF_QUANTITY_SIZE]);

/*
 * "12.000250" as microseconds: digits, and a point with up to six more. -1
 * when it is no such number, or NULL.
 */
int bf_quantity_micros(const char *text, int64_t *ret);

#endif
