#include "worker/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <sodium.h>
#include <sys/epoll.h>

#include "config/clock.h"
#include "config/secret.h"
#include "schemas/err.h"
#include "schemas/hash.h"
#include "schemas/limits.h"
#include "worker/url.h"

#define POOL_MAGIC 0x48505430U
#define CALL_MAGIC 0x48435430U

/*
 * A connection that idles longer is not used again. Servers close idle ones
 * after 5 seconds and more, and a request that meets such a close is lost: it
 * can neither be sent again nor be said not to have run.
 */
#define IDLE_S 3L
#define KEEPALIVE_S 15L /* probes of a peer that computes for hours */
#define SMALL_BYTES                                                            \
    16384L /* of a request; curl's least for an upload buffer                  \
            */
#define MAX_HEADER_BYTES (256U << 10) /* more is no answer, but an attack */

/*
 * curl gets slow with many calls on one of its multi handles (35 us a POST with
 * a hundred, 84 with 2,000, 262 with 5,000): here each lane has one, and calls
 * take the first lane with room, so that its connections are used again.
 */
#define MAX_LANES 32U
#define LANE_CALLS 64U /* at least, before there is another */
/* Streams on a connection that any server allows (RFC 9113, 6.5.2). */
#define LANE_STREAMS 100U

struct lane {
    struct bf_http_pool *pool;
    CURLM *multi;
    size_t max_calls;    /* a connection each */
    size_t nactive;      /* held ones, too */
    int64_t timer_at_ms; /* -1: none */
    bool touched;        /* a call may be finished */
    /*
     * With TLS nobody knows before the first connection is up whether it takes
     * them all; until then curl would open one for each.
     */
    struct bf_http_call *pioneer; /* sets it up; NULL: nobody does */
    uint64_t open;                /* the origin of the last one; 0: none */
    struct bf_http_call *held, **held_last; /* until then, of its origin */
    bool release;                           /* they may go */
};

struct bf_http_pool {
    uint32_t magic;
    struct bf_http_config config;
    CURLSH *share; /* what lanes know of names, and of TLS sessions */
    struct lane lanes[MAX_LANES];
    size_t nlanes;
    int epoll_fd;
    struct bf_http_call *active;        /* doubly linked */
    struct bf_http_call *first, **last; /* finished, in order */
    size_t nactive;
    size_t bytes;
};

struct bf_http_call {
    uint32_t magic;
    struct bf_http_pool *pool; /* NULL once it is taken */
    struct bf_http_call *prev, *next;
    struct lane *lane;
    uint64_t origin; /* of TLS that may be HTTP/2; 0: of anything else */
    bool held;
    struct bf_http_call *held_next;
    void *opaque;
    CURL *easy;
    struct curl_slist *headers; /* secret ones first */
    size_t nsecrets;
    struct bf_slice body[BF_HTTP_SLICES];
    size_t nbody;
    size_t slice, offset; /* what curl takes next */
    bool begun;           /* a request was begun on a connection */
    bool touched;         /* some of the body was handed to curl */
    bool vetoed;          /* curl wanted to send the body again */
    bool idempotent;
    bool too_large;
    size_t header_bytes; /* all that came */
    bool finished;
    CURLcode code;
    struct bf_buf reply;
    struct bf_buf lines; /* of the answer's head, and its trailers */
    char error[CURL_ERROR_SIZE];
};

static struct bf_http_call *call_from(void *arg)
{
    struct bf_http_call *call = arg;

    bf_assert(call && call->magic == CALL_MAGIC);
    return call;
}

/* ---- what curl asks of us ---- */

/*
 * Just before a request is put on a connection. curl sends a request again
 * when a reused connection dies without an answer, whatever the method, or
 * when an HTTP/2 peer wants HTTP/1.1: with a body that has begun to leave us,
 * that might run it twice.
 */
static int on_begin(void *arg, char *remote_ip, char *local_ip, int remote_port,
                    int local_port)
{
    struct bf_http_call *call = call_from(arg);

    (void)remote_ip;
    (void)local_ip;
    (void)remote_port;
    (void)local_port;
    call->vetoed = !call->idempotent &&
                   (call->touched || (call->begun && call->nbody == 0));
    if (call->vetoed)
        return CURL_PREREQFUNC_ABORT;
    call->begun = true;
    if (call->lane->pioneer == call) {
        call->lane->pioneer = NULL;
        call->lane->open = call->origin;
        call->lane->release = true;
    }
    return CURL_PREREQFUNC_OK;
}

