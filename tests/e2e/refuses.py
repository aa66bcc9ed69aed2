#!/usr/bin/env python3
"""refuses.py - an HTTP/2 server that turns each call away, as a proxy or a wrong address does

    refuses.py ANSWER...     404, 500: that HTTP status, without a body; reset: RST_STREAM

The first call gets the first answer, the second one the second; the last one is for all the others. Prints
the port, then a line for each call: its number and its answer. It listens on 127.0.0.1, and ends when it is
killed, or after two minutes."""
import signal
import socketserver
import sys
import threading

HEADERS, RST_STREAM, SETTINGS, PING = 1, 3, 4, 6
END_STREAM_AND_HEADERS = 5
ACK = 1
STATUS = {"404": b"\x8d", "500": b"\x8e"}  # of HPACK's static table
INTERNAL_ERROR = (2).to_bytes(4, "big")

answers = sys.argv[1:]
calls = 0
lock = threading.Lock()


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def answer(stream):
    global calls
    with lock:
        what = answers[min(calls, len(answers) - 1)]
        calls += 1
        print(calls, what, flush=True)
    if what == "reset":
        return frame(RST_STREAM, 0, stream, INTERNAL_ERROR)
    return frame(HEADERS, END_STREAM_AND_HEADERS, stream, STATUS[what])


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            self.talk()
        except ConnectionError:
            pass  # the client has gone

    def talk(self):
        self.rfile.read(24)  # the client's preface
        self.wfile.write(frame(SETTINGS, 0, 0))
        while True:
            head = self.rfile.read(9)
            if len(head) < 9:
                return
            payload = self.rfile.read(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == HEADERS:
                self.wfile.write(answer(stream))
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.wfile.write(frame(kind, ACK, 0, payload if kind == PING else b""))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


signal.alarm(120)
with Server(("127.0.0.1", 0), Connection) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
