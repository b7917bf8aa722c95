#include "worker/backend/e2b_driver.h"

#include "schemas/base64.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/json.h"
#include "schemas/limits.h"

#define MAX_HEAD (512U << 10) /* of a done frame's head, in bytes */
#define MARK "BF1 "

/* The assembler puts the file in; CMake makes it and says where it is. */
__asm__(".pushsection .rodata\n"
        "bf_runner_zip_begin:\n"
        ".incbin \"" BF_RUNNER_ZIP "\"\n"
        "bf_runner_zip_end:\n"
        ".popsection\n");

extern const char bf_runner_zip_begin[], bf_runner_zip_end[];

struct bf_slice bf_e2b_package(void)
{
    return (struct bf_slice){bf_runner_zip_begin,
                             (size_t)(bf_runner_zip_end - bf_runner_zip_begin)};
}

void bf_e2b_package_path(char out[BF_E2B_PATH])
{
    snprintf(out, BF_E2B_PATH, "/tmp/.bf-%016llx.zip",
             (unsigned long long)bf_hash64(bf_e2b_package()));
}

void bf_e2b_inputs_path(const char *word, char out[BF_E2B_PATH])
{
    snprintf(out, BF_E2B_PATH, "/tmp/.bf-in-%s", word);
}

/* ---- Python ---- */

/*
 * Unpacks the package z, kept as p, and makes it importable. Whoever comes
 * second finds it there: a rename is all or nothing. In a function, so that a
 * kernel's own names stay as they are.
 */
#define UNPACK                                                                 \
    "def _bf_unpack(p,z):\n"                                                   \
    " import os,sys,zipfile\n"                                                 \
    " d=p[:-4]\n"                                                              \
    " if not os.path.isdir(d):\n"                                              \
    "  t=d+'-'+str(os.getpid())\n"                                             \
    "  zipfile.ZipFile(z).extractall(t)\n"                                     \
    "  try: os.rename(t,d)\n"                                                  \
    "  except OSError: pass\n"                                                 \
    " if d not in sys.path: sys.path.insert(0,d)\n"

static const char kernel_code[] =
    UNPACK "import base64,io\n"
           "_bf_unpack('%s',io.BytesIO(base64.b64decode('";

static const char process_code[] =
    UNPACK "import sys\n"
           "_bf_unpack(sys.argv[1],sys.argv[1])\n"
           "from bfrunner import sandbox\n"
           "sandbox.main(sys.argv[2:])\n";

int bf_e2b_prepare_code(const char *word, struct bf_buf *out,
                        struct bf_err *err)
{
    char path[BF_E2B_PATH];
    struct bf_slice zip = bf_e2b_package();
    size_t size =
        sodium_base64_encoded_len(zip.len, sodium_base64_VARIANT_ORIGINAL);

    bf_e2b_package_path(path);
    if (bf_buf_addf(out, err, kernel_code, path) ||
        bf_buf_reserve(out, size, err))
        return -1;
    sodium_bin2base64(out->data + out->len, size,
                      (const unsigned char *)zip.ptr, zip.len,
                      sodium_base64_VARIANT_ORIGINAL);
    out->len += size - 1;
    return bf_buf_addf(out, err,
                       "')))\n"
                       "import bfrunner.sandbox as _bf\n"
                       "_bf.start('%s')\n",
                       word);
}

int bf_e2b_run_code(const char *word, struct bf_slice given, struct bf_buf *out,
                    struct bf_err *err)
{
    return bf_buf_addf(out, err, "if '_bf' in globals(): _bf.run('%s','",
                       word) ||
                   bf_buf_add(out, given.ptr, given.len, err) ||
                   bf_buf_addf(out, err,
                               "')\n"
                               "else: print('" MARK "%s needs',flush=True)\n",
                               word)
               ? -1
               : 0;
}

