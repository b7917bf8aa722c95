#ifndef BF_DISPATCHER_CLI_TABLE_H
#define BF_DISPATCHER_CLI_TABLE_H

/*
 * Rows for people and rows for programs from the same data: a JSON array of
 * objects, and which of their members make the columns.
 */

#include <jansson.h>
#include <stdio.h>

#include "schemas/buf.h"

struct bf_err;

struct bf_column {
    const char *key;   /* of the row object */
    const char *title; /* as printed, upper case by custom */
    bool right;        /* numbers */
    size_t max;        /* columns of the terminal; 0: as wide as need be */
};

/*
 * Aligned columns, two spaces between, no trailing blanks; an absent or null
 * member is "-". A column that is empty in every row is left out.
 */
int bf_table_text(const struct bf_column *columns, size_t ncolumns,
                  const json_t *rows, struct bf_buf *out, struct bf_err *err);

/* "key  value" lines of the members of one object that are there. */
int bf_table_record(const struct bf_column *columns, size_t ncolumns,
                    const json_t *row, struct bf_buf *out, struct bf_err *err);

/* value as JSON, one line, with a newline. */
int bf_table_json(const json_t *value, struct bf_buf *out, struct bf_err *err);

#endif
