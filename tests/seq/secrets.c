/* Secrets stay secret: whatever a server says, no log line, no frame of the trace hook, and no text of an error
 * or of a notice has the key, a token, the caller's own credentials or a payload in it, be it as it is, in hex
 * or in base64. */
#include "service.h"
#include "calls.h"
#include <ctype.h>

/* ------------------------------------------------------------------ what is looked for
 * Any so many characters of a secret in a row are too many: as it is, in hex, or in base64, whose three
 * alignments are forms of their own. */
enum { WINDOW = 12, SECRETS = 64, TEXT = 600, FORMS = 5 };

typedef struct form_t { char text[2 * TEXT]; bool any_case; } form_t;
static struct { char name[24]; form_t forms[FORMS]; } secrets[SECRETS];    /* forms[0]: the secret itself */
static size_t secret_count;
static size_t texts, stars, frames, lines;     /* looked at; stars: that a secret was taken out of */

static void as_hex(const char *text, char *out, size_t cap)
{
    size_t at = 0;
    for (; *text && at + 3 < cap; text++)
        at += (size_t)snprintf(out + at, cap - at, "%02x", (unsigned char)*text);
}

/* In one of three alignments, without the end characters, which depend on the bytes beside it. */
static void as_base64(const char *text, size_t skip, char *out, size_t cap)
{
    out[0] = 0;
    auth_base64url(out, cap, text + skip);
    if (strlen(out) > 2) out[strlen(out) - 2] = 0;
    for (char *p = out; *p; p++) *p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
}

static void keep_secret(const char *name, const char *text)
{
    form_t *forms;
    for (size_t i = 0; i < secret_count; i++)
        if (strcmp(secrets[i].forms[0].text, text) == 0) return;
    if (strlen(text) < WINDOW) return;
    assert_in_range(strlen(text), WINDOW, TEXT - 1);
    assert_true(secret_count < SECRETS);
    snprintf(secrets[secret_count].name, sizeof secrets[0].name, "%s", name);
    forms = secrets[secret_count++].forms;
    snprintf(forms[0].text, sizeof forms[0].text, "%s", text);
    as_hex(text, forms[1].text, sizeof forms[1].text);
    forms[1].any_case = true;
    for (size_t skip = 0; skip < 3; skip++)
        as_base64(text, skip, forms[2 + skip].text, sizeof forms[2 + skip].text);
}

/* Does `text` have any WINDOW characters of the form? A sanitizer makes the comparison of many bytes slow, so
   the first ones are looked at before. */
static bool has_part(const char *text, const form_t *f)
{
    size_t n = strlen(f->text), m = strlen(text);
    for (size_t i = 0; i + WINDOW <= n; i++) {
        char first = f->text[i], other = f->any_case ? (char)toupper((unsigned char)first) : first;
        for (size_t k = 0; k + WINDOW <= m; k++) {
            if (text[k] != first && text[k] != other) continue;
            if (!f->any_case && memcmp(f->text + i, text + k, WINDOW) == 0) return true;
            if (f->any_case && strncasecmp(f->text + i, text + k, WINDOW) == 0) return true;
        }
    }
    return false;
}

static const char *secret_in(const char *text)
{
    for (size_t i = 0; i < secret_count; i++)
        for (size_t k = 0; k < FORMS; k++)
            if (has_part(text, &secrets[i].forms[k])) return secrets[i].name;
    return NULL;
}

static void look(const char *what, const char *text)
{
    const char *name = text ? secret_in(text) : NULL;
    if (!text) return;
    texts++;
    stars += strstr(text, "***") != NULL;
    if (name) fail_msg("%s shows the %s: %s", what, name, text);
}

static void look_slice(const char *what, ensign_slice_t s)
{
    char text[1200];
    snprintf(text, sizeof text, "%.*s", (int)s.len, (const char *)s.ptr);
    look(what, text);
}

/* ------------------------------------------------------------------ where it is looked for */
static void on_log(void *user, int level, const char *text)
{
    (void)user;
    (void)level;
    lines++;
    look("a log line", text);
}

static void on_trace(void *user, const ensign_frame_t *f)
{
    char text[1600];
    (void)user;
    frames++;
    assert_in_range(ensign_frame_text(f, text, sizeof text), 10, sizeof text - 1);
    look("a frame", text);
    look("the names of a frame", f->names);
}