/* The body from its start again: the second lock on the same door. */
static int on_rewind(void *arg, curl_off_t offset, int origin)
{
    struct bf_http_call *call = call_from(arg);

    if ((!call->touched || call->idempotent) && offset == 0 &&
        origin == SEEK_SET) {
        call->slice = 0;
        call->offset = 0;
        return CURL_SEEKFUNC_OK;
    }
    call->vetoed = true;
    return CURL_SEEKFUNC_FAIL;
}

static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
    struct bf_http_call *call = call_from(arg);
    size_t room = size * n, done = 0;

    call->touched = true;
    while (done < room && call->slice < call->nbody) {
        struct bf_slice from = call->body[call->slice];
        size_t len = from.len - call->offset;

        if (len > room - done)
            len = room - done;
        if (len > 0)
            memcpy(to + done, from.ptr + call->offset, len);
        done += len;
        call->offset += len;
        if (call->offset == from.len) {
            call->slice++;
            call->offset = 0;
        }
    }
    return done;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct bf_http_call *call = call_from(arg);
    struct bf_err err = {0};
    size_t before = call->reply.cap;

    if (bf_buf_add(&call->reply, data, size * n, &err)) {
        call->too_large = err.kind == BF_ERR_REJECT;
        return 0;
    }
    call->pool->bytes += call->reply.cap - before;
    return size * n;
}

/* One line, with its end. Of several heads (1xx, 200) the last one counts. */
static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct bf_http_call *call = call_from(arg);
    struct bf_err err = {0};
    size_t len = size * n, before = call->lines.cap;

    call->header_bytes += len;
    if (call->header_bytes > MAX_HEADER_BYTES) {
        call->too_large = true;
        return 0;
    }
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
        bf_buf_clear(&call->lines);
    else if (len > 2 && bf_buf_add(&call->lines, line, len, &err) &&
             err.kind != BF_ERR_REJECT)
        return 0;
    call->pool->bytes += call->lines.cap - before;
    return len;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
                     void *known)
{
    struct lane *lane = arg;
    struct bf_http_pool *pool = lane->pool;
    uint64_t index = (uint64_t)(lane - pool->lanes);
    struct epoll_event event = {.data = {.u64 = index << 32 | (uint32_t)fd}};

    (void)easy;
    bf_assert(pool->magic == POOL_MAGIC);
    if (what == CURL_POLL_REMOVE) {
        /* It may be closed already, and so be out of the set. */
        epoll_ctl(pool->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    if (what & CURL_POLL_IN)
        event.events |= EPOLLIN;
    if (what & CURL_POLL_OUT)
        event.events |= EPOLLOUT;
    if (known)
        return epoll_ctl(pool->epoll_fd, EPOLL_CTL_MOD, fd, &event);
    curl_multi_assign(lane->multi, fd, lane);
    return epoll_ctl(pool->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* Only notes it: curl must not be called from here. */
static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct lane *lane = arg;

    (void)multi;
    lane->timer_at_ms = timeout_ms < 0 ? -1 : bf_mono_ms() + timeout_ms;
    return 0;
}

/* ---- the pool ---- */

static int open_lane(struct bf_http_pool *pool, size_t connections,
                     struct bf_err *err)
{
    struct lane *lane = &pool->lanes[pool->nlanes];
    CURLM *multi = curl_multi_init();

    if (!multi)
        return bf_err_oom(err);
    *lane = (struct lane){.pool = pool,
                          .multi = multi,
                          .max_calls = connections,
                          .timer_at_ms = -1};
    lane->held_last = &lane->held;
    pool->nlanes++;
    if (curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) ||
        curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, lane) ||
        curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer) ||
        curl_multi_setopt(multi, CURLMOPT_TIMERDATA, lane) ||
        curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                          (long)connections) ||
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)connections))
        return bf_err_set(err, BF_ERR_FATAL, "curl",
                          "this libcurl lacks an option that we need");
    return 0;
}

