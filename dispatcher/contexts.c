#include "dispatcher/contexts.h"

#include "config/log.h"
#include "dispatcher/fetch.h"
#include "dispatcher/reader.h"
#include "schemas/err.h"

struct context {
    const struct bf_contexts *conf;
    struct bf_reader_db *reader;
    struct bf_fetch *fetch;
};

static void *begin(void *arg)
{
    struct context *context = calloc(1, sizeof(*context));

    if (context)
        context->conf = arg;
    return context;
}

void *bf_read_begin(void *arg)
{
    return begin(arg);
}

void *bf_fetch_begin(void *arg)
{
    return begin(arg);
}

void bf_read_end(void *context_arg)
{
    struct context *context = context_arg;

    if (!context)
        return;
    bf_reader_close(context->reader);
    free(context);
}

void bf_fetch_end(void *context_arg)
{
    struct context *context = context_arg;

    if (!context)
        return;
    bf_fetch_free(context->fetch);
    free(context);
}

struct bf_reader_db *bf_read_context(void *context_arg)
{
    struct context *context = context_arg;
    struct bf_err err;

    if (!context || context->reader)
        return context ? context->reader : NULL;
    context->reader =
        bf_reader_open(context->conf->view_path, context->conf->topics, &err);
    if (!context->reader)
        bf_log_err(BF_LOG_ERROR, "view_not_readable", &err);
    return context->reader;
}

static struct bf_fetch *open_fetch(const struct bf_contexts *conf,
                                   struct bf_err *err)
{
    rd_kafka_conf_t *kafka = conf->kafka(conf->kafka_arg, err);
    rd_kafka_t *rk;
    char why[160];

    if (!kafka)
        return NULL;
    /* What it fetches is there: at the log's end no answer may be waited for */
    rd_kafka_conf_set(kafka, "fetch.wait.max.ms", "1", why, sizeof(why));
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, kafka, why, sizeof(why));
    if (rk)
        return bf_fetch_new(rk, err);
    rd_kafka_conf_destroy(kafka);
    bf_err_set(err, BF_ERR_RETRY, "kafka_consumer", "%s", why);
    return NULL;
}

struct bf_fetch *bf_fetch_context(void *context_arg)
{
    struct context *context = context_arg;
    struct bf_err err;

    if (!context || context->fetch)
        return context ? context->fetch : NULL;
    context->fetch = open_fetch(context->conf, &err);
    if (!context->fetch)
        bf_log_err(BF_LOG_ERROR, "no_fetch", &err);
    return context->fetch;
}
