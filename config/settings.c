#include "config/settings.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/ini.h"
#include "config/kafka_props.h"
#include "config/option.h"
#include "config/secret.h"
#include "schemas/err.h"

#define FILE_MAX_BYTES (1U << 20)
#define NAME_MAX_BYTES 128
#define PROPS_MAX 512
#define PROP_PREFIX "librdkafka."
#define ENV_PREFIX "BLOCKFLEET_"
#define SECRET_ORIGIN "librdkafka"

/* In the environment, but not options: the test tools' and programs' own. */
static const char *const env_reserved[] = {
    "BLOCKFLEET_CONFIG",   "BLOCKFLEET_BROKERS", "BLOCKFLEET_CACHE",
    "BLOCKFLEET_CRASH*",   "BLOCKFLEET_TEST_*",  "BLOCKFLEET_SECRET_*",
    "BLOCKFLEET_RUN_KEYS",
};

/* Names that users of a provider have in their environment already. */
static const struct {
    const char *variable, *option;
    const char *unit; /* of a bare number */
} env_aliases[] = {
    {"MODAL_WEB_ENDPOINT_URL", "modal.url", ""},
    {"MODAL_SERVER_URL", "modal.api_url", ""},
    {"MODAL_ENVIRONMENT", "modal.environment", ""},
    {"E2B_API_URL", "e2b.api_url", ""},
    {"E2B_SANDBOX_URL", "e2b.sandbox_url", ""},
    {"E2B_DOMAIN", "e2b.domain", ""},
    {"E2B_TEMPLATE_ID", "e2b.template", ""},
    {"E2B_SANDBOX_TIMEOUT", "e2b.timeout", "s"},
    {"E2B_SANDBOX_IDLE_TIMEOUT", "e2b.idle_timeout", "s"},
};

/* Where a value comes from, and what must be known while it is applied. */
enum source { FROM_DEFAULT, FROM_FILE, FROM_ENV, FROM_FLAG };

struct origin {
    enum source source;
    const char *file;
    unsigned line;
    unsigned *lines;  /* per option: its line in this file, 0 not yet */
    bool exposed;     /* the file may be read by others */
    unsigned program; /* flags for other programs are refused; 0: all good */
};

const char *bf_program_name(enum bf_program program)
{
    return program == BF_PROGRAM_WORKER       ? "blockfleet-worker"
           : program == BF_PROGRAM_DISPATCHER ? "blockfleet-dispatcher"
                                              : "blockfleet";
}

/* ---- one value ----------------------------------------------------------- */

static int remember(struct bf_settings *settings,
                    const struct bf_option *option, const struct origin *origin,
                    struct bf_err *err)
{
    char **where = &settings->where[option - bf_options];
    char text[160];
    char *copy;

    if (origin->source == FROM_FILE)
        snprintf(text, sizeof(text), "%s:%u", origin->file, origin->line);
    else
        snprintf(text, sizeof(text), "%s",
                 origin->source == FROM_ENV    ? "environment"
                 : origin->source == FROM_FLAG ? "flag"
                                               : "default");
    copy = strdup(text);
    if (!copy)
        return bf_err_oom(err);
    free(*where);
    *where = copy;
    return 0;
}

static int unknown(const char *name, struct bf_err *err)
{
    const char *meant = bf_option_suggest(name);

    if (meant)
        return bf_err_set(err, BF_ERR_REJECT, "unknown_option",
                          "no option %.60s; did you mean %s?", name, meant);
    return bf_err_set(err, BF_ERR_REJECT, "unknown_option",
                      "no option %.60s; --help lists all", name);
}

static int set_option(struct bf_settings *settings, const char *name,
                      const char *value, const struct origin *origin,
                      struct bf_err *err)
{
    const struct bf_option *option = bf_option_find(name);
    unsigned *line;

    if (!option)
        return unknown(name, err);
    if (origin->program && !(option->programs & origin->program))
        return bf_err_set(err, BF_ERR_REJECT, "other_program",
                          "%s is no option of %s", name,
                          bf_program_name(origin->program));
    line = origin->lines ? &origin->lines[option - bf_options] : NULL;
    if (line && *line)
        return bf_err_set(err, BF_ERR_REJECT, "duplicate_option",
                          "%s is already set in line %u", name, *line);
    if (bf_option_set(option, settings, value, err))
        return -1;
    if (line)
        *line = origin->line;
    return remember(settings, option, origin, err);
}

