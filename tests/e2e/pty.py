"""pty.py INPUT PROGRAM... - run a program on a terminal of its own

What it prints there goes to standard output; INPUT is typed when it has printed something, and may be
empty. The exit status is the program's.

Without arguments: whether there is a terminal to be had. Where there is none, as in a container without
devpts, it prints why, and the exit status is 3."""
import os
import sys

if len(sys.argv) == 1:
    try:
        os.openpty()
    except OSError as why:
        print("no pseudo-terminal:", why.strerror)
        sys.exit(3)
    sys.exit(0)
typed = sys.argv[1].encode()
pid, terminal = os.forkpty()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
while True:
    try:
        some = os.read(terminal, 65536)
    except OSError:  # EIO: nobody has it open any more
        break
    if not some:
        break
    os.write(1, some)
    if typed:
        os.write(terminal, typed + b"\n")
        typed = b""
status = os.waitpid(pid, 0)[1]
sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
