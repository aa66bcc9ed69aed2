"""pinged.py MIN_MS - a grpcio server that takes one PING in MIN_MS without data, and two strikes

It tells its port in its first line. It answers any unary call of grpc.testing.TestService with an empty
message, and a watch of health with SERVING, and then holds that stream as long as the client does.
"""
import sys
import threading
from concurrent import futures

import grpc

SERVING = b"\x08\x01"  # HealthCheckResponse { status: SERVING }


def watch(_, context):
    ended = threading.Event()
    if context.add_callback(ended.set):
        yield SERVING
        ended.wait()


def handlers():
    unary = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    yield grpc.method_handlers_generic_handler("grpc.testing.TestService", {"EmptyCall": unary})
    stream = grpc.unary_stream_rpc_method_handler(watch)
    yield grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Watch": stream})


def main():
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=8),
        options=[
            ("grpc.http2.min_ping_interval_without_data_ms", int(sys.argv[1])),
            ("grpc.http2.max_ping_strikes", 2),
            ("grpc.http2.bdp_probe", 0),  # no PING of its own: the client counts what it sends itself
        ],
    )
    server.add_generic_rpc_handlers(tuple(handlers()))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


main()