/* "consumer.x" to its scope and "x". */
static enum bf_kafka_scope split_scope(const char **name)
{
    if (strncmp(*name, "consumer.", 9) == 0) {
        *name += 9;
        return BF_KAFKA_CONSUMERS;
    }
    if (strncmp(*name, "producer.", 9) == 0) {
        *name += 9;
        return BF_KAFKA_PRODUCERS;
    }
    return BF_KAFKA_ALL;
}

static void prop_release(struct bf_kafka_prop *prop)
{
    free(prop->name);
    free(prop->value);
    bf_secret_free(prop->secret);
}

static struct bf_kafka_prop *prop_find(struct bf_settings *settings,
                                       enum bf_kafka_scope scope,
                                       const char *name)
{
    for (size_t i = 0; i < settings->prop_count; i++) {
        struct bf_kafka_prop *prop = &settings->props[i];

        if (prop->scope == scope && strcmp(prop->name, name) == 0)
            return prop;
    }
    return NULL;
}

/* A place for one more, zeroed, already counted. */
static struct bf_kafka_prop *prop_add(struct bf_settings *settings,
                                      struct bf_err *err)
{
    struct bf_kafka_prop *props;

    if (settings->prop_count == PROPS_MAX) {
        bf_err_set(err, BF_ERR_REJECT, "too_many",
                   "at most %d librdkafka properties", PROPS_MAX);
        return NULL;
    }
    props =
        reallocarray(settings->props, settings->prop_count + 1, sizeof(*props));
    if (!props) {
        bf_err_oom(err);
        return NULL;
    }
    settings->props = props;
    props[settings->prop_count] = (struct bf_kafka_prop){0};
    return &props[settings->prop_count++];
}

static int check_exposed(const char *name, const struct origin *origin,
                         struct bf_err *err)
{
    if (origin->source == FROM_FLAG)
        return bf_err_set(err, BF_ERR_REJECT, "exposed_secret",
                          "%s is a secret and a command line is none: put it "
                          "into the file or the environment",
                          name);
    if (origin->exposed)
        return bf_err_set(err, BF_ERR_REJECT, "exposed_secret",
                          "%s is a secret and everyone may read this file: "
                          "chmod o-rwx",
                          name);
    return 0;
}

static int prop_make(struct bf_kafka_prop *ret, const char *name,
                     const char *value, struct bf_err *err)
{
    ret->name = strdup(name);
    if (bf_kafka_prop_is_secret(name)) {
        ret->secret = bf_secret_new(bf_slice_str(value), SECRET_ORIGIN, err);
        if (!ret->secret)
            return -1;
    } else {
        ret->value = strdup(value);
    }
    if (!ret->name || (!ret->value && !ret->secret))
        return bf_err_oom(err);
    return 0;
}

static int set_prop(struct bf_settings *settings, const char *name,
                    const char *value, const struct origin *origin,
                    struct bf_err *err)
{
    struct bf_kafka_prop made = {.scope = split_scope(&name)};
    struct bf_kafka_prop *old = prop_find(settings, made.scope, name);

    if (old && old->line && origin->source == FROM_FILE)
        return bf_err_set(err, BF_ERR_REJECT, "duplicate_option",
                          "%.80s is already set in line %u", name, old->line);
    if (bf_kafka_prop_is_secret(name) && check_exposed(name, origin, err))
        return -1;
    if (bf_kafka_prop_check(name, value, err))
        return -1;
    made.line = origin->source == FROM_FILE ? origin->line : 0;
    if (prop_make(&made, name, value, err)) {
        prop_release(&made);
        return -1;
    }
    if (old)
        prop_release(old);
    else
        old = prop_add(settings, err);
    if (!old) {
        prop_release(&made);
        return -1;
    }
    *old = made;
    return 0;
}

static int set_any(struct bf_settings *settings, const char *name,
                   const char *value, const struct origin *origin,
                   struct bf_err *err)
{
    if (strncmp(name, PROP_PREFIX, strlen(PROP_PREFIX)) == 0)
        return set_prop(settings, name + strlen(PROP_PREFIX), value, origin,
                        err);
    return set_option(settings, name, value, origin, err);
}

int bf_settings_set(struct bf_settings *settings, const char *name,
                    const char *value, struct bf_err *err)
{
    struct origin origin = {.source = FROM_FLAG};

    return set_any(settings, name, value, &origin, err);
}

