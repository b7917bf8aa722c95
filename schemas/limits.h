#ifndef BF_SCHEMAS_LIMITS_H
#define BF_SCHEMAS_LIMITS_H

/* Every ceiling of the wire (PROTOCOL.md §4), in bytes unless said otherwise */

#define BF_MAX_RECORD (16U << 20) /* max.message.bytes of the large topics */
#define BF_MAX_RECORD_SMALL (1U << 20)
#define BF_MAX_INPUTS (15U << 20)
#define BF_MAX_RESULT (15U << 20)
#define BF_MAX_BLOCK (256U << 10)
#define BF_MAX_REPORT (128U << 10)
#define BF_MAX_ORIGINALS (1U << 20) /* bf_original_headers */
#define BF_MAX_LABELS (4U << 10)
#define BF_MAX_CONTEXT (4U << 10)
#define BF_MAX_ORDER_KEY 128U
#define BF_MAX_URL (2U << 10)
#define BF_MAX_HEADER (1U << 10) /* any other header's value */
#define BF_MAX_HEADERS 48        /* headers of one record */
#define BF_MAX_ID 64             /* workspace, job id, batch id, control id */
#define BF_MAX_BACKEND 32        /* name of a backend */
#define BF_MAX_TXN_ID 200        /* transactional id */
#define BF_MAX_TIMEOUT_MS 86400000U
#define BF_MAX_ATTEMPTS 100U
#define BF_MAX_SHARDS 4096U
#define BF_MAX_EXPIRY_MS (8ULL * 86400000ULL)
#define BF_DEFAULT_EXPIRY_MS (86400000ULL)
#define BF_MAX_TREE 64        /* leaves of one signature tree */
#define BF_WINDOW 16384U      /* offsets above a base; bits of a bitmap */
#define BF_MAX_SEGMENT 16384U /* ids in one d/ entry */
#define BF_MAX_METADATA 4096U /* Kafka's offset.metadata.max.bytes */
#define BF_MAX_DEPTH 16U      /* nesting of any JSON that we read */
/*
 * Width of the same. The smallest value takes dozens of bytes in memory, an
 * empty object two hundred. No text below 128 KiB comes near either.
 */
#define BF_MAX_CONTAINERS 65536U
#define BF_MAX_COMMAS 262144U
#define BF_MAX_TIME_MS ((int64_t)1 << 53)
#define BF_CLOCK_AHEAD_MS 300000U

#define BF_HEX128_LEN 32 /* characters of a run id or an event id */
#define BF_HEX128_SIZE (BF_HEX128_LEN + 1)

#endif
