/*
 * Whatever E2B's control plane answers: what is read of it is harmless in a
 * path and in a header.
 */

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>

#include "schemas/err.h"
#include "worker/backend/e2b_api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct bf_e2b_site site = {
    .api_url = "http://h", .sandbox_url = "", .domain = "e2b.app"};

static void check_word(const char *word, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bf_assert(isalnum((unsigned char)word[i]) || word[i] == '-' ||
                  word[i] == '.');
}

static void read_created(struct bf_slice body)
{
    struct bf_e2b_created created = {.id = ""};
    struct bf_err err = {0};

    if (bf_e2b_created_read(&site, body, &created, &err) == 0)
        bf_assert(created.id[0]);
    check_word(created.id, strlen(created.id));
    check_word(created.domain, strlen(created.domain));
    bf_e2b_created_release(&created);
}

static void read_list(struct bf_slice body)
{
    struct bf_e2b_list list = {.nrows = 0};
    struct bf_err err = {0};

    if (bf_e2b_list_read(body, &list, &err))
        return;
    for (size_t i = 0; i < list.nrows; i++)
        check_word(list.rows[i].id.ptr, list.rows[i].id.len);
    bf_e2b_list_release(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bf_slice body = {(const char *)data, size};
    struct bf_e2b_error error;

    read_created(body);
    read_list(body);
    bf_e2b_error_read(body, &error);
    bf_assert(strlen(error.message) < sizeof(error.message));
    return 0;
}
