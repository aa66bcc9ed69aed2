"""What tools/toc and tools/check_layers know about the shape of ensign.h.

A section begins with a comment in the first column whose first word is its mark:

    // >>grpc   may call: util log mem h2           (or /* >>grpc; in the implementation half with a contract)
    //          open to: call query, all (ensi_meta_t)  (who else touches members of its structs, or of one)
    // calls of any method, metadata, deadlines     (description: the mark's own line, or the next with words)
"""
import re
import sys

MARK = re.compile(r"(?://|/\*)\s*>>(\w+)\s*(.*?)\s*(?:\*/)?\s*$")
CONTRACT = re.compile(r"may call:\s*(.*)$")
OPEN = re.compile(r"\s*(?://|\*)\s*open to:\s*(.*?)\s*(?:\*/)?\s*$")
OPEN_TO = re.compile(r"(\w+(?:\s+\w+)*)\s*(?:\(\s*(\w+(?:\s+\w+)*)\s*\))?$")     # names (structs)
HALF = re.compile(r"\s*#\s*if(?:def\s+|\s+defined\s*\(?\s*)ENSIGN_IMPLEMENTATION\b")
KEYWORDS = ("Owns", "Holds", "Moves", "Fails", "may call:", "open to:")


class Opening:
    """One name behind `open to:`. It opens each struct of the section, or `struct` alone."""

    def __init__(self, line, name, struct=None):
        self.line, self.name, self.struct = line, name, struct
        self.used = False

    def __str__(self):
        return "%s (%s)" % (self.name, self.struct) if self.struct else self.name


class Section:
    def __init__(self, name, line, private):
        self.name, self.line, self.private = name, line, private
        self.may_call = None        # None: no contract
        self.open_to = []           # Openings
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
    for line in lines[at + 1:at + 7]:
        if not block and not line.startswith("//"):
            break
        if OPEN.match(line) and "*/" not in line:
            continue
        words = re.sub(r"\*/\s*$", "", re.sub(r"^\s*(//|\*(?!/))?", "", line)).strip()
        if words:
            return "" if words.startswith(KEYWORDS) else words
        if "*/" in line:
            break
    return ""


def openings(lines, at):
    """What the `open to:` lines of the comment say that begins at `at`."""
    block, found = lines[at].startswith("/*"), []
    for i in range(at + 1, len(lines)):
        if not block and not lines[i].startswith("//") or "*/" in lines[i - 1]:
            break
        m = OPEN.match(lines[i])
        for group in m.group(1).split(",") if m else []:
            words = OPEN_TO.match(group.strip())
            names = words.group(1).split() if words else [group.strip()]    # which is no section: an error
            structs = (words.group(2) or "").split() if words else []
            found += [Opening(i + 1, name, struct) for name in names for struct in structs or [None]]
    return found


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
            s.open_to = openings(lines, i)
        s.what = describe(lines, i, CONTRACT.sub("", m.group(2)).strip() or m.group(2))
        if found:
            found[-1].end = i
        found.append(s)
    if found:
        found[-1].end = len(lines)
    return found