/* ---- life ---------------------------------------------------------------- */

void bf_settings_free(struct bf_settings *settings)
{
    if (!settings)
        return;
    for (size_t i = 0; i < bf_option_count; i++) {
        bf_option_clear(&bf_options[i], settings);
        if (settings->where)
            free(settings->where[i]);
    }
    for (size_t i = 0; i < settings->prop_count; i++)
        prop_release(&settings->props[i]);
    free(settings->props);
    free(settings->where);
    free(settings->args);
    free(settings);
}

/* The defaults that stand in the table; the computed ones come last. */
static struct bf_settings *new_plain(struct bf_err *err)
{
    bf_autosettings struct bf_settings *settings = calloc(1, sizeof(*settings));
    struct origin origin = {.source = FROM_DEFAULT};

    if (settings)
        settings->where = calloc(bf_option_count, sizeof(*settings->where));
    if (!settings || !settings->where) {
        bf_err_oom(err);
        return NULL;
    }
    for (size_t i = 0; i < bf_option_count; i++) {
        const struct bf_option *option = &bf_options[i];

        if (remember(settings, option, &origin, err))
            return NULL;
        if (option->value &&
            bf_option_set(option, settings, option->value, err))
            return NULL;
    }
    return bf_take(settings);
}

static const char *default_run_dir(char *out, size_t size)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): before other threads start */
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    const char *var = "/var/run/blockfleet";

    if (access(var, W_OK) == 0 ||
        (errno == ENOENT && access("/var/run", W_OK) == 0))
        snprintf(out, size, "%s", var);
    else if (xdg && xdg[0] == '/')
        snprintf(out, size, "%s/blockfleet", xdg);
    else
        snprintf(out, size, "/tmp/blockfleet-%u", (unsigned)getuid());
    return out;
}

static int set_computed(struct bf_settings *settings, const char *name,
                        const char *value, struct bf_err *err)
{
    return bf_option_set(bf_option_find(name), settings, value, err);
}

static int compute(struct bf_settings *settings, struct bf_err *err)
{
    char text[4096] = "";

    if (!settings->instance) {
        gethostname(text, sizeof(text) - 1);
        if (set_computed(settings, "instance", text, err))
            return bf_err_prefix(err, "the host's name will not do");
    }
    if (!settings->run_dir &&
        set_computed(settings, "run_dir", default_run_dir(text, sizeof(text)),
                     err))
        return -1;
    snprintf(text, sizeof(text), "%s/view.sqlite", settings->run_dir);
    if (!settings->dispatcher.view &&
        set_computed(settings, "dispatcher.view", text, err))
        return -1;
    snprintf(text, sizeof(text), "%s/api_keys", settings->keys.dir);
    if (settings->dispatcher.api_keys)
        return 0;
    return set_computed(settings, "dispatcher.api_keys", text, err);
}

/* Rules between options; the message begins where the first one was set. */
static int check_pairs(const struct bf_settings *settings, unsigned program,
                       struct bf_err *err)
{
    const struct {
        bool broken;
        const char *name;
        const char *rule;
    } rules[] = {
        {settings->topics.spread > settings->topics.shards, "topics.spread",
         "at most topics.shards"},
        {settings->worker.heartbeat_ms * 3 >
             settings->worker.session_timeout_ms,
         "worker.heartbeat", "at most a third of worker.session_timeout"},
        {settings->worker.commit_bytes > settings->worker.memory_bytes / 4,
         "worker.commit_bytes", "at most a quarter of worker.memory"},
        {(program & BF_PROGRAM_WORKER) &&
             settings->worker.backend == BF_BACKEND_HTTP &&
             settings->http.url[0] == '\0',
         "http.url", "set when worker.backend is http"},
        {(program & BF_PROGRAM_DISPATCHER) &&
             !settings->dispatcher.tls_cert[0] !=
                 !settings->dispatcher.tls_key[0],
         "dispatcher.tls_key", "set if and only if dispatcher.tls_cert is"},
    };

    for (size_t i = 0; i < bf_countof(rules); i++) {
        if (rules[i].broken)
            return bf_err_set(err, BF_ERR_REJECT, "bad_value",
                              "%s: %s must be %s",
                              bf_settings_where(settings, rules[i].name),
                              rules[i].name, rules[i].rule);
    }
    return 0;
}

