"""PyEnsign, as it is published, in a consumer group beside ensign.h, at the server that the ENSIGN_ variables
name.

    pyensign_group.py LABEL EXCHANGE

Two members are PyEnsign's, each an Ensign object of its own, and one is EXCHANGE, the program of exchange.c.
An event says which member shall nack it, and with which code. That one nacks it the first time, and all else
is acked. So the answers of each member are seen to count: what was nacked comes again, what was acked does not.
A seed chooses the member and the code of each event, for members may get the events in turn: a fixed order
could name the wrong member for ever. A failure prints the seed, and SEED in the environment sets it.
Prints a line for each thing tried, "ok N - PyEnsign ... (LABEL)". Exit status 0 only if all went well.
"""
import asyncio
import os
import random
import sys
import time

from pyensign import nack as nacks
from pyensign.api.v1beta1.groups_pb2 import ConsumerGroup
from pyensign.events import Event

import pyensign_session as session
from pyensign_exchange import connect
from pyensign_session import report, soon, until

GROUP = "beside"
OURS = "ensign.h"       # the member that is exchange.c
NAMES = ("first", "second", OURS)
CODES = (nacks.Unprocessed, nacks.Timeout, nacks.UnhandledMimetype, nacks.UnknownType,
         nacks.DeliverAgainAny, nacks.DeliverAgainNotMe)
TO_ANOTHER = (nacks.UnhandledMimetype, nacks.UnknownType, nacks.DeliverAgainNotMe)
EACH = [(name, code) for name in NAMES for code in CODES]
BATCH = len(EACH) * 4                   # events that are published before all are seen to be done
BATCHES = 100                           # at most, until each member has nacked with each code
SEED = int(os.environ.get("SEED") or random.SystemRandom().getrandbits(32))
chosen = random.Random(SEED)


class Answers:
    """Of every event: who nacked it, and who acked it, in the order in which they got it."""

    def __init__(self):
        self.nacked, self.acked, self.asked = {}, {}, {}

    def add(self, name, number, verdict):
        (self.acked if verdict == "acked" else self.nacked).setdefault(number, []).append(name)

    def done(self, count):
        return sum(number in self.acked for number in range(count)) == count

    def seen(self):
        """Which members have nacked with which codes."""
        return {(name, self.asked[number][1]) for number, names in self.nacked.items() for name in names}


class Member:
    """One of PyEnsign's."""

    def __init__(self, name, topic, answers):
        self.name, self.topic, self.answers, self.client = name, topic, answers, connect()
        self.task = asyncio.create_task(self.run())

    async def run(self):
        events = self.client.subscribe(self.topic, consumer_group=ConsumerGroup(name=GROUP))
        async for event in events:
            number, name, code = event.data.decode().split()
            refuse = name == self.name and name not in self.answers.nacked.get(int(number), ())
            self.answers.add(self.name, int(number), "nacked" if refuse else "acked")
            await (event.nack(int(code)) if refuse else event.ack())

    async def leave(self):
        self.task.cancel()
        await soon(self.client.close())


class Other:
    """That of ensign.h."""

    async def start(self, program, topic, answers):
        self.process = await asyncio.create_subprocess_exec(
            program, "member", topic, GROUP, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        await soon(self.process.stdout.readline())  # "open": now there is the group, which begins live
        self.task = asyncio.create_task(self.read(answers))

    async def read(self, answers):
        async for line in self.process.stdout:
            number, verdict = line.decode().split()
            answers.add(OURS, int(number), verdict)

    async def leave(self):
        self.process.stdin.close()
        return await soon(self.process.wait())


async def publish(client, topic, answers, count):
    first = len(answers.asked)
    for number in range(first, first + count):
        answers.asked[number] = chosen.choice(EACH)
    events = [Event(b"%d %s %d" % (n, name.encode(), code), "text/plain")
              for n, (name, code) in list(answers.asked.items())[first:]]
    await soon(client.publish(topic, *events))


async def answers_count(client, topic, answers, members):
    for _ in range(BATCHES):
        await publish(client, topic, answers, BATCH)
        if not await until(lambda: answers.done(len(answers.asked))) or answers.seen() == set(EACH):
            break
    count = len(answers.asked)
    lost = [n for n in range(count) if n not in answers.acked]
    report(not lost, "and ensign.h ack each event of a group", lost, [m.task for m in members])
    twice = {n: who for n, who in answers.acked.items() if len(who) > 1}
    report(not twice, "and ensign.h get no event again that they have acked", twice)
    shares = {name: sum(name in who for who in answers.acked.values()) for name in NAMES}
    report(all(shares.values()), "and ensign.h share the events", shares)
    report(answers.seen() == set(EACH), "and ensign.h nack with each code, and the event comes again",
           set(EACH) - answers.seen(), count, f"seed {SEED}")
    same = [(n, who) for n, who in answers.nacked.items()
            if answers.asked[n][1] in TO_ANOTHER and answers.acked.get(n) == who]
    report(not same, "and ensign.h get nothing again that is for another member", same)


async def a_place_stays(client, topic, answers, members):
    good = [await m.leave() for m in members][-1] == 0
    before = len(answers.asked)
    await publish(client, topic, answers, 1)
    late = Member("late", topic, answers)
    await until(lambda: before in answers.acked)
    got = [n for n, who in answers.acked.items() if "late" in who]
    report(good and got == [before], "joins a group whose members have left, and gets what came meanwhile alone", got)
    await late.leave()


async def main():
    topic = f"group-{os.getpid()}-{int(time.time())}"
    client, answers, other = connect(), Answers(), Other()
    await soon(client.create_topic(topic))
    await other.start(sys.argv[2], topic, answers)
    members = [Member(name, topic, answers) for name in NAMES[:2]] + [other]
    await answers_count(client, topic, answers, members)
    await a_place_stays(client, topic, answers, members)
    await soon(client.flush())
    await soon(client.close())


if __name__ == "__main__":
    if len(sys.argv) != 3 or "ENSIGN_ENDPOINT" not in os.environ:
        sys.exit("usage: pyensign_group.py LABEL EXCHANGE, with the ENSIGN_ variables set")
    asyncio.run(session.to_its_end(main()))
    sys.stdout.flush()
    os._exit(session.failed > 0)    # what is open is closed by that