static void look_at(const ensign_notice_t *n)
{
    look("an error", n->error ? n->error->text : NULL);
    if (n->type == ENSIGN_NOTICE_REPLY) look_slice("REPLY's text", n->as.reply.text);
    if (n->type == ENSIGN_NOTICE_END) look_slice("END's text", n->as.end.text);
}

/* Lets time go by and looks at all that is told. Returns how many handles have ended. */
static unsigned go_on(world_t *w, uint64_t ms)
{
    uint64_t end = w->now + ms;
    unsigned ended = 0;
    while (w->now < end) {
        const ensign_notice_t *n;
        keep_secret("access token", w->access);
        keep_secret("refresh token", w->refresh);
        world_pass(w, 20);
        keep_secret("access token", w->access);
        keep_secret("refresh token", w->refresh);
        while ((n = ensign_next(w->client)) != NULL) {
            look_at(n);
            ended += n->last;
        }
        look("ensign_error", ensign_error(w->client)->text);
        w->zero_timeouts = w->pulls_due = 0;
    }
    return ended;
}

static const char payload[] = "payload-of-an-event-7Kq2vWz9";
static const char pair_value[] = "value-of-a-pair-hJ5nYc3b";
static const char own_token[] = "users-own-credential-Xb81LmQ0Rt7sUv";
static const char own_value[] = "users-own-metadata-pQ4kDw8e";
static const char own_binary[] = "users-own-binary-Zt6gFr1a";
static const char fixed_token[] = "fixed-token-of-the-desc-aq9zwsxe3dcr5fv";

static void begin(world_t *w)
{
    secret_count = texts = stars = frames = lines = 0;
    keep_secret("payload", payload);
    keep_secret("metadata of an event", pair_value);
    keep_secret("authorization of a call", own_token);
    keep_secret("metadata of a call", own_value);
    keep_secret("binary metadata", own_binary);
    keep_secret("fixed token", fixed_token);
    w->desc.log = on_log;
    w->desc.trace = on_trace;
}

static void begin_with_key(world_t *w)
{
    begin(w);
    world_create_with_key(w);
    keep_secret("client_secret", w->desc.client_secret);
}

/* A call with credentials of its own. */
static uint32_t own_call(world_t *w, bool with_token)
{
    static char bearer[80];
    ensign_header_t metadata[3];
    ensign_call_desc_t d = unary(payload);
    snprintf(bearer, sizeof bearer, "Bearer %s", own_token);
    metadata[0].key = "x-api-key";
    metadata[0].value = text_slice(own_value);
    metadata[1].key = "x-secret-bin";
    metadata[1].value = text_slice(own_binary);
    metadata[2].key = "authorization";
    metadata[2].value = text_slice(bearer);
    d.metadata = metadata;
    d.metadata_count = with_token ? 3 : 2;
    d.wait_for_ready = true;
    return call(w, &d);
}

static ensign_publisher_t publisher(world_t *w)
{
    ensign_publisher_desc_t pd;
    memset(&pd, 0, sizeof pd);
    pd.topic = "weather";
    return ensign_publisher_open(w->client, &pd);
}

static void publish(world_t *w, ensign_publisher_t p)
{
    ensign_pair_t pair = { "key", pair_value };
    ensign_event_t e;
    memset(&e, 0, sizeof e);
    e.data = text_slice(payload);
    e.pairs = &pair;
    e.pair_count = 1;
    if (ensign_publish(w->client, p, &e) != ENSIGN_OK) look("a publish", ensign_error(w->client)->text);
}

/* ------------------------------------------------------------------ the search itself */
static void the_search_finds(void **state)
{
    char text[400];
    (void)state;
    secret_count = 0;
    keep_secret("planted", "planted-secret-0123456789");
    assert_null(secret_in("nothing planted here, planted-sec"));
    assert_non_null(secret_in("it is \"planted-secret-0123456789\"."));
    assert_non_null(secret_in("cut: ret-01234567"));
    snprintf(text, sizeof text, "hex 706C616E7465642D73656372 ...");
    assert_non_null(secret_in(text));
    for (size_t i = 0; i < 3; i++) {     /* "Basic id:secret", in each alignment */
        strcpy(text, "Basic ");
        auth_base64url(text, sizeof text, &"xxplanted-secret-0123456789!"[2 - i]);
        assert_non_null(secret_in(text));
    }
}

