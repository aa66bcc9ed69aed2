#!/usr/bin/env python3
"""fake.py - a NATS server with JetStream that keeps all in memory, and is late, refuses and dies by a seed

    tests/nats/fake.py [options]

    --port N           where to listen on 127.0.0.1                           [one that the kernel chooses]
    --max-payload N    the largest message in bytes                           [1048576]
    --user U --password P   what a client has to give                         [anybody may come]
    --no-jetstream     a server without JetStream
    --seed N           answers are late by up to --late ms, and come in another order than the requests
    --late MS          the most that a request waits before it is done, and its answer after that  [20]
    --refuse N         one request in about N is refused: without a responder, or with an error
    --lose N           one in N is done, and its answer is lost
    --drop N           at one answer in N the connection ends instead
    --die N            at one answer in N all connections end; the server listens again after up to 300 ms
    --vanish N         at one in N a consumer that is not durable is gone
    --fail             all five, with 1 in 150, 200, 500, 1500 and 100; what is given beside it wins

It prints "listening on 127.0.0.1:PORT", and ends when its standard input ends. A line there makes something
happen now: `refuse`, `lose` or `vanish` at the next request, `drop` or `die` at the next answer.

What happens comes from the seed [1] and from how many requests or answers there were, and is told on
standard error. What is never out of order: the storing of what is published to one stream, the answers to
publishes of one subject, and the requests and acks of one consumer. Where a publish is refused, so are those
to the same stream that were sent before the client can have heard of it: as at a change of leader, none is
stored in between. After `die` the streams and consumers are as they were; what had not been done by then is
not done.

Subjects, streams and consumers behave as those of one nats-server 2.15: fake_test asks both the same. A
stream with replicas differs in one thing: there a repeated Nats-Msg-Id is looked at before the expected
sequence."""
import argparse
import asyncio
import json
import random
import sys
from collections import deque

sys.dont_write_bytecode = True

import jetstream  # noqa: E402
from stream import Refusal  # noqa: E402
from subjects import Routes, is_subject, matches  # noqa: E402

VERSION = "2.15.3"
LINE_MAX = 4096
UNREAD_MAX = 64 << 20       # bytes that a client may leave unread
NO_RESPONDERS = b"NATS/1.0 503\r\n\r\n"
NOBODY, LEADERSHIP = "no responders", "leadership change"
REFUSALS = {        # the words told, and the error of the answer
    "unavailable": Refusal(503, 10008, "JetStream system temporarily unavailable"),
    "no resources": Refusal(503, 10023, "insufficient resources"),
    "too many requests": Refusal(429, 10167, "too many requests"),
}
HOW = {             # a request of that kind is refused in one of these ways
    "api": [NOBODY, "unavailable"], "direct": [NOBODY], "pull": [NOBODY, LEADERSHIP], "ack": [NOBODY],
    "unknown": [NOBODY],
    "publish": [NOBODY, "unavailable", "no resources", "too many requests"],
}
FAIL = {"refuse": 150, "lose": 200, "drop": 500, "die": 1500, "vanish": 100}
GRACE = 0.03                # seconds in which a client hears of a refused publish


class Lanes:
    """Runs functions after a delay, those of one lane in the order in which they were given."""

    def __init__(self, loop):
        self.loop, self.lanes, self.timers = loop, {}, set()

    def run(self, lane, delay, function):
        """lane None: in no order."""
        queue = self.lanes.get(lane) if lane is not None else None
        if delay == 0 and not queue:
            function()
        elif lane is None:
            self.later(self.loop.time() + delay, function)
        else:
            self.lanes.setdefault(lane, deque()).append((self.loop.time() + delay, function))
            if not queue:
                self.wait(lane)

    def later(self, when, function):
        def on_time():
            self.timers.discard(timer)
            function()
        timer = self.loop.call_at(when, on_time)
        self.timers.add(timer)

    def wait(self, lane):
        self.later(self.lanes[lane][0][0], lambda: self.first(lane))

    def first(self, lane):
        queue = self.lanes[lane]
        queue[0][1]()
        queue.popleft()
        if self.lanes.get(lane) is not queue:
            return      # the function has ended all of them
        if queue:
            self.wait(lane)
        else:
            del self.lanes[lane]

    def clear(self):
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        self.lanes.clear()


