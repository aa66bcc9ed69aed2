"""stream.py - one JetStream stream in memory: its messages, its limits, and what a publish is answered

A Stream knows nothing of connections and of time but what it is told: `now` is in nanoseconds since 1970.
Errors are Refusal: they become the "error" of a JSON answer."""
import bisect
import random
from datetime import datetime, timezone

from subjects import has_wildcard, is_subject, matches

SECOND = 1_000_000_000
KEY_CHARS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")

STREAM_DEFAULTS = {
    "name": "", "subjects": None, "retention": "limits", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
    "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1, "discard": "old", "storage": "file",
    "num_replicas": 1, "duplicate_window": 0, "compression": "none", "allow_direct": False,
    "mirror_direct": False, "sealed": False, "deny_delete": False, "deny_purge": False,
    "allow_rollup_hdrs": False, "consumer_limits": {}, "allow_msg_ttl": False, "metadata": {},
}
STREAM_OPTIONAL = {"description", "no_ack", "placement", "first_seq", "republish", "discard_new_per_subject"}
FIXED = {"storage": "storage type", "max_consumers": "max consumers"}  # what an update leaves alone


class Refusal(Exception):
    def __init__(self, code, number, text):
        super().__init__(text)
        self.code, self.number, self.text = code, number, text

    def as_json(self):
        return {"code": self.code, "err_code": self.number, "description": self.text}


