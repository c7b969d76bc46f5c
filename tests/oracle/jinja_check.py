#!/usr/bin/env python3
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""jinja_check.py - is bridge's template interpreter Jinja2's?

    python3 jinja_check.py [--bridge BIN] [--count N] [--seed S] [--write]

Needs jinja2 >= 3.1.6 alone.  First the committed table tests/data/jinja/cases.jsonl (its variables
are in vars.json), which the unit tests run: each expected text must be what jinja2 prints with the settings of transformers, each
expected error an error of jinja2.  With --write the expectations are set from jinja2.  Then, with
--bridge, the table again and N generated templates are given to both, and every difference is
printed.  A construct that bridge says it does not support is counted, not compared.
"""
import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import warnings

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

TABLE = pathlib.Path(__file__).resolve().parent.parent / "data/jinja/cases.jsonl"
TABLE_VARIABLES = json.loads((TABLE.parent / "vars.json").read_text(encoding="utf-8"))


class Generation(jinja2.ext.Extension):
    """The `generation` tag without its bookkeeping: the body, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(
            x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = refuse
    return env


warnings.simplefilter("ignore", SyntaxWarning)  # of the code that jinja2 generates
class Namespace(jinja2.utils.Namespace):
    """As transformers has it: names with an underscore are refused."""

    def __setitem__(self, name, value):
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)
        super().__setitem__(name, value)


ENV = environment()
ENV.globals["namespace"] = Namespace


def ask_jinja(template, variables):
    """The text, or None and the error."""
    try:
        text = ENV.from_string(template).render(**variables)
        text.encode()
        return text, None
    except Exception as e:  # any failure of a template is one kind of answer
        return None, f"{type(e).__name__}: {e}"


def ask_bridge(bridge, folder, template, variables):
    with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8", newline="") as f:
        f.write(template)
    row = {"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": variables}
    p = subprocess.run(
        [bridge, "chat-template", "--tokenizer", folder, "--jsonl"],
        input=(json.dumps(row) + "\n").encode(),
        capture_output=True,
        check=False,
    )
    if p.returncode < 0:
        sys.exit(f"bridge died of signal {-p.returncode} on {template!r}")
    if p.returncode:
        return None, p.returncode, p.stderr.decode()
    return json.loads(p.stdout)["text"], 0, ""


# ---- generated templates ---------------------------------------------------------------------------

