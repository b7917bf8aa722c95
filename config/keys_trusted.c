#include "config/keys.h"

#include <sodium.h>
#include <string.h>

#include "config/keys_private.h"
#include "schemas/base64.h"
#include "schemas/err.h"
#include "schemas/ids.h"

#define WORKSPACES "workspaces="

static int bad(struct bf_err *err, const char *rule)
{
    return bf_err_set(err, BF_ERR_REJECT, "bad_key", "%s", rule);
}

/* The next word, empty at the end; blanks around it are dropped. */
static struct bf_slice take_word(struct bf_slice *line)
{
    struct bf_slice word;
    size_t i = 0;

    while (i < line->len && (line->ptr[i] == ' ' || line->ptr[i] == '\t'))
        i++;
    word.ptr = line->ptr + i;
    for (word.len = 0; i < line->len; i++, word.len++) {
        if (line->ptr[i] == ' ' || line->ptr[i] == '\t')
            break;
    }
    while (i < line->len && (line->ptr[i] == ' ' || line->ptr[i] == '\t'))
        i++;
    line->ptr += i;
    line->len -= i;
    return word;
}

static bool begins_with(struct bf_slice text, const char *with)
{
    size_t len = strlen(with);

    return text.len >= len && memcmp(text.ptr, with, len) == 0;
}

static int read_public(struct bf_slice word, struct bf_trusted *ret,
                       struct bf_err *err)
{
    size_t len;

    if (bf_base64_decode(BF_BASE64, word, ret->public_key,
                         sizeof(ret->public_key), &len) ||
        len != sizeof(ret->public_key))
        return bad(err, "a public key must be 32 bytes in base64");
    if (!crypto_core_ed25519_is_valid_point(ret->public_key))
        return bad(err, "these 32 bytes are no Ed25519 public key");
    bf_key_id(ret->public_key, ret->id);
    return 0;
}

/* The next item of "a,b"; *list moves behind its comma. */
static struct bf_slice take_item(struct bf_slice *list)
{
    const char *comma = memchr(list->ptr, ',', list->len);
    size_t len = comma ? (size_t)(comma - list->ptr) : list->len;
    struct bf_slice item = {list->ptr, len};

    list->ptr += len + (comma != NULL);
    list->len -= len + (comma != NULL);
    return item;
}

static int check_workspaces(struct bf_slice list, struct bf_err *err)
{
    if (list.len == 0 || list.ptr[list.len - 1] == ',')
        return bad(err, "workspaces= must list at least one, without gaps");
    while (list.len > 0) {
        if (!bf_workspace_ok(take_item(&list)))
            return bad(err, "workspaces= lists something that is none");
    }
    return 0;
}

/* What stands behind the key: workspaces=..., then words for people. */
static int read_rest(struct bf_slice rest, struct bf_trusted *ret,
                     struct bf_err *err)
{
    struct bf_slice all = rest, word = take_word(&rest);

    ret->comment = all;
    if (begins_with(word, WORKSPACES)) {
        ret->workspaces.ptr = word.ptr + strlen(WORKSPACES);
        ret->workspaces.len = word.len - strlen(WORKSPACES);
        ret->comment = rest;
        return check_workspaces(ret->workspaces, err);
    }
    /* "workspace=a" as a comment would trust the key for all of them. */
    if (word.len > 0 && memchr(word.ptr, '=', word.len))
        return bad(err, "expected workspaces=... or a comment without =");
    return 0;
}

/* *ret is complete or to be thrown away. line is neither blank nor #. */
static int read_key(struct bf_slice line, struct bf_trusted *ret,
                    struct bf_err *err)
{
    struct bf_slice word = take_word(&line);
    int purpose;

    if (bf_slice_is(word, "revoked")) {
        ret->revoked = true;
        word = take_word(&line);
    }
    purpose = bf_purpose_parse(word);
    if (purpose < 0)
        return bad(err, "a line begins with job, control, state, result or "
                        "run, or with revoked");
    ret->purpose = (enum bf_purpose)purpose;
    if (!bf_slice_is(take_word(&line), "ed25519"))
        return bad(err, "the word after the purpose must be ed25519");
    if (read_public(take_word(&line), ret, err))
        return -1;
    return read_rest(line, ret, err);
}

static int check_bytes(struct bf_slice line, struct bf_err *err)
{
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];

        if ((c < ' ' && c != '\t') || c == 0x7f)
            return bad(err, "a byte is not text");
    }
    return 0;
}

static int read_line(struct bf_keyring *ring, struct bf_slice line,
                     unsigned number, struct bf_err *err)
{
    struct bf_trusted *key = &ring->keys[ring->count];
    const struct bf_trusted *same;

    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    if (check_bytes(line, err))
        return -1;
    *key = (struct bf_trusted){.line = number};
    while (line.len > 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t')) {
        line.ptr++;
        line.len--;
    }
    if (line.len == 0 || line.ptr[0] == '#')
        return 0;
    if (ring->count == BF_KEYS_MAX)
        return bad(err, "too many keys");
    if (read_key(line, key, err))
        return -1;
    same = bf_keyring_by_id(ring, key->id);
    if (same)
        return bf_err_set(err, BF_ERR_REJECT, "bad_key",
                          "this key is already in line %u", same->line);
    ring->count++;
    return 0;
}

static int read_lines(struct bf_keyring *ring, struct bf_slice rest,
                      struct bf_err *err)
{
    for (unsigned number = 1; rest.len > 0; number++) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.ptr) : rest.len;

        if (read_line(ring, (struct bf_slice){rest.ptr, len}, number, err))
            return bf_err_prefix(err, "trusted:%u", number);
        rest.ptr += len + (end != NULL);
        rest.len -= len + (end != NULL);
    }
    return 0;
}

/* Borrows nothing: the ring keeps a copy of the text. */
static struct bf_keyring *ring_new(struct bf_slice text)
{
    struct bf_keyring *ring = calloc(1, sizeof(*ring));

    if (!ring)
        return NULL;
    ring->text = malloc(text.len + 1);
    /* One more than fits, as scratch for the line that is read. */
    ring->keys = calloc(BF_KEYS_MAX + 1, sizeof(*ring->keys));
    if (!ring->text || !ring->keys) {
        bf_keyring_free(ring);
        return NULL;
    }
    if (text.len > 0)
        memcpy(ring->text, text.ptr, text.len);
    ring->text[text.len] = '\0';
    return ring;
}

struct bf_keyring *bf_keyring_parse(struct bf_slice text, struct bf_err *err)
{
    struct bf_keyring *ring;

    if (sodium_init() < 0) {
        bf_err_set(err, BF_ERR_FATAL, "sodium", "cannot start libsodium");
        return NULL;
    }
    if (text.len > BF_TRUSTED_FILE_MAX) {
        bf_err_set(err, BF_ERR_REJECT, "bad_key", "trusted: at most %u bytes",
                   BF_TRUSTED_FILE_MAX);
        return NULL;
    }
    ring = ring_new(text);
    if (!ring) {
        bf_err_oom(err);
        return NULL;
    }
    if (read_lines(ring, (struct bf_slice){ring->text, text.len}, err)) {
        bf_keyring_free(ring);
        return NULL;
    }
    return ring;
}

bool bf_trusted_allows(const struct bf_trusted *key, struct bf_slice workspace)
{
    struct bf_slice list = key->workspaces;

    if (list.len == 0)
        return true;
    while (list.len > 0) {
        if (bf_slice_eq(take_item(&list), workspace))
            return true;
    }
    return false;
}
