"""PyEnsign, as it is published, against the server that the ENSIGN_ variables name: the session that
goensign/session.go holds too.

    pyensign_session.py LABEL           the session
    pyensign_session.py LABEL nacks     with a server that nacks each third event as PERMISSION_DENIED

Prints a line for each thing tried, "ok N - PyEnsign ... (LABEL)". Exit status 0 only if all went well. The
topics that it makes are destroyed at its end.

What PyEnsign offers, but does not do in this version, is asked through the client that it keeps inside: to
retrieve and archive a topic and to list the topics' names (NotImplementedError), and a policy (its own enum
members are refused by protobuf). Where a name is in its cache, destroy_topic is refused the same way; without
the cache each call of publish opens a stream that close then waits for. So there are two clients, one for
topics without the cache, one for events with it.
"""
import asyncio
import json
import os
import sys
import tempfile
import time

from pyensign import nack as nacks
from pyensign.enum import TopicState
from pyensign.events import Event
from pyensign.exceptions import (
    EnsignInvalidArgument, EnsignRPCError, EnsignTopicNotFoundError, InvalidQueryError, NackError,
    PyEnsignError, QueryNoRows, TopicNotFoundError)
from ulid import ULID

from pyensign_exchange import GREETING, connect

TIMEOUT = 30        # seconds for any one thing
COUNT = 25          # events of the session
HEALTHY = 1         # of ServiceState.Status
NO_POLICY = 1       # of Deduplication.Strategy: NONE

done = 0
failed = 0


def report(good, text, *seen):
    global done, failed
    done += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {done} - PyEnsign {text} ({sys.argv[1]})", flush=True)
    if not good:
        print(f"# seen: {str(seen)[:1000]}", flush=True)


async def soon(what):
    return await asyncio.wait_for(what, TIMEOUT)


async def until(condition, seconds=TIMEOUT):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(0.02)
    return condition()


async def raised(what, kind, words=""):
    """Whether that raises an exception of that kind with those words in it, and what was seen."""
    try:
        return False, await soon(what)
    except kind as e:
        return words in str(e), repr(e), str(e)
    except Exception as e:
        return False, repr(e)


def facts(event):
    """What must be the same at both ends."""
    kind = (event.type.name, event.type.semver())
    created = (event.created.seconds, event.created.nanos)
    return (event.data, int(event.mimetype), kind, dict(event.meta or {}), created)


def made(prefix, count):
    return [Event(b'{"n": %d}' % i, "application/json", "Count", "1.2.3", {"n": str(i), "of": prefix})
            for i in range(count)]


# ---------------------------------------------------------------- credentials

