"""See a dataset as a model will: ``python -m llmft.dataset.preview [--tasks 3] [--split train] [overrides]``.

Composes the config of ``train.py`` with the same overrides, reads the data and the tokenizer, and no weights. Each token
is shown with its id and with 1 below it where SFT trains it; colours say who wrote it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

from llmft.chat import response_text
from llmft.config import ConfigError, build, check, compose
from llmft.types import Message, Splits, Task

if TYPE_CHECKING:
    from rich.columns import Columns
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from llmft.chat import Chat

STYLES = {
    "template": "bold magenta",
    "system": "yellow",
    "user": "cyan",
    "assistant": "blue",
    "tool": "blue",
    "response": "bold green",
    "end": "bold white on red",
}
LEGEND = {
    "template": "the chat template's own",
    "system": "the system prompt",
    "user": "the question",
    "assistant": "an earlier turn",
    "tool": "a tool's result",
    "response": "the trace, which SFT trains (1)",
    "end": "the end token, trained too",
}
VISIBLE = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}
MEASURED = 512  # tasks of each split whose lengths are taken


class Token(NamedTuple):
    id: int
    text: str
    writer: str  # a key of STYLES
    trained: bool


def prompt_tokens(tokens: Chat, task: Task) -> list[Token]:
    """The prompt's tokens, each with who wrote it."""
    ids = tokens.prompt(task.messages, task.tools)
    writers = prompt_writers(tokens, task, ids)
    return [Token(id, shown(tokens, id), writer, False) for id, writer in zip(ids, writers, strict=True)]


def response_tokens(tokens: Chat, text: str) -> list[Token]:
    """A trace's tokens with the end token."""
    ids = tokens.response(text)
    return [Token(id, shown(tokens, id), "end" if id == tokens.eos_id else "response", True) for id in ids]


def prompt_writers(tokens: Chat, task: Task, ids: Sequence[int]) -> list[str]:
    """Who wrote each token of a prompt, by where its text stands; all "user" where the tokenizer cannot say."""
    tokenizer: Any = tokens.tokenizer
    laid_out = tokenizer.apply_chat_template(
        [dict(message) for message in task.messages],
        tools=[dict(tool) for tool in task.tools] or None,
        add_generation_prompt=True,
        tokenize=False,
    )
    if not tokenizer.is_fast:
        return ["user"] * len(ids)
    found = tokenizer(laid_out, add_special_tokens=False, return_offsets_mapping=True)
    if tuple(found.input_ids) != tuple(ids):
        return ["user"] * len(ids)
    spans = list(content_spans(str(laid_out), task.messages))
    return [
        next((role for first, last, role in spans if first < end and start < last), "template")
        for start, end in found.offset_mapping
    ]


def content_spans(laid_out: str, messages: Sequence[Message]) -> Iterator[tuple[int, int, str]]:
    """Where each message's content stands in the text of a prompt."""
    at = 0
    for message in messages:
        content = str(message.get("content") or "")
        first = laid_out.find(content, at)
        if first < 0:  # a template may trim
            content = content.strip()
            first = laid_out.find(content, at)
        if content and first >= 0:
            at = first + len(content)
            role = str(message["role"])
            yield first, at, role if role in STYLES else "user"


def shown(tokens: Chat, id: int) -> str:
    """A token's text with nothing invisible in it."""
    text = str(tokens.tokenizer.decode([id], skip_special_tokens=False, clean_up_tokenization_spaces=False))
    return "".join(VISIBLE.get(char, char if char.isprintable() else f"\\x{ord(char):02x}") for char in text) or "∅"


