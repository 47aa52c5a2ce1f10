"""What a config asks of the profiler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

if TYPE_CHECKING:
    from llmft.trainer.run import RunFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """A few steps are measured, from the first of this process on."""

    warm_up: Annotated[int, Ge(0)]  # steps that nothing is measured in
    traced: Annotated[int, Ge(0)]  # steps under torch's profiler; the trace grows with each
    timed: Annotated[int, Ge(1)]  # steps by the clock
    rows: Annotated[int, Ge(1)]  # operators that are listed
    trace_mb: Annotated[float, Ge(0)]  # a trace file that is larger is deleted again

    def open(self, run: RunFolder) -> Any:
        """The callback that measures ``run``."""
        from llmft.trainer.profiler import Measure

        return Measure(self, run)