static int open_lanes(struct bf_http_pool *pool, struct bf_err *err)
{
    size_t all = pool->config.max_connections;
    size_t n = all / LANE_CALLS;

    n = n < 1 ? 1 : n;
    n = n > MAX_LANES ? MAX_LANES : n;
    for (size_t i = 0; i < n; i++) {
        if (open_lane(pool, all / n + (i < all % n ? 1 : 0), err))
            return -1;
    }
    return 0;
}

static int open_share(struct bf_http_pool *pool, struct bf_err *err)
{
    pool->share = curl_share_init();
    if (!pool->share)
        return bf_err_oom(err);
    curl_share_setopt(pool->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    curl_share_setopt(pool->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    pool->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return pool->epoll_fd < 0
               ? bf_err_set(err, BF_ERR_FATAL, "epoll", "epoll_create1: %s",
                            strerrorname_np(errno))
               : 0;
}

struct bf_http_pool *bf_http_pool_new(const struct bf_http_config *config,
                                      struct bf_err *err)
{
    struct bf_http_pool *pool = calloc(1, sizeof(*pool));

    bf_assert(config->max_connections > 0 && config->max_reply_bytes > 0);
    if (!pool || curl_global_init(CURL_GLOBAL_DEFAULT)) {
        free(pool);
        bf_err_oom(err);
        return NULL;
    }
    pool->magic = POOL_MAGIC;
    pool->config = *config;
    pool->epoll_fd = -1;
    pool->last = &pool->first;
    if (open_share(pool, err) || open_lanes(pool, err)) {
        bf_http_pool_free(pool);
        return NULL;
    }
    return pool;
}

void bf_http_pool_free(struct bf_http_pool *pool)
{
    if (!pool)
        return;
    while (pool->active)
        bf_http_call_cancel(pool->active);
    while (pool->first)
        bf_http_call_cancel(pool->first);
    bf_assert(pool->bytes == 0);
    for (size_t i = 0; i < pool->nlanes; i++)
        curl_multi_cleanup(pool->lanes[i].multi);
    curl_share_cleanup(pool->share);
    if (pool->epoll_fd >= 0)
        close(pool->epoll_fd);
    pool->magic = 0;
    free(pool);
    curl_global_cleanup();
}

int bf_http_pool_fd(const struct bf_http_pool *pool)
{
    return pool->epoll_fd;
}

int bf_http_pool_wait(const struct bf_http_pool *pool, int max_ms)
{
    int64_t left = max_ms, now = bf_mono_ms();

    if (pool->first)
        return 0;
    for (size_t i = 0; i < pool->nlanes; i++) {
        const struct lane *lane = &pool->lanes[i];

        if (lane->release)
            return 0;
        if (lane->timer_at_ms >= 0 && lane->timer_at_ms - now < left)
            left = lane->timer_at_ms - now;
    }
    return left > 0 ? (int)left : 0;
}

size_t bf_http_pool_active(const struct bf_http_pool *pool)
{
    return pool->nactive;
}

size_t bf_http_pool_bytes(const struct bf_http_pool *pool)
{
    return pool->bytes;
}

/* Out of those that wait for a connection to be set up; this is rare. */
static void leave_held(struct bf_http_call *call)
{
    struct lane *lane = call->lane;
    struct bf_http_call **at = &lane->held;

    while (*at != call)
        at = &(*at)->held_next;
    *at = call->held_next;
    if (!*at)
        lane->held_last = at;
    call->held = false;
}

static void leave_lane(struct bf_http_call *call)
{
    struct lane *lane = call->lane;

    if (call->held)
        leave_held(call);
    else
        curl_multi_remove_handle(lane->multi, call->easy);
    if (lane->pioneer == call) {
        lane->pioneer = NULL;
        lane->release = true;
    }
    lane->nactive--;
    if (lane->nactive == 0)
        lane->open = 0;
}

static void leave_active(struct bf_http_call *call)
{
    struct bf_http_pool *pool = call->pool;

    if (call->prev)
        call->prev->next = call->next;
    else
        pool->active = call->next;
    if (call->next)
        call->next->prev = call->prev;
    pool->nactive--;
    leave_lane(call);
}

static void add_finished(struct bf_http_call *call, CURLcode code)
{
    struct bf_http_pool *pool = call->pool;

    leave_active(call);
    call->finished = true;
    call->code = code;
    call->next = NULL;
    *pool->last = call;
    pool->last = &call->next;
}

/*
 * Those that waited for a connection that could not be set up have not left us
 * either: one after the other they would wait until their time is over.
 */
static void finish(struct bf_http_call *call, CURLcode code)
{
    struct lane *lane = call->lane;
    bool failed = lane->pioneer == call;
    struct bf_http_call *held, *next;
    uint64_t origin = call->origin;

    add_finished(call, code);
    for (held = failed ? lane->held : NULL; held; held = next) {
        next = held->held_next;
        if (held->origin == origin)
            add_finished(held, code);
    }
}

static void collect(struct lane *lane)
{
    CURLMsg *msg;
    int left;

    lane->touched = false;
    while ((msg = curl_multi_info_read(lane->multi, &left))) {
        CURLcode code = msg->data.result;
        char *arg = NULL;

        bf_assert(msg->msg == CURLMSG_DONE);
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &arg);
        finish(call_from(arg), code);
    }
}

/* Hands it to curl, or holds it back; -1: no memory. */
static int submit(struct bf_http_call *call)
{
    struct lane *lane = call->lane;

    if (call->origin && lane->pioneer &&
        lane->pioneer->origin == call->origin) {
        call->held = true;
        call->held_next = NULL;
        *lane->held_last = call;
        lane->held_last = &call->held_next;
        return 0;
    }
    if (curl_multi_add_handle(lane->multi, call->easy) != CURLM_OK)
        return -1;
    if (call->origin && !lane->pioneer && lane->open != call->origin)
        lane->pioneer = call;
    return 0;
}

static void release_held(struct lane *lane)
{
    struct bf_http_call *call = lane->held, *next;

    lane->release = false;
    lane->held = NULL;
    lane->held_last = &lane->held;
    for (; call; call = next) {
        next = call->held_next;
        call->held = false;
        if (submit(call))
            finish(call, CURLE_OUT_OF_MEMORY);
    }
}

/* ---- too much of replies ---- */

static struct bf_http_call *find_largest(const struct bf_http_pool *pool)
{
    struct bf_http_call *found = pool->active;

    for (struct bf_http_call *call = found; call; call = call->next) {
        if (call->reply.cap > found->reply.cap)
            found = call;
    }
    return found && found->reply.cap > 0 ? found : NULL;
}

/* Not from inside of curl: a call is taken out of it. */
static void shed(struct bf_http_pool *pool)
{
    size_t max = pool->config.max_held_bytes;
    struct bf_http_call *call;

    if (max == 0 || pool->bytes <= max)
        return;
    /* What is whole already stays. */
    for (size_t i = 0; i < pool->nlanes; i++) {
        if (pool->lanes[i].touched)
            collect(&pool->lanes[i]);
    }
    while (pool->bytes > max && (call = find_largest(pool))) {
        call->too_large = true;
        finish(call, CURLE_WRITE_ERROR);
        pool->bytes -= call->reply.cap;
        bf_buf_release(&call->reply);
    }
}

static int act(struct lane *lane, curl_socket_t fd, int events,
               struct bf_err *err)
{
    int running;
    CURLMcode code =
        curl_multi_socket_action(lane->multi, fd, events, &running);

    lane->touched = true;
    return code ? bf_err_set(err, BF_ERR_FATAL, "curl", "libcurl: %s",
                             curl_multi_strerror(code))
                : 0;
}

static int act_on(struct bf_http_pool *pool, const struct epoll_event *event,
                  struct bf_err *err)
{
    struct lane *lane = &pool->lanes[event->data.u64 >> 32];
    int what = 0;

    if (event->events & EPOLLIN)
        what |= CURL_CSELECT_IN;
    if (event->events & EPOLLOUT)
        what |= CURL_CSELECT_OUT;
    if (event->events & (EPOLLERR | EPOLLHUP))
        what |= CURL_CSELECT_ERR;
    return act(lane, (int)(uint32_t)event->data.u64, what, err);
}

static int serve_lane(struct lane *lane, int64_t now_ms, struct bf_err *err)
{
    if (lane->timer_at_ms >= 0 && now_ms >= lane->timer_at_ms) {
        lane->timer_at_ms = -1;
        if (act(lane, CURL_SOCKET_TIMEOUT, 0, err))
            return -1;
    }
    if (lane->touched)
        collect(lane);
    if (lane->release)
        release_held(lane);
    return 0;
}

int bf_http_pool_serve(struct bf_http_pool *pool, struct bf_err *err)
{
    struct epoll_event events[64];
    int n = epoll_wait(pool->epoll_fd, events, (int)bf_countof(events), 0);
    int64_t now;

    for (int i = 0; i < n; i++) {
        if (act_on(pool, &events[i], err))
            return -1;
        shed(pool);
    }
    now = bf_mono_ms();
    for (size_t i = 0; i < pool->nlanes; i++) {
        if (serve_lane(&pool->lanes[i], now, err))
            return -1;
    }
    return 0;
}

/* ---- a call ---- */

static size_t body_bytes(const struct bf_http_call *call)
{
    size_t bytes = 0;

    for (size_t i = 0; i < call->nbody; i++)
        bytes += call->body[i].len;
    return bytes;
}

/* Remembers the first failure: a chain of them needs one look at the end. */
static void set_long(struct bf_http_call *call, CURLoption option, long value)
{
    CURLcode code = curl_easy_setopt(call->easy, option, value);

    call->code = call->code ? call->code : code;
}

static void set_ptr(struct bf_http_call *call, CURLoption option,
                    const void *value)
{
    CURLcode code = curl_easy_setopt(call->easy, option, value);

    call->code = call->code ? call->code : code;
}

static void set_callbacks(struct bf_http_call *call)
{
    CURL *easy = call->easy;

    set_ptr(call, CURLOPT_PRIVATE, call);
    set_ptr(call, CURLOPT_ERRORBUFFER, call->error);
    set_ptr(call, CURLOPT_PREREQDATA, call);
    set_ptr(call, CURLOPT_SEEKDATA, call);
    set_ptr(call, CURLOPT_READDATA, call);
    set_ptr(call, CURLOPT_WRITEDATA, call);
    set_ptr(call, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_begin);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_rewind);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
}

