/* raii.cc - a game sends what happened and receives what others did, in C++, once per frame
 * Shows   ensign.h in C++11: a client that ends with its scope, notices in a range of a frame, no thread
 * Run     build/examples/raii weather 3            (sends three events, receives them, ends)
 * Prints  each event that came back; exit 0 when all did
 * Next    publish.c */
#define ENSIGN_IMPLEMENTATION
#include "../ensign.h"
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

class Client {
public:
    Client()
    {
        ensign_desc_t desc = {};
        ensign_error_t why;
        ensign_t *c = nullptr;
        if (ensign_desc_env(&desc, &why) != ENSIGN_OK || ensign_create(&desc, &c, &why) != ENSIGN_OK)
            throw std::runtime_error(why.text);
        c_.reset(c);
    }

    operator ensign_t *() const { return c_.get(); }

    void check(int rc) const
    {
        if (rc < 0) throw std::runtime_error(ensign_error(c_.get())->text);
    }

    /* One frame: moves what can be moved within so many milliseconds, and gives each notice to `take`. */
    template <typename Take> void frame(int ms, Take take) const
    {
        check(ensign_wait(c_.get(), nullptr, 0, ms));
        while (const ensign_notice_t *n = ensign_next(c_.get())) take(*n);
    }

private:
    struct Destroy {
        void operator()(ensign_t *c) const { ensign_destroy(c); }
    };
    std::unique_ptr<ensign_t, Destroy> c_;
};

static int play(const char *topic, int count)
{
    Client client;
    const char *const topics[] = { topic };
    ensign_publisher_desc_t out = {};
    ensign_subscription_desc_t in = {};
    int sent = 0, received = 0;
    bool open = false;

    out.topic = topic;
    in.topics = topics;
    in.topic_count = 1;
    in.ensure_topics = true;
    const ensign_publisher_t pub = ensign_publisher_open(client, &out);
    const ensign_subscription_t sub = ensign_subscription_open(client, &in);
    if (pub.id == 0 || sub.id == 0) client.check(ENSIGN_E_HANDLE);
    while (received < count) {
        if (open && sent < count) {
            const std::string text = "move " + std::to_string(sent + 1);
            ensign_event_t event = {};
            event.data = ensign_bytes(text.data(), text.size());
            const int rc = ensign_publish(client, pub, &event);
            client.check(rc);
            if (rc == ENSIGN_OK) sent++;
        }
        client.frame(16, [&](const ensign_notice_t &n) {
            if (n.type == ENSIGN_NOTICE_OPEN && n.handle == sub.id) open = true;
            if (n.type == ENSIGN_NOTICE_WAITING) std::fprintf(stderr, "raii: %s\n", n.error->text);
            if (n.type == ENSIGN_NOTICE_NACK || n.type == ENSIGN_NOTICE_GAP || n.last) /* one is missing */
                throw std::runtime_error(n.error ? n.error->text : "the stream has ended");
            if (n.type == ENSIGN_NOTICE_EVENT) {
                const ensign_slice_t data = n.as.event->data;
                std::printf("%.*s\n", static_cast<int>(data.len), reinterpret_cast<const char *>(data.ptr));
                ensign_ack(client, sub, n.as.event->token); /* E_STALE here only means an old token */
                received++;
            }
        });
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) return std::fprintf(stderr, "usage: raii TOPIC COUNT\n"), 2;
    try {
        return play(argv[1], std::atoi(argv[2]));
    } catch (const std::exception &e) {
        std::fprintf(stderr, "raii: %s\n", e.what());
        return 1;
    }
}