struct bf_settings *bf_settings_new(struct bf_err *err)
{
    bf_autosettings struct bf_settings *settings = new_plain(err);

    if (!settings || compute(settings, err))
        return NULL;
    return bf_take(settings);
}

const char *bf_settings_where(const struct bf_settings *settings,
                              const char *name)
{
    const struct bf_option *option = bf_option_find(name);

    return option ? settings->where[option - bf_options] : NULL;
}

/* ---- the file ------------------------------------------------------------ */

struct ini_arg {
    struct bf_settings *settings;
    struct origin origin;
};

static int on_ini(void *arg, const char *section, const char *key,
                  const char *value, unsigned line, struct bf_err *err)
{
    struct ini_arg *ini = arg;
    char name[NAME_MAX_BYTES];
    int len = snprintf(name, sizeof(name), "%s%s%s", section,
                       section[0] ? "." : "", key);

    if (len < 0 || (size_t)len >= sizeof(name))
        return bf_err_set(err, BF_ERR_REJECT, "unknown_option",
                          "no option has a name that long");
    ini->origin.line = line;
    return set_any(ini->settings, name, value, &ini->origin, err);
}

static int read_ini(struct bf_settings *settings, struct bf_slice text,
                    const char *name, bool exposed, struct bf_err *err)
{
    bf_autofree unsigned *lines = calloc(bf_option_count, sizeof(*lines));
    struct ini_arg arg = {settings,
                          {.source = FROM_FILE,
                           .file = name,
                           .lines = lines,
                           .exposed = exposed}};
    unsigned line;

    if (!lines)
        return bf_err_oom(err);
    if (bf_ini_parse(text, on_ini, &arg, &line, err))
        return bf_err_prefix(err, "%.80s:%u", name, line);
    return 0;
}

int bf_settings_read_ini(struct bf_settings *settings, struct bf_slice text,
                         const char *name, struct bf_err *err)
{
    return read_ini(settings, text, name, false, err);
}

static int read_open_file(struct bf_settings *settings, int fd,
                          const char *path, struct bf_err *err)
{
    bf_autofree char *text = malloc(FILE_MAX_BYTES + 1);
    struct stat st;
    size_t len = 0;
    ssize_t n = 1;
    int res;

    if (!text)
        return bf_err_oom(err);
    while (n != 0 && len <= FILE_MAX_BYTES) {
        n = read(fd, text + len, FILE_MAX_BYTES + 1 - len);
        if (n < 0 && errno != EINTR)
            return bf_err_set(err, BF_ERR_REJECT, "config_file",
                              "cannot read %.120s (errno %d)", path, errno);
        len += n > 0 ? (size_t)n : 0;
    }
    if (len > FILE_MAX_BYTES)
        return bf_err_set(err, BF_ERR_REJECT, "config_file",
                          "%.120s has more than %u bytes", path,
                          FILE_MAX_BYTES);
    res = read_ini(settings, (struct bf_slice){text, len}, path,
                   fstat(fd, &st) == 0 && (st.st_mode & 0007), err);
    sodium_memzero(text, len);
    return res;
}

/* A missing file is an error only when somebody named it. */
static int read_file(struct bf_settings *settings, const char *path,
                     bool required, struct bf_err *err)
{
    bf_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        return read_open_file(settings, fd, path, err) ? -1 : 1;
    if (!required && errno == ENOENT)
        return 0;
    return bf_err_set(err, BF_ERR_REJECT, "config_file",
                      "cannot open %.120s (errno %d)", path, errno);
}

static int read_files(struct bf_settings *settings, const char *named,
                      struct bf_err *err)
{
    int found;

    if (!named) /* NOLINTNEXTLINE(concurrency-mt-unsafe): as above */
        named = getenv("BLOCKFLEET_CONFIG");
    if (named)
        return named[0] && read_file(settings, named, true, err) < 0 ? -1 : 0;
    found = read_file(settings, "blockfleet.ini", false, err);
    if (found == 0)
        found =
            read_file(settings, "/etc/blockfleet/blockfleet.ini", false, err);
    return found < 0 ? -1 : 0;
}

/* ---- the environment ----------------------------------------------------- */

static bool is_reserved(const char *name)
{
    for (size_t i = 0; i < bf_countof(env_reserved); i++) {
        size_t len = strlen(env_reserved[i]);

        if (env_reserved[i][len - 1] == '*'
                ? strncmp(name, env_reserved[i], len - 1) == 0
                : strcmp(name, env_reserved[i]) == 0)
            return true;
    }
    return false;
}

