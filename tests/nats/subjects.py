"""subjects.py - NATS subjects: tokens between dots, * for one token, > for one or more at the end"""


def is_subject(text, wildcards=True):
    """Whether text is a subject: no empty token, no blank, > only at the end."""
    tokens = text.split(".")
    if any(c in text for c in " \t\r\n") or "" in tokens or ">" in tokens[:-1]:
        return False
    return wildcards or not has_wildcard(text)


def has_wildcard(text):
    return any(token in ("*", ">") for token in text.split("."))


def matches(pattern, subject):
    """Whether a subject, or another pattern, lies wholly within the pattern."""
    if pattern == subject:
        return True
    pattern, subject = pattern.split("."), subject.split(".")
    for i, token in enumerate(pattern):
        if token == ">":
            return i < len(subject)
        if i >= len(subject) or subject[i] == ">" or (token != "*" and token != subject[i]):
            return False
    return len(pattern) == len(subject)


def overlap(a, b):
    """Whether there is a subject that both patterns match."""
    a, b = a.split("."), b.split(".")
    for x, y in zip(a, b):
        if ">" in (x, y):
            return True
        if x != y and "*" not in (x, y):
            return False
    return len(a) == len(b)


class Routes:
    """Subscriptions by subject. Each has the attribute `subject`."""

    def __init__(self):
        self.literal, self.wild = {}, []

    def add(self, sub):
        if has_wildcard(sub.subject):
            self.wild.append(sub)
        else:
            self.literal.setdefault(sub.subject, []).append(sub)

    def remove(self, sub):
        if has_wildcard(sub.subject):
            self.wild.remove(sub)
            return
        subs = self.literal[sub.subject]
        subs.remove(sub)
        if not subs:
            del self.literal[sub.subject]

    def match(self, subject):
        return self.literal.get(subject, []) + [s for s in self.wild if matches(s.subject, subject)]