VARIABLES = {
    "s": "Hello, wörld\n",
    "t": "",
    "u": "  a b  c 你好 ",
    "i": 7,
    "z": 0,
    "n": -3,
    "f": 2.5,
    "g": 1e-7,
    "b": True,
    "o": None,
    "l": [3, 1, 2],
    "e": [],
    "w": ["b", "A", "c", "B"],
    "d": {"k": "v", "items": [1], "x": {"y": [1, {"z": None}]}},
    "m": [
        {"role": "user", "content": "hi", "n": 2},
        {"role": "assistant", "content": None, "n": 1},
        {"role": "tool", "n": 3},
    ],
}
# What makes a value of each type: T is text, N a number, L a list, D a dict, B a bool, A anything.
# Upper-case letters stand for operands of that type.
RULES = {
    "T": [
        "s", "t", "u", "w[0]", "d.k", "m[0].role", "''", "'a'", "'\\n'", '"it\'s"', "'<b>&'", "'x,y,,z'",
        "'你好 Ä'", "'aXbXc'", "T + T", "A ~ A", "T ~ T", "T * 2", "'%s|%d' % (T, 3)", "'%s|' % T", "T|upper",
        "T|lower", "T|trim", "A|string", "A|tojson", "D|tojson(indent=2)", "A|tojson(ensure_ascii=true)",
        "D|tojson(separators=(',', ':'))", "D|tojson(sort_keys=true)", "L|join", "L|join(T)", "A|default(T, true)",
        "missing|default(T)", "T|title", "T|capitalize", "T|replace(T, T)", "T|indent", "T|indent(2, true)",
        "T|safe", "T|escape", "T|trim(T)", "T|reverse", "'%s-%s'|format(T, N)", "T.upper()", "T.lower()",
        "T.strip()", "T.strip(T)", "T.lstrip('\\n ')", "T.rstrip()", "T.replace(T, T)", "T.replace('', '-')",
        "T.replace('X', 'yy', 1)", "T.title()", "T.capitalize()", "T.join(w)", "T.removeprefix('a')",
        "T.removesuffix('c')", "T[1:]", "T[:-1]", "T[::-1]", "T[::2]", "T[-2:]", "T[3:1:-1]", "T if B else T",
        "T.split('X')[0]", "T.split(',')[-1]", "T or T", "T and T", "T|first", "T|last", "T[0]", "T[-1]",
        "w|sort|join('-')", "w|map('upper')|join('-')", "m|map(attribute='role')|join(', ')", "T[N|int:]", "i|string ~ s|upper", "'a' ~ 1 + 2", "s ~ t if b else u",
    ],
    "N": [
        "i", "z", "n", "f", "g", "0", "1", "2", "10", "1.5", "1e3", "N + N", "N - N", "N * N", "N / N", "N // N",
        "N % N", "i ** 2", "-N", "+N", "T|length", "L|length", "D|count", "T|int", "T|float", "N|int", "N|float",
        "N|abs", "N|round", "N|round(1)", "N|round(1, 'floor')", "N|round(0, 'ceil')", "l|sum",
        "m|sum(attribute='n')", "l|min", "l|max", "T.find(T)", "T.rfind('X')", "T.count('a')", "l.index(1)",
        "l.count(1)", "N if B else N", "'12'|int", "' 1_0 '|int", "'x'|int(5)", "l[0]", "m[-1].n", "l|first", "i + n * 2 ** 2", "-i|abs", "2 ** 3 ** 2", "7 - 2 - 1", "-7 // 2", "-7 % 3", "i + 1 ~ 2",
    ],
    "L": [
        "l", "e", "w", "d['items']", "[]", "[A, A]", "[T]", "(1, 2)", "(A,)", "range(3)|list", "range(4, 0, -2)|list",
        "L[::-1]", "L[1:]", "L[:-1]", "l + [N]", "l * 2", "T|list", "D|list", "D|items|list", "D|dictsort", "L|reverse|list",
        "l|sort", "w|sort", "w|sort(reverse=true)", "w|sort(case_sensitive=true)", "m|sort(attribute='n')|list", "w|unique|list",
        "L|select|list", "L|reject('none')|list", "L|select('string')|list", "L|map('string')|list",
        "m|map(attribute='role')|list", "m|map(attribute='content', default='q')|list", "m|selectattr('n')|list",
        "m|selectattr('role', 'equalto', 'user')|list", "m|rejectattr('content')|list", "m|selectattr('content', 'defined')|list",
        "L|batch(2)|list", "T.split()", "T.split(',')", "T.split('X', 1)", "T.rsplit('X', 1)", "T.rsplit(None, 1)",
        "T.split(None, 1)", "T.splitlines()", "T.splitlines(true)", "D.items()", "D.keys()", "D.values()",
        "D.items()|list", "D.keys()|list", "L if B else L", "d.x.y", "l.copy()",
    ],
    "D": ["d", "m[0]", "d.x", "{}", "{'p': A, 'q': A}", "{T: N}", "dict(a=N)", "dict(d, k=A)", "D if B else D"],
    "B": [
        "b", "true", "false", "not A", "N == N", "A == A", "A != A", "N < N", "N <= N", "T < T", "N > N", "T >= T",
        "1 < N <= 7", "T in T", "N in L", "T in D", "A not in L", "T not in T", "B and B", "B or B", "A is defined",
        "A is not none", "A is string", "A is number", "A is integer", "A is float", "A is boolean", "A is mapping",
        "A is iterable", "A is sequence", "A is true", "A is not false", "i is even", "n is odd", "i is divisibleby 2",
        "N is eq N", "T is in T", "T is lower", "T is upper", "A is callable", "N is lt 3", "N is ge(2)", "A is sameas none",
        "T is escaped", "T.startswith(T)", "T.endswith(('a', '\\n'))", "T.isdigit()", "T.isspace()", "missing is undefined",
        "d.nope is defined", "l[5] is defined", "D.get(T) is none", "not b and t", "not i == 7 or b", "1 in l and 2 in l", "i > 3 == true",
        "not i in l", "b or t and o", "i is number and s is string", "not o is none",
    ],
    "A": [
        "T", "T", "N", "N", "L", "D", "B", "o", "missing", "d.nope", "l[9]", "m[1].content", "D.get('k')", "D.get('no', A)",
        "A or A", "A and A", "A if B", "A if B else A", "d['x']['y'][1].z", "A|default(A)", "v", "y", "m[N|int]", "d.x.y.1.z",
    ],
}
LOOP = {"T": ["loop.index ~ ''"], "N": ["loop.index", "loop.revindex0"], "B": ["loop.last", "loop.first", "loop.changed(x)"],
        "A": ["x", "x", "loop.previtem", "loop.nextitem", "loop.cycle(1, 2)"]}


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.loops = 0

    def expr(self, kind, depth):
        """An expression of a type; now and then of another, so that errors are compared, too."""
        if self.r.random() < 0.01:
            kind = "A"
        rules = RULES[kind] + (LOOP.get(kind, []) if self.loops else [])
        if depth <= 0:
            rules = [x for x in rules if not any(self.is_operand(w) for w in self.words(x))] or ["1"]
        return "".join(
            self.operand(w, depth) if self.is_operand(w) else w for w in self.words(self.r.choice(rules))
        )

    def operand(self, kind, depth):
        return f"({self.expr(kind, depth - 1)})"

    @staticmethod
    def words(rule):
        return re.split(r"\b([TNLDBA])\b(?![^']*'(?:[^']*'[^']*')*[^']*$)", rule)

    @staticmethod
    def is_operand(word):
        return word in RULES

    def tag(self, body):
        r = self.r
        return "{%" + r.choice(["", "", "-", "+"]) + f" {body} " + r.choice(["", "", "-", "+"]) + "%}"

    def space(self):
        return self.r.choice(["", "", " ", "\n", "\n  ", "  \n", "text", "\n\n", "\t", " x ", "\r\n"])

    def body(self, depth):
        return "".join(self.space() + self.statement(depth) for _ in range(self.r.randint(1, 3))) + self.space()

    def loop(self, depth):
        r = self.r
        over = r.choice(["l", "w", "m", "d", "range(2)", "s", "e", "d.items()", "m[::-1]", self.operand("L", 2)])
        cond = f" if {self.operand('B', 2)}" if r.random() < 0.2 else ""
        other = self.tag("else") + self.body(depth - 1) if r.random() < 0.3 else ""
        self.loops += 1
        body = self.body(depth - 1)
        if r.random() < 0.15:
            jump = self.tag(r.choice(["break", "continue"]))
            body += self.tag(f"if {self.operand('B', 1)}") + jump + self.tag("endif") + self.space()
        self.loops -= 1
        return self.tag(f"for x in {over}{cond}") + body + other + self.tag("endfor")

    def statement(self, depth):
        r = self.r
        kind = r.random()
        if depth <= 0 or kind < 0.4:
            return "{{" + r.choice(["", "-"]) + " " + self.expr(r.choice("TTNLDBA"), 3) + " " + r.choice(["", "-"]) + "}}"
        if kind < 0.55:
            other = self.tag("else") + self.body(depth - 1) if r.random() < 0.5 else ""
            return self.tag(f"if {self.operand('B', 2)}") + self.body(depth - 1) + other + self.tag("endif")
        if kind < 0.72:
            return self.loop(depth)
        if kind < 0.85:
            # Jinja2 finds the scope of a name when it compiles, bridge when it runs.  Where a loop or
            # macro reads a variable of the caller and its name is set behind that, they differ.
            name, of = r.choice([("v", "A"), ("x", "A"), ("y", "N"), ("y", "T")])
            return self.tag(f"set {name} = {self.expr(of, 2)}") + "{{ " + name + " }}"
        if kind < 0.88:
            return self.tag("set v") + self.body(depth - 1) + self.tag("endset") + "[{{ v }}]"
        if kind < 0.90:
            return self.tag("filter upper") + self.body(depth - 1) + self.tag("endfilter")
        if kind < 0.91:
            return self.tag("with v = " + self.operand("A", 1)) + self.body(depth - 1) + self.tag("endwith")
        if kind < 0.92:
            return self.tag("generation") + self.body(depth - 1) + self.tag("endgeneration")
        if kind < 0.95:
            return (self.tag("macro q(p, x='dx')") + self.body(depth - 1) + self.tag("endmacro")
                    + "{{ q(" + self.expr("A", 1) + ") }}{{ q(x=1) }}")
        if kind < 0.97:
            return (self.tag("set ns = namespace(c=0)") + self.tag("for x in l") + self.tag("set ns.c = ns.c + x")
                    + self.tag("endfor") + "{{ ns.c }}")
        return "{#" + r.choice(["", "-"]) + " {{ no }} " + r.choice(["", "-"]) + "#}"