static void set_rules(struct bf_http_call *call)
{
    const struct bf_http_config *config = &call->pool->config;

    set_ptr(call, CURLOPT_PROTOCOLS_STR, "http,https");
    set_ptr(call, CURLOPT_SHARE, call->pool->share);
    set_ptr(call, CURLOPT_PROXY, config->proxy ? config->proxy : "");
    set_ptr(call, CURLOPT_USERAGENT, "blockfleet/" BF_VERSION);
    if (config->ca_file)
        set_ptr(call, CURLOPT_CAINFO, config->ca_file);
    set_long(call, CURLOPT_FOLLOWLOCATION, 0);
    set_long(call, CURLOPT_NETRC, CURL_NETRC_IGNORED);
    set_long(call, CURLOPT_NOSIGNAL, 1);
    set_long(call, CURLOPT_NOPROGRESS, 1);
    set_long(call, CURLOPT_PATH_AS_IS, 1); /* the target is signed */
    set_long(call, CURLOPT_TCP_NODELAY, 1);
    set_long(call, CURLOPT_TCP_KEEPALIVE, 1);
    set_long(call, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
    set_long(call, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S);
    set_long(call, CURLOPT_MAXAGE_CONN, IDLE_S);
    /* Else a cancelled call waits for the resolver's thread. */
    set_long(call, CURLOPT_QUICK_EXIT, 1);
    set_long(call, CURLOPT_CONNECTTIMEOUT_MS, (long)config->connect_timeout_ms);
}

static void set_version(struct bf_http_call *call,
                        const struct bf_http_send *what)
{
    bool tls = strncasecmp(what->url, "https:", 6) == 0;
    long version = CURL_HTTP_VERSION_2TLS;

    if (what->version == BF_HTTP_1_1)
        version = CURL_HTTP_VERSION_1_1;
    else if (what->version == BF_HTTP_2 && !tls)
        version = CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
    /* A libcurl without HTTP/2 refuses it, and uses HTTP/1.1. */
    curl_easy_setopt(call->easy, CURLOPT_HTTP_VERSION, version);
    /* Streams of one connection, where there may be such, not many of them. */
    set_long(call, CURLOPT_PIPEWAIT,
             version == CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE ||
                 (tls && what->version != BF_HTTP_1_1));
}

static int add_header(struct bf_http_call *call, const char *line,
                      struct bf_err *err)
{
    struct curl_slist *list;

    if (strpbrk(line, "\r\n"))
        return bf_err_set(err, BF_ERR_REJECT, "bad_header",
                          "a header of more than one line");
    list = curl_slist_append(call->headers, line);
    if (!list)
        return bf_err_oom(err);
    call->headers = list;
    return 0;
}

/* Our copy of it is wiped here, curl's when the call is freed. */
static int add_secret(struct bf_http_call *call,
                      const struct bf_secret_header *header, const char *origin,
                      struct bf_err *err)
{
    struct bf_buf line = BF_BUF_INIT(BF_SECRET_MAX_BYTES + 256);
    struct bf_slice secret;
    int rc;

    if (!bf_secret_is_for(header->secret, origin))
        return bf_err_set(err, BF_ERR_REJECT, "bad_origin",
                          "the %s for another place than %s", header->name,
                          origin);
    secret = bf_secret_reveal(header->secret, origin);
    if (strlen(secret.ptr) != secret.len)
        return bf_err_set(err, BF_ERR_REJECT, "bad_header",
                          "the %s has a NUL in it", header->name);
    /* At once: what a buffer grows out of is not wiped. */
    rc = bf_buf_reserve(&line, secret.len + 256, err) ||
                 bf_buf_addf(&line, err, "%s: %s%s", header->name,
                             header->scheme, secret.ptr) ||
                 add_header(call, line.data, err)
             ? -1
             : 0;
    if (line.data)
        sodium_memzero(line.data, line.cap);
    bf_buf_release(&line);
    return rc;
}

static int add_secrets(struct bf_http_call *call,
                       const struct bf_http_send *what, struct bf_err *err)
{
    bf_autobuf struct bf_buf origin = BF_BUF_INIT(BF_MAX_URL + 16);

    call->nsecrets = what->nsecrets;
    if (what->nsecrets > 0 && bf_url_origin(what->url, &origin, err))
        return -1;
    for (size_t i = 0; i < what->nsecrets; i++) {
        if (add_secret(call, &what->secrets[i], origin.data, err))
            return -1;
    }
    return 0;
}

/* Secrets first: they are known by their place when they are wiped. */
static int set_headers(struct bf_http_call *call,
                       const struct bf_http_send *what, struct bf_err *err)
{
    bool typed = false;

    if (add_secrets(call, what, err))
        return -1;
    for (size_t i = 0; i < what->nheaders; i++) {
        if (add_header(call, what->headers[i], err))
            return -1;
        typed =
            typed || strncasecmp(what->headers[i], "content-type:", 13) == 0;
    }
    /* Without it curl waits a second for a "100 Continue". */
    if (add_header(call, "Expect:", err) ||
        (!typed && add_header(call, "Content-Type:", err)))
        return -1;
    set_ptr(call, CURLOPT_HTTPHEADER, call->headers);
    return 0;
}

static void wipe_headers(struct bf_http_call *call)
{
    struct curl_slist *at = call->headers;

    for (size_t i = 0; at && i < call->nsecrets; i++, at = at->next)
        sodium_memzero(at->data, strlen(at->data));
}

/* Now, since a call that cannot be made at all would only look unsent. */
static int check_url(const char *url, struct bf_err *err)
{
    CURLU *parsed = curl_url();
    CURLUcode code =
        parsed ? curl_url_set(parsed, CURLUPART_URL, url, 0) : CURLUE_OK;
    bool http = strncasecmp(url, "http://", 7) == 0 ||
                strncasecmp(url, "https://", 8) == 0;

    if (!parsed)
        return bf_err_oom(err);
    curl_url_cleanup(parsed);
    return code || !http
               ? bf_err_set(err, BF_ERR_REJECT, "bad_url", "%.100s: %s", url,
                            code ? curl_url_strerror(code)
                                 : "not an http:// or https:// URL")
               : 0;
}

/*
 * Most calls are small and wait for long: with 5,000 of them at once curl's own
 * buffers, 16 KiB and 64 KiB, are a fourth of the memory.
 */
static void set_buffers(struct bf_http_call *call)
{
    if (body_bytes(call) > (size_t)SMALL_BYTES)
        return;
    set_long(call, CURLOPT_BUFFERSIZE, 4096);
    set_long(call, CURLOPT_UPLOAD_BUFFERSIZE, SMALL_BYTES);
}

/* A GET goes without a body, even of no bytes. */
static void set_method(struct bf_http_call *call, enum bf_method method)
{
    static const char *const names[] = {[BF_POST] = NULL,
                                        [BF_GET] = NULL,
                                        [BF_PUT] = "PUT",
                                        [BF_DELETE] = "DELETE",
                                        [BF_PATCH] = "PATCH"};

    if (call->nbody == 0 && (method == BF_GET || method == BF_DELETE)) {
        set_long(call, CURLOPT_HTTPGET, 1);
    } else {
        set_long(call, CURLOPT_POST, 1);
        curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)body_bytes(call));
    }
    if (names[method])
        set_ptr(call, CURLOPT_CUSTOMREQUEST, names[method]);
}

