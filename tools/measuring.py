"""What tools/bench and tools/bench_server share: running programs, saying what happens on standard error, and
the report, in Markdown.
"""
import os
import re
import shutil
import subprocess
import sys
import time

CC = os.environ.get("CC") or "cc"
BUSY = 10                   # per cent of the CPUs that others may take


class Failed(Exception):
    pass


# ---------------------------------------------------------------- running

began = time.monotonic()
missing, failed = [], []    # what could not be had, and what went wrong: for the report


def say(text):
    seconds = int(time.monotonic() - began)
    print(f"[{seconds // 60:2}:{seconds % 60:02}] {text}", file=sys.stderr, flush=True)


def lacks(text):
    say(text)
    missing.append(text)


def broke(text):
    say(text)
    failed.append(text)


def output(*command, timeout=600, **more):
    """What a program prints; Failed with its last words."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL, timeout=timeout, **more)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Failed(f"{command[0]}: {e}")
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().split("\n")[-3:]
        raise Failed(f"{os.path.basename(command[0])}: {' / '.join(words)}")
    return done.stdout + done.stderr


def first_line(*command):
    """Of what it prints; "": it cannot be run."""
    try:
        return output(*command).strip().split("\n")[0]
    except Failed:
        return ""


def have(program):
    return shutil.which(program) is not None


cpus = sorted(os.sched_getaffinity(0))
pinned = have("taskset") and len(cpus) > 1


def pin(cpu):
    return ["taskset", "-c", str(cpu)] if pinned else []


# ---------------------------------------------------------------- what is written

lines = []                  # of Markdown


def write(*text):
    lines.extend(text)


def markdown(head, rows):
    return ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1),
            *("| " + " | ".join(row) + " |" for row in rows), ""]


def chapter(title, text, head=(), rows=()):
    write(f"## {title}", "", text, "", *(markdown(head, rows) if head else ()))


def problems():
    """Of the report: what could not be had, and what went wrong."""
    head = []
    for title, texts in (("Missing:", missing), ("Failed:", failed)):
        head += [title, "", *(f"- {x}" for x in texts), ""] if texts else []
    return head


# ---------------------------------------------------------------- the machine

def commit(*paths):
    """Of this tree; says whether these paths have changes."""
    name = first_line("git", "rev-parse", "--short", "HEAD") or "unknown"
    return name + (" with changes" if first_line("git", "status", "--porcelain", *paths) else "")


def machine():
    with open("/proc/cpuinfo") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    try:
        with open("/etc/os-release") as f:
            system = re.search(r'PRETTY_NAME="?([^"\n]*)', f.read())[1]
    except (OSError, TypeError):
        system = os.uname().sysname
    linux = os.uname().release.split("-")[0]
    return f"{model[1] if model else os.uname().machine}, {os.cpu_count()} CPUs, {system}, Linux {linux}"


def busy_percent():
    """How much of all CPUs others take, while this waits a second."""
    def jiffies():
        with open("/proc/stat") as f:
            numbers = [int(x) for x in f.readline().split()[1:]]
        return sum(numbers), numbers[3] + numbers[4]     # idle, and idle with I/O under way

    all_, idle = jiffies()
    time.sleep(1)
    all_after, idle_after = jiffies()
    return 100 * (1 - (idle_after - idle) / max(1, all_after - all_))
