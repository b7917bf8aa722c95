#include "schemas/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int bf_err_set(struct bf_err *err, enum bf_err_kind kind, const char *code,
               const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return -1;
    err->kind = kind;
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    return -1;
}

int bf_err_oom(struct bf_err *err)
{
    return bf_err_set(err, BF_ERR_RETRY, "oom", "out of memory");
}

int bf_err_prefix(struct bf_err *err, const char *fmt, ...)
{
    char old[sizeof(err->msg)];
    va_list ap;
    size_t used;

    if (!err)
        return -1;
    memcpy(old, err->msg, sizeof(old));
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    used = strlen(err->msg);
    snprintf(err->msg + used, sizeof(err->msg) - used, ": %s", old);
    return -1;
}

const char *bf_err_kind_name(enum bf_err_kind kind)
{
    switch (kind) {
    case BF_ERR_NONE:
        return "none";
    case BF_ERR_RETRY:
        return "retry";
    case BF_ERR_REJECT:
        return "reject";
    case BF_ERR_FATAL:
        return "fatal";
    }
    return "none";
}
