"""Make a file of traces: ``python -m llmft.guidance.collect --endpoint URL --model NAME --out FILE [overrides]``.

Composes the config of ``train.py`` with the same overrides, asks the endpoint (DeepSeek-R1, or whatever speaks the
OpenAI protocol) for the tasks of a split, and keeps what the config's reward accepts. With ``--own`` the config's own
model is sampled in place of an endpoint. Each answer is written as it comes: a command that was stopped, however it
was, goes on from there when it is run again. The key is read from the environment and written nowhere.

The file is for ``dataset.trace_file=FILE``, and is a dataset too: ``dataset=rows dataset.path=FILE
dataset.prompt_column=prompt dataset.trace_column=trace``.
"""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from llmft.config import ConfigError, Fault, build, check, compose
from llmft.config.faults import FAILED, FINISHED, REFUSED
from llmft.endpoint.asker import Asker
from llmft.endpoint.reply import Reply, Usage, excerpt
from llmft.guidance.collect.asking import CODES, Ended, Question, Stop, ask_all
from llmft.guidance.collect.collected import ACCEPTED, VERDICTS, Collected, Row, Totals, short_hash
from llmft.guidance.collect.judge import Judge
from llmft.guidance.collect.options import endpoint_of, own_faults, parser, prices
from llmft.guidance.collect.own import own_rollouts, samples
from llmft.protocols import Drawn, Tokens
from llmft.seeds import Seeds
from llmft.types import Message, Rollout, Task

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class Parts(NamedTuple):
    """What the config gives: everything but weights."""

    tasks: Sequence[Task]
    source: Any  # of the policy
    tokens: Tokens
    judge: Judge


def parts(cfg: Any, options: Namespace) -> Parts:
    """Read data, tokenizer and reward. Raises ConfigError with what does not fit."""
    check(cfg)
    if "trace_file" in cfg.dataset:
        cfg.dataset.trace_file = None  # it may well be the file that is to be made
    source = build(cfg.model)
    try:
        if faults := source.faults():
            raise ConfigError(faults)
        tokens = source.tokens()
    except OSError as error:
        why = str(error).splitlines()[0]
        raise ConfigError([Fault("model.path", cfg.model.get("path"), why, "its tokenizer is needed")]) from None
    try:
        reward, tasks = build(cfg.reward), getattr(build(cfg.dataset).load(), options.split)[: options.tasks]
    except (ValueError, OSError) as error:
        raise ConfigError([str(error)]) from None
    if not tasks:
        raise ConfigError([Fault("--split", options.split, "it has no tasks", "name another")])
    if faults := reward.faults(tasks):
        raise ConfigError(faults)
    judge = Judge(tokens=tokens, reward=reward, min_reward=options.min_reward, prices=prices(options))
    return Parts(tasks, source, tokens, judge)


class Lacking(NamedTuple):
    place: int  # in the split
    task: Task
    missing: list[int]  # samples that are yet to be made


class Collection:
    """One run of the command: what is asked for, of whom, and the file that it goes to."""

    def __init__(self, made: Parts, file: Collected, source: str, asked: str, progress: Progress) -> None:
        self.made, self.file, self.source, self.asked = made, file, source, asked
        self.progress, self.bar = progress, progress.add_task("", total=None)
        self.done = Totals()  # by this run of the command
        self.lengths: list[int] = []  # of what was accepted, in the config's tokens

    def open(self, samples: int) -> list[Lacking]:
        """The tasks that lack some of ``samples`` answers."""
        lacking = [
            Lacking(
                place, task, [one for one in range(samples) if not self.file.has(task, self.source, one, self.asked)]
            )
            for place, task in enumerate(self.made.tasks)
        ]
        self.progress.update(self.bar, total=sum(len(one.missing) for one in lacking))
        return [one for one in lacking if one.missing]

    def take(self, row: Row) -> bool:
        """Write an answer down; was the reward able to say anything about it?"""
        try:
            self.file.add(row)
        except OSError as error:
            raise Stop(f"{self.file.out} cannot be written: {error.strerror}") from None
        self.done.add(row)
        if row["accepted"]:
            self.lengths.append(row["length"])
        self.progress.advance(self.bar)
        self.tell("")
        return row["reward"] is not None

    def tell(self, trouble: str) -> None:
        """Say beside the bar how it goes, and what is being asked again for."""
        accepted, answers = self.done.verdicts[ACCEPTED], self.done.verdicts.total()
        share = f"{accepted / answers:.0%} accepted " if answers else ""
        self.progress.update(self.bar, description=share + (f"trying again: {excerpt(trouble, 60)}" if trouble else ""))

    def told(self, sample: int) -> dict[str, Any]:
        return {"source": self.source, "sample": sample, "asked": self.asked}


def ask_endpoint(collection: Collection, asker: Asker, options: Namespace) -> Ended:
    judge, source = collection.made.judge, collection.source
    lacking = [(task, sample) for _, task, missing in collection.open(options.samples) for sample in missing]
    lacking.sort(key=lambda one: one[1])  # an answer to every task comes before a second to any

    def take(question: Question, reply: Reply) -> bool:
        rollout = judge.response(question.task, reply.text, source=source)
        told = collection.told(question.sample)
        return collection.take(judge.row(rollout, reply.text, cut=reply.cut, usage=reply.usage, told=told))

    questions = (Question(task, sample, _as_put(task, options.system)) for task, sample in lacking)
    return ask_all(asker, questions, take, has_answered=collection.file.knows(source))