def timestamp(ns):
    """RFC 3339 as Go writes it: no zeros at the end of the fraction."""
    text = datetime.fromtimestamp(ns // SECOND, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{ns % SECOND:09d}".rstrip("0")
    return f"{text}.{fraction}Z" if fraction else text + "Z"


NO_TIME = "0001-01-01T00:00:00Z"


def time_of(text):
    """The nanoseconds of an RFC 3339 time."""
    head, _, zone = text.replace("Z", "+00:00").partition("+")
    head, _, fraction = head.partition(".")
    seconds = int(datetime.fromisoformat(f"{head}+{zone}").timestamp())
    return seconds * SECOND + int(fraction.ljust(9, "0")[:9] or 0)


def header_fields(block):
    """The fields of a header block, the first of each name; a name counts as it is written."""
    fields = {}
    for line in block.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            fields.setdefault(name.decode("latin-1"), value.strip().decode("latin-1"))
    return fields


def with_fields(block, fields):
    """The block with more fields at its end."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return (block[:-2] if block else b"NATS/1.0\r\n") + lines.encode("latin-1") + b"\r\n"


class Message:
    __slots__ = ("seq", "subject", "headers", "data", "time")

    def __init__(self, seq, subject, headers, data, time):
        self.seq, self.subject, self.headers, self.data, self.time = seq, subject, headers, data, time

    def size(self):
        """What the server counts for it: its record in memory has 16 bytes more."""
        return len(self.subject) + len(self.headers) + len(self.data) + 16


class Stream:
    """Holds  `order` has the sequences of all messages, rising; `subjects` those of each subject."""

    def __init__(self, config, now):
        self.config, self.created = config, now
        self.messages, self.order, self.subjects = {}, [], {}
        self.last = max(config.get("first_seq", 0), 1) - 1
        self.first = self.last + 1
        self.last_time = 0
        self.bytes = 0
        self.ids = {}  # Nats-Msg-Id: sequence and time, oldest first
        self.consumers = {}

    @property
    def name(self):
        return self.config["name"]

    # ------------------------------------------------------------ what is there

    def takes(self, subject):
        return any(matches(s, subject) for s in self.config["subjects"])

    def lists(self, filters):
        """The lists of sequences that the filters select. No filter: one list of all."""
        if not filters or any(all(matches(f, s) for s in self.config["subjects"]) for f in filters):
            return [self.order]
        named = [self.subjects[f] for f in filters if f in self.subjects]
        wild = [f for f in filters if has_wildcard(f)]
        return named + [seqs for s, seqs in self.subjects.items() if any(matches(f, s) for f in wild)]

    def next(self, filters, seq):
        """The first message at seq or behind it."""
        found = []
        for seqs in self.lists(filters):
            i = bisect.bisect_left(seqs, seq)
            found += seqs[i:i + 1]
        return self.messages[min(found)] if found else None

    def last_of(self, filters):
        found = [seqs[-1] for seqs in self.lists(filters) if seqs]
        return self.messages[max(found)] if found else None

    def last_of_each(self, filters):
        """The last sequence of each subject that is selected, rising."""
        return sorted(seqs[-1] for s, seqs in self.subjects.items() if any(matches(f, s) for f in filters))

    def count(self, filters, seq):
        return sum(len(seqs) - bisect.bisect_left(seqs, seq) for seqs in self.lists(filters))

    def at_time(self, time):
        """The sequence of the first message of that time or a later one."""
        for seq in self.order:
            if self.messages[seq].time >= time:
                return seq
        return self.last + 1

    def state(self):
        first = self.messages.get(self.first)
        return {
            "messages": len(self.messages), "bytes": self.bytes,
            "first_seq": self.first if self.messages or self.last else 0,
            "first_ts": timestamp(first.time) if first else NO_TIME,
            "last_seq": self.last, "last_ts": timestamp(self.last_time) if self.last_time else NO_TIME,
            "num_subjects": len(self.subjects), "num_deleted": self.deleted(),
            "consumer_count": len(self.consumers),
        }

    def deleted(self):
        return self.last - self.first + 1 - len(self.messages) if self.messages else 0

    # ------------------------------------------------------------ changes

    def remove(self, seq):
        m = self.messages.pop(seq)
        self.bytes -= m.size()
        del self.order[bisect.bisect_left(self.order, seq)]
        seqs = self.subjects[m.subject]
        del seqs[bisect.bisect_left(seqs, seq)]
        if not seqs:
            del self.subjects[m.subject]
        self.first = self.order[0] if self.order else self.last + 1

    def purge(self, subject, below, keep):
        seqs = sorted(seq for part in self.lists([subject] if subject else []) for seq in part)
        if below:
            seqs = [seq for seq in seqs if seq < below]
        elif keep:
            seqs = seqs[:-keep]
        for seq in seqs:
            self.remove(seq)
        if below and not subject:
            self.last = max(self.last, below - 1)
            self.first = self.order[0] if self.order else self.last + 1
        return len(seqs)

    def expire(self, now):
        age = self.config["max_age"]
        while age and self.order and self.messages[self.order[0]].time <= now - age:
            self.remove(self.order[0])

    def forget_ids(self, now):
        while self.ids:
            key, (_, time) = next(iter(self.ids.items()))
            if time > now - self.config["duplicate_window"]:
                return
            del self.ids[key]

    def store(self, subject, headers, data, now):
        """Stores what was published, or raises Refusal. Gives its sequence, and whether it was there."""
        fields = header_fields(headers) if headers else {}
        self.forget_ids(now)
        if fields.get("Nats-Expected-Stream", self.name) != self.name:
            raise Refusal(400, 10060, "expected stream does not match")
        key = fields.get("Nats-Msg-Id")
        self.check_expected(subject, fields)
        if key in self.ids:
            return self.ids[key][0], True
        self.check(subject, headers, data, fields)
        self.last += 1
        self.messages[self.last] = m = Message(self.last, subject, headers, data, now)
        self.order.append(self.last)
        self.subjects.setdefault(subject, []).append(self.last)
        self.bytes += m.size()
        self.last_time = now
        if len(self.order) == 1:
            self.first = self.last
        if key:
            self.ids[key] = self.last, now
        self.roll_up(m, fields.get("Nats-Rollup"))
        self.keep_limits(subject)
        return self.last, False

    def check_expected(self, subject, fields):
        of_subject = self.subjects.get(subject)
        wanted = fields.get("Nats-Expected-Last-Subject-Sequence")
        if wanted is not None:
            other = fields.get("Nats-Expected-Last-Subject-Sequence-Subject")
            last = self.last_of([other]) if other else None
            seen = last.seq if last else of_subject[-1] if of_subject and not other else 0
            if seen != int(wanted):
                raise Refusal(400, 10071, f"wrong last sequence: {seen}")
        wanted = fields.get("Nats-Expected-Last-Sequence")
        if wanted is not None and int(wanted) != self.last:
            raise Refusal(400, 10071, f"wrong last sequence: {self.last}")
        wanted = fields.get("Nats-Expected-Last-Msg-Id")
        last_id = next(reversed(self.ids), "")
        if wanted is not None and wanted != last_id:
            raise Refusal(400, 10070, f"wrong last msg ID: {last_id}")

    def check(self, subject, headers, data, fields):
        if 0 <= self.config["max_msg_size"] < len(headers) + len(data):
            raise Refusal(400, 10054, "message size exceeds maximum allowed")
        if "Nats-Rollup" in fields and not self.config["allow_rollup_hdrs"]:
            raise Refusal(400, 10111, "rollup not permitted")
        self.check_full(len(subject) + len(headers) + len(data) + 16)

    def check_full(self, size):
        if self.config["discard"] != "new":
            return
        if 0 <= self.config["max_msgs"] <= len(self.messages):
            raise Refusal(503, 10077, "maximum messages exceeded")
        if 0 <= self.config["max_bytes"] < self.bytes + size:
            raise Refusal(503, 10077, "maximum bytes exceeded")

    def roll_up(self, m, what):
        if what:
            for seq in [s for s in (self.subjects[m.subject] if what == "sub" else self.order) if s != m.seq]:
                self.remove(seq)

    def keep_limits(self, subject):
        config, of_subject = self.config, self.subjects[subject]
        while 0 < config["max_msgs_per_subject"] < len(of_subject):
            self.remove(of_subject[0])
        while self.order and (0 < config["max_msgs"] < len(self.order) or
                              0 < config["max_bytes"] < self.bytes):
            self.remove(self.order[0])


# ---------------------------------------------------------------- configurations

def full_config(given):
    """A stream's configuration with its defaults, or Refusal."""
    unknown = [k for k in given if k not in STREAM_DEFAULTS and k not in STREAM_OPTIONAL]
    if unknown:
        raise Refusal(400, 10025, f'invalid JSON: json: unknown field "{unknown[0]}"')
    name = given.get("name", "")
    if not name or not set(name) <= KEY_CHARS:
        raise Refusal(400, 10052, "stream name is required and can not contain '.', '*', '>'")
    config = {**STREAM_DEFAULTS, **{k: v for k, v in given.items() if v not in (None, "")}}
    config["subjects"] = list(given.get("subjects") or [name])
    for limit in ("max_consumers", "max_msgs", "max_bytes", "max_msgs_per_subject", "max_msg_size"):
        config[limit] = config[limit] or -1
    window = min(120 * SECOND, config["max_age"] or 120 * SECOND)
    config["duplicate_window"] = config["duplicate_window"] or window
    if not all(is_subject(s) for s in config["subjects"]):
        raise Refusal(500, 10052, "invalid subject")
    if 0 < config["max_age"] < config["duplicate_window"]:
        raise Refusal(500, 10052, "duplicates window can not be larger then max age")
    return config


def check_update(old, new):
    for field, words in FIXED.items():
        if old[field] != new[field]:
            raise Refusal(500, 10052, f"stream configuration update can not change {words}")


def random_name():
    return "".join(random.choice(sorted(KEY_CHARS - {"-", "_"})) for _ in range(8))
