"""What is printed of scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmft.reward.score.scoring import Timed
from llmft.reward.score.summary import PERCENTILES, Agreement, columns, percentile, spread, verdict
from llmft.types import Rollout, Score

if TYPE_CHECKING:
    from rich.table import Table

LONGEST = 300  # characters of a response that are shown
TOLD = 5  # responses whose score differs from the file's


def parts_table(scores: Sequence[Score], weights: Mapping[str, float]) -> Table:
    """The reward and its parts, a line each."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)  # ten columns in 80 characters
    table.add_column("part", overflow="fold")
    for name in ("weight", "scored", "mean", "sd", "min", "25 %", "median", "75 %", "max"):
        table.add_column(name, justify="right", no_wrap=True)
    rewards = [score.value for score in scores if score.value is not None]
    for name, values in {"reward": rewards, **columns(scores)}.items():
        weight = f"{weights[name]:g}" if name in weights else ""
        found = spread(values)
        told = ["0", *["-"] * 7] if found is None else [str(found.count), *(f"{one:.3g}" for one in found[1:])]
        table.add_row(name, weight, *told, style="bold" if name == "reward" else "")
    return table


def verdicts(scores: Sequence[Score]) -> Iterator[str]:
    """How many responses are right, and on how many the machinery failed, by reason."""
    counts = Counter(verdict(score) for score in scores)
    judged = counts["right"] + counts["wrong"]
    if judged:
        yield f"right: {counts['right']} of {judged} that were judged ({counts['right'] / judged:.1%})"
    if counts["no verdict"]:
        yield f"no verdict: {counts['no verdict']}, the reward does not say what is right"
    yield f"failed: {counts['failed']} of {len(scores)}"
    reasons = Counter(score.reason for score in scores if score.value is None)
    for reason, count in reasons.most_common():
        yield f"  {count} x {reason}"


def ended(programs: Mapping[str, int]) -> Iterator[str]:
    """How programs ended in the sandbox."""
    if programs:
        most = sorted(programs.items(), key=lambda one: -one[1])
        listed = ", ".join(f"{count} {status}" for status, count in most)
        yield f"programs that ran in the sandbox, equal ones of a batch once: {sum(programs.values())} ({listed})"


def facts(found: Mapping[str, Any]) -> Iterator[str]:
    """What the reward says of how it scores here."""
    for name, said in found.items():
        yield f"{name}: {', '.join(f'{key} {value}' for key, value in said.items())}"


def speed(timed: Timed) -> Iterator[str]:
    """How long scoring takes."""
    yield f"the first response: {timed.start_s:.2f} s, with what had to be started"
    if timed.latencies:
        told = [f"{share} % {milliseconds(percentile(timed.latencies, share))}" for share in PERCENTILES]
        told.append(f"max {milliseconds(max(timed.latencies))}")
        yield f"latency of {len(timed.latencies)} that were scored one by one, in ms: {', '.join(told)}"
    if timed.batched:
        yield f"speed: {timed.per_second:,.0f} responses per second, of {timed.batched} in batches"
    elif timed.latencies:
        yield f"speed: {timed.per_second:,.0f} responses per second, one by one"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g}"


def agreeing(found: Agreement, scores: Sequence[Score], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How the scores compare with the file's own; ``rows`` have both."""
    if not found.differing:
        yield f"the file's own rewards: all {found.compared} are the same"
        return
    became = "".join(f", {count} {change}" for change, count in found.became.items())
    yield (
        f"the file's own rewards: {len(found.differing)} of {found.compared} differ, by {found.mean_difference:.4g} on "
        f"average over all and at most {found.largest_difference:.4g}{became}"
    )
    for place in found.differing[:TOLD]:
        was = rows[place]["recorded"]
        yield f"  {rows[place]['where']}: {_told(was['reward'], was['parts'])} -> {_scored(scores[place])}"
    if (more := len(found.differing) - TOLD) > 0:
        yield f"  and {more} more"


def ranked(scores: Sequence[Score], count: int) -> tuple[list[int], list[int]]:
    """The places of the best, best first, and of the worst, worst first; no response is in both."""
    order = sorted(
        (place for place, score in enumerate(scores) if score.value is not None),
        key=lambda place: -(scores[place].value or 0.0),
    )
    worst = order[count:][-count:] if count else []
    return order[:count], worst[::-1]


def response(rollout: Rollout, score: Score, where: str) -> Any:
    """One response, shortened, with its score by part."""
    from rich.text import Text

    head = Text.assemble((where, "bold"), f"  {rollout.task.id}  ", (_scored(score), "cyan"))
    if rollout.task.answer is not None:
        head.append(f"  answer={rollout.task.answer!r}"[:60], "dim")
    return Text("\n").join([head, Text(shortened(rollout.text), "dim" if not rollout.text else "")])


def shortened(text: str) -> str:
    """The beginning and the end of a text, indented; what is left out is counted."""
    if not text.strip():
        return "    (nothing)"
    if (more := len(text) - LONGEST) > 0:
        text = f"{text[: LONGEST // 2]} … {more} more characters … {text[-LONGEST // 2 :]}"
    return "\n".join("    " + line for line in text.splitlines())


def _scored(score: Score) -> str:
    if score.value is None:
        return f"failed: {score.failure}"
    return _told(score.value, score.parts)


def _told(value: float | None, parts: Mapping[str, float]) -> str:
    told = ", ".join(f"{name} {one:.4g}" for name, one in parts.items())
    return ("failed" if value is None else f"{value:.4g}") + (f" ({told})" if told else "")
