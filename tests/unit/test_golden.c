/* The wire's small parts against the bytes of the other implementation. */

#include "tests/unit/golden.h"

#include "schemas/block.h"
#include "schemas/ids.h"
#include "schemas/meta.h"
#include "schemas/sign.h"

static json_t *out_string(const char *name, const char *value)
{
    return json_pack("{s:s}", name, value);
}

static json_t *op_hash_hex(const json_t *in, struct bf_record *arena,
                           struct bf_err *err)
{
    const json_t *parts = golden_get(in, "parts_hex");
    struct bf_slice list[8];
    char hex[BF_HEX128_SIZE];
    size_t n = json_array_size(parts);

    (void)err;
    assert_in_range(n, 0, 8);
    for (size_t i = 0; i < n; i++)
        list[i] = golden_unhex(json_array_get(parts, i), arena);
    bf_hash_hex(list, n, hex);
    return out_string("hash", hex);
}

static json_t *op_ok(const json_t *in, struct bf_record *arena,
                     struct bf_err *err)
{
    static const struct {
        const char *what;
        bool (*ok)(struct bf_slice);
    } checks[] = {
        {"workspace", bf_workspace_ok}, {"job_id", bf_job_id_ok},
        {"order_key", bf_order_key_ok}, {"txn_id", bf_txn_id_ok},
        {"hex128", bf_hex128_ok},
    };
    const char *what = golden_str(in, "what");

    (void)err;
    for (size_t i = 0; i < bf_countof(checks); i++) {
        if (strcmp(checks[i].what, what) == 0)
            return json_pack("{s:b}", "ok",
                             checks[i].ok(golden_hex(in, "text_hex", arena)));
    }
    return NULL;
}

static json_t *op_job_id_derive(const json_t *in, struct bf_record *arena,
                                struct bf_err *err)
{
    int64_t line = golden_get(in, "line") ? golden_int(in, "line") : -1;
    char id[BF_HEX128_SIZE];

    (void)err;
    bf_job_id_derive(golden_text(in, "workspace"),
                     golden_hex(in, "key_hex", arena), line, id);
    return out_string("id", id);
}

static struct bf_subject subject_of(const json_t *in)
{
    return (struct bf_subject){
        .workspace = golden_text(in, "workspace"),
        .job = golden_text(in, "job"),
        .generation = (uint32_t)golden_int(in, "generation"),
        .attempt = (uint32_t)golden_int(in, "attempt"),
    };
}

static json_t *op_run_id(const json_t *in, struct bf_record *arena,
                         struct bf_err *err)
{
    struct bf_subject subject = subject_of(in);
    unsigned char random[16];
    char id[BF_HEX128_SIZE];

    (void)arena;
    (void)err;
    golden_bytes(in, "random_hex", random, sizeof(random));
    bf_run_id_with(&subject, random, id);
    return out_string("id", id);
}

static enum bf_type type_of(const json_t *in)
{
    char name[64];

    snprintf(name, sizeof(name), "dev.blockfleet.%s.v1",
             golden_str(in, "type"));
    for (int i = 0; i < BF_TYPES; i++) {
        if (strcmp(bf_type_name((enum bf_type)i), name) == 0)
            return (enum bf_type)i;
    }
    fail_msg("no type %s", name);
    return BF_TYPES;
}

static json_t *op_event_id(const json_t *in, struct bf_record *arena,
                           struct bf_err *err)
{
    struct bf_subject subject = subject_of(in);
    char id[BF_HEX128_SIZE];

    (void)arena;
    (void)err;
    bf_event_id(type_of(in), &subject, id);
    return out_string("id", id);
}

static json_t *op_event_id_of(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    const json_t *parts = golden_get(in, "parts");
    size_t n = json_array_size(parts);
    struct bf_slice list[8];
    char id[BF_HEX128_SIZE];

    (void)err;
    assert_in_range(n, 0, 8);
    for (size_t i = 0; i < n; i++) {
        const json_t *part = json_array_get(parts, i);
        char digits[24];

        snprintf(digits, sizeof(digits), "%lld",
                 (long long)json_integer_value(part));
        list[i] = bf_json_slice(part);
        if (!list[i].ptr)
            bf_record_own(arena, bf_slice_str(digits), &list[i], NULL);
    }
    bf_event_id_of(type_of(in), golden_text(in, "workspace"),
                   golden_str(in, "kind"), list, n, id);
    return out_string("id", id);
}

