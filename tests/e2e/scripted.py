#!/usr/bin/env python3
"""scripted.py - a gRPC server that answers each call as it is told, whatever its method

    scripted.py CALL...      the first call gets the first CALL, the second one the second; the last one is
                             for all the others. A CALL is a JSON object:
                             replies  of messages: {"hex": DIGITS}, or {"set": FILE}, an answer of server
                                      reflection with the files of a FileDescriptorSet, or {"error": STATUS}
                             status   [0]
                             text     of the status
                             details  grpc-status-details-bin, hexadecimal

Each message of the client gets the next reply; when the client has ended its side, it gets the rest of them
and the status. A call with a status and no replies ends with its first message. Prints the port, then a line
for each call: "call", and its number. It listens on 127.0.0.1, and ends when it is killed, or after two
minutes."""
import base64
import json
import signal
import socketserver
import sys
import threading

DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
END_STREAM, END_HEADERS = 1, 4
ACK = 1
OPENING = b"\x88\x0f\x10\x10application/grpc"  # :status 200, and a content-type without a place in the table

script = [json.loads(word) for word in sys.argv[1:]]
calls = 0
lock = threading.Lock()


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def number(n, prefix):  # as HPACK has it, with nothing in front of it in its first byte
    most = (1 << prefix) - 1
    return bytes([n]) if n < most else bytes([most]) + varint(n - most)


def header(name, value):
    return b"\x00" + number(len(name), 7) + name.encode() + number(len(value), 7) + value.encode()


def message(reply):
    if "set" in reply:
        with open(reply["set"], "rb") as f:
            return field(4, f.read())
    if "error" in reply:
        return field(7, b"\x08" + varint(reply["error"]) + field(2, b"not here"))
    return bytes.fromhex(reply["hex"])


class Call:
    def __init__(self, stream):
        global calls
        with lock:
            self.script = script[min(calls, len(script) - 1)]
            calls += 1
            print("call", calls, flush=True)
        self.ended = False
        self.stream, self.replies, self.got = stream, list(self.script.get("replies", [])), b""

    def next_reply(self):
        body = message(self.replies.pop(0))
        return frame(DATA, 0, self.stream, b"\x00" + len(body).to_bytes(4, "big") + body)

    def data(self, payload):
        out = b""
        self.got += payload
        while len(self.got) >= 5 and len(self.got) >= 5 + int.from_bytes(self.got[1:5], "big"):
            self.got = self.got[5 + int.from_bytes(self.got[1:5], "big"):]
            if self.replies:
                out += self.next_reply()
            elif not self.ended and "replies" not in self.script:
                out += self.end()
        return out

    def end(self):
        if self.ended:
            return b""
        self.ended = True
        out = b""
        while self.replies:
            out += self.next_reply()
        trailers = header("grpc-status", str(self.script.get("status", 0)))
        if "text" in self.script:
            trailers += header("grpc-message", self.script["text"])
        if "details" in self.script:
            details = base64.b64encode(bytes.fromhex(self.script["details"])).decode()
            trailers += header("grpc-status-details-bin", details)
        return out + frame(HEADERS, END_STREAM | END_HEADERS, self.stream, trailers)


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            self.talk()
        except ConnectionError:
            pass  # the client has gone

    def talk(self):
        open_calls = {}
        self.rfile.read(24)  # the client's preface
        self.wfile.write(frame(SETTINGS, 0, 0))
        while True:
            head = self.rfile.read(9)
            if len(head) < 9:
                return
            payload = self.rfile.read(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.wfile.write(frame(kind, ACK, 0, payload if kind == PING else b""))
            if kind == HEADERS:
                open_calls[stream] = Call(stream)
                self.wfile.write(frame(HEADERS, END_HEADERS, stream, OPENING))
            if stream not in open_calls:
                continue
            if kind == DATA:
                self.wfile.write(open_calls[stream].data(payload))
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                self.wfile.write(open_calls.pop(stream).end())


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


signal.alarm(120)
with Server(("127.0.0.1", 0), Connection) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
