"""PyEnsign, as it is published, against the server that the ENSIGN_ variables name; then events between
it and an ensign.h program, both ways.

    pyensign_session.py LABEL EXCHANGE      EXCHANGE: the program built from exchange.c

Prints a line for each thing tried, "ok N - PyEnsign ... (LABEL)". Exit status 0 only if all went well.
"""
import asyncio
import os
import sys
import time

from pyensign.ensign import Ensign
from pyensign.events import Event
from pyensign.exceptions import TopicNotFoundError

TIMEOUT = 30        # seconds for any one thing
COUNT = 25          # events of the session proper
GREETING = b"hello"

done = 0
failed = 0


def report(good, text, seen=""):
    global done, failed
    done += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {done} - PyEnsign {text} ({sys.argv[1]})", flush=True)
    if not good:
        print(f"# seen: {seen}", flush=True)


async def soon(what):
    return await asyncio.wait_for(what, TIMEOUT)


async def until(condition, seconds=TIMEOUT):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(0.02)
    return condition()


class Inbox:
    """A subscription that runs as a task, acks what it gets, and keeps it."""

    def __init__(self, client, topic):
        self.client, self.topic, self.events, self.greetings = client, topic, [], 0
        self.task = asyncio.create_task(self.run())

    async def run(self):
        async for event in self.client.subscribe(self.topic):
            acked = await event.ack()
            if event.data == GREETING:
                self.greetings += 1
            else:
                self.events.append((event, acked and event.acked()))

    async def take(self, count):
        await until(lambda: len(self.events) >= count or self.task.done())
        if self.task.done() and self.task.exception():
            raise self.task.exception()
        taken, self.events = self.events, []
        return taken


class Outbox:
    """Publishes with callbacks, and counts what they tell."""

    def __init__(self, client, topic):
        self.client, self.topic, self.acks, self.nacks = client, topic, [], []

    async def on_ack(self, ack):
        self.acks.append(ack)

    async def on_nack(self, nack):
        self.nacks.append(nack)

    async def publish(self, *events):
        await soon(self.client.publish(self.topic, *events, on_ack=self.on_ack, on_nack=self.on_nack))

    async def settle(self, count):
        """Whether exactly count acks and no nack came since the last time, and what was seen."""
        await until(lambda: len(self.acks) + len(self.nacks) >= count)
        seen = f"{len(self.acks)} acks, {len(self.nacks)} nacks of {count}"
        times = [a.committed.seconds for a in self.acks]
        good = len(self.acks) == count and not self.nacks and all(abs(t - time.time()) < 600 for t in times)
        self.acks, self.nacks = [], []
        return good, f"{seen}; committed at {times[:3]}"


def made(data, mimetype, name, version, meta):
    return Event(data, mimetype=mimetype, schema_name=name, schema_version=version, meta=meta)


def samples():
    """Events that differ in each thing that must survive the way."""
    return [
        made(b'{"temp": 72, "units": "fahrenheit"}', "application/json", "Weather", "1.0.0", {"at": "MSP"}),
        made(bytes(range(256)), "application/octet-stream", "Bytes", "0.0.7", None),
        made("grün ☺ 😈".encode(), "text/plain", "Текст", "12.345.6789", {"ключ": "☺ значение", "empty": ""}),
        made(b"<a/>", "application/xml", "Unknown", "0.0.0", {f"key{i}": "v" * i * 50 for i in range(12)}),
        made(b"\x00" * 50000, "application/protobuf", "Large", "4294967295.0.1", {"size": "50000"}),
    ]


def facts(event):
    """What must be the same at both ends."""
    kind = (event.type.name, event.type.major_version, event.type.minor_version, event.type.patch_version)
    return (event.data, int(event.mimetype), kind, dict(event.meta or {}), event.created.seconds)


def to_line(event):
    data, mimetype, (name, *version), meta, created = facts(event)
    pairs = ",".join(f"{k.encode().hex() or '-'}={v.encode().hex() or '-'}" for k, v in meta.items())
    version = ".".join(map(str, version))
    return f"{mimetype} {name.encode().hex() or '-'} {version} {created} {pairs or '-'} {data.hex() or '-'}\n"


def from_line(line):
    def text(x):
        return "" if x == "-" else bytes.fromhex(x).decode()

    mimetype, name, version, created, pairs, data = line.split()
    meta = {} if pairs == "-" else dict(map(text, pair.split("=")) for pair in pairs.split(","))
    kind = (text(name), *map(int, version.split(".")))
    return (b"" if data == "-" else bytes.fromhex(data), int(mimetype), kind, meta, int(created))


async def topics(client, topic):
    first = await soon(client.ensure_topic_exists(topic))
    again = await soon(client.ensure_topic_exists(topic))
    exists = await soon(client.topic_exists(topic))
    absent = await soon(client.topic_exists(topic + "-absent"))
    report(len(first) == 26 and first == again and exists and not absent, "creates a topic, once",
           (first, again, exists, absent))
    listed = {t.name: str(t.id) for t in await soon(client.get_topics())}
    report(listed.get(topic) == first, "finds it in the list of topics", listed)
    status = await soon(client.status())
    report(status.status == 1 and status.version != "", "asks for the status", status)


