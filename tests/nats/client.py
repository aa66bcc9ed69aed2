"""client.py - a small client of NATS for tests: it blocks, and fails when nothing comes in time"""
import itertools
import json
import socket

WAIT = 10       # seconds in which an answer has to be there


class Message:
    def __init__(self, subject, reply, headers, data):
        self.subject, self.reply, self.block, self.data = subject, reply, headers, data

    @property
    def status(self):
        """The status line of the headers behind the version; empty where there is none."""
        return self.block.split(b"\r\n", 1)[0][len(b"NATS/1.0"):].decode().strip()

    def header(self, name):
        for line in self.block.decode().split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key == name:
                return value
        return None

    def json(self):
        return json.loads(self.data)


class Inbox:
    def __init__(self, client, subject, queue=""):
        self.client, self.subject, self.messages = client, subject, []
        self.sid = str(next(client.numbers))
        client.inboxes[self.sid] = self
        client.send(f"SUB {subject} {queue + ' ' if queue else ''}{self.sid}\r\n".encode())

    def next(self):
        while not self.messages:
            self.client.read()
        return self.messages.pop(0)

    def take(self, count):
        return [self.next() for _ in range(count)]

    def now(self):
        """What the server had sent when it saw the PING."""
        self.client.sync()
        messages, self.messages = self.messages, []
        return messages


class Client:
    def __init__(self, port, **options):
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT)
        self.file = self.socket.makefile("rb")
        self.numbers, self.inboxes, self.errors, self.pongs = itertools.count(1), {}, [], 0
        self.info = json.loads(self.line().split(b" ", 1)[1])
        self.options = {"verbose": False, "pedantic": False, "lang": "test", "version": "1", "protocol": 1,
                        "headers": True, "no_responders": True, **options}
        self.send(b"CONNECT " + json.dumps(self.options).encode() + b"\r\n")
        self.sync()
        self.prefix = f"_INBOX.{id(self)}"
        self.answers = Inbox(self, self.prefix + ".*")

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError(f"the server has ended the connection; it said: {self.errors}")
        return line.rstrip(b"\r\n")

    def read(self):
        """Takes one operation."""
        words = self.line().decode().split(" ")
        if words[0] in ("MSG", "HMSG"):
            self.read_message(words)
        elif words[0] == "PONG":
            self.pongs += 1
        elif words[0] == "PING":
            self.send(b"PONG\r\n")
        elif words[0] == "-ERR":
            self.errors.append(" ".join(words[1:]))
        elif words[0] not in ("INFO", "+OK"):
            raise ValueError(f"this is no operation: {words}")

    def read_message(self, words):
        sizes = [int(w) for w in words[-2 if words[0] == "HMSG" else -1:]]
        rest = words[1:len(words) - len(sizes)]
        whole = self.file.read(sizes[-1] + 2)[:-2]
        headers = sizes[0] if len(sizes) == 2 else 0
        inbox = self.inboxes.get(rest[1])
        if inbox:
            reply = rest[2] if len(rest) > 2 else ""
            inbox.messages.append(Message(rest[0], reply, whole[:headers], whole[headers:]))

    def sync(self):
        want = self.pongs + 1
        self.send(b"PING\r\n")
        while self.pongs < want:
            self.read()

    def publish(self, subject, data=b"", headers=None, reply=""):
        data = data.encode() if isinstance(data, str) else data
        to = f"{subject} {reply} " if reply else f"{subject} "
        if headers is None:
            self.send(f"PUB {to}{len(data)}\r\n".encode() + data + b"\r\n")
            return
        block = b"NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()).encode() + b"\r\n"
        self.send(f"HPUB {to}{len(block)} {len(block) + len(data)}\r\n".encode() + block + data + b"\r\n")

    def ask(self, subject, data=b"", headers=None):
        """Publishes with an inbox of its own, which it gives back."""
        reply = f"{self.prefix}.{next(self.numbers)}"
        self.publish(subject, data, headers, reply)
        return reply

    def answer_to(self, reply):
        while True:
            for m in self.answers.messages:
                if m.subject == reply:
                    self.answers.messages.remove(m)
                    return m
            self.read()

    def request(self, subject, data=b"", headers=None):
        return self.answer_to(self.ask(subject, data, headers))

    def api(self, request, **body):
        m = self.request("$JS.API." + request, json.dumps(body) if body else b"")
        return m.json() if m.data else {"status": m.status}

    def store(self, subject, data=b"", headers=None):
        """Publishes to a stream, and gives its answer."""
        m = self.request(subject, data, headers)
        return m.json() if m.data else {"status": m.status}

    def inbox(self):
        return Inbox(self, f"_BOX.{id(self)}.{next(self.numbers)}")

    def subscribe(self, subject, queue=""):
        return Inbox(self, subject, queue)