/* BLOCKFLEET_A_B to "a.b": all _ as dots, which fits properties. */
static void dotted(const char *variable, char out[static NAME_MAX_BYTES])
{
    size_t len = 0;

    variable += strlen(ENV_PREFIX);
    for (; variable[len] && len < NAME_MAX_BYTES - 1; len++) {
        char c = variable[len];

        out[len] = (char)(c == '_' ? '.' : tolower((unsigned char)c));
    }
    out[len] = '\0';
}

/* The option whose name is this one when every _ counts as a dot. */
static const char *option_of_env(const char *name)
{
    for (size_t i = 0; i < bf_option_count; i++) {
        const char *option = bf_options[i].name;
        size_t at = 0;

        while (option[at] && (option[at] == '_' ? '.' : option[at]) == name[at])
            at++;
        if (option[at] == name[at])
            return option;
    }
    return name;
}

static int read_variable(struct bf_settings *settings, const char *variable,
                         const char *value, struct bf_err *err)
{
    struct origin origin = {.source = FROM_ENV};
    char name[NAME_MAX_BYTES];

    dotted(variable, name);
    if (set_any(settings, option_of_env(name), value, &origin, err))
        return bf_err_prefix(err, "environment %.60s", variable);
    return 0;
}

/* Wipes a secret that was read; true when environ got shorter by it. */
static bool take_secret(const char *variable, char *value)
{
    char name[NAME_MAX_BYTES];

    dotted(variable, name);
    if (strncmp(name, PROP_PREFIX, strlen(PROP_PREFIX)) != 0 ||
        !bf_kafka_prop_is_secret(name))
        return false;
    sodium_memzero(value, strlen(value));
    unsetenv(variable); /* NOLINT(concurrency-mt-unsafe): as above */
    return true;
}

static int set_alias(struct bf_settings *settings, size_t i, const char *value,
                     struct bf_err *err)
{
    const struct origin origin = {.source = FROM_ENV};
    bool bare = strspn(value, "0123456789") == strlen(value);
    bf_autofree char *text = NULL;

    if (asprintf(&text, "%s%s", value, bare ? env_aliases[i].unit : "") < 0) {
        text = NULL;
        return bf_err_oom(err);
    }
    return set_option(settings, env_aliases[i].option, text, &origin, err);
}

/* Before our own names, which win. */
static int read_aliases(struct bf_settings *settings, struct bf_err *err)
{
    for (size_t i = 0; i < bf_countof(env_aliases); i++) {
        const char *variable = env_aliases[i].variable;
        const char *value =
            getenv(variable); /* NOLINT(concurrency-mt-unsafe) */

        if (value && value[0] && set_alias(settings, i, value, err))
            return bf_err_prefix(err, "environment %s", variable);
    }
    return 0;
}

static int read_env(struct bf_settings *settings, struct bf_err *err)
{
    if (read_aliases(settings, err))
        return -1;
    for (size_t i = 0; environ && environ[i];) {
        char variable[NAME_MAX_BYTES] = "";
        char *equals = strchr(environ[i], '=');
        size_t len = equals ? (size_t)(equals - environ[i]) : 0;

        if (strncmp(environ[i], ENV_PREFIX, strlen(ENV_PREFIX)) != 0 || !len) {
            i++;
            continue;
        }
        len = len < sizeof(variable) ? len : sizeof(variable) - 1;
        memcpy(variable, environ[i], len);
        if (!is_reserved(variable) &&
            read_variable(settings, variable, equals + 1, err))
            return -1;
        i += take_secret(variable, equals + 1) ? 0 : 1;
    }
    return 0;
}

/* ---- flags --------------------------------------------------------------- */

struct flags {
    unsigned program;
    int argc;
    char **argv;
    struct bf_settings *settings; /* NULL: look for --config only */
    const char *config;
    void (*answer)(FILE *out, unsigned program); /* --help and the like */
};

static void answer_help(FILE *out, unsigned program)
{
    bf_settings_help(out, (enum bf_program)program);
}

static void answer_markdown(FILE *out, unsigned program)
{
    (void)program;
    bf_settings_markdown(out);
}

static void answer_ini(FILE *out, unsigned program)
{
    (void)program;
    bf_settings_ini(out);
}

