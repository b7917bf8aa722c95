#include "dispatcher/message.h"

#include "schemas/err.h"

static int read_headers(const rd_kafka_headers_t *headers,
                        struct bf_record *ret, struct bf_err *err)
{
    const char *name;
    const void *value;
    size_t size;

    for (size_t i = 0;
         rd_kafka_header_get_all(headers, i, &name, &value, &size) ==
         RD_KAFKA_RESP_ERR_NO_ERROR;
         i++) {
        if (bf_record_ref(ret, bf_slice_str(name),
                          (struct bf_slice){value, size}, err))
            return -1;
    }
    return 0;
}

int bf_message_record(const rd_kafka_message_t *message, const char *topic,
                      struct bf_record *ret, struct bf_err *err)
{
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_timestamp_type_t type;

    bf_record_init(ret, topic, message->partition);
    ret->offset = message->offset;
    ret->timestamp_ms = rd_kafka_message_timestamp(message, &type);
    ret->key = (struct bf_slice){message->key, message->key_len};
    ret->value = (struct bf_slice){message->payload, message->len};
    if (rd_kafka_message_headers(message, &headers))
        return 0; /* it has none */
    return read_headers(headers, ret, err);
}
