"""jetstream.py - the streams and consumers of one account, and the requests of $JS.API that work on them

find(subject) says what a subject asks of JetStream, without doing it: a Work, whose run() does it and
answers.
So that who calls can do it later, in another order, or not at all. Lanes name what must stay in order.

Left out: mirrors, sources, transforms, messages with a time to live, snapshots, pausing, priority groups,
advisories, batches of direct gets, and everything of clusters."""
import base64
import json
import time

import consumer
import stream
from stream import Refusal, timestamp, with_fields
from subjects import matches, overlap

API = "$JS.API."
NAMES_LIMIT, LIST_LIMIT, SUBJECTS_LIMIT = 1024, 256, 100000
EMPTY_MESSAGE = b"NATS/1.0 408 Empty Request\r\n\r\n"
NOT_FOUND = b"NATS/1.0 404 Message Not Found\r\n\r\n"


class Work:
    """kind: api, direct, pull, ack, publish or unknown. run(reply, headers, data, answer) does it; where
    something is to be answered, it calls answer(headers, data). in_order: works with the same one are done as
    they come."""

    def __init__(self, kind, subject, run, in_order=None, stream="", answer_type=""):
        self.kind, self.subject, self.run, self.in_order = kind, subject, run, in_order
        self.stream, self.answer_type = stream, answer_type     # of a publish; of an api


def refused(work, refusal):
    """The answer to what was not done."""
    body = {"error": refusal.as_json()}
    body = {**body, "stream": work.stream, "seq": 0} if work.kind == "publish" else \
        {"type": work.answer_type, **body}
    return json.dumps(body).encode()