async def from_a_file():
    """A key that is in a file alone: PyEnsign takes it from there before the environment."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"ClientID": os.environ["ENSIGN_CLIENT_ID"],
                   "ClientSecret": os.environ["ENSIGN_CLIENT_SECRET"]}, file)
        file.flush()
        client = connect(client_id="not", client_secret="these", cred_path=file.name)
        listed = await soon(client.get_topics())
    report(isinstance(listed, list), "takes its key from a JSON file", listed)
    await soon(client.client.channel.close())


async def wrong_secret():
    client = connect(client_secret="wrong")
    await refused("is refused with a wrong secret", client.get_topics(), EnsignRPCError, "UNAUTHENTICATED")
    await soon(client.client.channel.close())


# ---------------------------------------------------------------- topics

async def create(client, topic):
    before = time.time()
    first = await soon(client.ensure_topic_exists(topic))
    again = await soon(client.ensure_topic_exists(topic))
    report(len(first) == 26 and first == again, "ensures that a topic exists, twice", first, again)
    await refused("is refused to create it again", client.create_topic(topic),
                  EnsignRPCError, "ALREADY_EXISTS")
    await refused("is refused a name that is none", client.create_topic("no name"),
                  EnsignInvalidArgument, "topic name is invalid")
    exists = await soon(client.topic_exists(topic)), await soon(client.topic_exists(topic + "-absent"))
    report(exists == (True, False), "asks whether it exists, and one that does not", exists)

    found = [t for t in await soon(client.get_topics()) if t.name == topic]
    good = len(found) == 1 and str(found[0].id) == first and found[0].status == TopicState.READY
    good = good and found[0].created.timestamp() > before - 600 and found[0].modified >= found[0].created
    report(good, "finds it in the list: id, state, times", found)
    return found[0] if found else None


async def refused(text, what, kind, words=""):
    good, *seen = await raised(what, kind, words)
    report(good, text, *seen)


async def all_names(client):
    names, token = [], None
    while token != "":
        page, token = await soon(client.client.topic_names(page_size=1, next_page_token=token or ""))
        names += page
    return names


async def find(client, topic, listed):
    id = str(listed.id)
    named = [n for n in await all_names(client) if n.topic_id == id]
    good = len(named) == 1 and len(named[0].name) == 22 and named[0].project_id == str(listed.project_id)
    report(good, "finds it among the names, page by page", named)
    report(await soon(client.topic_id(topic)) == id, "finds its id by its name")
    await refused("is told where there is no such name", client.topic_id(topic + "-absent"),
                  EnsignTopicNotFoundError)
    got = await soon(client.client.retrieve_topic(listed.id.bytes))
    report(got.name == topic and got.id == listed.id.bytes and got.project_id == listed.project_id.bytes
           and got.deduplication.strategy == NO_POLICY and not got.readonly, "retrieves it by its id", got)
    await refused("is refused an id that is none", client.client.retrieve_topic(ULID().bytes),
                  EnsignRPCError, "NOT_FOUND")
    state = await soon(client.client.set_topic_deduplication_policy(id, strategy=NO_POLICY))
    report(state.state == TopicState.READY.value, "sets the policy that it has: READY", state)


# ---------------------------------------------------------------- publish and subscribe

class Inbox:
    """A subscription that runs as a task, answers what it gets, and keeps it."""

    def __init__(self, client, topic):
        self.client, self.topic, self.events, self.greetings = client, topic, [], 0
        self.task = asyncio.create_task(self.run())

    async def run(self):
        async for event in self.client.subscribe(self.topic):
            if event.data == GREETING:
                self.greetings += 1
            elif event.data == b"not this one":
                self.events.append((event, await event.nack(nacks.Unprocessed) and event.nacked()))
            else:
                self.events.append((event, await event.ack() and event.acked()))

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


async def unknown_topic(client, topic):
    await refused("is refused to publish to a topic that does not exist",
                  client.publish(topic + "-absent", Event(b"x", "text/plain")), TopicNotFoundError)
    await refused("is refused to subscribe to one", client.subscribe(topic + "-absent").__anext__(),
                  EnsignRPCError, "FAILED_PRECONDITION")


async def open_inbox(client, outbox):
    inbox = Inbox(client, outbox.topic)
    end = time.monotonic() + TIMEOUT
    while not inbox.greetings and not inbox.task.done() and time.monotonic() < end:
        await outbox.publish(Event(GREETING, "text/plain"))
        await outbox.settle(1)
        await until(lambda: inbox.greetings or inbox.task.done(), 2)
    report(inbox.greetings > 0, "subscribes", inbox.task)
    return inbox


async def events(outbox, inbox):
    sent = made("session", COUNT)
    await outbox.publish(*sent)
    good, seen = await outbox.settle(COUNT)
    good = good and all(e.acked() for e in sent)
    report(good, f"publishes {COUNT} events, each has its ack called back", seen)
    got = await inbox.take(COUNT)
    report([facts(e) for e, _ in got] == [facts(e) for e in sent], "receives them, in order", len(got))
    ids = [str(e.id) for e, _ in got]
    report(len(set(ids)) == COUNT and ids == sorted(ids), "sees ids that ascend", ids)
    report(len(got) == COUNT and all(acked for _, acked in got), "acks them", [acked for _, acked in got])
    late = [Event(b"not this one", "text/plain"), Event(b"after the acks", "text/plain")]
    await outbox.publish(*late)
    ack = await soon(late[0].wait_for_ack())
    good, seen = await outbox.settle(2)
    got = await inbox.take(2)
    same = [facts(e) for e, _ in got] == [facts(e) for e in late] and all(answered for _, answered in got)
    report(good and same and ack.committed is not None, "nacks one, and goes on with both streams", seen, got)
    return sent + late


# ---------------------------------------------------------------- queries

async def rows(client, sql, **options):
    cursor = await soon(client.query(sql, **options))
    return [facts(e) for e in await soon(cursor.fetchall())]


async def queries(client, topic, sent):
    sent = [facts(e) for e in sent]
    hello = len(await rows(client, f"SELECT * FROM {topic}")) - len(sent)   # greetings come first
    sql = f"SELECT * FROM {topic} OFFSET {hello}"
    cursor = await soon(client.query(sql))
    one = await soon(cursor.fetchone())
    report(hello > 0 and facts(one) == sent[0] and one.id is not None, "queries, fetches one", hello, one)
    many = [facts(e) for e in await soon(cursor.fetchmany(7))]
    report(many == sent[1:8], "fetches many", many)
    rest = [facts(e) for e in await soon(cursor.fetchall())]
    report(rest == sent[8:], "fetches all that are left", len(rest))
    after = [await soon(cursor.fetchone()), await soon(cursor.fetchmany(2)), await soon(cursor.fetchall())]
    report(after == [None, [], []], "fetches nothing after the last", after)

    walked = [facts(e) async for e in await soon(client.query(sql + " LIMIT 3"))]
    report(walked == sent[:3], "walks over a cursor, with LIMIT and OFFSET", len(walked))
    cursor = await soon(client.query(sql))
    first = facts(await soon(cursor.fetchone()))
    cursor.close()
    report(first == sent[0] and await soon(cursor.fetchall()) == [], "closes a cursor that has more")
    params = {"b": True, "i": -5, "d": 0.5, "y": b"\0", "s": "text"}
    got = await rows(client, sql, params=params, include_duplicates=True)
    report(got == sent, "sends parameters of each kind, and asks for duplicates", len(got))
    await bad_queries(client, topic)


async def bad_queries(client, topic):
    await refused("is told of no rows", client.query(f"SELECT * FROM {topic} OFFSET 100000"), QueryNoRows)
    await refused("is told of bad syntax, in the server's words", client.query(f"SELECT a b FROM {topic}"),
                  InvalidQueryError, 'syntax error at position 9 near "b": invalid select fields statement')
    await refused("is refused a query of a topic that does not exist",
                  client.query(f"SELECT * FROM {topic}-absent"), InvalidQueryError, "unknown topic in query")


# ---------------------------------------------------------------- info, status, the end

async def info(client, listed):
    project = await soon(client.info())
    ids = [t.id for t in project.topics]
    good = project.id == listed.project_id and listed.id in ids and project.num_topics == len(ids)
    report(good, "asks for the project's info", project)
    project = await soon(client.info([str(listed.id)]))
    good = project.num_topics == 1 and project.topics[0].project_id == listed.project_id
    report(good and project.topics[0].id == listed.id and project.num_readonly_topics == 0,
           "asks for one topic's info", project)
    await refused("is refused the info of what is no id", client.info(["no id"]), ValueError)
    status = await soon(client.status())
    good = status.status == HEALTHY and status.version != "" and status.uptime.ToMilliseconds() >= 0
    report(good, "asks for the status", status)


async def archive(client, topic, listed):
    id, state = await soon(client.client.archive_topic(str(listed.id)))
    report((id, state) == (str(listed.id), TopicState.READONLY.value), "archives the topic", id, state)
    got = await soon(client.client.retrieve_topic(listed.id.bytes))
    report(got.readonly, "retrieves it as read-only", got)
    project = await soon(client.info([str(listed.id)]))
    report(project.num_readonly_topics == 1, "finds it read-only in the info", project)
    await refused("is refused another policy for it",
                  client.client.set_topic_deduplication_policy(str(listed.id), strategy=2),
                  EnsignRPCError, "cannot change policies of an archived topic")


async def destroy(client, topic):
    await soon(client.destroy_topic(topic))
    end = time.monotonic() + TIMEOUT
    while await soon(client.topic_exists(topic)) and time.monotonic() < end:
        await asyncio.sleep(0.1)
    report(not await soon(client.topic_exists(topic)), "destroys it, and it is gone")
    await refused("is told so the next time", client.destroy_topic(topic), PyEnsignError, "not found")


# ---------------------------------------------------------------- nacks

async def each_third():
    topic = f"nacks-{os.getpid()}-{int(time.time())}"
    client = connect()
    await soon(client.create_topic(topic))
    outbox = Outbox(client, topic)
    sent = made("nacks", 9)
    await outbox.publish(*sent)
    await until(lambda: len(outbox.acks) + len(outbox.nacks) >= len(sent))
    seen = [(n.code, n.error) for n in outbox.nacks]
    wanted = [(nacks.PermissionDenied, "not authorized to perform this action")] * 3
    report(seen == wanted and len(outbox.acks) == 6, "has each third event's nack called back: code, words",
           seen, len(outbox.acks))
    good = [(e.acked(), e.nacked()) for e in sent] == [(True, False), (True, False), (False, True)] * 3
    report(good and sent[2].nack_error().code == nacks.PermissionDenied, "finds it at the events")
    await refused("has it raised by wait_for_ack", sent[5].wait_for_ack(), NackError, "not authorized")
    stored = await rows(client, f"SELECT * FROM {topic}")
    report(stored == [facts(e) for e in sent if e.acked()], "finds stored what was acked", len(stored))
    await soon(client.close())


async def close(client, inbox):
    await soon(client.flush())
    await soon(client.close())
    inbox.task.cancel()
    report(True, "flushes and closes")


async def main():
    topic = f"py-{os.getpid()}-{int(time.time())}"
    client, asking = connect(), connect(disable_topic_cache=True)
    listed = await create(asking, topic)
    await to_its_end(find(asking, topic, listed))
    await to_its_end(from_a_file())
    await to_its_end(wrong_secret())
    await to_its_end(unknown_topic(client, topic))
    outbox = Outbox(client, topic)
    inbox = await open_inbox(client, outbox)
    sent = await events(outbox, inbox)
    await to_its_end(queries(client, topic, sent))
    await to_its_end(close(client, inbox))
    await to_its_end(info(asking, listed))
    await to_its_end(archive(asking, topic, listed))
    await to_its_end(destroy(asking, topic))
    await soon(asking.client.channel.close())


async def to_its_end(part):
    """What else is raised by a part of the session fails that part alone."""
    try:
        await part
    except Exception as e:
        report(False, f"holds its session: {part.__name__}", repr(e))


if __name__ == "__main__":
    if sys.argv[2:] not in ([], ["nacks"]) or len(sys.argv) < 2 or "ENSIGN_ENDPOINT" not in os.environ:
        sys.exit("usage: pyensign_session.py LABEL [nacks], with the ENSIGN_ variables set")
    asyncio.run(to_its_end(each_third() if sys.argv[2:] else main()))
    sys.exit(failed > 0)