# ---- the two parts -----------------------------------------------------------------------------------


def check_table(write):
    cases, wrong = [], 0
    for number, line in enumerate(TABLE.read_text(encoding="utf-8").split("\n"), 1):
        if not line:
            continue
        case = json.loads(line)
        text, error = ask_jinja(case["template"], TABLE_VARIABLES)
        if write:
            case.pop("text", None)
            case.pop("error", None)
            case.update({"error": True} if error else {"text": text})
        elif case.get("text") != text or bool(case.get("error")) != bool(error):
            wrong += 1
            print(f"{TABLE.name}:{number}: {case['template']!r}: jinja2 has {text!r} {error or ''}")
        cases.append(case)
    if write:
        TABLE.write_text("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in cases), encoding="utf-8")
    print(f"table: {len(cases)} cases, {sum(bool(c.get('error')) for c in cases)} of them errors, {wrong} wrong")
    return cases, wrong


def compare(bridge, cases):
    counts = {"equal": 0, "both refuse": 0, "unsupported": 0, "differ": 0}
    with tempfile.TemporaryDirectory() as folder:
        for template, variables in cases:
            want, error = ask_jinja(template, variables)
            got, status, message = ask_bridge(bridge, folder, template, variables)
            if status == 12:
                outcome = "unsupported"
            elif error and status:
                outcome = "both refuse"
            elif not error and want == got:
                outcome = "equal"
            else:
                outcome = "differ"
                print(f"DIFFER {template!r}\n  jinja2 {want!r} {error or ''}\n  bridge {got!r} {message}")
            counts[outcome] += 1
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    return counts["differ"]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bridge")
    p.add_argument("--count", type=int, default=3000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--write", action="store_true")
    a = p.parse_args()
    cases, wrong = check_table(a.write)
    if a.bridge:
        wrong += compare(a.bridge, [(c["template"], TABLE_VARIABLES) for c in cases])
        templates = [Maker(a.seed * 1000003 + k) for k in range(a.count)]
        wrong += compare(a.bridge, [(m.body(3), VARIABLES) for m in templates])
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