class JetStream:
    """post(to, subject, reply, headers, data) sends a message; interest(subject): whether anybody gets it."""

    def __init__(self, post, interest):
        self.post, self.interest = post, interest
        self.streams = {}
        self.requests = self.errors = 0
        # What follows $JS.API., the name of the answer's type, what answers, and a request's fields; None: its
        # handler checks them.
        self.table = [
            ("INFO", "account_info", self.account, set()),
            ("STREAM.CREATE.*", "stream_create", self.stream_create, None),
            ("STREAM.UPDATE.*", "stream_update", self.stream_update, None),
            ("STREAM.INFO.*", "stream_info", self.stream_info,
             {"subjects_filter", "offset", "deleted_details"}),
            ("STREAM.NAMES", "stream_names", self.stream_names, {"offset", "subject"}),
            ("STREAM.LIST", "stream_list", self.stream_list, {"offset", "subject"}),
            ("STREAM.DELETE.*", "stream_delete", self.stream_delete, set()),
            ("STREAM.PURGE.*", "stream_purge", self.stream_purge, {"filter", "seq", "keep"}),
            ("STREAM.MSG.GET.*", "stream_msg_get", self.msg_get, {"seq", "last_by_subj", "next_by_subj"}),
            ("STREAM.MSG.DELETE.*", "stream_msg_delete", self.msg_delete, {"seq", "no_erase"}),
            ("CONSUMER.CREATE.*", "consumer_create", self.consumer_create, None),
            ("CONSUMER.CREATE.*.>", "consumer_create", self.consumer_create, None),
            ("CONSUMER.DURABLE.CREATE.*.*", "consumer_create", self.durable_create, None),
            ("CONSUMER.INFO.*.*", "consumer_info", self.consumer_info, set()),
            ("CONSUMER.NAMES.*", "consumer_names", self.consumer_names, {"offset", "subject"}),
            ("CONSUMER.LIST.*", "consumer_list", self.consumer_list, {"offset"}),
            ("CONSUMER.DELETE.*.*", "consumer_delete", self.consumer_delete, set()),
        ]

    # ------------------------------------------------------------ what a subject asks for

    def find(self, subject):
        if subject.startswith("$JS.API.CONSUMER.MSG.NEXT."):
            return self.of_consumer("pull", subject, subject.split(".")[5:], self.pull)
        if subject.startswith("$JS.ACK."):
            return self.of_consumer("ack", subject, subject.split(".")[2:4],
                                    lambda c, reply, headers, data, answer: c.ack(subject, reply, data))
        if subject.startswith("$JS.FC."):
            return self.of_consumer("ack", subject, subject.split(".")[2:4],
                                    lambda c, *_: c.confirm_flow(subject))
        if subject.startswith("$JS.API.DIRECT.GET."):
            return self.direct(subject)
        if subject.startswith(API):
            return self.api(subject)
        for s in self.streams.values():
            if s.takes(subject):
                return self.publish(s.name, subject)
        return None

    def of_consumer(self, kind, subject, names, run):
        c = self.consumer_at(names)
        if not c:
            return None

        def later(reply, headers, data, answer):
            if not c.deleted:
                run(c, reply, headers, data, answer)
        return Work(kind, subject, later, (kind, *names))

    def consumer_at(self, names):
        s = self.streams.get(names[0]) if len(names) >= 2 else None
        return s.consumers.get(names[1]) if s else None

    def api(self, subject):
        for pattern, name, handler, fields in self.table:
            if matches(API + pattern, subject):
                work = Work("api", subject, None, answer_type=f"io.nats.jetstream.api.v1.{name}_response")
                work.run = lambda reply, headers, data, answer: \
                    answer(b"", self.answer(work, handler, fields, data))
                return work
        return Work("unknown", subject, lambda *_: None)    # nobody answers, and nobody says so

    def answer(self, work, handler, fields, data):
        self.requests += 1
        try:
            body = handler(work.subject.split(".")[2:], read(data, fields))
            return json.dumps({"type": work.answer_type, **body}).encode()
        except Refusal as refusal:
            self.errors += 1
            return refused(work, refusal)

    # ------------------------------------------------------------ publishes

    def publish(self, name, subject):
        def run(reply, headers, data, answer):
            s = self.streams.get(name)
            if not s:
                return
            try:
                seq, twice = s.store(subject, headers, data, time.time_ns())
                body = {"stream": name, "seq": seq, **({"duplicate": True} if twice else {})}
            except Refusal as refusal:
                body = {"error": refusal.as_json(), "stream": name, "seq": 0}
            answer(b"", json.dumps(body).encode())
            self.pump(s)
        return Work("publish", subject, run, ("publish", name), stream=name)

    def pump(self, s):
        s.expire(time.time_ns())
        for c in list(s.consumers.values()):
            c.pump()

    def interest_changed(self):
        """Somebody subscribed: a push consumer may have waited for that."""
        for s in self.streams.values():
            for c in list(s.consumers.values()):
                if c.push:
                    c.pump()

    # ------------------------------------------------------------ account and streams

    def account(self, tokens, asked):
        streams = self.streams.values()
        used = {"memory": 0, "file": 0}
        for s in streams:
            used[s.config["storage"]] += s.bytes
        return {
            "memory": used["memory"], "storage": used["file"], "reserved_memory": 0, "reserved_storage": 0,
            "streams": len(streams), "consumers": sum(len(s.consumers) for s in streams),
            "limits": {"max_memory": -1, "max_storage": -1, "max_streams": -1, "max_consumers": -1,
                       "max_ack_pending": -1, "memory_max_stream_bytes": -1, "storage_max_stream_bytes": -1,
                       "max_bytes_required": False},
            "api": {"level": 0, "total": self.requests, "errors": self.errors},
        }

    def stream(self, name):
        s = self.streams.get(name)
        if not s:
            raise Refusal(404, 10059, "stream not found")
        s.expire(time.time_ns())
        return s

    def stream_create(self, tokens, asked):
        config = self.stream_config(tokens[2], asked)
        there = self.streams.get(config["name"])
        if there and there.config != config:
            raise Refusal(400, 10058, "stream name already in use with a different configuration")
        if not there:
            self.check_subjects(config)
            self.streams[config["name"]] = there = stream.Stream(config, time.time_ns())
        return {**self.describe(there), "did_create": True}

    def stream_config(self, name, asked):
        if asked.get("name", "") != name:
            raise Refusal(400, 10056, "stream name in subject does not match request")
        return stream.full_config(asked)

    def check_subjects(self, config):
        others = [s for s in self.streams.values() if s.name != config["name"]]
        if any(overlap(a, b) for s in others for a in s.config["subjects"] for b in config["subjects"]):
            raise Refusal(400, 10065, "subjects overlap with an existing stream")

    def stream_update(self, tokens, asked):
        config = self.stream_config(tokens[2], asked)
        s = self.stream(config["name"])
        stream.check_update(s.config, config)
        self.check_subjects(config)
        s.config = config
        for subject in list(s.subjects):
            s.keep_limits(subject)
        return self.describe(s)

    def describe(self, s):
        return {"config": s.config, "created": timestamp(s.created), "state": s.state(),
                "ts": timestamp(time.time_ns())}

    def stream_info(self, tokens, asked):
        s = self.stream(tokens[2])
        body, pattern, offset = self.describe(s), asked.get("subjects_filter"), asked.get("offset", 0)
        if asked.get("deleted_details") and s.deleted():
            body["state"]["deleted"] = [n for n in range(s.first, s.last) if n not in s.messages]
        if pattern:
            names = sorted(n for n in s.subjects if matches(pattern, n))
            page = names[offset:offset + SUBJECTS_LIMIT]
            body.update(total=len(names), offset=offset, limit=SUBJECTS_LIMIT)
            if page:
                body["state"]["subjects"] = {n: len(s.subjects[n]) for n in page}
        return body

    def chosen(self, asked):
        pattern = asked.get("subject")
        return [s for _, s in sorted(self.streams.items())
                if not pattern or any(overlap(pattern, own) for own in s.config["subjects"])]

    def stream_names(self, tokens, asked):
        body = page(asked, NAMES_LIMIT, "streams", [s.name for s in self.chosen(asked)])
        return {**body, "streams": body["streams"] or None}

    def stream_list(self, tokens, asked):
        return page(asked, LIST_LIMIT, "streams", [self.describe(s) for s in self.chosen(asked)])

    def stream_delete(self, tokens, asked):
        s = self.stream(tokens[2])
        for c in list(s.consumers.values()):
            c.stop(told=True)
        del self.streams[s.name]
        return {"success": True}

    def stream_purge(self, tokens, asked):
        s = self.stream(tokens[2])
        if asked.get("seq") and asked.get("keep"):
            raise Refusal(400, 10003, "bad request")
        if s.config["deny_purge"]:
            raise Refusal(500, 10110, "stream purge not permitted")
        purged = s.purge(asked.get("filter"), asked.get("seq", 0), asked.get("keep", 0))
        self.pump(s)
        return {"success": True, "purged": purged}

    # ------------------------------------------------------------ single messages

    def look_up(self, s, asked):
        """The message that a get asks for, or None."""
        seq = asked.get("seq", 0)
        if asked.get("last_by_subj"):
            return s.last_of([asked["last_by_subj"]])
        if asked.get("next_by_subj"):
            return s.next([asked["next_by_subj"]], seq)
        return s.messages.get(seq)

    def check_get(self, asked):
        seq, last, following = (asked.get(k) for k in ("seq", "last_by_subj", "next_by_subj"))
        return bool(seq or last or following) and not (last and (seq or following))

    def msg_get(self, tokens, asked):
        s = self.stream(tokens[3])
        if not self.check_get(asked):
            raise Refusal(400, 10003, "bad request")
        m = self.look_up(s, asked)
        if not m:
            raise Refusal(404, 10037, "no message found")
        message = {"subject": m.subject, "seq": m.seq, "time": timestamp(m.time)}
        for field, value in (("hdrs", m.headers), ("data", m.data)):
            if value:
                message[field] = base64.b64encode(value).decode()
        return {"message": message}

    def msg_delete(self, tokens, asked):
        s = self.stream(tokens[3])
        if asked.get("seq") not in s.messages:
            raise Refusal(400, 10043, f"sequence {asked.get('seq')} not found")
        s.remove(asked["seq"])
        self.pump(s)
        return {"success": True}

    def direct(self, subject):
        """$JS.API.DIRECT.GET.STREAM, or behind that the subject whose last message is asked for."""
        tokens = subject.split(".")
        s = self.streams.get(tokens[4])
        if not s or not s.config["allow_direct"]:
            return None

        def run(reply, headers, data, answer):
            try:
                last = {"last_by_subj": ".".join(tokens[5:])}
                asked = last if len(tokens) > 5 else json.loads(data or b"{}")
            except ValueError:
                asked = {}
            if not data and len(tokens) == 5:
                answer(EMPTY_MESSAGE, b"")
            elif not self.check_get(asked):
                answer(b"NATS/1.0 408 Bad Request\r\n\r\n", b"")
            else:
                m = self.look_up(s, asked)
                answer(*(as_direct(s, m) if m else (NOT_FOUND, b"")))
        return Work("direct", subject, run)

    # ------------------------------------------------------------ consumers

    def consumer_create(self, tokens, asked):
        """CONSUMER.CREATE.STREAM, where the consumer has no name, or .STREAM.NAME, or .STREAM.NAME.FILTER."""
        s = self.stream(self.asked_stream(tokens[2], asked))
        given = dict(asked.get("config") or {})
        name = given.get("name") or given.get("durable_name") or ""
        if len(tokens) == 3 and given.get("durable_name"):
            raise Refusal(400, 10020, "consumer expected to be ephemeral but a durable name was set in "
                                      "request")
        if len(tokens) > 3 and tokens[3] != name:
            raise Refusal(400, 10017, "consumer name in subject does not match durable name in request")
        if len(tokens) > 4 and ".".join(tokens[4:]) != given.get("filter_subject", ""):
            raise Refusal(400, 10131, "Consumer create request did not match filtered subject from create "
                                      "subject")
        return self.consumer_put(s, given, name, asked.get("action", ""))

    def durable_create(self, tokens, asked):
        s = self.stream(self.asked_stream(tokens[3], asked))
        given = dict(asked.get("config") or {})
        name = given.get("durable_name", "")
        if not name:
            raise Refusal(400, 10019, "consumer expected to be durable but a durable name was not set")
        if name != tokens[4]:
            raise Refusal(400, 10017, "consumer name in subject does not match durable name in request")
        return self.consumer_put(s, given, name, asked.get("action", ""))

    def asked_stream(self, name, asked):
        if any(field not in ("stream_name", "config", "action", "pedantic") for field in asked):
            raise Refusal(400, 10025, "invalid JSON: json: unknown field")
        if asked.get("stream_name") != name:
            raise Refusal(400, 10056, "stream name in subject does not match request")
        return name

    def consumer_put(self, s, given, name, action):
        config = consumer.full_config(given)
        config["name"] = name or stream.random_name()
        there = s.consumers.get(config["name"])
        if there and action == "create" and there.config != config:
            raise Refusal(400, 10148, "consumer already exists")
        if not there and action == "update":
            raise Refusal(400, 10149, "consumer does not exist")
        if there:
            check_consumer_update(there.config, config)
            there.config = config
            there.filters = consumer.filters_of(config)
            there.pump()
        else:
            there = consumer.Consumer(s, config, self.post, self.interest,
                                      lambda c: self.remove(c, told=False))
            s.consumers[config["name"]] = there
        return there.info()

    def remove(self, c, told):
        """told: those who wait for its messages hear of it."""
        c.stop(told)
        del c.stream.consumers[c.name]

    def consumer(self, tokens):
        s = self.stream(tokens[2])
        c = s.consumers.get(tokens[3])
        if not c:
            raise Refusal(404, 10014, "consumer not found")
        return c

    def consumer_info(self, tokens, asked):
        return self.consumer(tokens).info()

    def consumer_names(self, tokens, asked):
        return page(asked, NAMES_LIMIT, "consumers", sorted(self.stream(tokens[2]).consumers))

    def consumer_list(self, tokens, asked):
        s = self.stream(tokens[2])
        return page(asked, LIST_LIMIT, "consumers", [c.info() for _, c in sorted(s.consumers.items())])

    def consumer_delete(self, tokens, asked):
        self.remove(self.consumer(tokens), told=True)
        return {"success": True}

    def pull(self, c, reply, headers, data, answer):
        if reply:
            c.pull(reply, data)

    # ------------------------------------------------------------ what happens to it

    def restart(self):
        """As a server's end and start leave it: requests that waited are gone, and what lay in memory."""
        for s in list(self.streams.values()):
            if s.config["storage"] == "memory":
                del self.streams[s.name]
            for c in list(s.consumers.values()):
                c.waiting.clear()
                if c.config.get("mem_storage") or s.config["storage"] == "memory":
                    self.remove(c, told=False)

    def ephemerals(self):
        return [c for s in self.streams.values() for c in s.consumers.values() if not c.durable]


