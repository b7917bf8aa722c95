/*
 * Whatever the bytes of an INI file: it is read, or refused with a message
 * that begins with its name and a line; and then every number is in its range.
 */

#include <stddef.h>
#include <stdint.h>

#include "config/option.h"
#include "config/settings.h"
#include "schemas/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_range(const struct bf_settings *settings,
                        const struct bf_option *option)
{
    int64_t number;

    if (option->type != BF_OPTION_INT && option->type != BF_OPTION_DURATION &&
        option->type != BF_OPTION_SIZE)
        return;
    memcpy(&number, (const char *)settings + option->offset, sizeof(number));
    bf_assert(number >= option->min && number <= option->max);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_err err = {0};
    bf_autosettings struct bf_settings *settings = bf_settings_new(&err);
    struct bf_slice text = {(const char *)data, size};

    bf_assert(settings);
    if (bf_settings_read_ini(settings, text, "f", &err)) {
        bf_assert(err.kind == BF_ERR_REJECT);
        bf_assert(err.msg[0] == 'f' && err.msg[1] == ':');
        bf_assert(err.msg[2] >= '1' && err.msg[2] <= '9');
    }
    for (size_t i = 0; i < bf_option_count; i++)
        check_range(settings, &bf_options[i]);
    return 0;
}
