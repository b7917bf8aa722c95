#include "dispatcher/seam_call.h"

#include <inttypes.h>

#include "dispatcher/scan.h"
#include "schemas/ids.h"

/* ---- reading --------------------------------------------------------------*/

static int bad(struct bf_problem *problem, const char *field, const char *rule)
{
    return bf_problem_set(problem, BF_PROBLEM_BAD_REQUEST, field,
                          "InvalidRequest: %s %s", field, rule);
}

/* A string, or what stands for it where it is missing or null. */
static int read_string(const json_t *doc, const char *name,
                       struct bf_slice usual, struct bf_slice *ret,
                       struct bf_problem *problem)
{
    const json_t *value = json_object_get(doc, name);

    *ret = usual;
    if (!value || json_is_null(value))
        return 0;
    *ret = bf_json_slice(value);
    return ret->ptr ? 0 : bad(problem, name, "must be a string");
}

static int read_hash(struct bf_seam_call *call, struct bf_problem *problem)
{
    struct bf_slice hash = {0};

    if (read_string(call->doc, "code_hash", hash, &hash, problem))
        return -1;
    if (!hash.ptr)
        return 0;
    if (!bf_hex_ok(hash, BF_MD5_SIZE - 1))
        return bad(problem, "code_hash", "must be an md5 of 32 hex digits");
    memcpy(call->code_hash, hash.ptr, hash.len);
    return 0;
}

static int read_context(struct bf_seam_call *call, struct bf_problem *problem)
{
    const json_t *context = json_object_get(call->doc, "workflow_context");

    if (!context || json_is_null(context))
        return 0;
    if (!json_is_object(context))
        return bad(problem, "workflow_context", "must be an object");
    call->context = context;
    return 0;
}

static int no_memory(struct bf_problem *problem)
{
    return bf_problem_set(problem, BF_PROBLEM_UNAVAILABLE, NULL,
                          "out of memory");
}

static int put_code(const json_t *code, const json_t *imports,
                    struct bf_buf *out)
{
    struct bf_json_out json;

    bf_json_start(&json, out, NULL);
    bf_json_value(&json, "run_function_code", code);
    bf_json_open(&json, "imports", '[');
    for (size_t i = 0; i < json_array_size(imports); i++)
        bf_json_value(&json, NULL, json_array_get(imports, i));
    bf_json_close(&json, ']');
    return bf_json_done(&json);
}

/* The hash that follows from the code, by the one function that makes it. */
static int hash_code(const struct bf_buf *code, char ret[BF_MD5_SIZE],
                     struct bf_problem *problem)
{
    bf_autobuf struct bf_buf text = BF_BUF_INIT(BF_SEAM_CODE_BYTES + 2);
    bf_autoblock struct bf_block *block = NULL;
    struct bf_err err;

    if (bf_buf_adds(&text, "{", NULL) ||
        bf_buf_add(&text, code->data, code->len, NULL) ||
        bf_buf_adds(&text, "}", NULL))
        return no_memory(problem);
    block = bf_block_parse(bf_buf_slice(&text), &err);
    if (!block && err.kind == BF_ERR_RETRY)
        return bf_problem_err(problem, BF_PROBLEM_UNAVAILABLE, NULL, &err);
    if (!block)
        return bad(problem, "code_str", err.msg);
    memcpy(ret, bf_block_code_hash(block), BF_MD5_SIZE);
    return 0;
}

static int take_code(struct bf_seam_call *call, const json_t *code,
                     struct bf_problem *problem)
{
    const json_t *imports = json_object_get(call->doc, "imports");
    char hash[BF_MD5_SIZE];

    if (!json_is_string(code))
        return bad(problem, "code_str", "must be a string");
    if (imports && !json_is_null(imports) && !json_is_array(imports))
        return bad(problem, "imports", "must be an array of strings");
    if (put_code(code, imports, &call->code))
        return bf_problem_set(problem, BF_PROBLEM_TOO_LARGE, "code_str",
                              "code_str and imports: more than %u bytes of "
                              "JSON",
                              BF_SEAM_CODE_BYTES);
    if (hash_code(&call->code, hash, problem))
        return -1;
    if (call->code_hash[0] && strcmp(call->code_hash, hash) != 0)
        return bad(problem, "code_hash",
                   "is not the md5 of code_str and imports");
    memcpy(call->code_hash, hash, sizeof(hash));
    return 0;
}

static int read_code(struct bf_seam_call *call, struct bf_problem *problem)
{
    const json_t *code = json_object_get(call->doc, "code_str");

    if (code && !json_is_null(code))
        return take_code(call, code, problem);
    return call->code_hash[0]
               ? 0
               : bad(problem, "code_hash", "or code_str is required");
}

/*
 * The form that their client gives to what it validates. Whoever gives it to
 * something else gets the first answer of that again.
 */
static bool is_validation(const struct bf_seam_call *call)
{
    static const char head[] = "\nimport ast\n\ndef validate_syntax():\n";
    struct bf_slice code =
        bf_json_slice(json_object_get(call->doc, "code_str"));

    return bf_slice_is(call->run_function, "validate_syntax") &&
           bf_slice_is(call->inputs, "{}") &&
           json_object_size(call->context) == 0 &&
           json_array_size(json_object_get(call->doc, "imports")) == 0 &&
           code.len > strlen(head) && memcmp(code.ptr, head, strlen(head)) == 0;
}

static int read_members(struct bf_seam_call *call, struct bf_problem *problem)
{
    const json_t *doc = call->doc;

    if (read_string(doc, "run_function_name", BF_SLICE_LIT("run"),
                    &call->run_function, problem) ||
        read_string(doc, "inputs_json", BF_SLICE_LIT("{}"), &call->inputs,
                    problem) ||
        read_hash(call, problem) || read_context(call, problem) ||
        read_code(call, problem))
        return -1;
    call->is_validation = is_validation(call);
    return 0;
}

