#!/usr/bin/env python3
"""refuses.py - an HTTP/2 server that turns each call away, as a proxy or a wrong address does

    refuses.py ANSWER...     404, 500: that HTTP status, without a body; 401, 403, 503: with a page;
                             reset: RST_STREAM

The first call gets the first answer, the second one the second; the last one is for all the others. Prints
the port, then a line for each call: its number and its answer. It listens on 127.0.0.1, and ends when it is
killed, or after two minutes."""
import signal
import socketserver
import sys
import threading

DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, END_HEADERS, END_STREAM_AND_HEADERS = 1, 4, 5
ACK = 1
STATUS = {"404": b"\x8d", "500": b"\x8e"}  # of HPACK's static table
PAGES = {  # a status as a literal, with the name of the static table's entry 8
    "401": (b"\x08\x03401", b"<h1>Who are you?</h1>\n"),
    "403": (b"\x08\x03403", b"<h1>Not you</h1>\n\x1b[31m"),
    "503": (b"\x08\x03503", b"<h1>Not now</h1>\n"),
}
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
    if what in PAGES:
        head, body = PAGES[what]
        return frame(HEADERS, END_HEADERS, stream, head) + frame(DATA, END_STREAM, stream, body)
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
