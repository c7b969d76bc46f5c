# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""libpty.py - a program in a terminal of a given size, for the tests that need a real one: what it prints, and what a
user of that terminal sees."""
import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 120  # seconds: a limit for what hangs, not for what is slow


class Screen:
    """Just enough of a terminal: text, \\r, \\n, backspace, and the escapes that bridge and libedit send."""

    def __init__(self, columns):
        self.columns, self.lines, self.row, self.col, self.wraps = columns, [[]], 0, 0, 0
        self.longest = 0

    def put(self, c):
        if self.col >= self.columns:
            self.wraps += 1
            self.newline()
            self.col = 0
        line = self.lines[self.row]
        line.extend(" " * (self.col + 1 - len(line)))
        line[self.col] = c
        self.col += 1
        self.longest = max(self.longest, self.col)

    def newline(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def escape(self, args, kind):
        n = int(args.split(";")[0] or 1) if args.split(";")[0].isdigit() or not args else 1
        if kind == "K":
            del self.lines[self.row][self.col:]
        elif kind == "C":
            self.col += n
        elif kind == "D":
            self.col = max(self.col - n, 0)
        elif kind == "A":
            self.row = max(self.row - n, 0)
        elif kind == "J":
            del self.lines[self.row][self.col:]
            del self.lines[self.row + 1:]

    def feed(self, text):
        for m in re.finditer(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[()][A-Z0-9]|\x1b[=>78]|(.)", text, re.S):
            c = m.group(3)
            if m.group(2):
                self.escape(m.group(1), m.group(2))
            elif c == "\r":
                self.col = 0
            elif c == "\n":
                self.newline()
            elif c == "\b":
                self.col = max(self.col - 1, 0)
            elif c is not None and c >= " ":
                self.put(c)

    def text(self):
        return "\n".join("".join(line).rstrip() for line in self.lines)


class Terminal:
    def __init__(self, argv, columns, env=None):
        self.columns, self.raw = columns, ""
        self.edits = (env or {}).get("TERM") != "dumb"
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pid, fd = pty.fork()
        if pid == 0:
            # as a login has it: what a shell starts beside itself ignores Ctrl-C, and so would the program
            for ending in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
                signal.signal(ending, signal.SIG_DFL)
            os.environ.update({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(env or {})})
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            os.execvp(argv[0], argv)
        self.pid, self.fd, self.seen, self.status = pid, fd, 0, None
        self.resize(columns)

    def resize(self, columns):
        self.columns = columns
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self, wait):
        """What comes within `wait` seconds; False at the end."""
        if not select.select([self.fd], [], [], wait)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.raw += self.decoder.decode(data)
        return bool(data)

    def expect(self, pattern):
        """Wait until the pattern comes after what was expected before."""
        end = time.time() + PATIENCE
        while not (m := re.compile(pattern, re.S).search(self.raw, self.seen)):
            if time.time() > end or not self.read(1):
                m = re.compile(pattern, re.S).search(self.raw, self.seen)
                if not m:
                    self.fail(f"no {pattern!r} after {self.raw[self.seen:][-1500:]!r}")
                break
        self.seen = m.end()
        return m

    def prompt(self):
        """Wait for the prompt, and until the program reads key by key: before that, keys are the terminal's."""
        self.expect("> ")
        end = time.time() + PATIENCE
        while self.edits and termios.tcgetattr(self.fd)[3] & termios.ICANON:
            if time.time() > end:
                self.fail("the program does not edit lines")
            self.read(0.01)

    def send(self, text):
        os.write(self.fd, text.encode())

    def interrupt(self):
        self.send("\x03")

    def end(self):
        """Everything until the program ends; its exit status, or minus a signal."""
        limit = time.time() + PATIENCE
        while self.read(1):
            if time.time() > limit:
                self.fail("it does not end")
        _, status = os.waitpid(self.pid, 0)
        self.status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return self.status

    def screen(self, columns=None):
        s = Screen(columns or self.columns)
        s.feed(self.raw)
        return s

    def fail(self, why):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        sys.exit(f"FAILED: {why}")


def check(ok, what):
    if not ok:
        sys.exit(f"FAILED: {what}")