/* ------------------------------------------------------------------ what goes well */
SCRIPT(a_good_session_tells_no_secret)
{
    ensign_publisher_t p;
    ensign_subscription_desc_t sd;
    stream_t *s;
    memset(&sd, 0, sizeof sd);
    begin_with_key(w);
    w->access_s = 20;
    w->overlap_s = 10;
    p = publisher(w);
    s = world_stream(w, 0);
    world_request(w, s);
    service_ready(s, 3);
    publish(w, p);
    (void)ensign_subscription_open(w->client, &sd);
    s = world_stream(w, 1);
    world_request(w, s);
    service_ready(s, 2);
    service_deliver(s, 1, payload, strlen(payload));
    own_call(w, true);
    s = world_stream(w, 2);
    peer_headers(s, "200", "content-type", "application/grpc", "x-session", own_value, NULL);
    peer_message(s, payload, strlen(payload));
    peer_finish(s, 0, NULL, NULL);
    assert_int_equal(go_on(w, 60000), 1);
    assert_true(w->auth_requests >= 3);
    assert_true(frames > 20 && lines > 10);
    assert_int_equal(ensign_close(w->client, ENSIGN_CLIENT, 100), ENSIGN_OK);
    go_on(w, 500);
}

/* ------------------------------------------------------------------ auth services that repeat what was sent */
static void echo(world_t *w, int status, const char *before, const char *text)
{
    char body[1000];
    snprintf(body, sizeof body, "{\"success\":false,\"error\":\"%s%s\"}", before, text);
    auth_answer(w, status, body);
}

SCRIPT(a_refused_key_is_not_shown)
{
    begin(w);
    w->auth_manual = true;
    begin_with_key(w);
    own_call(w, false);
    world_until(w, w->auth_requests > 0);
    echo(w, 403, "no such secret: ", w->desc.client_secret);
    go_on(w, 1000);
    assert_true(stars > 0);
    assert_int_equal(publisher(w).id, 0);
    look("an opener", ensign_error(w->client)->text);
}

SCRIPT(failing_auth_services_show_no_key)
{
    static const char *const before[] = {
        "", "invalid_client ", "a long preamble before the secret, so that it is cut where the text ends; here: " };
    char raw[400];
    w->auth_manual = true;
    begin_with_key(w);
    own_call(w, false);
    for (unsigned i = 0; i < COUNT(before); i++) {
        world_until(w, w->auth_requests > i);
        echo(w, 503, before[i], w->desc.client_secret);
        go_on(w, 1500);
    }
    assert_true(stars >= 3);
    for (unsigned i = 0; i < 4; i++) {       /* malformed answers */
        const char *const bad[] = { "HTTP/1.1 200 OK\r\n%s\r\n\r\n", "%s\r\n\r\n", "HTTP/1.1 %s\r\n\r\n",
                                    "HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n{\"access_token\": %s" };
        unsigned before_count = w->auth_requests;
        world_until(w, w->auth_requests > before_count || w->conn[ENSIGN_LINK_AUTH] != NULL);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(raw, sizeof raw, bad[i], w->desc.client_secret);
#pragma GCC diagnostic pop
        auth_write(w, raw);
        go_on(w, 3000);
        if (w->conn[ENSIGN_LINK_AUTH]) world_cut(w, ENSIGN_LINK_AUTH, 0);
        go_on(w, 3000);
    }
}

/* The refresh token is refused, with itself as the reason; then the key gets another one. */
SCRIPT(a_refused_refresh_token_is_not_shown)
{
    unsigned before;
    char part[80];
    w->access_s = 60;
    w->overlap_s = 30;
    begin_with_key(w);
    own_call(w, false);
    world_stream(w, 0);
    go_on(w, 100);
    w->auth_manual = true;
    before = w->auth_requests;
    world_until(w, w->auth_requests > before);
    assert_string_equal(w->auth_path, "/v1/refresh");
    echo(w, 500, "no good: ", w->refresh);          /* too long to be told */
    go_on(w, 100);
    w->access_s = w->overlap_s = 30;
    world_until(w, w->auth_requests > before + 1);
    auth_grant(w);
    go_on(w, 100);
    world_until(w, w->auth_requests > before + 2);
    snprintf(part, sizeof part, "%.70s", w->refresh);
    echo(w, 500, "no good: ", part);
    go_on(w, 2000);
    assert_true(stars > 0);
}

