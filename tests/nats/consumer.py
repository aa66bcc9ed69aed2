"""consumer.py - one consumer of a stream: what it hands out, to whom, and what became of it

Owns   the place in the stream (`next`), what waits for an ack (`pending`), what is due again (`again`), and
       the pull requests that wait (`waiting`).
Holds  ack_floor is the pair below which all is acked; a sequence in `again` is in `pending`.
Moves  pump() hands out whatever may go. Call it after each change: a message, an ack, a request, a
       subscription.

It sends through `post(to, subject, reply, headers, data)`; `interest(subject)` says whether somebody listens.
Times are those of the event loop, in seconds; what is told to clients is in nanoseconds since 1970."""
import asyncio
import json
import re
import time
from collections import deque

from stream import SECOND, Refusal, time_of, timestamp, with_fields
from subjects import is_subject, matches

KNOWN = {
    "durable_name", "name", "description", "deliver_policy", "opt_start_seq", "opt_start_time", "ack_policy",
    "ack_wait", "max_deliver", "backoff", "filter_subject", "filter_subjects", "replay_policy", "rate_limit_bps",
    "sample_freq", "max_waiting", "max_ack_pending", "headers_only", "max_batch", "max_expires", "max_bytes",
    "deliver_subject", "deliver_group", "flow_control", "idle_heartbeat", "inactive_threshold", "num_replicas",
    "mem_storage", "metadata", "direct", "pause_until", "priority_groups", "priority_policy",
}
POLICIES = ("all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject")
NO_ACKS, ALL_ACKS = "none", "all"
FLOW_BYTES = 2 << 20        # the window that flow control begins with; it doubles up to FLOW_BYTES_MAX
FLOW_BYTES_MAX = 32 << 20
UNUSED = 5 * SECOND         # an ephemeral consumer lives so long without anybody


class Pull:
    """A request for messages that waits."""

    def __init__(self, reply, batch, max_bytes, expires, no_wait, heartbeat, now):
        self.reply, self.left, self.given = reply, batch, 0
        self.bytes, self.no_wait = max_bytes, no_wait
        self.expires = now + expires / SECOND if expires else None
        self.heartbeat = heartbeat / SECOND
        self.beat_at = now + self.heartbeat if heartbeat else None

    def counts(self):
        return [("Nats-Pending-Messages", self.left), ("Nats-Pending-Bytes", self.bytes)]


class Pending:
    def __init__(self, number, since):
        self.number, self.since = number, since     # of the first delivery; of the last one


def status(code, words, fields=()):
    return with_fields(f"NATS/1.0 {code} {words}\r\n\r\n".encode(), fields)