static int set_up(struct bf_http_call *call, const struct bf_http_send *what,
                  struct bf_err *err)
{
    bf_assert(what->nbody <= BF_HTTP_SLICES &&
              (what->method != BF_GET || what->nbody == 0));
    for (size_t i = 0; i < what->nbody; i++) {
        if (what->body[i].len > 0)
            call->body[call->nbody++] = what->body[i];
    }
    call->idempotent = what->idempotent;
    if (what->max_reply_bytes > 0)
        call->reply.max = what->max_reply_bytes;
    set_callbacks(call);
    set_rules(call);
    set_version(call, what);
    set_method(call, what->method);
    set_buffers(call);
    set_ptr(call, CURLOPT_URL, what->url);
    curl_easy_setopt(call->easy, CURLOPT_MAXFILESIZE_LARGE,
                     (curl_off_t)call->reply.max);
    if (check_url(what->url, err) || set_headers(call, what, err))
        return -1;
    if (call->code == CURLE_OUT_OF_MEMORY)
        return bf_err_oom(err);
    return call->code ? bf_err_set(err, BF_ERR_FATAL, "curl", "libcurl: %s",
                                   curl_easy_strerror(call->code))
                      : 0;
}

void bf_http_call_free(struct bf_http_call *call)
{
    if (!call)
        return;
    bf_assert(call->magic == CALL_MAGIC && !call->pool);
    curl_easy_cleanup(call->easy);
    wipe_headers(call);
    curl_slist_free_all(call->headers);
    bf_buf_release(&call->reply);
    bf_buf_release(&call->lines);
    call->magic = 0;
    free(call);
}

