/* chaos.h - the steps of a run: what goes wrong, and what the program does meanwhile */
#ifndef CHAOS_H
#define CHAOS_H

#include "checks.h"

/* A link of the service that runs; -1: none does. */
static int some_link(world_t *w)
{
    int link = world_below(w, 2) ? ENSIGN_LINK_RPC : ENSIGN_LINK_RPC_2;
    if (!w->runs[link]) link = link == ENSIGN_LINK_RPC ? ENSIGN_LINK_RPC_2 : ENSIGN_LINK_RPC;
    return w->runs[link] && w->runs[link]->alive && w->runs[link]->session ? link : -1;
}

static flow_t *some_flow(world_t *w)
{
    unsigned skip = world_below(w, 8);
    flow_t *f, *found = NULL;
    for (f = model.flows; f; f = f->next) {
        if (!flow_lives(f) || !f->stream->headers) continue;
        found = f;
        if (skip-- == 0) break;
    }
    return found;
}

static void goaway(world_t *w, int link)
{
    conn_t *c = w->runs[link];
    int32_t last = nghttp2_session_get_last_proc_stream_id(c->session);
    flow_t *f;
    if (c->goaway && model.goaway_pending[link]) {
        TALLY(fault, goaway_last);
        model.goaway_pending[link] = false;
        conn_goaway(c, last, NGHTTP2_NO_ERROR, text_slice("bye"));
        return;
    }
    if (c->goaway) return;
    for (f = model.flows; f; f = f->next) {
        if (f->stream->conn != c || !flow_lives(f)) continue;
        TALLY(fault, goaway_with_streams);
        break;
    }
    if (world_below(w, 2)) {
        TALLY(fault, goaway_notice);
        model.goaway_pending[link] = true;
        conn_goaway(c, INT32_MAX, NGHTTP2_NO_ERROR, text_slice(""));
    } else {
        TALLY(fault, goaway_now);
        conn_goaway(c, last, world_below(w, 2) ? NGHTTP2_NO_ERROR : NGHTTP2_ENHANCE_YOUR_CALM,
                    text_slice("too_many_pings"));
    }
}

enum { STREAMS_MOST = 100 };

static void limit_streams(world_t *w, int link, uint32_t most)
{
    net.unseen = true;
    net.limited[link] = most < STREAMS_MOST;
    (void)conn_setting(w->runs[link], NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, most);
}

/* Something that a stream meets in the midst of its life. */
static void trouble_stream(world_t *w)
{
    flow_t *f = some_flow(w);
    uint32_t code = world_below(w, TALLY_RESETS);
    if (!f) return;
    switch (world_below(w, 4)) {
    case 0:
        if (code == NGHTTP2_REFUSED_STREAM) return; /* which would say that nothing was done on it */
        TALLY(fault, reset);
        tally->reset[code]++;
        peer_reset(f->stream, code);
        break;
    case 1:
        TALLY(fault, end_status);
        if (f->stream->started) peer_finish(f->stream, ENSIGN_GRPC_UNAVAILABLE, "the model ends", NULL);
        else attempts_refuse(w, f->stream, world_below(w, 2) ? ENSIGN_GRPC_INTERNAL : ENSIGN_GRPC_UNAVAILABLE,
                             "the model ends");
        break;
    case 2:
        TALLY(fault, end_bare);
        peer_finish_bare(f->stream);
        break;
    default:
        TALLY(fault, mute_stream);
        f->mute = f->tongue_tied = true;
        break;
    }
}

static void trouble_link(world_t *w)
{
    int link = some_link(w);
    uint32_t what = world_below(w, 8);
    if (world_below(w, 4) == 0) link = w->runs[ENSIGN_LINK_AUTH] ? ENSIGN_LINK_AUTH : link;
    if (link < 0) return;
    if (what == 0) w->cut_in[world_server(link)] = world_below(w, 3000);
    else if (what == 1) w->cut_out[world_server(link)] = world_below(w, 3000);
    else if (what == 2) {
        TALLY(fault, cut_now);
        world_cut_link(w, link, world_below(w, 2) ? ECONNRESET : 0);
    } else if (what == 3 && world_below(w, 3) == 0 && !net.limited[link]) {
        /* one without a stream that is mute may not be asked by a PING, so it would stay */
        TALLY(fault, mute_connection);
        w->runs[link]->mute = net.unseen = true;
    } else if (!is_auth(link) && what < 6) {
        goaway(w, link);
    } else if (!is_auth(link) && what == 6) {
        uint32_t most = world_below(w, 2) ? 0 : 1 + world_below(w, 6);
        if (most) TALLY(fault, few_streams);
        else TALLY(fault, no_streams);
        limit_streams(w, link, most);
    } else if (!is_auth(link)) {
        TALLY(fault, small_window);
        (void)conn_setting(w->runs[link], NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 100 + world_below(w, 70000));
    }
}

