"""PyEnsign's side of tests/peers/cross: events as lines of text.

    send TOPIC          publishes what standard input says, waits for every ack, prints "acked N"
    receive TOPIC N     prints the events that come, each acked; ends after N, greetings not counted
    query SQL           prints the rows

The lines are those of exchange.c. The service is told by the ENSIGN_ variables.
"""
import asyncio
import os
import sys

from google.protobuf.timestamp_pb2 import Timestamp
from pyensign.ensign import Ensign
from pyensign.events import Event

GREETING = b"hello"     # sent until it arrives: a subscription gets what is published once it is there
TIMEOUT = 60            # seconds for any one thing


def connect(**options):
    env = os.environ
    return Ensign(endpoint=env["ENSIGN_ENDPOINT"], auth_url=env["ENSIGN_AUTH_URL"],
                  insecure="ENSIGN_CA_FILE" not in env, **options)


def to_line(event):
    def text(x):
        return x.encode().hex() or "-"

    pairs = ",".join(f"{text(k)}={text(v)}" for k, v in (event.meta or {}).items())
    created = f"{event.created.seconds}.{event.created.nanos:09}"
    name, version = text(event.type.name), event.type.semver()
    return f"{int(event.mimetype)} {name} {version} {created} {pairs or '-'} {event.data.hex() or '-'}"


def from_line(line):
    def text(x):
        return "" if x == "-" else bytes.fromhex(x).decode()

    mimetype, name, version, created, pairs, data = line.split()
    meta = {} if pairs == "-" else dict(map(text, pair.split("=")) for pair in pairs.split(","))
    event = Event(bytes.fromhex(data), mimetype=int(mimetype), schema_name=text(name), schema_version=version,
                  meta=meta)
    seconds, nanos = created.split(".")
    event.created = Timestamp(seconds=int(seconds), nanos=int(nanos))
    return event


async def send(client, topic):
    events = [from_line(line) for line in sys.stdin]
    acks = []

    async def on_ack(ack):
        acks.append(ack)

    await client.publish(topic, *events, on_ack=on_ack)
    for event in events:
        await event.wait_for_ack()      # NackError, where it was nacked
    print("acked", len(acks))


async def receive(client, topic, count):
    left = int(count)
    async for event in client.subscribe(topic):
        print(to_line(event), flush=True)
        await event.ack()
        left -= event.data != GREETING
        if left == 0:
            return


async def query(client, sql):
    async for event in await client.query(sql):
        print(to_line(event))


async def main(what, *arguments):
    client = connect()
    await asyncio.wait_for(what(client, *arguments), TIMEOUT)
    await asyncio.wait_for(client.flush(), TIMEOUT)
    sys.stdout.flush()
    os._exit(0)     # what is open is closed by that: a subscription of PyEnsign cannot be left alone


if __name__ == "__main__":
    wanted = {"send": (send, 1), "receive": (receive, 2), "query": (query, 1)}
    what, count = wanted.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, 0))
    if what is None or len(sys.argv) != 2 + count:
        sys.exit("usage: pyensign_exchange.py send TOPIC | receive TOPIC N | query SQL")
    asyncio.run(main(what, *sys.argv[2:]))