static json_t *op_event_id_dead(const json_t *in, struct bf_record *arena,
                                struct bf_err *err)
{
    char id[BF_HEX128_SIZE];

    (void)arena;
    (void)err;
    bf_event_id_dead(golden_text(in, "workspace"), golden_str(in, "topic"),
                     (int32_t)golden_int(in, "partition"),
                     golden_int(in, "offset"), id);
    return out_string("id", id);
}

static json_t *op_job_digest(const json_t *in, struct bf_record *arena,
                             struct bf_err *err)
{
    char digest[BF_HEX128_SIZE];

    (void)err;
    bf_job_digest(golden_hex(in, "block_hex", arena),
                  golden_hex(in, "inputs_hex", arena), digest);
    return out_string("digest", digest);
}

static json_t *op_finished_id(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    unsigned char id[16];

    (void)arena;
    (void)err;
    bf_finished_id(
        golden_text(in, "workspace"), golden_text(in, "job"),
        (uint32_t)json_integer_value(json_object_get(in, "generation")), id);
    return json_pack("{s:o}", "id_hex", golden_to_hex(id, sizeof(id)));
}

static json_t *op_commit_id(const json_t *in, struct bf_record *arena,
                            struct bf_err *err)
{
    char id[BF_HEX128_SIZE];

    (void)err;
    bf_commit_id(golden_int(in, "offset"),
                 golden_hex(in, "metadata_hex", arena), id);
    return out_string("id", id);
}

static json_t *op_state_id(const json_t *in, struct bf_record *arena,
                           struct bf_err *err)
{
    char id[BF_HEX128_SIZE];

    (void)arena;
    (void)err;
    bf_state_id(golden_str(in, "fleet"), (int32_t)golden_int(in, "shard"),
                golden_text(in, "entry"), (uint64_t)golden_int(in, "seq"), id);
    return out_string("id", id);
}

static json_t *op_partition(const json_t *in, struct bf_record *arena,
                            struct bf_err *err)
{
    int32_t partition = bf_partition(
        golden_text(in, "workspace"), golden_hex(in, "order_key_hex", arena),
        golden_text(in, "job"), (uint32_t)golden_int(in, "spread"),
        (uint32_t)golden_int(in, "shards"));

    (void)err;
    return json_pack("{s:i}", "partition", (int)partition);
}

static json_t *op_meta_encode(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    struct bf_slice writer = golden_text(in, "writer");
    struct bf_slice map = golden_hex(in, "map_hex", arena);
    struct bf_meta meta = {
        .base = golden_int(in, "base"),
        .txn_seq = (uint64_t)golden_int(in, "txn_seq"),
    };
    char text[BF_MAX_METADATA];

    (void)err;
    assert_in_range(writer.len, 1, BF_MAX_TXN_ID);
    assert_in_range(map.len, 0, sizeof(meta.map));
    memcpy(meta.writer, writer.ptr, writer.len);
    if (map.len > 0)
        memcpy(meta.map, map.ptr, map.len);
    bf_meta_encode(&meta, text);
    return out_string("text", text);
}

static json_t *op_meta_decode(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    size_t len = BF_MAP_BYTES;
    struct bf_meta meta;

    (void)arena;
    if (bf_meta_decode(golden_text(in, "text"), &meta, err))
        return NULL;
    while (len > 0 && meta.map[len - 1] == 0)
        len--;
    return json_pack("{s:I,s:I,s:s,s:o}", "base", (json_int_t)meta.base,
                     "txn_seq", (json_int_t)meta.txn_seq, "writer", meta.writer,
                     "map_hex", golden_to_hex(meta.map, len));
}

static json_t *op_key_id(const json_t *in, struct bf_record *arena,
                         struct bf_err *err)
{
    unsigned char key[32];
    char id[BF_KEY_ID_SIZE];