class Faults:
    """Which request meets which fault. Each kind has a sequence of its own, so one does not move another."""

    def __init__(self, seed, late, every):
        self.seed, self.late, self.every = 1 if seed is None else seed, late if seed is not None else 0, every
        self.random = {kind: random.Random(f"{self.seed} {kind}") for kind in [*FAIL, "delay", "choice"]}
        self.left = {kind: self.draw(kind) for kind in every}
        self.now = set()        # those that standard input asked for
        self.count = 0

    def draw(self, kind):
        return self.random[kind].randrange(1, 2 * self.every[kind] + 1)

    def strikes(self, kind):
        if kind in self.now:
            self.now.remove(kind)
            return True
        if kind not in self.every:
            return False
        self.left[kind] -= 1
        if self.left[kind] > 0:
            return False
        self.left[kind] = self.draw(kind)
        return True

    def delay(self):
        """Most are short, a few take all of it."""
        return self.late / 1000 * self.random["delay"].random() ** 3

    def choose(self, options):
        return self.random["choice"].choice(options)

    def tell(self, what):
        print(f"fake: seed {self.seed}, request {self.count}: {what}", file=sys.stderr, flush=True)


class Outage:
    """A stream refuses publishes. It ends when all refusals were answered, and some time for them to arrive
    has passed, or the client has begun anew twice."""

    def __init__(self, how):
        self.how, self.unanswered, self.rounds, self.answered = how, 0, 0, 0.0

    def over(self, now):
        if self.unanswered > 0:
            return False
        self.rounds += 1
        return now >= self.answered + GRACE or self.rounds > 2


class Subscription:
    def __init__(self, client, subject, queue, sid):
        self.client, self.subject, self.queue, self.sid = client, subject, queue, sid
        self.given, self.most = 0, None     # messages so far; after how many it ends