/* ------------------------------------------------------------------ gRPC servers that repeat the token */
static void percent(char *out, size_t cap, const char *text)
{
    size_t at = 0;
    for (; *text && at + 4 < cap; text++)
        at += (size_t)snprintf(out + at, cap - at, "%%%02X", (unsigned char)*text);
}

static void by_message(stream_t *s, const char *token)
{
    char text[1200];
    snprintf(text, sizeof text, "bad token: %s, sorry", token);
    peer_refuse(s, ENSIGN_GRPC_INVALID_ARGUMENT, text);
}

static void by_coded_message(stream_t *s, const char *token)
{
    char text[2400];
    percent(text, sizeof text, token);
    peer_refuse(s, ENSIGN_GRPC_UNAUTHENTICATED, text);
}

static void by_page(stream_t *s, const char *token)
{
    peer_headers(s, "403", "content-type", "text/html", NULL);
    peer_raw(s, "<p>Forbidden: ", 14);
    peer_raw(s, token, strlen(token));
    peer_finish_bare(s);
}

static void by_goaway(stream_t *s, const char *token)
{
    conn_goaway(s->conn, s->id, NGHTTP2_ENHANCE_YOUR_CALM, text_slice(token));
    peer_refuse(s, ENSIGN_GRPC_UNAVAILABLE, "going");
}

static void (*const echoes[])(stream_t *, const char *) = { by_message, by_coded_message, by_page, by_goaway };

SCRIPT(servers_that_repeat_a_token_do_not_make_us_show_it)
{
    for (size_t i = 0; i < COUNT(echoes); i++) {
        ensign_publisher_t p;
        size_t before, open = w->stream_count;
        if (i == 0) begin_with_key(w);
        before = stars;
        own_call(w, echoes[i] != by_goaway); /* a connection does not know the caller's own token */
        echoes[i](world_stream(w, open), peer_field(world_stream(w, open), "authorization") + 7);
        go_on(w, 3000);
        open = w->stream_count;
        p = publisher(w);
        publish(w, p);
        echoes[i](world_stream(w, open), peer_field(world_stream(w, open), "authorization") + 7);
        go_on(w, 300);
        if (stars <= before) world_fail(w, "echo %zu was not seen", i);
        (void)ensign_cancel(w->client, p.id);   /* unless it has ended */
        go_on(w, 300);
    }
    assert_true(frames > 20);
}

/* Values are not told; names are, so one that is made of the token is hidden. */
SCRIPT(metadata_that_repeats_a_token_is_not_told)
{
    begin(w);
    w->desc.token = fixed_token;
    world_create(w);
    own_call(w, false);
    peer_only(world_stream(w, 0), "200", "content-type", "application/grpc", "grpc-status", "5", "x-was", "Bearer",
              "x-was", own_value, fixed_token, "x", NULL);
    assert_int_equal(go_on(w, 1000), 1);
    assert_true(stars > 0);
}

SCRIPT(nacks_that_repeat_a_token_do_not_show_it)
{
    ensign_publisher_t p;
    char text[1200];
    stream_t *s;
    size_t before;
    begin_with_key(w);
    service_reset();
    w->on_message = service_publish;
    p = publisher(w);
    s = world_stream(w, 0);
    world_until(w, service.opened > 0);
    go_on(w, 100);
    publish(w, p);
    world_until(w, service.count > 0);
    before = stars;
    snprintf(text, sizeof text, "not by %.100s", peer_field(s, "authorization") + 7);
    heard_nack(w, 0, ENSIGN_NACK_PERMISSION_DENIED, text);
    go_on(w, 200);
    assert_true(stars > before);
    w->on_message = NULL;
    service_reset();
}