def read(data, fields):
    """The JSON of a request; nothing is an object without members. fields: that may be there; None: any."""
    try:
        asked = json.loads(data) if data.strip() else {}
    except ValueError as e:
        raise Refusal(400, 10025, f"invalid JSON: {e}") from e
    if not isinstance(asked, dict):
        raise Refusal(400, 10025, "invalid JSON: an object is expected")
    for field in asked:
        if fields is not None and field not in fields:
            raise Refusal(400, 10025, f'invalid JSON: json: unknown field "{field}"')
    return asked


def page(asked, limit, name, rows):
    offset = asked.get("offset", 0)
    return {"total": len(rows), "offset": offset, "limit": limit, name: rows[offset:offset + limit]}


def as_direct(s, m):
    fields = [("Nats-Stream", s.name), ("Nats-Subject", m.subject), ("Nats-Sequence", m.seq),
              ("Nats-Time-Stamp", timestamp(m.time))]
    return with_fields(m.headers, fields), m.data


def check_consumer_update(old, new):
    for field, words in (("deliver_policy", "deliver policy"), ("opt_start_seq", "start sequence"),
                         ("opt_start_time", "start time"), ("ack_policy", "ack policy"),
                         ("idle_heartbeat", "heart beats"), ("flow_control", "flow control"),
                         ("max_waiting", "max waiting")):
        if old.get(field) != new.get(field):
            raise Refusal(500, 10012, f"{words} can not be updated")