class Client(asyncio.Protocol):
    """One connection: reads the operations, and writes messages."""

    def __init__(self, server):
        self.server = server
        self.buffer, self.awaited = bytearray(), None   # the PUB or HPUB whose payload is on its way
        self.subs, self.options, self.failed = {}, {}, False
        self.welcome = not server.options.user

    def connection_made(self, transport):
        self.transport = transport
        self.server.clients.add(self)
        self.write(b"INFO " + json.dumps(self.server.info()).encode() + b"\r\n")

    def connection_lost(self, exc):
        self.server.clients.discard(self)
        for sub in list(self.subs.values()):
            self.unsubscribe(sub)

    def write(self, data):
        if self.failed or self.transport.is_closing():
            return
        self.transport.write(data)
        if self.transport.get_write_buffer_size() > UNREAD_MAX:
            self.transport.abort()      # a slow consumer

    def fail(self, words):
        """Says why, and sends no more. What still comes is read, or the system would reset the connection,
        and the client might never read the words."""
        self.write(f"-ERR '{words}'\r\n".encode())
        self.failed = True
        self.transport.write_eof()
        for sub in list(self.subs.values()):
            self.unsubscribe(sub)

    # ------------------------------------------------------------ reading

    def data_received(self, data):
        if not self.failed:
            self.buffer += data
        while not self.failed and not self.transport.is_closing():
            if not (self.payload() if self.awaited else self.line()):
                return

    def line(self):
        """Takes one operation out of the buffer; False: there is no whole one."""
        end = self.buffer.find(b"\r\n", 0, LINE_MAX)
        if end < 0:
            if len(self.buffer) >= LINE_MAX:
                self.fail("Maximum Control Line Exceeded")
            return False
        line = self.buffer[:end].decode("utf-8", "replace")
        del self.buffer[:end + 2]
        name, _, rest = line.partition(" ")
        name = name.upper()
        operation = {"CONNECT": self.connect, "PING": self.ping, "PONG": lambda _: None,
                     "SUB": self.subscribe, "UNSUB": self.unsub, "PUB": self.publish,
                     "HPUB": self.publish}.get(name)
        try:
            if not operation or not (self.welcome or name == "CONNECT"):
                raise ValueError("Unknown Protocol Operation" if not operation else "Authorization Violation")
            operation(rest if name != "HPUB" else "H " + rest)
        except (ValueError, IndexError) as e:
            self.fail(e if str(e) in ("Unknown Protocol Operation", "Authorization Violation",
                                      "Maximum Payload Violation") else "Parser Error")
        return True

    def connect(self, rest):
        self.options = json.loads(rest)
        wanted = self.server.options
        given = self.options.get("user"), self.options.get("pass")
        if wanted.user and given != (wanted.user, wanted.password):
            raise ValueError("Authorization Violation")
        self.welcome = True
        self.verbose()

    def ping(self, _):
        self.write(b"PONG\r\n")

    def verbose(self):
        if self.options.get("verbose"):
            self.write(b"+OK\r\n")

    def subscribe(self, rest):
        words = rest.split()
        if len(words) not in (2, 3):
            raise ValueError("Parser Error")
        subject, sid = words[0], words[-1]
        if not is_subject(subject):
            self.write(b"-ERR 'Invalid Subject'\r\n")
            return
        if sid not in self.subs:
            sub = self.subs[sid] = Subscription(self, subject, words[1] if len(words) == 3 else "", sid)
            self.server.routes.add(sub)
        self.verbose()
        if self.server.jetstream:
            self.server.jetstream.interest_changed()

    def unsub(self, rest):
        words = rest.split()
        sub = self.subs.get(words[0])
        if sub:
            sub.most = int(words[1]) if len(words) > 1 else 0
            self.end_full(sub)
        self.verbose()

    def end_full(self, sub):
        if sub.most is not None and sub.given >= sub.most:
            self.unsubscribe(sub)

    def unsubscribe(self, sub):
        if self.subs.pop(sub.sid, None):
            self.server.routes.remove(sub)

    def publish(self, rest):
        words = rest.split()
        headers = words[0] == "H" and len(words) >= 4
        words = words[1:] if headers else words
        sizes = [int(w) for w in words[-2 if headers else -1:]]
        rest = words[:-len(sizes)]
        if len(rest) not in (1, 2) or min(sizes) < 0 or sizes[0] > sizes[-1]:
            raise ValueError("Parser Error")
        if sizes[-1] > self.server.options.max_payload:
            raise ValueError("Maximum Payload Violation")
        self.awaited = rest[0], rest[1] if len(rest) == 2 else "", sizes[0] if headers else 0, sizes[-1]

    def payload(self):
        subject, reply, headers, size = self.awaited
        if len(self.buffer) < size + 2:
            return False
        whole = bytes(self.buffer[:size])
        if self.buffer[size:size + 2] != b"\r\n":
            self.fail("Parser Error")
            return False
        del self.buffer[:size + 2]
        self.awaited = None
        self.verbose()
        if is_subject(subject, wildcards=False):
            self.server.publish(self, subject, reply, whole[:headers], whole[headers:])
        else:
            self.write(b"-ERR 'Invalid Publish Subject'\r\n")
        return True

    # ------------------------------------------------------------ writing

    def give(self, sub, subject, reply, headers, data):
        words = f"{subject} {sub.sid} {reply + ' ' if reply else ''}"
        if headers and self.options.get("headers"):
            words += f"{len(headers)} {len(headers) + len(data)}"
            self.write(f"HMSG {words}\r\n".encode() + headers + data + b"\r\n")
        else:
            self.write(f"MSG {words}{len(data)}\r\n".encode() + data + b"\r\n")
        sub.given += 1
        self.end_full(sub)