    (void)arena;
    (void)err;
    golden_bytes(in, "public_key_hex", key, sizeof(key));
    bf_key_id(key, id);
    return out_string("key_id", id);
}

static enum bf_purpose purpose_of(const json_t *in)
{
    int purpose = bf_purpose_parse(golden_text(in, "purpose"));

    assert_in_range(purpose, 0, BF_PURPOSES - 1);
    return (enum bf_purpose)purpose;
}

static json_t *op_leaf(const json_t *in, struct bf_record *arena,
                       struct bf_err *err)
{
    unsigned char leaf[BF_HASH_SIZE];
    bf_autorecord struct bf_record rec;

    (void)err;
    golden_record(golden_get(in, "record"), arena, &rec);
    bf_leaf(purpose_of(in), &rec, leaf);
    return json_pack("{s:o}", "leaf_hex", golden_to_hex(leaf, sizeof(leaf)));
}

struct pair {
    unsigned char public_key[32], secret[64];
    char id[BF_KEY_ID_SIZE];
};

static int pair_sign(void *key, const unsigned char *bytes, size_t len,
                     unsigned char ret_signature[BF_SIGNATURE_SIZE],
                     struct bf_err *err)
{
    (void)err;
    return crypto_sign_detached(ret_signature, NULL, bytes, len,
                                ((struct pair *)key)->secret);
}

static void pair_init(struct pair *pair, const json_t *in)
{
    unsigned char seed[32];

    golden_bytes(in, "seed_hex", seed, sizeof(seed));
    crypto_sign_seed_keypair(pair->public_key, pair->secret, seed);
    bf_key_id(pair->public_key, pair->id);
}

static json_t *signatures_of(struct bf_record *recs, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        json_array_append_new(
            list, golden_from_text(bf_record_get(&recs[i], "bf_signature")));
        bf_record_release(&recs[i]);
    }
    return list;
}

static json_t *op_sign_tree(const json_t *in, struct bf_record *arena,
                            struct bf_err *err)
{
    const json_t *docs = golden_get(in, "records");
    struct bf_record recs[BF_MAX_TREE], *list[BF_MAX_TREE];
    size_t n = json_array_size(docs);
    struct bf_signer signer = {.sign = pair_sign};
    struct pair pair;

    assert_in_range(n, 1, BF_MAX_TREE);
    pair_init(&pair, in);
    signer.purpose = purpose_of(in);
    signer.key_id = pair.id;
    signer.key = &pair;
    for (size_t i = 0; i < n; i++) {
        golden_record(json_array_get(docs, i), arena, &recs[i]);
        list[i] = &recs[i];
    }
    if (bf_sign_tree(&signer, golden_int(in, "created_ms"), list, n, err))
        return NULL;
    return json_pack("{s:s,s:o,s:o}", "key_id", pair.id, "public_key_hex",
                     golden_to_hex(pair.public_key, 32), "signatures",
                     signatures_of(recs, n));
}

static json_t *op_signature_parse(const json_t *in, struct bf_record *arena,
                                  struct bf_err *err)
{
    struct bf_signature sig;
    json_t *path;

    (void)arena;
    if (bf_signature_parse(golden_text(in, "text"), &sig, err))
        return NULL;
    path = json_array();
    for (size_t i = 0; i < sig.npath; i++)
        json_array_append_new(path, golden_to_hex(sig.path[i], BF_HASH_SIZE));
    return json_pack("{s:s,s:s,s:I,s:i,s:i,s:o,s:o}", "purpose",
                     bf_purpose_name(sig.purpose), "key_id", sig.key_id,
                     "created_ms", (json_int_t)sig.created_ms, "count",
                     (int)sig.count, "index", (int)sig.index, "path_hex", path,
                     "bytes_hex", golden_to_hex(sig.bytes, sizeof(sig.bytes)));
}

static bool trust_find(void *arg, enum bf_purpose purpose, const char *key_id,
                       struct bf_slice workspace, struct bf_verify_key *ret)
{
    const json_t *keys = arg;

    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        const json_t *bound = golden_get(key, "workspaces");
        char id[BF_KEY_ID_SIZE];
        bool allowed = !bound;

