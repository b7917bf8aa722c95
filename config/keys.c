#include "config/keys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/keys_private.h"
#include "schemas/base64.h"
#include "schemas/err.h"

#define SEED_FILE_MAX 256 /* bytes */
#define NAME_MAX_BYTES 64
#define ORIGIN "signer"

struct bf_signing_key {
    struct bf_signer signer; /* what the outside sees; key is this */
    char id[BF_KEY_ID_SIZE];
    struct bf_secret *secret; /* crypto_sign_SECRETKEYBYTES */
};

/* ---- reading a ring ------------------------------------------------------ */

size_t bf_keyring_count(const struct bf_keyring *ring)
{
    return ring->count;
}

const struct bf_trusted *bf_keyring_at(const struct bf_keyring *ring, size_t i)
{
    bf_assert(i < ring->count);
    return &ring->keys[i];
}

struct bf_trusted *bf_keyring_by_id(const struct bf_keyring *ring,
                                    const char *key_id)
{
    for (size_t i = 0; i < ring->count; i++) {
        if (strcmp(ring->keys[i].id, key_id) == 0)
            return &ring->keys[i];
    }
    return NULL;
}

const struct bf_trusted *bf_keyring_find(const struct bf_keyring *ring,
                                         enum bf_purpose purpose,
                                         const char *key_id)
{
    const struct bf_trusted *key = bf_keyring_by_id(ring, key_id);

    return key && key->purpose == purpose && !key->revoked ? key : NULL;
}

bool bf_keyring_find_key(void *arg, enum bf_purpose purpose, const char *key_id,
                         struct bf_slice workspace, struct bf_verify_key *ret)
{
    const struct bf_trusted *key = bf_keyring_find(arg, purpose, key_id);

    if (!key || !bf_trusted_allows(key, workspace))
        return false;
    memcpy(ret->public_key, key->public_key, sizeof(ret->public_key));
    return true;
}

const struct bf_signer *bf_keyring_signer(const struct bf_keyring *ring,
                                          enum bf_purpose purpose)
{
    bf_assert((unsigned)purpose < BF_PURPOSES);
    return ring->signers[purpose] ? &ring->signers[purpose]->signer : NULL;
}

/* A bf_sign_fn. */
static int sign_with(void *key, const unsigned char *bytes, size_t len,
                     unsigned char ret_signature[BF_SIGNATURE_SIZE],
                     struct bf_err *err)
{
    const struct bf_signing_key *signing = key;
    struct bf_slice secret = bf_secret_reveal(signing->secret, ORIGIN);

    (void)err;
    crypto_sign_detached(ret_signature, NULL, bytes, len,
                         (const unsigned char *)secret.ptr);
    return 0;
}

void bf_sign(const struct bf_signer *signer, struct bf_slice bytes,
             unsigned char out[static BF_SIGNATURE_SIZE])
{
    bf_assert(signer->sign == sign_with);
    sign_with(signer->key, (const unsigned char *)bytes.ptr, bytes.len, out,
              NULL);
}

static void signing_key_free(struct bf_signing_key *key)
{
    if (!key)
        return;
    bf_secret_free(key->secret);
    free(key);
}

void bf_keyring_free(struct bf_keyring *ring)
{
    if (!ring)
        return;
    for (size_t i = 0; i < BF_PURPOSES; i++)
        signing_key_free(ring->signers[i]);
    free(ring->keys);
    free(ring->text);
    free(ring);
}

/* ---- private keys -------------------------------------------------------- */

