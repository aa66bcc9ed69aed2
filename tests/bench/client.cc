// client.cc - the bench's client by gRPC C++: the completion queue, its API that costs least
//
//   client publish|receive|single|paced EVENTS BYTES ENDPOINT [CA.pem]
//
// What client.c does, with the code that protoc and its gRPC plugin generate. One thread waits at the queue;
// messages are used again, and 63 of 64 writes carry a hint that more will follow, so that gRPC batches them.
// Prints the same line of JSON.
#include "api/v1beta1/ensign.grpc.pb.h"
#include "measure.h"

#include <deque>
#include <fstream>
#include <grpcpp/grpcpp.h>
#include <sstream>
#include <unistd.h>

using namespace ensign::v1beta1;

namespace {

enum { BATCH = 64, PACE_NS = 1000000 };

char opened, written, got; // their addresses are the tags of the queue

[[noreturn]] void die(const char *what)
{
    fprintf(stderr, "client: %s\n", what);
    exit(1);
}

std::unique_ptr<Ensign::Stub> connect(const char *endpoint, const char *ca_file)
{
    auto credentials = grpc::InsecureChannelCredentials();

    if (ca_file) {
        grpc::SslCredentialsOptions options;
        std::stringstream pem;
        pem << std::ifstream(ca_file).rdbuf();
        options.pem_root_certs = pem.str();
        credentials = grpc::SslCredentials(options);
    }
    return Ensign::NewStub(grpc::CreateChannel(endpoint, credentials));
}

// The events of a run, each with a local id and the time.
class Events {
public:
    explicit Events(size_t bytes) : data_(bytes, 'x')
    {
        event_.set_mimetype(mimetype::v1beta1::APPLICATION_JSON);
        event_.mutable_type()->set_name("BenchEvent");
        event_.mutable_type()->set_major_version(1);
        event_.mutable_type()->set_minor_version(2);
        event_.mutable_type()->set_patch_version(3);
        request_.mutable_event()->set_topic_id("TOPICTOPICTOPIC!");
    }

    const PublisherRequest &next()
    {
        struct timespec now;
        uint64_t id[2] = { 0, number_++ };

        clock_gettime(CLOCK_REALTIME, &now);
        id[0] = static_cast<uint64_t>(now.tv_sec);
        event_.set_data(data_);
        event_.mutable_created()->set_seconds(now.tv_sec);
        event_.mutable_created()->set_nanos(static_cast<int32_t>(now.tv_nsec));
        request_.mutable_event()->set_local_id(id, sizeof id);
        event_.SerializeToString(request_.mutable_event()->mutable_event());
        return request_;
    }

private:
    std::string data_;
    Event event_;
    PublisherRequest request_;
    uint64_t number_ = 0;
};

// A stream whose first message has been sent, and been answered by `ready`.
template <class Stream, class Request, class Reply>
void begin(Stream &stream, grpc::CompletionQueue &queue, const Request &first, Reply *reply)
{
    void *tag;
    bool ok;

    if (!queue.Next(&tag, &ok) || !ok) die("no connection");
    stream.Write(first, &written);
    if (!queue.Next(&tag, &ok) || !ok) die("the first message is not taken");
    stream.Read(reply, &got);
    if (!queue.Next(&tag, &ok) || !ok || !reply->has_ready()) die("no ready");
    stream.Read(reply, &got);
}

// From a time of measure_clock.
gpr_timespec timespec_of(uint64_t when)
{
    uint64_t now = measure_clock();
    int64_t left = when > now ? static_cast<int64_t>(when - now) : 0;

    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left, GPR_TIMESPAN));
}

// `ahead`: events in flight, at most; pace_ns: from one to the next, 0: none.
void publish(Ensign::Stub &stub, uint64_t total, size_t bytes, uint64_t ahead, uint64_t pace_ns)
{
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    PublisherRequest open;
    PublisherReply reply;
    Events events(bytes);
    measure_t m;
    uint64_t sent = 0, when;
    bool alone = ahead == 1 || pace_ns > 0; // each event leaves at once, and its latency counts
    bool writing = false, ok;
    void *tag;

    context.AddMetadata("authorization", "Bearer bench");
    auto stream = stub.AsyncPublish(&context, &queue, &opened);
    open.mutable_open_stream()->set_client_id("bench");
    begin(*stream, queue, open, &reply);
    measure_begin(&m, total, alone);
    when = measure_clock();
    while (m.done < total) {
        if (!writing && sent < total && sent - m.done < ahead && (pace_ns == 0 || measure_clock() >= when)) {
            grpc::WriteOptions options;
            if (alone) m.sent[sent] = measure_clock();
            sent++;
            if (!alone && sent % BATCH && sent < total) options.set_buffer_hint();
            when += pace_ns;
            writing = true;
            stream->Write(events.next(), options, &written);
        }
        bool paced = pace_ns > 0 && sent < total && !writing;
        auto until = paced ? timespec_of(when) : gpr_inf_future(GPR_CLOCK_MONOTONIC);
        if (queue.AsyncNext(&tag, &ok, until) == grpc::CompletionQueue::TIMEOUT) continue;
        if (!ok) die("the stream has ended");
        if (tag == &written) writing = false;
        if (tag != &got) continue;
        if (!reply.has_ack()) die("an answer that is no ack");
        measure_done(&m);
        stream->Read(&reply, &got);
    }
    measure_print(&m);
}

void receive(Ensign::Stub &stub, uint64_t total, size_t bytes)
{
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    SubscribeRequest open, ack;
    SubscribeReply reply;
    Event event;
    std::deque<std::string> ids; // of events that are to be acked
    measure_t m;
    uint64_t acked = 0;
    bool writing = false, ok;
    void *tag;

    context.AddMetadata("authorization", "Bearer bench");
    auto stream = stub.AsyncSubscribe(&context, &queue, &opened);
    open.mutable_subscription()->set_client_id("bench");
    open.mutable_subscription()->add_topics("bench");
    begin(*stream, queue, open, &reply);
    measure_begin(&m, total, 0);
    while (m.done <= total) { // the one behind them says that all acks have arrived
        if (!queue.Next(&tag, &ok) || !ok) die("the stream has ended");
        if (tag == &written) writing = false;
        if (tag == &got) {
            if (!reply.has_event() || !event.ParseFromString(reply.event().event()) ||
                event.data().size() != bytes)
                die("no event of that size");
            if (m.done < total) ids.push_back(reply.event().id());
            measure_done(&m);
            stream->Read(&reply, &got);
        }
        if (!writing && !ids.empty()) {
            grpc::WriteOptions options;
            ack.mutable_ack()->set_id(ids.front());
            ids.pop_front();
            if (++acked % BATCH && acked < total) options.set_buffer_hint();
            writing = true;
            stream->Write(ack, options, &written);
        }
    }
    measure_print(&m);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 5) return fprintf(stderr, "usage: see the head of client.cc\n"), 2;
    std::string mode = argv[1];
    uint64_t total = strtoull(argv[2], nullptr, 10);
    size_t bytes = strtoull(argv[3], nullptr, 10);
    auto stub = connect(argv[4], argc > 5 ? argv[5] : nullptr);

    if (mode == "publish") publish(*stub, total, bytes, UINT64_MAX, 0);
    else if (mode == "single") publish(*stub, total, bytes, 1, 0);
    else if (mode == "paced") publish(*stub, total, bytes, UINT64_MAX, PACE_NS);
    else if (mode == "receive") receive(*stub, total, bytes);
    else die("no such mode");
    _exit(0); // what gRPC would end in good order was not asked for
}