static void join_active(struct bf_http_call *call)
{
    struct bf_http_pool *pool = call->pool;

    call->next = pool->active;
    if (call->next)
        call->next->prev = call;
    pool->active = call;
    pool->nactive++;
    call->lane->nactive++;
}

/* TLS that may turn out to be HTTP/2: whom it goes to, in its own spelling. */
static uint64_t origin_of(const struct bf_http_send *what)
{
    size_t len = strlen("https://");
    uint64_t hash;

    if (what->version == BF_HTTP_1_1 ||
        strncasecmp(what->url, "https://", len) != 0)
        return 0;
    len += strcspn(what->url + len, "/?#");
    hash = bf_hash64((struct bf_slice){what->url, len});
    return hash ? hash : 1;
}

/* The first with room, or the one with the fewest. */
static struct lane *find_lane(struct bf_http_pool *pool,
                              const struct bf_http_call *call)
{
    struct lane *fewest = &pool->lanes[0];

    for (size_t i = 0; i < pool->nlanes; i++) {
        struct lane *lane = &pool->lanes[i];

        if (lane->nactive < lane->max_calls &&
            (!call->origin || lane->nactive < LANE_STREAMS))
            return lane;
        if (lane->nactive < fewest->nactive)
            fewest = lane;
    }
    return fewest;
}