/* "ed25519 <purpose> <base64>": the seed into sodium's memory. */
static int parse_seed(struct bf_slice text, enum bf_purpose purpose,
                      unsigned char *seed, struct bf_err *err)
{
    char head[NAME_MAX_BYTES];
    int len =
        snprintf(head, sizeof(head), "ed25519 %s ", bf_purpose_name(purpose));
    size_t got;

    while (text.len > 0 && strchr("\r\n", text.ptr[text.len - 1]))
        text.len--;
    if (text.len < (size_t)len || memcmp(text.ptr, head, (size_t)len) != 0)
        return bf_err_set(err, BF_ERR_REJECT, "bad_key",
                          "must begin with \"%s\"", head);
    text.ptr += len;
    text.len -= (size_t)len;
    if (bf_base64_decode(BF_BASE64, text, seed, crypto_sign_SEEDBYTES, &got) ||
        got != crypto_sign_SEEDBYTES)
        return bf_err_set(err, BF_ERR_REJECT, "bad_key",
                          "must hold a seed of 32 bytes in base64");
    return 0;
}

/* All of a private key that is not in a bf_secret yet; wiped by sodium_free. */
struct scratch {
    char text[SEED_FILE_MAX];
    unsigned char seed[crypto_sign_SEEDBYTES];
    unsigned char secret[crypto_sign_SECRETKEYBYTES];
};

static int fill_key(struct bf_signing_key *key, enum bf_purpose purpose,
                    const char *path, struct scratch *scratch,
                    struct bf_err *err)
{
    unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
    char id[BF_KEY_ID_SIZE];
    size_t len;

    if (bf_secret_read_file(path, scratch->text, sizeof(scratch->text), &len,
                            err))
        return -1;
    if (parse_seed((struct bf_slice){scratch->text, len}, purpose,
                   scratch->seed, err))
        return bf_err_prefix(err, "%.150s", path);
    crypto_sign_seed_keypair(public_key, scratch->secret, scratch->seed);
    bf_key_id(public_key, id);
    if (strcmp(id, key->id) != 0)
        return bf_err_set(err, BF_ERR_REJECT, "bad_key",
                          "%.150s holds the key %s", path, id);
    key->secret = bf_secret_new(
        (struct bf_slice){(char *)scratch->secret, sizeof(scratch->secret)},
        ORIGIN, err);
    return key->secret ? 0 : -1;
}

static struct bf_signing_key *load_key(const char *dir, enum bf_purpose purpose,
                                       const char *id, struct bf_err *err)
{
    struct bf_signing_key *key = calloc(1, sizeof(*key));
    struct scratch *scratch = sodium_malloc(sizeof(*scratch));
    char name[NAME_MAX_BYTES], path[4096];

    snprintf(name, sizeof(name), "%s.%s.key", bf_purpose_name(purpose), id);
    if (!key || !scratch) {
        bf_err_oom(err);
    } else if (bf_keys_path(path, sizeof(path), dir, name, err) == 0) {
        snprintf(key->id, sizeof(key->id), "%s", id);
        if (fill_key(key, purpose, path, scratch, err) == 0) {
            sodium_free(scratch);
            key->signer = (struct bf_signer){purpose, key->id, sign_with, key};
            return key;
        }
    }
    sodium_free(scratch);
    signing_key_free(key);
    return NULL;
}

/* ---- which key signs ----------------------------------------------------- */

struct candidate {
    char id[BF_KEY_ID_SIZE]; /* "": none */
    struct timespec born;
};

/* "<purpose>.<16 hex digits>.key": the purpose, -1 for any other name. */
static int split_name(const char *name, char ret_id[static BF_KEY_ID_SIZE])
{
    const char *dot = strchr(name, '.');
    const char *id = dot ? dot + 1 : name;

    if (!dot || strspn(id, "0123456789abcdef") != BF_KEY_ID_LEN ||
        strcmp(id + BF_KEY_ID_LEN, ".key") != 0)
        return -1;
    memcpy(ret_id, id, BF_KEY_ID_LEN);
    ret_id[BF_KEY_ID_LEN] = '\0';
    return bf_purpose_parse((struct bf_slice){name, (size_t)(dot - name)});
}

static bool is_younger(const struct candidate *a, const struct candidate *b)
{
    if (b->id[0] == '\0' || a->born.tv_sec != b->born.tv_sec)
        return b->id[0] == '\0' || a->born.tv_sec > b->born.tv_sec;
    if (a->born.tv_nsec != b->born.tv_nsec)
        return a->born.tv_nsec > b->born.tv_nsec;
    return strcmp(a->id, b->id) > 0;
}