def sample_own(collection: Collection, options: Namespace, cfg: Any) -> Ended:
    made, unanswered = collection.made, list[str]()
    lacking = collection.open(options.samples)
    with _interruptible() as came:
        try:
            for (_, _, missing), group in zip(lacking, _own_groups(lacking, made, options, cfg), strict=True):
                for sample in missing:
                    rollout = group[sample]
                    usage = Usage(len(rollout.prompt_ids), len(rollout.token_ids))
                    told, cut = collection.told(sample), rollout.finish == "length"
                    if not collection.take(made.judge.row(rollout, rollout.text, cut=cut, usage=usage, told=told)):
                        unanswered.append(f"task {rollout.task.id!r}: the reward failed on its answer")
        except KeyboardInterrupt:
            return Ended("interrupted", came[0], unanswered)
        except Stop as stop:
            return Ended(str(stop), 0, unanswered)
    return Ended("", 0, unanswered)


def collect(console: Console, cfg: Any, options: Namespace) -> int:
    """Make the file, and say what became of it. Returns the exit code; raises ConfigError for what cannot be."""
    asker = None if options.own else Asker(endpoint_of(options))
    if asker is None:
        if faults := own_faults(options):
            raise ConfigError(faults)
        source = options.model or str(cfg.model.get("path", "own"))
        how = {"seed": cfg.seed, **{name: cfg.rollout[name] for name in cfg.rollout}}
    else:
        source, how = asker.endpoint.model, {**asker.endpoint.fields, "system": options.system}
    made = parts(cfg, options)
    with Collected(options.out, keep_all=options.keep_all) as file:
        for note in file.notes:
            _say(note)
        with _progress(console) as progress:
            collection = Collection(made, file, source, short_hash(how), progress)
            if asker:
                asker.again = collection.tell
            ended = ask_endpoint(collection, asker, options) if asker else sample_own(collection, options, cfg)
        for one in report(collection, asker, cfg.rollout.max_new_tokens):
            console.print(one, markup=False, soft_wrap=True)
        return exit_code(ended, file)


def report(collection: Collection, asker: Asker | None, room: int) -> Iterator[str]:
    """What was done, and what is there now."""
    done, file = collection.done, collection.file
    if asker:  # with what was paid for answers of no use
        done.prompt_tokens = sum(usage.prompt_tokens or 0 for usage in asker.paid)
        done.answer_tokens = sum(usage.answer_tokens or 0 for usage in asker.paid)
        done.cost = sum(collection.made.judge.cost(usage) or 0.0 for usage in asker.paid)
    priced = collection.made.judge.prices is not None
    yield f"asked now:  {line(done, priced=priced)}"
    yield f"in the file: {line(file.totals, priced=priced)}"
    if done.uncounted:
        yield f"{done.uncounted} answers came without token counts, so the counts are too low"
    if long := sum(length > room for length in collection.lengths):
        yield f"{long} accepted answers have more than the {room} tokens of rollout.max_new_tokens: a run would cut them"


def line(totals: Totals, *, priced: bool) -> str:
    """Totals as a line: ``8 answers: 6 accepted (75 %), 1 rejected, 1 cut; 80 + 152 tokens, cost 0.0012``."""
    answers = totals.verdicts.total()
    share = f" ({totals.verdicts['accepted'] / answers:.0%})" if answers else ""
    verdicts = ", ".join(
        f"{totals.verdicts[name]} {name}" for name in VERDICTS if totals.verdicts[name] or name == ACCEPTED
    )
    tokens = f"{totals.prompt_tokens:,} + {totals.answer_tokens:,} tokens"
    return f"{answers} answers: {verdicts}{share}; {tokens}" + (f", cost {totals.cost:.4f}" if priced else "")


def exit_code(ended: Ended, file: Collected) -> int:
    """0 where every question has an answer and one was accepted; else it is said what is amiss."""
    for one in ended.unanswered[:5]:
        _say(one)
    if (more := len(ended.unanswered) - 5) > 0:
        _say(f"and {more} more")
    if ended.why or ended.unanswered:
        why = ended.why or f"{len(ended.unanswered)} questions were not answered"
        kept = (
            f"What was collected is kept in {file.out}; run" if file.totals.verdicts else "Nothing was collected; run"
        )
        _say(f"{why}\n{kept} the same command again to go on.")
        return ended.code or FAILED
    if not file.totals.verdicts[ACCEPTED]:
        _say(f"The reward accepted no answer; look at why in {file.out if file.keep_all else file.rejected}.")
        return FAILED
    return FINISHED


def main() -> int:
    from rich.console import Console

    options = parser(__doc__).parse_intermixed_args()
    try:
        return collect(Console(highlight=False), compose(options.overrides), options)
    except ConfigError as error:
        _say(str(error))
        return REFUSED


def _own_groups(lacking: Sequence[Lacking], made: Parts, options: Namespace, cfg: Any) -> Iterable[list[Rollout]]:
    if not lacking:
        return ()
    drawn = [Drawn(place, task) for place, task, _ in lacking]
    return samples(
        own_rollouts(cfg, made.source, made.tokens), drawn, options.samples, Seeds(cfg.seed).child("collect")
    )


def _as_put(task: Task, system: str | None) -> list[Message]:
    """What the endpoint reads: the task's messages, with ``system`` in place of its own system prompt."""
    if system is None:
        return list(task.messages)
    turns = [turn for turn in task.messages if turn["role"] != "system"]
    return [{"role": "system", "content": system}, *turns] if system else turns


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    said = TextColumn("{task.description}", markup=False)
    return Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), said, console=console)


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """While this holds, Ctrl-C and SIGTERM raise KeyboardInterrupt; the exit codes that they ask for."""
    came: list[int] = []

    def stop(number: int, frame: object) -> None:
        came.append(CODES[signal.Signals(number)])
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in CODES}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