SCRIPT(a_fixed_token_is_not_shown)
{
    begin(w);
    w->desc.token = fixed_token;
    world_create(w);
    for (size_t i = 0; i < COUNT(echoes); i++) {
        size_t before = stars, open = w->stream_count;
        own_call(w, false);
        echoes[i](world_stream(w, open), fixed_token);
        go_on(w, 3000);
        if (stars <= before) world_fail(w, "echo %zu was not seen", i);
    }
}

/* ------------------------------------------------------------------ connections that fail */
SCRIPT(connections_that_fail_tell_no_secret)
{
    static const dial_t ways[] = { DIAL_REFUSE, DIAL_CLOSE, DIAL_MUTE, DIAL_BABBLE, DIAL_SILENT };
    w->desc.connect_timeout_ms = 1000;
    w->desc.auth_timeout_ms = 1000;
    begin_with_key(w);
    own_call(w, true);
    for (size_t i = 0; i < COUNT(ways); i++) {
        w->dial[ENSIGN_LINK_RPC] = w->dial[ENSIGN_LINK_AUTH] = ways[i];
        if (w->conn[ENSIGN_LINK_RPC]) world_cut(w, ENSIGN_LINK_RPC, ECONNRESET);
        go_on(w, 3000);
    }
    assert_true(texts > 20);
}

/* A call that runs has the token of before the renewal, and that is still good. */
SCRIPT(the_token_before_a_renewal_is_not_shown)
{
    char text[600];
    w->access_s = 100;
    w->overlap_s = 50;
    begin_with_key(w);
    own_call(w, false);
    (void)world_stream(w, 0);
    snprintf(text, sizeof text, "bad %s", w->access);
    go_on(w, 90000);
    assert_int_equal(w->auth_requests, 2);
    assert_int_equal(stars, 0);
    peer_refuse(w->streams[0], ENSIGN_GRPC_INTERNAL, text);
    assert_int_equal(go_on(w, 100), 1);
    assert_true(stars > 0);
}

/* ------------------------------------------------------------------ a proxy */
static const char proxy_password[] = "password-of-the-proxy-6hT2rWqe";
static const char proxy_basic[] = "bWU6cGFzc3dvcmQtb2YtdGhlLXByb3h5LTZoVDJyV3Fl"; /* me:password-of-the-proxy-6hT2rWqe */
static char proxy_answer[600];

static const char *on_connect(world_t *w, conn_t *c, const char *head)
{
    (void)w;
    (void)c;
    assert_non_null(strstr(head, proxy_basic));
    return proxy_answer;
}

/* It repeats what it was given, as it was and as what it means, in its body and in a header's name. */
SCRIPT(a_proxy_that_repeats_its_password_does_not_make_us_show_it)
{
    static const int statuses[] = { 407, 403, 502 };
    begin(w);
    w->on_connect = on_connect;
    w->desc.endpoint = "rpc.example:1";
    w->desc.proxy = "http://me:password-of-the-proxy-6hT2rWqe@proxy.example:3128";
    snprintf(proxy_answer, sizeof proxy_answer, "HTTP/1.1 200 OK\r\nx-%s: y\r\n\r\n", proxy_basic);
    world_create(w);
    keep_secret("proxy's password", proxy_password);
    keep_secret("proxy's header", proxy_basic);
    own_call(w, false);
    (void)world_stream(w, 0);
    assert_int_equal(go_on(w, 100), 0);
    for (size_t i = 0; i < COUNT(statuses); i++) {
        snprintf(proxy_answer, sizeof proxy_answer, "HTTP/1.1 %d No\r\n\r\n<p>%s is wrong</p>", statuses[i],
                 i % 2 ? proxy_basic : proxy_password);
        if (w->conn[ENSIGN_LINK_RPC]) world_cut(w, ENSIGN_LINK_RPC, 0);
        own_call(w, false);
        for (unsigned k = 0; k < 20; k++) {
            go_on(w, 200);
            if (w->conn[ENSIGN_LINK_RPC] && w->conn[ENSIGN_LINK_RPC]->tunnel) world_cut(w, ENSIGN_LINK_RPC, 0);
        }
    }
    assert_true(stars >= COUNT(statuses));
}