/*
 * Their calls have a dozen values and some imports. Small values take twenty
 * times their text in memory, so that many are no call; each has its comma.
 */
#define MAX_COMMAS 16384

static bool has_many_values(struct bf_slice text)
{
    size_t commas = 0;
    bool quoted = false;

    for (size_t i = 0; i < text.len && commas <= MAX_COMMAS; i++) {
        if (quoted && text.ptr[i] == '\\')
            i++;
        else if (text.ptr[i] == '"')
            quoted = !quoted;
        else if (!quoted && text.ptr[i] == ',')
            commas++;
    }
    return commas > MAX_COMMAS;
}

int bf_seam_call_read(struct bf_slice body, struct bf_seam_call *ret,
                      struct bf_problem *problem)
{
    struct bf_seam_call call = {.code = BF_BUF_INIT(BF_SEAM_CODE_BYTES)};
    struct bf_err err;

    if (has_many_values(body))
        return bf_problem_set(problem, BF_PROBLEM_TOO_LARGE, NULL,
                              "InvalidRequest: more than %d values",
                              MAX_COMMAS);
    call.doc = bf_json_parse(body, BF_SEAM_BODY_BYTES, &err);
    if (!call.doc)
        return bf_problem_set(problem,
                              err.kind == BF_ERR_RETRY ? BF_PROBLEM_UNAVAILABLE
                                                       : BF_PROBLEM_BAD_JSON,
                              NULL, "InvalidRequest: %s", err.msg);
    if (read_members(&call, problem)) {
        bf_seam_call_release(&call);
        return -1;
    }
    *ret = call;
    return 0;
}

void bf_seam_call_release(struct bf_seam_call *call)
{
    json_decref(call->doc);
    call->doc = NULL;
    bf_buf_release(&call->code);
}

/* ---- the job --------------------------------------------------------------*/

static void put_text(struct bf_json_out *out, const json_t *from,
                     const char *name)
{
    const json_t *value = json_object_get(from, name);

    if (json_is_string(value) || json_is_null(value))
        bf_json_text(out, name, bf_json_slice(value));
}

/* What else a context may have one day is not the job's. */
static void put_context(struct bf_json_out *out, const json_t *context)
{
    bf_json_open(out, "context", '{');
    put_text(out, context, "step_name");
    put_text(out, context, "step_selector");
    put_text(out, context, "block_type");
    put_text(out, context, "workflow_execution_id");
    bf_json_close(out, '}');
}

#define MAX_TYPE 256 /* PROTOCOL.md §5.2 */

static void put_block(struct bf_json_out *out, const struct bf_seam_call *call,
                      struct bf_slice code)
{
    struct bf_slice type =
        bf_json_slice(json_object_get(call->context, "block_type"));

    bf_json_open(out, "block", '{');
    bf_json_text(out, "run_function_name", call->run_function);
    if (type.ptr && type.len <= MAX_TYPE)
        bf_json_text(out, "block_type", type);
    bf_json_raw(out, NULL, code);
    bf_json_close(out, '}');
}

static void put_job(struct bf_json_out *out, const struct bf_seam_call *call,
                    const struct bf_seam_terms *terms)
{
    bf_json_open(out, NULL, '{');
    bf_json_text(out, "workspace", terms->workspace);
    put_block(out, call, terms->code);
    bf_json_int(out, "timeout_ms", terms->timeout_ms);
    bf_json_int(out, "expires_at_ms", terms->expires_at_ms);
    bf_json_str(out, "execution", bf_execution_name(terms->execution));
    put_context(out, call->context);
    bf_json_open(out, "labels", '{');
    bf_json_str(out, "source", "execute_block");
    bf_json_str(out, "call", call->is_validation ? "validation" : "run");
    bf_json_close(out, '}');
    bf_json_raw(out, "inputs", call->inputs);
    bf_json_close(out, '}');
}

static struct bf_slice trimmed(struct bf_slice text)
{
    static const char blank[] = " \t\r\n";

    while (text.len > 0 && text.ptr[0] && strchr(blank, text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && text.ptr[text.len - 1] &&
           strchr(blank, text.ptr[text.len - 1]))
        text.len--;
    return text;
}

/*
 * Whoever writes a brace and goes on would write members of the job: all of
 * the text has to be its inputs.
 */
static int check_inputs(struct bf_slice job, struct bf_slice inputs,
                        struct bf_problem *problem)
{
    bf_autobuf struct bf_buf rest = BF_BUF_INIT(BF_SCAN_REST);
    struct bf_slice found;
    struct bf_err err;

    if (bf_scan(job, &found, &rest, &err))
        return err.kind == BF_ERR_RETRY
                   ? bf_problem_err(problem, BF_PROBLEM_UNAVAILABLE, NULL, &err)
                   : bad(problem, "inputs_json", "must be one JSON object");
    return found.len == trimmed(inputs).len
               ? 0
               : bad(problem, "inputs_json", "must be one JSON object");
}

int bf_seam_call_job(const struct bf_seam_call *call,
                     const struct bf_seam_terms *terms, struct bf_buf *out,
                     struct bf_problem *problem)
{
    struct bf_json_out json;
    struct bf_err err = {0};

    bf_json_start(&json, out, &err);
    put_job(&json, call, terms);
    if (bf_json_done(&json))
        return bf_problem_err(problem,
                              err.kind == BF_ERR_REJECT
                                  ? BF_PROBLEM_TOO_LARGE
                                  : BF_PROBLEM_UNAVAILABLE,
                              NULL, &err);
    return check_inputs(bf_buf_slice(out), call->inputs, problem);
}