static void answer_version(FILE *out, unsigned program)
{
    fprintf(out, "%s %s\n", bf_program_name((enum bf_program)program),
            BF_VERSION);
}

/* Flags without a value, that end the program when it has answered. */
static bool take_question(struct flags *flags, const char *name)
{
    static const struct {
        const char *name;
        void (*answer)(FILE *out, unsigned program);
        bool cli; /* also there: the others are the subcommands' business */
    } questions[] = {
        {"help", answer_help, false},
        {"version", answer_version, false},
        {"help-markdown", answer_markdown, true},
        {"help-ini", answer_ini, true},
    };

    for (size_t i = 0; i < bf_countof(questions); i++) {
        if (strcmp(name, questions[i].name) == 0 &&
            (questions[i].cli || flags->program != BF_PROGRAM_CLI)) {
            flags->answer = questions[i].answer;
            return true;
        }
    }
    return false;
}

static void keep_arg(struct flags *flags, int from, int count)
{
    struct bf_settings *settings = flags->settings;

    for (int i = from; settings && i < from + count; i++)
        settings->args[settings->arg_count++] = flags->argv[i];
}

static int apply_flag(struct flags *flags, const char *name, const char *value,
                      struct bf_err *err)
{
    struct origin origin = {.source = FROM_FLAG, .program = flags->program};

    if (strcmp(name, "config") == 0) {
        flags->config = value;
        return 0;
    }
    if (!flags->settings)
        return 0;
    if (set_any(flags->settings, name, value, &origin, err))
        return bf_err_prefix(err, "flag --%.60s", name);
    return 0;
}

/* Not ours: left for a subcommand of the CLI. */
static bool is_foreign(const struct flags *flags, const char *name)
{
    return flags->program == BF_PROGRAM_CLI && !strchr(name, '.') &&
           strcmp(name, "config") != 0 && !bf_option_find(name);
}

/* argv[i] begins with "--"; returns how many arguments it took, or -1. */
static int take_flag(struct flags *flags, int i, struct bf_err *err)
{
    const char *arg = flags->argv[i] + 2, *value;
    size_t len = strcspn(arg, "=");
    char name[NAME_MAX_BYTES];

    snprintf(name, sizeof(name), "%.*s", (int)len, arg);
    if (take_question(flags, name))
        return 1;
    if (is_foreign(flags, name)) {
        keep_arg(flags, i, 1);
        return 1;
    }
    value = arg[len] == '=' ? arg + len + 1 : flags->argv[i + 1];
    if (!value)
        return bf_err_set(err, BF_ERR_REJECT, "bad_value",
                          "flag --%.60s: needs a value", name);
    if (apply_flag(flags, name, value, err))
        return -1;
    return arg[len] == '=' ? 1 : 2;
}

static int read_flags(struct flags *flags, struct bf_err *err)
{
    for (int i = 1; i < flags->argc && !flags->answer;) {
        int took = 1;

        if (strcmp(flags->argv[i], "--") == 0) {
            keep_arg(flags, i + 1, flags->argc - i - 1);
            return 0;
        }
        if (strncmp(flags->argv[i], "--", 2) == 0)
            took = take_flag(flags, i, err);
        else
            keep_arg(flags, i, 1);
        if (took < 0)
            return -1;
        i += took;
    }
    return 0;
}

/* ---- all sources --------------------------------------------------------- */

static int read_sources(struct flags *flags, struct bf_settings *settings,
                        struct bf_err *err)
{
    settings->args = calloc((size_t)flags->argc + 1, sizeof(char *));
    if (!settings->args)
        return bf_err_oom(err);
    if (read_files(settings, flags->config, err) || read_env(settings, err))
        return -1;
    flags->settings = settings;
    if (read_flags(flags, err) || compute(settings, err))
        return -1;
    return check_pairs(settings, flags->program, err);
}

int bf_settings_load(struct bf_settings **ret, enum bf_program program,
                     int argc, char **argv, struct bf_err *err)
{
    bf_autosettings struct bf_settings *settings = NULL;
    struct flags flags = {program, argc, argv, NULL, NULL, NULL};

    if (read_flags(&flags, err))
        return -1;
    if (flags.answer) {
        flags.answer(stdout, program);
        return BF_SETTINGS_ANSWERED;
    }
    settings = new_plain(err);
    if (!settings || read_sources(&flags, settings, err))
        return -1;
    *ret = bf_take(settings);
    return 0;
}