/* ------------------------------------------------------------------ descs that are refused */
/* However it is malformed. */
static void proxies_refused(void **state)
{
    static const char *const proxies[] = {
        "http://me:%s@host", "socks5://me:%s@host:1", "http://me:%s", "me:%s", "http://me:%s%%zz@host:1",
        "http://me:%s@host:1/path", "me:x://%s@host:0", "http://me:%s@ho st:1",
    };
    (void)state;
    secret_count = texts = 0;
    keep_secret("proxy's password", proxy_password);
    for (size_t i = 0; i < COUNT(proxies); i++) {
        char text[200];
        ensign_desc_t d;
        ensign_error_t why;
        ensign_t *c;
        memset(&d, 0, sizeof d);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof text, proxies[i], proxy_password);
#pragma GCC diagnostic pop
        d.endpoint = "far.example:1";
        d.proxy = text;
        d.tls.off = true;
        d.io = ENSIGN_IO_CALLER;
        d.seed = 1;
        if (ensign_create(&d, &c, &why) != ENSIGN_E_ARGUMENT) fail_msg("taken: %s", text);
        look("ensign_create", why.text);
    }
    assert_int_equal(texts, COUNT(proxies));
}

static void refused(void **state)
{
    static const char at_sign[] = "https://user:fixed-token-of-the-desc-aq9zwsxe3dcr5fv@host";
    static const struct { const char *endpoint, *auth_url, *id, *secret, *token; } descs[] = {
        { at_sign + 8, NULL, NULL, NULL, NULL },                            /* "user:password@host" */
        { at_sign, NULL, NULL, NULL, NULL },
        { "localhost:443", at_sign, "id", "%s", NULL },
        { "localhost:443", at_sign + 8, "id", "%s", NULL },
        { "far.example:443", NULL, NULL, NULL, "%s" },                      /* in plaintext */
        { "localhost:443", NULL, NULL, NULL, "%s\n" },                      /* no header can have it */
        { "localhost:443", NULL, NULL, NULL, " %s" },
        { "localhost:443", NULL, NULL, "%s", NULL },                        /* a secret without an id */
        { "localhost:443", NULL, "id", "%s", "%s" },                        /* both */
        { "localhost:443", "http://far.example", "id", "%s", NULL },
    };
    (void)state;
    secret_count = texts = 0;
    keep_secret("secret", fixed_token);
    for (size_t i = 0; i < COUNT(descs); i++) {
        char text[3][100];
        const char *const from[3] = { descs[i].id, descs[i].secret, descs[i].token };
        const char *to[3];
        ensign_desc_t d;
        ensign_error_t why;
        ensign_t *c;
        memset(&d, 0, sizeof d);
        for (size_t k = 0; k < 3; k++) {
            const char *at = from[k] ? strstr(from[k], "%s") : NULL;
            if (at)
                snprintf(text[k], sizeof text[k], "%.*s%s%s", (int)(at - from[k]), from[k], fixed_token, at + 2);
            to[k] = at ? text[k] : from[k];
        }
        d.endpoint = descs[i].endpoint;
        d.auth_url = descs[i].auth_url;
        d.client_id = to[0];
        d.client_secret = to[1];
        d.token = to[2];
        d.tls.off = true;
        d.io = ENSIGN_IO_CALLER;
        d.seed = 1;
        assert_int_equal(ensign_create(&d, &c, &why), ENSIGN_E_ARGUMENT);
        look("ensign_create", why.text);
    }
    assert_int_equal(texts, COUNT(descs));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_search_finds),
        IN_MODES(a_good_session_tells_no_secret),
        IN_MODES(a_refused_key_is_not_shown),
        IN_MODES(failing_auth_services_show_no_key),
        IN_MODES(a_refused_refresh_token_is_not_shown),
        IN_MODES(servers_that_repeat_a_token_do_not_make_us_show_it),
        IN_MODES(metadata_that_repeats_a_token_is_not_told),
        IN_MODES(nacks_that_repeat_a_token_do_not_show_it),
        IN_MODES(a_fixed_token_is_not_shown),
        IN_MODES(connections_that_fail_tell_no_secret),
        IN_MODES(the_token_before_a_renewal_is_not_shown),
        IN_MODES(a_proxy_that_repeats_its_password_does_not_make_us_show_it),
        cmocka_unit_test(refused),
        cmocka_unit_test(proxies_refused),
    };
    return cmocka_run_group_tests_name("secrets", tests, NULL, NULL);
}
