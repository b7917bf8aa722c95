#include "config/kafka_record.h"

#include "schemas/err.h"

int bf_kafka_record(const rd_kafka_message_t *msg, const char *topic,
                    struct bf_record *ret, struct bf_err *err)
{
    rd_kafka_headers_t *headers = NULL;
    const char *name;
    const void *value;
    size_t len;

    bf_record_init(ret, topic, msg->partition);
    ret->offset = msg->offset;
    ret->timestamp_ms = rd_kafka_message_timestamp(msg, NULL);
    ret->key = (struct bf_slice){msg->key, msg->key_len};
    ret->value = (struct bf_slice){msg->payload, msg->len};
    if (rd_kafka_message_headers(msg, &headers))
        return 0;
    for (size_t i = 0;
         rd_kafka_header_get_all(headers, i, &name, &value, &len) == 0; i++) {
        if (bf_record_ref(ret, bf_slice_str(name),
                          (struct bf_slice){value, len}, err))
            return -1;
    }
    return 0;
}

/* What cannot be owned must not be kept: the message goes. */
static void own(struct bf_record *rec, struct bf_slice *bytes, int *rc,
                struct bf_err *err)
{
    bool out_of_memory = *rc && err->kind == BF_ERR_RETRY;

    if (!bytes->ptr ||
        bf_record_own(rec, *bytes, bytes, out_of_memory ? NULL : err) == 0)
        return;
    *bytes = BF_SLICE_LIT("");
    *rc = -1;
}

int bf_kafka_record_copy(const rd_kafka_message_t *msg, const char *topic,
                         struct bf_record *ret, struct bf_err *err)
{
    int rc = bf_kafka_record(msg, topic, ret, err);

    if (rc == 0 && bf_record_own_all(ret, NULL) == 0)
        return 0;
    /* One by one, to see what of it there can be. */
    own(ret, &ret->key, &rc, err);
    own(ret, &ret->value, &rc, err);
    for (size_t i = 0; i < ret->nheaders; i++) {
        own(ret, &ret->headers[i].name, &rc, err);
        own(ret, &ret->headers[i].value, &rc, err);
    }
    return rc;
}