def go_duration(text):
    """What Go's ParseDuration reads, in seconds; None if it does not."""
    units = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
    if not re.fullmatch(r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+", text):
        return None
    return sum(float(n) * units[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text))


class Consumer:
    def __init__(self, stream, config, post, interest, gone):
        self.stream, self.config = stream, config
        self.post, self.interest, self.gone = post, interest, gone
        self.loop = asyncio.get_event_loop()
        self.created = time.time_ns()
        self.filters = filters_of(config)
        self.next, self.skip = first_place(stream, config, self.filters)
        self.number = 0                     # of the last delivery
        self.floor_number, self.floor = 0, self.next - 1
        self.pending, self.counts, self.again = {}, {}, []
        self.waiting = deque()
        self.delivered_at = self.acked_at = None
        self.window, self.unconfirmed, self.flow_id, self.flow_size = FLOW_BYTES, 0, "", 0
        self.flows = 0
        self.active_at = self.beat_at = self.loop.time()
        self.timer = None
        self.deleted = False
        self.pump()

    @property
    def name(self):
        return self.config["name"]

    @property
    def push(self):
        return bool(self.config.get("deliver_subject"))

    @property
    def durable(self):
        return bool(self.config.get("durable_name"))

    def ack_wait(self, count):
        backoff = self.config.get("backoff")
        return (backoff[min(count - 1, len(backoff) - 1)] if backoff else self.config["ack_wait"]) / SECOND

    # ------------------------------------------------------------ what comes next

    def left(self):
        """How many messages have not been handed out yet."""
        if self.config["deliver_policy"] == "last_per_subject" and self.skip:
            return len(self.skip)
        return self.stream.count(self.filters, self.next)

    def most_unacked(self):
        limit = self.config.get("max_ack_pending", -1)
        return self.config["ack_policy"] != NO_ACKS and 0 < limit <= len(self.pending)

    def peek(self):
        """The next message and which delivery of it this will be, or None."""
        while self.again:
            seq = self.again[0]
            count = self.counts.get(seq, 1) + 1
            if seq in self.stream.messages and not self.spent(seq):
                return self.stream.messages[seq], count
            self.again.pop(0)
            if seq not in self.stream.messages:
                self.settle(seq)
        if self.most_unacked():
            return None
        while self.skip and self.skip[0] not in self.stream.messages:
            self.skip.pop(0)
        m = self.stream.messages[self.skip[0]] if self.skip else self.stream.next(self.filters, self.next)
        return (m, 1) if m else None

    def spent(self, seq):
        """Whether it was delivered as often as may be: then nothing waits for its ack any more."""
        most = self.config["max_deliver"]
        if most <= 0 or self.counts.get(seq, 1) < most:
            return False
        p = self.pending.pop(seq, None)
        if p:
            self.counts[seq] = most
            self.move_floor(p.number, seq)
        return True

    def consume(self, m, count):
        if count > 1:
            self.again.pop(0)
            self.counts[m.seq] = count
        elif self.skip:
            self.skip.pop(0)
        else:
            self.next = m.seq + 1

    # ------------------------------------------------------------ handing out

    def pump(self):
        if self.deleted:
            return
        while self.push_ready() if self.push else self.waiting:
            found = self.peek()
            if not found:
                break
            to = self.config["deliver_subject"] if self.push else self.next_reply(found[0])
            if not to:
                break
            self.consume(*found)
            self.hand_out(to, *found)
        if not self.push:
            self.look_at_waiting(end=not self.most_unacked())
        self.set_timer()

    def push_ready(self):
        return self.interest(self.config["deliver_subject"]) and \
            not (self.config.get("flow_control") and self.unconfirmed > self.window)

    def next_reply(self, m):
        """The inbox of the next request that can take the message."""
        size = len(m.subject) + len(self.ack_subject(m, 1)) + len(m.headers) + len(m.data)
        now = self.loop.time()
        while self.waiting:
            pull = self.waiting[0]
            if pull.expires is not None and now >= pull.expires:
                self.end_pull(pull, status(408, "Request Timeout", pull.counts()))
            elif pull.bytes and size > pull.bytes:
                self.end_pull(pull, status(409, "Message Size Exceeds MaxBytes", pull.counts()))
            elif not self.interest(pull.reply):
                self.waiting.popleft()
            else:
                self.take_from(pull, size, now)
                return pull
        return None

    def take_from(self, pull, size, now):
        if pull.bytes:
            pull.bytes -= size
            if pull.bytes == 0:
                pull.left = 1
        pull.left -= 1
        pull.given += 1
        pull.beat_at = now + pull.heartbeat if pull.heartbeat else None
        self.waiting.popleft()
        if pull.left > 0:
            self.waiting.append(pull)   # requests take turns

    def end_pull(self, pull, headers):
        self.waiting.remove(pull)
        self.post(pull.reply, pull.reply, "", headers, b"")

    def ack_subject(self, m, count):
        name = f"{self.stream.name}.{self.name}"
        return f"$JS.ACK.{name}.{count}.{m.seq}.{self.number + 1}.{m.time}.{self.left()}"

    def hand_out(self, to, m, count):
        reply, headers, data = self.ack_subject(m, count), m.headers, m.data
        now = self.loop.time()
        self.number += 1
        self.delivered_at, self.active_at, self.beat_at = time.time_ns(), now, now
        if self.config.get("headers_only"):
            headers, data = with_fields(headers, [("Nats-Msg-Size", len(data))]), b""
        if self.config["ack_policy"] == NO_ACKS:
            self.floor_number, self.floor = self.number, m.seq
        elif m.seq in self.pending:
            self.pending[m.seq].since = now
        else:
            self.pending[m.seq] = Pending(self.number, now)
        self.post(to if self.push else to.reply, m.subject, reply, headers, data)
        if self.config.get("flow_control"):
            self.count_flow(len(m.subject) + len(reply) + len(headers) + len(data))
        elif not self.push and to.left <= 0 and to.bytes > 0:
            self.post(to.reply, to.reply, "", status(409, "Batch Completed", to.counts()), b"")

    # ------------------------------------------------------------ flow control and heartbeats of pushes

    def count_flow(self, size):
        self.unconfirmed += size
        if not self.flow_id and self.unconfirmed > self.window // 2:
            self.flows += 1
            self.flow_id = f"$JS.FC.{self.stream.name}.{self.name}.{self.flows:04d}"
            self.flow_size = self.unconfirmed
            to = self.config["deliver_subject"]
            self.post(to, to, self.flow_id, status(100, "FlowControl Request"), b"")
        elif self.flow_id and self.unconfirmed - self.flow_size >= self.window:
            self.flow_size += size

    def confirm_flow(self, flow_id):
        if flow_id == self.flow_id:
            self.window = min(self.window * 2, FLOW_BYTES_MAX)
            self.unconfirmed = max(0, self.unconfirmed - self.flow_size)
            self.flow_id, self.flow_size = "", 0
            self.pump()

    def heartbeat(self, to):
        fields = [("Nats-Last-Consumer", self.number), ("Nats-Last-Stream", self.next - 1)]
        if self.flow_id:
            fields.append(("Nats-Consumer-Stalled", self.flow_id))
        self.post(to, to, "", status(100, "Idle Heartbeat", fields), b"")

    # ------------------------------------------------------------ requests of a pull consumer

    def pull(self, reply, data):
        if self.push:
            self.post(reply, reply, "", status(409, "Consumer is push based"), b"")
            return
        try:
            pull = self.read_pull(reply, data)
            self.take_pull(pull)
        except Refusal as refusal:
            self.post(reply, reply, "", status(refusal.code, refusal.text), b"")

    def read_pull(self, reply, data):
        text = data.strip().decode("utf-8", "replace")
        asked = {"batch": int(text)} if text.isdigit() else {"batch": 1}
        if text.startswith("{"):
            try:
                asked = json.loads(text)
            except ValueError as e:
                raise Refusal(400, 0, f"Bad Request - {e}") from e
        expires, beat = asked.get("expires", 0), asked.get("idle_heartbeat", 0)
        batch, size = asked.get("batch", 0), asked.get("max_bytes", 0)
        if beat and beat * 2 > expires:
            raise Refusal(400, 0, "Bad Request - heartbeat value too large")
        for name, value in (("max_batch", batch), ("max_expires", expires), ("max_bytes", size)):
            limit = self.config.get(name, 0)
            if 0 < limit < value:
                words = {"max_batch": "MaxRequestBatch", "max_expires": "MaxRequestExpires",
                         "max_bytes": "MaxRequestMaxBytes"}[name]
                told = f"{limit / SECOND:g}s" if name == "max_expires" else limit
                raise Refusal(409, 0, f"Exceeded {words} of {told}")
        return Pull(reply, batch, size, expires, asked.get("no_wait", False), beat, self.loop.time())

    def take_pull(self, pull):
        self.active_at = self.loop.time()
        if pull.no_wait:
            there = self.left() + len(self.again)
            if there == 0 and pull.expires is None:
                raise Refusal(404, 0, "No Messages")
            if 0 < there < sum(p.left for p in self.waiting):
                raise Refusal(408, 0, "Requests Pending")
        if len(self.waiting) >= self.config["max_waiting"]:
            if not pull.heartbeat:
                raise Refusal(409, 0, "Exceeded MaxWaiting")
            return
        self.waiting.append(pull)
        self.pump()

    def look_at_waiting(self, end):
        """Ends requests whose time is up, or which do not wait where there is nothing; sends heartbeats."""
        now = self.loop.time()
        for pull in list(self.waiting):
            if pull.expires is not None and now >= pull.expires:
                self.end_pull(pull, status(408, "Request Timeout", pull.counts()))
            elif end and pull.no_wait and (pull.expires is None or pull.given > 0):
                self.end_pull(pull, status(404, "No Messages"))
            elif not self.interest(pull.reply):
                self.waiting.remove(pull)
            elif pull.beat_at is not None and now >= pull.beat_at:
                self.heartbeat(pull.reply)
                pull.beat_at = now + pull.heartbeat

    # ------------------------------------------------------------ acks

    def ack(self, subject, reply, data):
        """False: the subject is no delivery of this consumer's."""
        tokens = subject.split(".")
        if len(tokens) != 9:
            return False
        seq = int(tokens[5])
        words = data.strip()
        self.active_at = self.loop.time()
        if words in (b"", b"+ACK", b"+OK") or words.startswith((b"+NXT", b"+TERM")):
            self.settle(seq)
            if words.startswith(b"+NXT"):
                self.pull(reply, words[4:])
                reply = ""
        elif words.startswith(b"-NAK"):
            self.nak(seq, words[4:].strip().decode("utf-8", "replace"))
        elif words == b"+WPI" and seq in self.pending:
            self.pending[seq].since = self.loop.time()
        if reply:
            self.post(reply, reply, "", b"", b"")
        self.pump()
        return True

    def settle(self, seq):
        """Nothing more comes of this message; with ack_policy all, of those before it neither."""
        self.acked_at = time.time_ns()
        before = [s for s in self.pending if s < seq] if self.config["ack_policy"] == ALL_ACKS else []
        for s in sorted(before) + [seq]:
            p = self.pending.pop(s, None)
            if p:
                self.counts.pop(s, None)
                if s in self.again:
                    self.again.remove(s)
                self.move_floor(p.number, s)

    def move_floor(self, number, seq):
        if not self.pending:
            self.floor_number, self.floor = self.number, self.next - 1
        elif number == self.floor_number + 1:
            first = min(self.pending)
            self.floor_number, self.floor = number, seq
            if first > seq:
                self.floor_number, self.floor = self.pending[first].number - 1, first - 1

    def nak(self, seq, argument):
        if seq not in self.pending:
            return
        delay = None
        if argument.startswith("{"):
            delay = json.loads(argument).get("delay", 0) / SECOND
        elif argument:
            delay = go_duration(argument)
        if delay is None:
            if seq not in self.again:
                self.again.append(seq)
            return
        if seq in self.again:
            self.again.remove(seq)
        self.pending[seq].since = self.loop.time() - self.ack_wait(self.counts.get(seq, 1)) + delay

    def look_at_pending(self, now):
        """What was not acked in time is due again."""
        late = [seq for seq, p in self.pending.items()
                if seq not in self.again and now >= p.since + self.ack_wait(self.counts.get(seq, 1))]
        self.again += [seq for seq in sorted(late) if not self.spent(seq)]

    # ------------------------------------------------------------ time

    def set_timer(self):
        if self.timer:
            self.timer.cancel()
        times = [p.since + self.ack_wait(self.counts.get(seq, 1))
                 for seq, p in self.pending.items() if seq not in self.again]
        for pull in self.waiting:
            times += [t for t in (pull.expires, pull.beat_at) if t is not None]
        if self.push and self.config.get("idle_heartbeat"):
            times.append(self.beat_at + self.config["idle_heartbeat"] / SECOND)
        if self.config.get("inactive_threshold"):
            times.append(max(self.active_at + self.config["inactive_threshold"] / SECOND,
                             self.loop.time() + 0.01))
        self.timer = self.loop.call_at(min(times) + 0.001, self.on_time) if times else None

    def on_time(self):
        now = self.loop.time()
        self.look_at_pending(now)
        if self.push:
            self.beat(now)
        if self.unused(now):
            self.gone(self)
            return
        self.pump()

    def beat(self, now):
        interval = self.config.get("idle_heartbeat", 0) / SECOND
        if interval and now >= self.beat_at + interval:
            self.beat_at = now
            if self.interest(self.config["deliver_subject"]):
                self.heartbeat(self.config["deliver_subject"])

    def unused(self, now):
        if not self.config.get("inactive_threshold"):
            return False
        if self.interest(self.config["deliver_subject"]) if self.push else self.waiting:
            self.active_at = now
        return now >= self.active_at + self.config["inactive_threshold"] / SECOND

    def stop(self, told):
        """The consumer ends. told: requests that wait are answered."""
        self.deleted = True
        if self.timer:
            self.timer.cancel()
        while told and self.waiting:
            self.end_pull(self.waiting[0], status(409, "Consumer Deleted"))
        self.waiting.clear()

    # ------------------------------------------------------------ what it tells

    def info(self):
        def pair(number, seq, at):
            active = {"last_active": timestamp(at)} if at else {}
            return {"consumer_seq": number, "stream_seq": seq, **active}
        info = {
            "stream_name": self.stream.name, "name": self.name, "created": timestamp(self.created),
            "config": self.config,
            "delivered": pair(self.number, self.next - 1, self.delivered_at),
            "ack_floor": pair(self.floor_number, self.floor, self.acked_at),
            "num_ack_pending": len(self.pending), "num_redelivered": len(self.counts),
            "num_waiting": len(self.waiting), "num_pending": self.left(), "ts": timestamp(time.time_ns()),
        }
        if self.push:
            info["push_bound"] = self.interest(self.config["deliver_subject"])
        return info


# ---------------------------------------------------------------- configurations

def filters_of(config):
    return config.get("filter_subjects") or [f for f in [config.get("filter_subject")] if f]


def first_place(stream, config, filters):
    """Where it begins: a sequence, and the messages to give before, of last_per_subject."""
    policy, last = config["deliver_policy"], stream.last
    if policy == "all":
        return stream.first, []
    if policy == "last":
        m = stream.last_of(filters)
        return (m.seq if m else last + 1), []
    if policy == "last_per_subject":
        skip = stream.last_of_each(filters)
        return last + 1, skip
    if policy == "by_start_sequence":
        return min(max(config["opt_start_seq"], stream.first), last + 1), []
    if policy == "by_start_time":
        return stream.at_time(time_of(config["opt_start_time"])), []
    return last + 1, []


def full_config(given):
    """A consumer's configuration with its defaults, or Refusal."""
    unknown = [k for k in given if k not in KNOWN]
    if unknown:
        raise Refusal(400, 10025, f'invalid JSON: json: unknown field "{unknown[0]}"')
    config = {k: v for k, v in given.items() if v not in (None, "", 0, [], False)}
    config.setdefault("deliver_policy", "all")
    config.setdefault("ack_policy", NO_ACKS)
    config.setdefault("replay_policy", "instant")
    config.setdefault("num_replicas", 0)
    config["max_deliver"] = config.get("max_deliver") or -1
    if config["ack_policy"] != NO_ACKS:
        config.setdefault("ack_wait", config["backoff"][0] if config.get("backoff") else 30 * SECOND)
        config.setdefault("max_ack_pending", 1000)
    if not config.get("deliver_subject"):
        config.setdefault("max_waiting", 512)
    if not config.get("durable_name"):
        config.setdefault("inactive_threshold", UNUSED)
    check(config)
    return config


def check(config):
    filters = filters_of(config)
    starts = {"by_start_sequence": "opt_start_seq", "by_start_time": "opt_start_time"}
    start = starts.get(config["deliver_policy"])
    if config["deliver_policy"] not in POLICIES:
        raise Refusal(400, 10025, f'invalid JSON: json: cannot unmarshal "{config["deliver_policy"]}"')
    if config.get("filter_subject") and config.get("filter_subjects"):
        raise Refusal(400, 10136, "consumer cannot have both FilterSubject and FilterSubjects specified")
    if not all(is_subject(f) for f in filters):
        raise Refusal(500, 10052, "invalid subject")
    if any(a is not b and matches(a, b) for a in filters for b in filters):
        raise Refusal(500, 10138, "consumer subject filters cannot overlap")
    if start and not config.get(start):
        words = start.replace("opt_", "").replace("seq", "sequence").replace("_", " ")
        policy = config["deliver_policy"].replace("_", " ")
        raise Refusal(400, 10094, f"consumer delivery policy is deliver {policy}, but optional {words} is not "
                                  "set")
    if config["deliver_policy"] == "last_per_subject" and not filters:
        raise Refusal(400, 10094, "consumer delivery policy is deliver last per subject, but optional filter "
                                  "subject is not set")
    check_mode(config)


def check_mode(config):
    if config.get("deliver_subject"):
        if 0 < config.get("idle_heartbeat", 0) < SECOND // 10:
            raise Refusal(400, 10083, "consumer idle heartbeat needs to be >= 100ms")
        if config.get("flow_control") and not config.get("idle_heartbeat"):
            raise Refusal(400, 10108, "consumer with flow control also needs heartbeats")
    elif config.get("idle_heartbeat"):
        raise Refusal(400, 10088, "consumer idle heartbeat requires a push based consumer")
    elif config.get("flow_control"):
        raise Refusal(400, 10089, "consumer flow control requires a push based consumer")
