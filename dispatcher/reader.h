#ifndef BF_DISPATCHER_READER_H
#define BF_DISPATCHER_READER_H

/*
 * Questions to the view: a read-only connection of its own, so that each
 * thread has one. Answers are the JSON that the HTTP API gives.
 */

#include "dispatcher/problem.h"
#include "dispatcher/row.h"

struct bf_batch;
struct bf_reader_db;
struct bf_topics;

#define BF_PAGE_MAX 1000
#define BF_PAGE_BYTES (8U << 20) /* a page ends where it gets larger */
#define BF_CURSOR_SIZE 96

/* The view's writer has made the file. topics is borrowed. */
struct bf_reader_db *bf_reader_open(const char *path,
                                    const struct bf_topics *topics,
                                    struct bf_err *err);
void bf_reader_close(struct bf_reader_db *reader);
BF_DEFINE_CLEANUP(bf_reader_closep_, struct bf_reader_db *, bf_reader_close)
#define bf_autoreader bf_cleanup(bf_reader_closep_)

/* To when the view has read: what the next answers say. */
void bf_reader_as_of(struct bf_reader_db *reader, int64_t as_of_ms);

/*
 * Each appends its answer to out. -1 with *problem set: not_found,
 * bad_request, unavailable.
 */
int bf_reader_job(struct bf_reader_db *reader, const char *workspace,
                  const char *job, struct bf_buf *out, bool *ret_ended,
                  struct bf_problem *problem);
/* The same for whoever answers with it: 1: it has ended; 0: not; -1. */
struct bf_reader_end {
    enum bf_row_rank rank;
    enum bf_outcome outcome; /* from here on: once it has ended */
    enum bf_reason reason;
    enum bf_delivery delivery;
    struct bf_buf report; /* born with a ceiling by the caller */
};
int bf_reader_end(struct bf_reader_db *reader, const char *workspace,
                  const char *job, struct bf_reader_end *ret,
                  struct bf_problem *problem);
int bf_reader_batch(struct bf_reader_db *reader, const char *workspace,
                    const char *batch, struct bf_buf *out,
                    struct bf_problem *problem);
/* All of a workspace, the newest first, in pages. */
struct bf_batch_list {
    const char *workspace;
    const char *cursor; /* NULL: from the first */
    int limit;          /* 1 to BF_PAGE_MAX */
    bool lines;         /* NDJSON, else one JSON document */
};
int bf_reader_batches(struct bf_reader_db *reader,
                      const struct bf_batch_list *list, struct bf_buf *out,
                      char ret_cursor[BF_CURSOR_SIZE],
                      struct bf_problem *problem);
/* 1: it is known; 0: not; -1. */
int bf_reader_batch_facts(struct bf_reader_db *reader, const char *workspace,
                          const char *batch, struct bf_batch *ret,
                          struct bf_problem *problem);

/* Has the view read this record of bf.control? 1; 0; -1. */
int bf_reader_has_control(struct bf_reader_db *reader, int32_t partition,
                          int64_t offset, struct bf_problem *problem);

/* What sums of metering are split by. */
enum bf_usage_by {
    BF_BY_WORKSPACE = 1,
    BF_BY_BLOCK_TYPE = 2,
    BF_BY_FINGERPRINT = 4,
    BF_BY_HOUR = 8,
    BF_BY_DAY = 16,
    BF_BY_BILLABLE = 32,
};
/* One of them by its name, "block" for both that tell a block; 0: none. */
unsigned bf_usage_by_parse(struct bf_slice name);

struct bf_usage_question {
    const char *workspace;  /* "": all */
    int64_t from_ms, to_ms; /* [from, to), full hours */
    unsigned by;            /* of bf_usage_by; 0: one sum */
    int64_t transaction_ms; /* how long a transaction may be open */
};
#define BF_USAGE_GROUPS 10000 /* more in one answer are refused */
int bf_reader_usage(struct bf_reader_db *reader,
                    const struct bf_usage_question *question,
                    struct bf_buf *out, struct bf_problem *problem);

/* Finished jobs by the time they ended. */
struct bf_page {
    const char *workspace;
    const char *batch;  /* NULL: all */
    const char *cursor; /* NULL: from the first */
    int limit;          /* 1 to BF_PAGE_MAX */
    bool lines;         /* NDJSON, else one JSON document */
};
/* ret_cursor: where the next page begins; "" when there is none. */
int bf_reader_page(struct bf_reader_db *reader, const struct bf_page *page,
                   struct bf_buf *out, char ret_cursor[BF_CURSOR_SIZE],
                   struct bf_problem *problem);

/*
 * Jobs, those accepted last first. A page may be short of its limit, or empty,
 * and have a cursor: then it took long enough to look for more.
 */
struct bf_list {
    const char *workspace;
    const char *batch;      /* NULL: any */
    const char *order_key;  /* NULL: any */
    const char *label;      /* "name" or "name=value"; NULL: any */
    unsigned statuses;      /* bf_row_status_bit() of those that are wanted */
    int64_t from_ms, to_ms; /* accepted in [from, to) */
    const char *cursor;     /* NULL: from the first */
    int limit;              /* 1 to BF_PAGE_MAX */
    bool lines;             /* NDJSON, else one JSON document */
};
int bf_reader_list(struct bf_reader_db *reader, const struct bf_list *list,
                   struct bf_buf *out, char ret_cursor[BF_CURSOR_SIZE],
                   struct bf_problem *problem);

/* Where a job's result is when the view does not have it. */
struct bf_result_place {
    bool elsewhere; /* in Kafka, below; else out has it */
    int32_t partition;
    int64_t offset;
    int64_t bytes;
};
int bf_reader_result(struct bf_reader_db *reader, const char *workspace,
                     const char *job, struct bf_buf *out,
                     struct bf_result_place *ret, struct bf_problem *problem);

#endif