struct bf_http_call *bf_http_pool_send(struct bf_http_pool *pool,
                                       const struct bf_http_send *what,
                                       void *opaque, struct bf_err *err)
{
    struct bf_http_call *call = calloc(1, sizeof(*call));

    if (!call) {
        bf_err_oom(err);
        return NULL;
    }
    call->magic = CALL_MAGIC;
    call->opaque = opaque;
    call->reply.max = pool->config.max_reply_bytes;
    call->lines.max = BF_HTTP_HEADER_BYTES;
    call->easy = curl_easy_init();
    call->pool = pool;
    if (!call->easy)
        bf_err_oom(err);
    else if (set_up(call, what, err) == 0) {
        call->origin = origin_of(what);
        call->lane = find_lane(pool, call);
        if (submit(call) == 0) {
            join_active(call);
            return call;
        }
        bf_err_oom(err);
    }
    call->pool = NULL;
    bf_http_call_free(call);
    return NULL;
}

/* ---- how a call ended ---- */

static bool was_sent(const struct bf_http_call *call)
{
    return call->touched || (call->begun && call->nbody == 0);
}

static enum bf_http_end end_of(const struct bf_http_call *call)
{
    if (call->code == CURLE_OK)
        return BF_HTTP_ANSWERED;
    if (call->too_large || call->code == CURLE_FILESIZE_EXCEEDED)
        return BF_HTTP_TOO_LARGE;
    return was_sent(call) ? BF_HTTP_LOST : BF_HTTP_UNSENT;
}

