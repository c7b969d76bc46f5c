#!/usr/bin/env python3
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""chat_templates.py BRIDGE FIXTURES | --write - chat templates as transformers' own renderer runs them.

Every tokenizer directory below FIXTURES and tests/data that has a template: conversations with and without tools and
reasoning, generation prompts, messages to be continued, and the mask of what the assistant says.  Then every template of
tests/data/jinja/cases.jsonl and of CONSTRUCTS as a chat template.  Texts must be equal, and what transformers refuses bridge must
refuse; what bridge alone refuses must be refused as not supported, and is listed.  --write records the cases of
tests/data/chat, which tests read.
"""
import itertools
import json
import logging
import pathlib
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer
from transformers.utils.chat_template_utils import _normalize_chat_messages, render_jinja_template

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "data"
logging.getLogger("transformers").setLevel(logging.ERROR)
SPECIAL = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]

# ---- conversations -----------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "get", "description": "it's <b>", "parameters": {"type": "object", "properties": {
    "x": {"type": "number", "minimum": -0.5}}}}}
U, A, S = ({"role": r, "content": c} for r, c in (("user", "Hello <é> 你好"), ("assistant", "Hi there. \n"), ("system", "Be brief.")))
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "get", "arguments": {"x": 1.5}}}]}
THINK = {"role": "assistant", "content": "yes", "reasoning_content": "hm\nwell "}
CONVERSATIONS = [[U], [S, U], [U, A], [U, A, U], [S, U, A, U, A], [U, THINK], [U, THINK, U], [U, THINK, U, THINK], [U, CALL, {"role": "tool", "content": "12"}],
                 [U, CALL, {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}, A], [U, {"role": "assistant", "content": "  half "}],
                 [U, {"role": "assistant", "content": "x\n"}], [U, {"role": "assistant", "content": ""}], [U, {"role": "assistant", "content": None}],
                 [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two "}]}],
                 [U, {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b "}]}],
                 [U, {"role": "assistant", "content": [{"type": "image"}]}], [A], [U, U, A, A], [U, {"role": "assistant", "thinking": "t", "content": "c"}]]
MODES = [{}, {"add_generation_prompt": True}, {"enable_thinking": False, "add_generation_prompt": True}, {"continue_final_message": True},
         {"continue_final_message": "reasoning_content"}, {"continue_final_message": "thinking"}, {"tools": [TOOL]},
         {"continue_final_message": True, "add_generation_prompt": True}]

# Templates with {% generation %}: the turns of the assistant, in several ways.
GENERATION = ["{% for m in messages %}{% if m.role == 'assistant' %}<A>{% generation %}{{ m.content }}<E>{% endgeneration %}\n{% else %}<U>{{ m.content }}<E>\n"
              "{% endif %}{% endfor %}",
              "{% generation %}all{% endgeneration %}{% for m in messages %}{{ m.role }} {% generation %} {{ m.content|trim }}{% endgeneration %}{% endfor %}",
              "{% for m in messages %}{{ m.role }}:{% if loop.last %}{% generation %}{% endgeneration %}{% endif %}{{ m.content }}\n{% endfor %}", "none {{ messages|length }}"]

CONSTRUCTS = [f"{{{{ {a}{b} }}}}" for a, b in itertools.product(
    ["s", "u", "'Straße ǅ ﬁ ΑΣ'", "'-042'"],
    [".upper()", ".lower()", ".title()", ".capitalize()", ".swapcase()", "|upper", "|lower", "|title", "|capitalize", ".isalnum()", ".isalpha()", ".isdigit()",
     ".isascii()", ".islower()", ".isupper()", ".istitle()", ".zfill(9)", ".ljust(9, '.')", ".rjust(9)", ".center(12, '*')", ".partition(' ')",
     ".rpartition('a')", ".find('a', 1)", ".count('a', 0, -1)", ".startswith('S', 1)"])]
CONSTRUCTS += [f"{{{{ '{{{spec}}}'.format({value}) }}}}" for spec, value in itertools.product(
    [":d", ":5", ":<7", ":>7", ":^7", ":07", ":+", ": ", ":x", ":#o", ":,", ":_", ":.3", ":.2f", ":e", ":g", ":%", "!r", "!s:>6", "!a"],
    ["i", "n", "f", "g", "b", "s", "o", "12345678", "-0.0"])]


def special_tokens(folder):
    found = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        config = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for key in SPECIAL:
            value = config.get(key)
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                found.setdefault(key, value)
    return found


def template_of(folder):
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    path = folder / "tokenizer_config.json"
    template = json.loads(path.read_text(encoding="utf-8")).get("chat_template") if path.exists() else None
    return template if isinstance(template, str) else None


def transformers_text(template, special, row, mask=False):
    """The text and the spans; or None and why not, as apply_chat_template."""
    options = {k: v for k, v in row.items() if k not in ("messages", "tools", "chat_template_kwargs")}
    try:
        if row.get("continue_final_message") and row.get("add_generation_prompt"):
            raise ValueError("they exclude each other")
        texts, spans = render_jinja_template([_normalize_chat_messages(row["messages"])], tools=row.get("tools"), chat_template=template,
                                             return_assistant_tokens_mask=mask, **{**special, **row.get("chat_template_kwargs", {}), **options})
        texts[0].encode()
        return texts[0], spans[0] if mask else None
    except Exception as e:  # any failure is one kind of answer
        return None, f"{type(e).__name__}: {e}"


def bridge(program, folder, row, *options):
    run = subprocess.run([program, "chat-template", "--tokenizer", str(folder), "--jsonl", *options], input=(json.dumps(row) + "\n").encode(),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if run.returncode < 0:
        sys.exit(f"bridge died of signal {-run.returncode} on {row!r}")
    return (None, run.returncode, run.stderr.decode()) if run.returncode else (json.loads(run.stdout), 0, "")


class Judge:
    def __init__(self, program):
        self.program = program
        self.counts = {"equal": 0, "both refuse": 0, "unsupported": 0, "differ": 0}

    def compare(self, what, want, why, got, status, message):
        outcome = ("unsupported" if status == 12 and want is not None else "both refuse" if want is None and status else
                   "equal" if want is not None and got == want else "differ")
        self.counts[outcome] += 1
        if outcome in ("differ", "unsupported"):
            print(f"{outcome}: {what}\n  transformers {want!r} {why or ''}\n  bridge       {got!r} {message}")

    def text(self, what, folder, template, special, row):
        want, why = transformers_text(template, special, row)
        got, status, message = bridge(self.program, folder, row)
        self.compare(f"{what} {json.dumps(row)[:300]}", want, why, got and got["text"], status, message)

    def mask(self, what, folder, template, special, row):
        want, spans = transformers_text(template, special, row, True)
        if want is not None:
            encoding = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(want, add_special_tokens=False)
            want = [encoding.ids, mask_of(encoding, spans)]
        got, status, message = bridge(self.program, folder, row, "--assistant-mask")
        self.compare(f"{what} mask {json.dumps(row)[:300]}", want, "", got and [got["ids"], got["assistant_mask"]], status, message)


def mask_of(encoding, spans):
    """As apply_chat_template: every token that overlaps a span."""
    return [int(any(begin < s[1] and end > s[0] for s in spans)) for begin, end in encoding.offsets]


def directories(fixtures):
    for root in (fixtures, DATA):
        for config in sorted(root.rglob("tokenizer_config.json")):
            if template_of(config.parent):
                yield config.parent


def with_template(folder, template, name="small"):
    """A directory of that template beside a tokenizer of tests/data."""
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8", newline="")
    (folder / "tokenizer.json").write_bytes((DATA / "tokenizer" / name / "tokenizer.json").read_bytes())


def cases():
    for conversation, mode in itertools.product(CONVERSATIONS, MODES):
        yield {"messages": conversation, **mode}


def write():
    special = special_tokens(DATA / "chat")
    template = template_of(DATA / "chat")
    with open(DATA / "chat/continue.jsonl", "w", encoding="utf-8") as f:
        for row in cases():
            if "continue_final_message" in row:
                text, _ = transformers_text(template, special, row)
                f.write(json.dumps({**row, **({"text": text} if text is not None else {"error": True})}) + "\n")
    with open(DATA / "chat/mask.jsonl", "w", encoding="utf-8") as f:
        tokenizer = Tokenizer.from_file(str(DATA / "tokenizer/small/tokenizer.json"))
        for template, conversation in itertools.product(GENERATION, CONVERSATIONS[:6]):
            row = {"messages": conversation}
            text, spans = transformers_text(template, {}, row, True)
            encoding = tokenizer.encode(text, add_special_tokens=False)
            f.write(json.dumps({"template": template, **row, "text": text, "ids": encoding.ids, "assistant_mask": mask_of(encoding, spans)}) + "\n")


def main():
    if sys.argv[1] == "--write":
        return write()
    judge = Judge(sys.argv[1])
    for folder in directories(pathlib.Path(sys.argv[2])):
        template, special = template_of(folder), special_tokens(folder)
        for row in cases():
            judge.text(folder.name, folder, template, special, row)
    constructs = [json.loads(line)["template"] for line in (DATA / "jinja/cases.jsonl").read_text(encoding="utf-8").split("\n") if line] + CONSTRUCTS
    variables = json.loads((DATA / "jinja/vars.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for template in constructs:
            with_template(folder, template)
            judge.text(repr(template), folder, template, {}, {"messages": [U], "chat_template_kwargs": variables})
        for template, conversation in itertools.product(GENERATION, CONVERSATIONS):
            with_template(folder, template)
            judge.mask(repr(template), folder, template, {}, {"messages": conversation})
    print(f"{len(constructs)} constructs; " + ", ".join(f"{n} {what}" for what, n in judge.counts.items()))
    sys.exit(judge.counts["differ"] > 0)


main()
