"""What tools/toc and tools/check_layers know about the shape of ensign.h.

A section begins with a comment in the first column whose first word is its mark:

    // >>grpc   may call: util log mem h2           (or /* >>grpc; in the implementation half with a contract)
    // calls of any method, metadata, deadlines     (description: the mark's own line, or the next with words)
"""
import re
import sys

MARK = re.compile(r"(?://|/\*)\s*>>(\w+)\s*(.*?)\s*(?:\*/)?\s*$")
CONTRACT = re.compile(r"may call:\s*(.*)$")
HALF = re.compile(r"\s*#\s*if(?:def\s+|\s+defined\s*\(?\s*)ENSIGN_IMPLEMENTATION\b")
KEYWORDS = ("Owns", "Holds", "Moves", "Fails", "may call:")


class Section:
    def __init__(self, name, line, private):
        self.name, self.line, self.private = name, line, private
        self.may_call = None        # None: no contract
        self.what = ""
        self.end = line             # the last line of it


def read(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read().split("\n")
    except OSError as e:
        sys.exit("%s: cannot be read: %s" % (path, e.strerror))


def describe(lines, at, text):
    """The description: what the mark's line says, else the next words of the same comment."""
    if text and not text.startswith("may call:"):
        return text
    block = lines[at].startswith("/*")
    for line in lines[at + 1:at + 4]:
        if not block and not line.startswith("//"):
            break
        words = re.sub(r"\*/\s*$", "", re.sub(r"^\s*(//|\*(?!/))?", "", line)).strip()
        if words:
            return "" if words.startswith(KEYWORDS) else words
        if "*/" in line:
            break
    return ""


def sections(lines):
    half = max([i for i, line in enumerate(lines) if HALF.match(line)], default=len(lines))
    found = []
    for i, line in enumerate(lines):
        m = MARK.match(line)
        if not m:
            continue
        s = Section(m.group(1), i + 1, i > half)
        contract = CONTRACT.search(m.group(2))
        if contract:
            s.may_call = contract.group(1).split()
        s.what = describe(lines, i, CONTRACT.sub("", m.group(2)).strip() or m.group(2))
        if found:
            found[-1].end = i
        found.append(s)
    if found:
        found[-1].end = len(lines)
    return found