class Server:
    def __init__(self, options):
        self.options = options
        self.loop = asyncio.get_running_loop()
        every = {kind: getattr(options, kind) or (FAIL[kind] if options.fail else 0) for kind in FAIL}
        self.faults = Faults(options.seed, options.late, {kind: n for kind, n in every.items() if n})
        self.lanes = Lanes(self.loop)
        self.routes, self.clients, self.outages = Routes(), set(), {}
        self.jetstream = None if options.no_jetstream else jetstream.JetStream(self.post, self.interest)
        self.listener = None
        self.ended = self.loop.create_future()

    def info(self):
        return {"server_id": "FAKE", "server_name": "fake", "version": VERSION, "proto": 1, "go": "none",
                "host": "127.0.0.1", "port": self.port, "headers": True,
                "max_payload": self.options.max_payload, "jetstream": self.jetstream is not None,
                "auth_required": bool(self.options.user), "client_id": 1, "client_ip": "127.0.0.1"}

    async def listen(self):
        self.listener = await self.loop.create_server(lambda: Client(self), "127.0.0.1", self.options.port)
        self.port = self.options.port = self.listener.sockets[0].getsockname()[1]

    # ------------------------------------------------------------ messages

    def interest(self, subject):
        return bool(self.routes.match(subject))

    def deliver(self, to, subject, reply, headers, data, publisher=None):
        """To all that subscribed, and one of each queue group. Whether there was one."""
        groups, taken = {}, False
        for sub in self.routes.match(to):
            if sub.client is publisher and not publisher.options.get("echo", True):
                continue
            if sub.queue:
                groups.setdefault(sub.queue, []).append(sub)
                continue
            sub.client.give(sub, subject, reply, headers, data)
            taken = True
        for group in groups.values():
            sub = random.choice(group)
            sub.client.give(sub, subject, reply, headers, data)
        return taken or bool(groups)

    def post(self, to, subject, reply, headers, data):
        self.deliver(to, subject, reply, headers, data)

    def publish(self, client, subject, reply, headers, data):
        taken = self.deliver(subject, subject, reply, headers, data, client)
        work = self.jetstream.find(subject) if self.jetstream else None
        if work:
            self.request(client, work, reply, headers, data)
        elif not taken and reply:
            self.no_responders(client, reply)

    def no_responders(self, client, reply):
        if client.options.get("no_responders"):
            for sub in [s for s in client.subs.values() if matches(s.subject, reply)][:1]:
                client.give(sub, reply, "", NO_RESPONDERS, b"")

    # ------------------------------------------------------------ requests to JetStream

    def request(self, client, work, reply, headers, data):
        faults = self.faults
        faults.count += 1
        if faults.strikes("vanish"):
            self.vanish()
        if reply and self.refused(client, work, reply):
            return
        if reply and faults.strikes("lose"):
            faults.tell(f"lose: the answer to {work.subject} is lost")
            reply = ""
        delay, answer = faults.delay(), self.answering(client, work, reply, faults.delay())
        if reply or work.kind != "pull":
            self.lanes.run(work.in_order, delay, lambda: work.run(reply, headers, data, answer))

    def answering(self, client, work, reply, delay):
        """What a work answers with. The publishes of one subject are answered in order."""
        lane = ("answer", work.subject) if work.kind == "publish" else None

        def answer(headers, data):
            if reply:
                self.lanes.run(lane, delay, lambda: self.give_answer(client, reply, headers, data))
        return answer

    def give_answer(self, client, reply, headers, data):
        if self.faults.strikes("die"):
            self.die()
        elif self.faults.strikes("drop"):
            self.faults.tell("drop: a connection ends in the place of an answer")
            client.transport.abort()
        else:
            self.post(reply, reply, "", headers, data)

    def refused(self, client, work, reply):
        if work.kind == "publish":
            return self.refused_publish(client, work, reply)
        if not self.faults.strikes("refuse"):
            return False
        how = self.faults.choose(HOW[work.kind])
        self.faults.tell(f"refuse: {work.subject}: {how}")
        self.lanes.run(None, self.faults.delay(), lambda: self.say_no(client, work, reply, how))
        return True

    def refused_publish(self, client, work, reply):
        now = self.loop.time()
        outage = self.outages.get(work.stream)
        if outage and outage.over(now):
            del self.outages[work.stream]
            outage = None
        if not outage:
            if not self.faults.strikes("refuse"):
                return False
            outage = self.outages[work.stream] = Outage(self.faults.choose(HOW["publish"]))
            self.faults.tell(f"refuse: publishes to {work.stream}: {outage.how}")
        outage.unanswered += 1

        def answer():
            outage.unanswered -= 1
            outage.answered = self.loop.time()
            self.say_no(client, work, reply, outage.how)
        self.lanes.run(("answer", work.subject), GRACE / 10 + self.faults.delay(), answer)
        return True

    def say_no(self, client, work, reply, how):
        if how == NOBODY:
            self.no_responders(client, reply)
        elif how == LEADERSHIP:
            self.post(reply, reply, "", b"NATS/1.0 409 Leadership Change\r\n\r\n", b"")
        else:
            self.post(reply, reply, "", b"", jetstream.refused(work, REFUSALS[how]))

    def vanish(self):
        """A consumer goes; those who wait for its messages hear of it, or not."""
        there = self.jetstream.ephemerals()
        if there:
            c = self.faults.choose(there)
            told = self.faults.choose([True, False])
            how = "told" if told else "in silence"
            self.faults.tell(f"vanish: consumer {c.name} of {c.stream.name}, {how}")
            self.jetstream.remove(c, told)

    # ------------------------------------------------------------ its own end, for a moment or for good

    def die(self):
        pause = self.faults.choose([0.02, 0.1, 0.3])
        self.faults.tell(f"die: all connections end, for {pause:g} s")
        self.listener.close()
        self.lanes.clear()
        self.outages.clear()
        for client in list(self.clients):
            client.transport.abort()
        self.jetstream.restart()
        self.loop.call_later(pause, lambda: self.loop.create_task(self.listen_again()))

    async def listen_again(self):
        """Somebody's connection may have the port for a while."""
        while True:
            try:
                return await self.listen()
            except OSError:
                await asyncio.sleep(0.02)

    def command(self, word):
        if word not in FAIL:
            print(f"fake: unknown command {word!r}; there are {', '.join(FAIL)}", file=sys.stderr, flush=True)
        self.faults.now.add(word)


class Commands(asyncio.Protocol):
    """Standard input: what is to happen next. Its end is the server's."""

    def __init__(self, server):
        self.server, self.text = server, b""

    def data_received(self, data):
        *lines, self.text = (self.text + data).split(b"\n")
        for line in lines:
            self.server.command(line.decode("utf-8", "replace").strip())

    def connection_lost(self, exc):
        if not self.server.ended.done():
            self.server.ended.set_result(None)


def read_options():
    parser = argparse.ArgumentParser(usage="tests/nats/fake.py [options]", add_help=False)
    for name, kind, default in (("port", int, 0), ("max-payload", int, 1 << 20), ("user", str, ""),
                                ("password", str, ""), ("seed", int, None), ("late", float, 20),
                                *((kind, int, 0) for kind in FAIL)):
        parser.add_argument(f"--{name}", type=kind, default=default)
    for name in ("no-jetstream", "fail", "help"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    if options.help:
        print(__doc__)
        sys.exit(0)
    return options


async def main():
    server = Server(read_options())
    await server.listen()
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    await server.loop.connect_read_pipe(lambda: Commands(server), sys.stdin)
    await server.ended


if __name__ == "__main__":
    asyncio.run(main())