def grid(row: Sequence[Token], width: int, limit: int) -> Iterator[Text]:
    """Lines of tokens, with their ids and then their masks below; the middle is left out beyond ``limit``."""
    from rich.text import Text

    gap = len(row) - limit
    left_out = Token(0, f"… {gap} more …", "", False)
    cells = list(row) if gap <= 0 else [*row[: limit // 2], left_out, *row[-(limit - limit // 2) :]]
    while cells:
        lines = Text(), Text(), Text()
        while cells:
            token = cells[0]
            plain = not token.writer
            below = ("", "") if plain else (str(token.id), str(int(token.trained)))
            room = max(len(token.text), len(below[0])) + 1
            if len(lines[0]) and len(lines[0]) + room > width:
                break
            styles = (STYLES.get(token.writer, "dim"), "dim", "green" if token.trained else "dim")
            for line, text, style in zip(lines, (token.text, *below), styles, strict=True):
                line.append(text, style)
                line.append(" " * (room - len(text)))
            cells.pop(0)
        yield from lines


def print_task(console: Console, tokens: Chat, task: Task, limit: int) -> None:
    """One task: what it is, then its tokens."""
    from rich.text import Text

    facts = "".join(f"  {name}={value}" for name, value in task.meta.items())
    console.rule(Text.assemble(task.id, (f"  {task.kind}  answer={task.answer!r}{facts}", "dim")), align="left")
    prompt = prompt_tokens(tokens, task)
    console.print(f"prompt, {len(prompt)} tokens", style="dim", markup=False)
    for line in grid(prompt, console.width, limit):
        console.print(line, no_wrap=True)
    if not task.traces:
        console.print("no trace: the policy writes the response", style="dim")
    for trace in task.traces:
        response = response_tokens(tokens, response_text(tokens, tuple(token.id for token in prompt), trace))
        console.print(f"response by {trace.source!r}, {len(response)} tokens, all trained", style="dim", markup=False)
        for line in grid(response, console.width, limit):
            console.print(line, no_wrap=True)


def legend() -> Columns:
    from rich.columns import Columns
    from rich.text import Text

    shades = [Text.assemble((writer, STYLES[writer]), (f" {what}", "dim")) for writer, what in LEGEND.items()]
    return Columns([*shades, Text("· a space, ⏎ a new line", "dim")], padding=(0, 3))


def lengths(tokens: Chat, splits: Splits, context: int) -> Table:
    """How long prompts and responses are, per split, in tokens."""
    from rich.table import Table

    title = f"lengths in tokens, of the first {MEASURED} tasks of a split; the model attends to {context}"
    table = Table(title=title, title_justify="left")
    for column in ("split", "tasks", "what", "min", "median", "95 %", "max", "too long"):
        table.add_column(column, justify="left" if column in ("split", "what") else "right")
    for name in ("train", "heldout", "test"):
        tasks: Sequence[Task] = getattr(splits, name)
        some = tasks[:MEASURED]
        laid_out = [tokens.prompt(task.messages, task.tools) for task in some]
        prompts = [len(ids) for ids in laid_out]
        whole = [
            (len(ids), len(tokens.response(response_text(tokens, ids, trace))))
            for task, ids in zip(some, laid_out, strict=True)
            for trace in task.traces
        ]
        table.add_row(
            name, str(len(tasks)), "prompt", *statistics(prompts), str(sum(length >= context for length in prompts))
        )
        if whole:
            beyond = sum(sum(pair) > context for pair in whole)
            table.add_row("", "", "response", *statistics([length for _, length in whole]), str(beyond))
    return table


def statistics(values: Sequence[int]) -> tuple[str, str, str, str]:
    """Smallest, median, 95th percentile and largest."""
    if not values:
        return "-", "-", "-", "-"
    high = quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
    return str(min(values)), f"{median(values):.0f}", f"{high:.0f}", str(max(values))


def preview(console: Console, cfg: Any, *, split: str, count: int, limit: int) -> None:
    """Print tasks of a split of ``cfg``'s dataset. Raises ConfigError for what cannot be shown."""
    check(cfg)
    source = build(cfg.model)
    if faults := source.faults():
        raise ConfigError(faults)
    try:
        splits: Splits = build(cfg.dataset).load()
    except ValueError as error:
        raise ConfigError([str(error)]) from None
    tokens: Chat = source.tokens()
    console.print(legend())
    for task in getattr(splits, split)[:count]:
        print_task(console, tokens, task, limit)
    console.rule()
    console.print(lengths(tokens, splits, source.context()))


def main() -> int:
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m llmft.dataset.preview", description=__doc__)
    parser.add_argument("--tasks", type=int, default=3, help="how many tasks to show")
    parser.add_argument("--tokens", type=int, default=400, help="at most so many tokens of each prompt and response")
    parser.add_argument("--split", choices=("train", "heldout", "test"), default="train")
    parser.add_argument("overrides", nargs="*", help="as for train.py: dataset=gsm8k dataset.path=FOLDER")
    args = parser.parse_intermixed_args()
    try:
        preview(
            Console(highlight=False), compose(args.overrides), split=args.split, count=args.tasks, limit=args.tokens
        )
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