/* Of each purpose the youngest private key that is not revoked. */
static int find_youngest(const struct bf_keyring *ring, const char *dir,
                         struct candidate best[static BF_PURPOSES],
                         struct bf_err *err)
{
    DIR *list = opendir(dir);
    struct dirent *entry;

    if (!list)
        return bf_err_set(err, BF_ERR_REJECT, "no_keys",
                          "cannot open %.150s (errno %d)", dir, errno);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): each call has its own list */
    while ((entry = readdir(list)) != NULL) {
        struct candidate found;
        struct stat st;
        int purpose = split_name(entry->d_name, found.id);
        const struct bf_trusted *known;

        if (purpose < 0 || fstatat(dirfd(list), entry->d_name, &st, 0))
            continue;
        known = bf_keyring_by_id(ring, found.id);
        found.born = st.st_mtim;
        if (!(known && known->revoked) && is_younger(&found, &best[purpose]))
            best[purpose] = found;
    }
    closedir(list);
    return 0;
}

/* The id in <purpose>.signing into *ret, if there is such a file. */
static int read_choice(const char *dir, enum bf_purpose purpose,
                       struct candidate *ret, struct bf_err *err)
{
    char name[NAME_MAX_BYTES], path[4096], text[BF_KEY_ID_SIZE + 2];
    bf_autoclose int fd = -1;
    ssize_t len;

    snprintf(name, sizeof(name), "%s.signing", bf_purpose_name(purpose));
    if (bf_keys_path(path, sizeof(path), dir, name, err))
        return -1;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    len = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (len == BF_KEY_ID_LEN + 1 && text[BF_KEY_ID_LEN] == '\n')
        len--;
    if (len != BF_KEY_ID_LEN)
        return bf_err_set(err, BF_ERR_REJECT, "bad_key",
                          "%.150s must hold one key id", path);
    memcpy(ret->id, text, BF_KEY_ID_LEN);
    ret->id[BF_KEY_ID_LEN] = '\0';
    if (strspn(ret->id, "0123456789abcdef") != BF_KEY_ID_LEN)
        return bf_err_set(err, BF_ERR_REJECT, "bad_key",
                          "%.150s must hold one key id", path);
    return 0;
}

static int load_purpose(struct bf_keyring *ring, const char *dir,
                        enum bf_purpose purpose, struct candidate *chosen,
                        struct bf_err *err)
{
    if (read_choice(dir, purpose, chosen, err))
        return -1;
    if (chosen->id[0] == '\0')
        return 0;
    if (!bf_keyring_find(ring, purpose, chosen->id))
        return bf_err_set(err, BF_ERR_REJECT, "untrusted_signer",
                          "the %s key %s is to sign, but %.100s/trusted does "
                          "not trust it",
                          bf_purpose_name(purpose), chosen->id, dir);
    ring->signers[purpose] = load_key(dir, purpose, chosen->id, err);
    return ring->signers[purpose] ? 0 : -1;
}

struct bf_keyring *bf_keyring_load(const char *dir, struct bf_err *err)
{
    bf_autokeyring struct bf_keyring *ring = NULL;
    bf_autobuf struct bf_buf text = BF_BUF_INIT(BF_TRUSTED_FILE_MAX);
    struct candidate chosen[BF_PURPOSES] = {0};

    if (bf_trusted_read(dir, false, &text, err))
        return NULL;
    ring = bf_keyring_parse(bf_buf_slice(&text), err);
    if (!ring) {
        bf_err_prefix(err, "%.100s", dir);
        return NULL;
    }
    if (find_youngest(ring, dir, chosen, err))
        return NULL;
    for (unsigned i = 0; i < BF_PURPOSES; i++) {
        if (load_purpose(ring, dir, (enum bf_purpose)i, &chosen[i], err))
            return NULL;
    }
    return bf_take(ring);
}