/* Another server takes over, or another log. */
static void trouble_log(world_t *w)
{
    if (w->runs[ENSIGN_LINK_RPC]) world_cut_link(w, ENSIGN_LINK_RPC, ECONNRESET);
    if (w->runs[ENSIGN_LINK_RPC_2]) world_cut_link(w, ENSIGN_LINK_RPC_2, ECONNRESET);
    log_upset(w);
}

static void trouble_hosts(world_t *w)
{
    static const unsigned reasons[] = { 1, 2, 4, 8, 10, 13, 14, 15, 403, 404, 503 }; /* none is final */
    unsigned i = world_below(w, net.hosts);
    switch (world_below(w, net.proxied ? 10 : 8)) {
    case 8: net.proxy = (host_t)world_below(w, HOST_STATES); break;
    case 9: net.forbids = !net.forbids; break;
    case 0:
        TALLY(fault, away);
        for (i = 0; i < net.hosts; i++) net.host[i] = world_below(w, 2) ? HOST_REFUSES : HOST_SILENT;
        if (w->runs[ENSIGN_LINK_RPC]) world_cut_link(w, ENSIGN_LINK_RPC, ECONNRESET);
        if (w->runs[ENSIGN_LINK_RPC_2]) world_cut_link(w, ENSIGN_LINK_RPC_2, ECONNRESET);
        break;
    case 1: net.host[i] = (host_t)world_below(w, HOST_STATES); break;
    case 2:
        i = world_below(w, AUTHS);
        net.auth[i] = (host_t)world_below(w, HOST_STATES);
        if (net.auth[i] != HOST_SERVES) TALLY(fault, auth_away);
        break;
    case 3: model.auth_mute = world_below(w, 2) != 0; break;
    case 4: model.auth_error = world_below(w, 2) != 0; break;
    case 5: net.no_address = !net.no_address; break;
    case 6:
        TALLY(fault, maintenance);
        model.maintenance = reasons[world_below(w, COUNT(reasons))];
        break;
    default:
        TALLY(fault, token_revoked);
        model.token_count = 0;
        break;
    }
}

/* What was wrong with hosts, and the limits of streams, is over. */
static void mend(world_t *w)
{
    int link;
    unsigned i;
    for (i = 0; i < HOSTS; i++) net.host[i] = HOST_SERVES;
    for (i = 0; i < AUTHS; i++) net.auth[i] = HOST_SERVES;
    net.proxy = HOST_SERVES;
    net.forbids = net.no_address = model.auth_mute = model.auth_error = false;
    model.maintenance = 0;
    for (link = 0; link < ENSIGN_MAX_LINKS; link++) {
        if (is_auth(link) || !w->runs[link] || !w->runs[link]->session) continue;
        limit_streams(w, link, STREAMS_MOST);
    }
}

/* All of the hosts but one may stay as they are not meant to be. */
static void spoil_hosts(world_t *w)
{
    net.auth[world_below(w, AUTHS)] = (host_t)world_below(w, HOST_STATES);
    unsigned good = world_below(w, net.hosts), i;
    for (i = 0; i < net.hosts; i++) {
        if (i != good && world_below(w, 2)) net.host[i] = (host_t)world_below(w, HOST_STATES);
    }
}

static void change_topics(world_t *w)
{
    unsigned i = world_below(w, TOPICS);
    uint32_t what = world_below(w, 5);
    if (what < 3) topic_make(i);
    else if (what == 3) topic_archive(i);
    else topic_remove(i);
}

static void trouble(world_t *w, uint32_t op)
{
    if (model.peace) return;
    if (op == 170 && world_below(w, 2) == 0) trouble_log(w);
    else if (op < 175) trouble_link(w);
    else if (op < 179) trouble_stream(w);
    else if (op < 181) trouble_hosts(w);
    else mend(w);
}

static void step(world_t *w)
{
    uint32_t op = world_below(w, 200);
    if (op < 24) open_slot(w, &slots[world_below(w, SLOTS)]);
    else if (op < 64) use_publisher(w);
    else if (op < 84) (void)model_answer(w, false);
    else if (op < 94) model_deliver(w);
    else if (op < 110) use_call(w);
    else if (op < 120) user_pull_all(w);
    else if (op < 156) (void)net_round(w);
    else if (op < 170) net_pass(w, world_below(w, LAZY_MS), world_below(w, 4) != 0);
    else if (op < 184) trouble(w, op);
    else if (op < 188) change_topics(w);
    else if (op < 191) hold_slot(w, &slots[world_below(w, SLOTS)], world_below(w, 2) == 0);
    else if (op < 194) end_slot(w, &slots[world_below(w, SLOTS)]);
    else if (op < 198) net_pass(w, 1000 + world_below(w, 9000), true);
    else if (world_below(w, 3) == 0) net_pass(w, PATIENCE_MS + world_below(w, 20000), true);
}

#endif