        golden_bytes(key, "public_key_hex", ret->public_key, 32);
        bf_key_id(ret->public_key, id);
        for (size_t j = 0; j < json_array_size(bound); j++)
            allowed |=
                bf_slice_eq(bf_json_slice(json_array_get(bound, j)), workspace);
        if (allowed && purpose_of(key) == purpose && strcmp(id, key_id) == 0)
            return true;
    }
    return false;
}

/* PROTOCOL.md §4 and §6, as the consumers of the topics know it. */
static enum bf_purpose topic_purpose(const char *topic)
{
    if (strncmp(topic, "bf.jobs", 7) == 0)
        return BF_PURPOSE_JOB;
    if (strcmp(topic, "bf.control") == 0)
        return BF_PURPOSE_CONTROL;
    return strcmp(topic, "bf.state") == 0 ? BF_PURPOSE_STATE
                                          : BF_PURPOSE_RESULT;
}

static json_t *op_verify(const json_t *in, struct bf_record *arena,
                         struct bf_err *err)
{
    json_t *keys = json_object_get(in, "keys");
    struct bf_verifier *verifier = bf_verifier_new(trust_find, keys, err);
    bf_autorecord struct bf_record rec;
    int rc;

    golden_record(golden_get(in, "record"), arena, &rec);
    rc = bf_verify(verifier, topic_purpose(rec.topic), &rec,
                   golden_text(in, "workspace"), golden_int(in, "now_ms"), err);
    bf_verifier_free(verifier);
    return rc ? NULL : json_pack("{s:b}", "ok", 1);
}

static json_t *op_block_parse(const json_t *in, struct bf_record *arena,
                              struct bf_err *err)
{
    bf_autoblock struct bf_block *block =
        bf_block_parse(golden_hex(in, "text_hex", arena), err);
    json_t *imports;

    if (!block)
        return NULL;
    imports = json_array();
    for (size_t i = 0; i < bf_block_imports(block); i++)
        json_array_append_new(imports, json_string(bf_block_import(block, i)));
    return json_pack("{s:s,s:s,s:s?,s:s,s:s,s:o,s:s,s:s}", "run_function_code",
                     bf_block_run_code(block), "run_function_name",
                     bf_block_run_function(block), "init_function_code",
                     bf_block_init_code(block), "init_function_name",
                     bf_block_init_function(block), "block_type",
                     bf_block_type(block), "imports", imports, "code_hash",
                     bf_block_code_hash(block), "fingerprint",
                     bf_block_fingerprint(block));
}

static const struct golden_op ops[] = {
    {"hash_hex", op_hash_hex},
    {"ok", op_ok},
    {"job_id_derive", op_job_id_derive},
    {"run_id", op_run_id},
    {"event_id", op_event_id},
    {"event_id_of", op_event_id_of},
    {"event_id_dead", op_event_id_dead},
    {"job_digest", op_job_digest},
    {"finished_id", op_finished_id},
    {"commit_id", op_commit_id},
    {"state_id", op_state_id},
    {"partition", op_partition},
    {"meta_encode", op_meta_encode},
    {"meta_decode", op_meta_decode},
    {"key_id", op_key_id},
    {"leaf", op_leaf},
    {"sign_tree", op_sign_tree},
    {"signature_parse", op_signature_parse},
    {"verify", op_verify},
    {"block_parse", op_block_parse},
    {NULL, NULL},
};

static void test_ids(void **state)
{
    (void)state;
    assert_in_range(golden_file("ids", ops), 20, 1000);
}

static void test_partitions(void **state)
{
    (void)state;
    assert_in_range(golden_file("partition", ops), 20, 1000);
}

static void test_metadata(void **state)
{
    (void)state;
    assert_in_range(golden_file("meta", ops), 20, 1000);
}

static void test_signatures(void **state)
{
    (void)state;
    assert_in_range(golden_file("sign", ops), 20, 1000);
}

static void test_blocks(void **state)
{
    (void)state;
    assert_in_range(golden_file("block", ops), 20, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),      cmocka_unit_test(test_partitions),
        cmocka_unit_test(test_metadata), cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
