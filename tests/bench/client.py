"""The bench's client by PyEnsign, as it is published.

    client.py publish|receive|single|paced EVENTS BYTES ENDPOINT [CA.pem]

What client.c does; prints the same line of JSON. The token is a fixed one: the bench has no auth service.
"""
import asyncio
import collections
import json
import os
import sys
import time

if len(sys.argv) > 5:
    os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = sys.argv[5]  # before grpc is imported

from pyensign.ensign import Ensign
from pyensign.events import Event

BATCH = 64      # events of a call of publish
PACE = 0.001    # seconds from one event to the next


def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


class Token:
    def credentials(self):
        return "authorization", "Bearer bench"


class Measure:
    """As in measure.h."""

    def __init__(self, total, latencies=False):
        self.total, self.done, self.took = total, 0, []
        self.sent = collections.deque() if latencies else None
        self.mark()

    def mark(self):
        self.cpu, self.clock = time.process_time(), time.perf_counter()

    def answered(self):
        if self.sent is not None:
            self.took.append(1e6 * (time.perf_counter() - self.sent.popleft()))
        self.done += 1
        if self.done == self.total // 10:
            self.mark()

    def report(self):
        warm = self.total // 10
        n = self.total - warm
        figures = {"cpu_ns": round(1e9 * (time.process_time() - self.cpu) / n, 1),
                   "events_s": round(n / (time.perf_counter() - self.clock)),
                   "peak_kb": peak()}
        if self.took:
            took = sorted(self.took[warm:])
            for name, permille in (("p50", 500), ("p99", 990), ("p999", 999)):
                figures[name] = round(took[min(len(took) * permille // 1000, len(took) - 1)], 1)
        print(json.dumps(figures), flush=True)


def event(size):
    return Event(b"x" * size, "application/json", "BenchEvent", "1.2.3")


async def publish(client, total, size):
    m, end = Measure(total), asyncio.Event()

    async def on_ack(_):
        m.answered()
        if m.done == total:
            end.set()

    for at in range(0, total, BATCH):
        await client.publish("bench", [event(size) for _ in range(min(BATCH, total - at))], on_ack=on_ack)
    await end.wait()
    return m


async def one_by_one(client, total, size, paced):
    m, answer = Measure(total, True), asyncio.Event()

    async def on_ack(_):
        m.answered()
        answer.set()

    when = time.perf_counter()
    for i in range(total):
        if paced:
            await asyncio.sleep(when - time.perf_counter())
            when += PACE
        m.sent.append(time.perf_counter())
        await client.publish("bench", event(size), on_ack=on_ack)
        while not paced and m.done <= i:
            answer.clear()
            await answer.wait()
    while m.done < total:
        answer.clear()
        await answer.wait()
    return m


async def receive(client, total, size):
    m = Measure(total)
    async for got in client.subscribe("bench"):
        if len(got.data) != size:
            sys.exit(f"an event of {len(got.data)} bytes")
        if m.done < total:
            await got.ack()
        m.answered()
        if m.done > total:  # the one behind them says that all acks have arrived
            return m


async def single(client, total, size):
    return await one_by_one(client, total, size, False)


async def paced(client, total, size):
    return await one_by_one(client, total, size, True)


async def main(mode, total, size, endpoint, *ca):
    client = Ensign(client_id="bench", client_secret="bench", endpoint=endpoint, insecure=not ca)
    client.client.connection.auth = Token()
    run = {"publish": publish, "receive": receive, "single": single, "paced": paced}[mode]
    (await run(client, int(total), int(size))).report()
    os._exit(0)     # PyEnsign would wait for streams that nobody closes


asyncio.run(main(*sys.argv[1:]))