async def unknown_topic(client, topic):
    try:
        await soon(client.publish(topic + "-absent", Event(b"x", "text/plain")))
        report(False, "is refused a topic that does not exist", "no exception")
    except TopicNotFoundError:
        report(True, "is refused a topic that does not exist")


async def open_inbox(client, outbox):
    """A subscription gets what comes after it began: greetings are sent until one arrives."""
    inbox = Inbox(client, outbox.topic)
    end = time.monotonic() + TIMEOUT
    while not inbox.greetings and not inbox.task.done() and time.monotonic() < end:
        await outbox.publish(Event(GREETING, "text/plain"))
        await outbox.settle(1)
        await until(lambda: inbox.greetings or inbox.task.done(), 2)
    report(inbox.greetings > 0, "subscribes", inbox.task)
    return inbox


async def session(outbox, inbox):
    events = [Event(b'{"n": %d}' % i, "application/json", meta={"n": str(i)}) for i in range(COUNT)]
    await outbox.publish(*events)
    good, seen = await outbox.settle(COUNT)
    good = good and all(e.acked() for e in events)
    report(good, f"publishes {COUNT} events and gets the ack of each", seen)
    got = await inbox.take(COUNT)
    report([facts(e) for e, _ in got] == [facts(e) for e in events], "receives them, in order", len(got))
    report(len(got) == COUNT and all(acked for _, acked in got), "acks them", [acked for _, acked in got])
    late = Event(b"after the acks", "text/plain")
    await outbox.publish(late)
    good, seen = await outbox.settle(1)
    got = await inbox.take(1)
    same = [facts(e) for e, _ in got] == [facts(late)]
    report(good and same, "goes on after that, on both streams", (seen, len(got)))


async def to_ensign_h(exchange, outbox):
    """PyEnsign publishes, the C program receives."""
    events = samples()
    receiver = await asyncio.create_subprocess_exec(
        exchange, "receive", outbox.topic, str(len(events)), stdout=asyncio.subprocess.PIPE, limit=1 << 20)
    try:
        ready = await soon(receiver.stdout.readline())
        if ready == b"ready\n":
            await outbox.publish(*events)
        lines = (await soon(receiver.stdout.read())).decode().splitlines()
        status = await soon(receiver.wait())
    finally:
        if receiver.returncode is None:
            receiver.kill()
    acked, seen = await outbox.settle(len(events)) if ready else (False, "never ready")
    report(acked and len(lines) == len(events) and status == 0, "sends to an ensign.h program",
           (seen, f"{len(lines)} lines, exit status {status}"))
    compare(events, [from_line(line) for line in lines], "to ensign.h")


async def from_ensign_h(exchange, inbox):
    """The C program publishes, PyEnsign receives."""
    events = samples()
    sender = await asyncio.create_subprocess_exec(
        exchange, "send", inbox.topic, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    try:
        out, _ = await soon(sender.communicate("".join(map(to_line, events)).encode()))
    finally:
        if sender.returncode is None:
            sender.kill()
    got = await inbox.take(len(events))
    report(out == b"acked %d\n" % len(events) and len(got) == len(events) and sender.returncode == 0,
           "receives from an ensign.h program", (out, f"{len(got)} events, exit status {sender.returncode}"))
    compare(events, [facts(e) for e, _ in got], "from ensign.h")


def compare(sent, got, way):
    """One line for each thing that must survive, over all events."""
    sent = [facts(e) for e in sent]
    for at, name in enumerate(["data", "mimetype", "type", "metadata", "creation time"]):
        wrong = [(s[at], g[at]) for s, g in zip(sent, got) if s[at] != g[at]]
        seen = f"{len(got)} events, {str(wrong)[:200]}"
        report(len(got) == len(sent) and not wrong, f"{way}: {name} preserved", seen)


async def main(exchange):
    env = os.environ
    topic = f"peers-{os.getpid()}-{int(time.time())}"
    secure = "ENSIGN_CA_FILE" in env
    client = Ensign(endpoint=env["ENSIGN_ENDPOINT"], auth_url=env["ENSIGN_AUTH_URL"], insecure=not secure)
    await topics(client, topic)
    await unknown_topic(client, topic)
    outbox = Outbox(client, topic)
    inbox = await open_inbox(client, outbox)
    await session(outbox, inbox)
    await to_ensign_h(exchange, outbox)
    await inbox.take(len(samples()))    # they came here too
    await from_ensign_h(exchange, inbox)
    await soon(client.close())
    inbox.task.cancel()
    report(True, "closes")


if __name__ == "__main__":
    if len(sys.argv) != 3 or "ENSIGN_ENDPOINT" not in os.environ:
        sys.exit("usage: pyensign_session.py LABEL EXCHANGE, with the ENSIGN_ variables set")
    try:
        asyncio.run(main(sys.argv[2]))
    except Exception as e:
        report(False, "session runs to its end", repr(e))
    sys.exit(failed > 0)