void bf_e2b_run_args(const char *word, struct bf_slice given,
                     int64_t timeout_ms, struct bf_e2b_args *ret)
{
    bf_e2b_package_path(ret->path);
    snprintf(ret->seconds, sizeof(ret->seconds), "%lld",
             (long long)timeout_ms / 1000 + 1);
    ret->arg[0] = BF_SLICE_LIT("timeout");
    ret->arg[1] = BF_SLICE_LIT("-k");
    ret->arg[2] = BF_SLICE_LIT("1");
    ret->arg[3] = bf_slice_str(ret->seconds);
    ret->arg[4] = BF_SLICE_LIT("python3");
    ret->arg[5] = BF_SLICE_LIT("-Ic");
    ret->arg[6] = (struct bf_slice){process_code, sizeof(process_code) - 1};
    ret->arg[7] = bf_slice_str(ret->path);
    ret->arg[8] = bf_slice_str(word);
    ret->arg[9] = given;
}

/* ---- what was said ---- */

void bf_e2b_said_release(struct bf_e2b_said *said)
{
    json_decref(bf_take(said->head));
    bf_buf_release(&said->body);
}

static bool starts(struct bf_slice *text, const char *with)
{
    size_t len = strlen(with);

    if (text->len < len || memcmp(text->ptr, with, len) != 0)
        return false;
    text->ptr += len;
    text->len -= len;
    return true;
}

static int decode(struct bf_slice text, struct bf_buf *out, bool *broken,
                  struct bf_err *err)
{
    size_t most = text.len / 4 * 3, len = 0;

    if (most == 0 || most > out->max - out->len) {
        *broken = true;
        return 0;
    }
    if (bf_buf_reserve(out, most, err))
        return -1;
    if (bf_base64_decode(BF_BASE64, text, (unsigned char *)out->data + out->len,
                         most, &len))
        *broken = true;
    out->len += len;
    return 0;
}

static int take_head(struct bf_slice text, struct bf_e2b_said *said,
                     struct bf_err *err)
{
    bf_autobuf struct bf_buf json = BF_BUF_INIT(MAX_HEAD);
    struct bf_err why = {0};

    if (decode(text, &json, &said->broken, err))
        return -1;
    if (said->broken || said->head) {
        said->broken = true;
        return 0;
    }
    said->head = bf_json_parse_nul(bf_buf_slice(&json), MAX_HEAD, &why);
    if (!said->head && why.kind == BF_ERR_RETRY)
        return bf_err_oom(err);
    said->broken = !said->head;
    return 0;
}

static void take_end(struct bf_slice text, struct bf_e2b_said *said)
{
    uint64_t len = 0;

    if (!said->head || bf_slice_u64(text, BF_MAX_RESULT, &len) ||
        len != said->body.len)
        said->broken = true;
    else
        said->ended = true;
}

static int take_line(struct bf_slice line, struct bf_e2b_said *said,
                     struct bf_err *err)
{
    if (starts(&line, "head "))
        return take_head(line, said, err);
    if (starts(&line, "body "))
        return decode(line, &said->body, &said->broken, err);
    if (starts(&line, "end "))
        take_end(line, said);
    else if (bf_slice_is(line, "ready"))
        said->ready = true;
    else if (bf_slice_is(line, "needs"))
        said->needs = true;
    else if (bf_slice_is(line, "begun"))
        said->begun = true;
    else
        said->broken = true;
    return 0;
}

int bf_e2b_said_read(struct bf_slice out, const char *word,
                     struct bf_e2b_said *ret, struct bf_err *err)
{
    *ret = (struct bf_e2b_said){.body = BF_BUF_INIT(BF_MAX_RESULT + 3)};
    while (out.len > 0 && !ret->ended && !ret->broken) {
        const char *end = memchr(out.ptr, '\n', out.len);
        struct bf_slice line = {out.ptr, end ? (size_t)(end - out.ptr) : 0};

        if (!end)
            return 0;
        out.ptr += line.len + 1;
        out.len -= line.len + 1;
        if (!starts(&line, MARK) || !starts(&line, word) || !starts(&line, " "))
            continue;
        if (take_line(line, ret, err))
            return -1;
    }
    return 0;
}