static const char *error_of(const struct bf_http_call *call,
                            enum bf_http_end end)
{
    if (end == BF_HTTP_ANSWERED)
        return "";
    if (end == BF_HTTP_TOO_LARGE)
        return "the answer is larger than an answer may be";
    if (call->vetoed)
        return "the connection died with the request on it";
    return call->error[0] ? call->error : curl_easy_strerror(call->code);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct bf_slice trim(struct bf_slice text)
{
    while (text.len > 0 && is_space(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && is_space(text.ptr[text.len - 1]))
        text.len--;
    return text;
}

struct bf_slice bf_http_header(struct bf_slice headers, const char *name)
{
    struct bf_slice found = {NULL, 0};
    size_t name_len = strlen(name);

    while (headers.len > 0) {
        const char *end = memchr(headers.ptr, '\n', headers.len);
        size_t len = end ? (size_t)(end - headers.ptr) + 1 : headers.len;
        const char *line = headers.ptr;

        if (len > name_len && line[name_len] == ':' &&
            strncasecmp(line, name, name_len) == 0)
            found = trim(
                (struct bf_slice){line + name_len + 1, len - name_len - 1});
        headers.ptr += len;
        headers.len -= len;
    }
    return found;
}

static void describe(const struct bf_http_call *call, struct bf_http_done *ret)
{
    enum bf_http_end end = end_of(call);
    curl_off_t retry_after = 0;
    long status = 0;

    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(call->easy, CURLINFO_RETRY_AFTER, &retry_after);
    if (retry_after > BF_HTTP_RETRY_AFTER_MAX_MS / 1000)
        retry_after = BF_HTTP_RETRY_AFTER_MAX_MS / 1000;
    *ret = (struct bf_http_done){
        .opaque = call->opaque,
        .end = end,
        .status = (int)status,
        .body = bf_buf_slice(&call->reply),
        .headers = bf_buf_slice(&call->lines),
        .retry_after_ms = retry_after * 1000,
        .error = error_of(call, end),
    };
}

/* Out of the list of finished ones; it is short, and this is rare. */
static void leave_finished(struct bf_http_call *call)
{
    struct bf_http_pool *pool = call->pool;
    struct bf_http_call **at = &pool->first;

    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    if (!*at)
        pool->last = at;
}

static void leave_pool(struct bf_http_call *call)
{
    if (call->finished)
        leave_finished(call);
    else
        leave_active(call);
    call->pool->bytes -= call->reply.cap + call->lines.cap;
    call->pool = NULL;
}

struct bf_http_call *bf_http_pool_take(struct bf_http_pool *pool,
                                       struct bf_http_done *ret)
{
    struct bf_http_call *call = pool->first;

    if (!call)
        return NULL;
    leave_pool(call);
    describe(call, ret);
    return call;
}

enum bf_http_end bf_http_call_cancel(struct bf_http_call *call)
{
    enum bf_http_end end;

    bf_assert(call->magic == CALL_MAGIC && call->pool);
    end = was_sent(call) ? BF_HTTP_LOST : BF_HTTP_UNSENT;
    leave_pool(call);
    bf_http_call_free(call);
    return end;
}
