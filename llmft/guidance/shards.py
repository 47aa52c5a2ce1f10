"""Where trajectories lie: one long sequence of tokens, most of it in files that never change.

    000000-3f9a….safetensors    tokens, their log-probs, and the records of the steps that they were stored in
    000001-77c0….safetensors
    newest.safetensors          what has not filled a shard yet, and the names of the shards before it

A shard is written whole or not at all, and its name has the beginning of its SHA-256. A checkpoint names the shards
with their hashes and holds the rest, the tail, which is never longer than a shard and a step: its size does not grow
with the pool's. Of a shard only the trajectory that is asked for is read. A run that goes on from an older checkpoint
knows nothing of later shards, and makes the same ones again, bit for bit. ``newest`` is for another run to begin with.

Of several processes the first writes, and all read: the folder must be on storage that they share.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from llmft import durable
from llmft.distributed import gather, rank
from llmft.guidance.pool import Outcome, Record, outcomes_of
from llmft.protocols import State
from llmft.types import Finish

FULL = 2**19  # tokens after which a tail becomes a shard: 4 MiB
NEWEST = "newest.safetensors"
SCHEMA = 1


class Stored(NamedTuple):
    """A trajectory as it was written."""

    token_ids: tuple[int, ...]
    logps: tuple[float, ...]  # float32
    finish: Finish


class Shards:
    """The records of all steps, and access to each trajectory by its number.

    Args:
        full: tokens of a shard, at least.
    """

    def __init__(self, full: int = FULL) -> None:
        self.full = full
        self.folder: Path | None = None  # without one nothing becomes a shard
        self._clear()

    def _clear(self) -> None:
        self.names: tuple[tuple[str, str], ...] = ()  # of the shards, each with its SHA-256
        self.tail: tuple[Record, ...] = ()
        self._ends = array("q", [0])  # where in the sequence each trajectory ends; the first begins at 0
        self._finish: list[Finish] = []
        self._first: list[int] = []  # where each shard begins, then where each record of the tail does
        self._places: list[tuple[int, int]] = []  # bytes of each shard's file before its tokens, and its log-probs

    def append(self, record: Record) -> None:
        """Take a step's trajectories; seal a shard once there are enough. Called by all processes with the same."""
        self._index(record)
        self._first.append(self._ends[-1] - len(record["tokens"]))
        self.tail = (*self.tail, record)
        if self.folder is not None and sum(len(one["tokens"]) for one in self.tail) >= self.full:
            self._seal(self.folder)

    def read(self, number: int) -> Stored:
        """The trajectory of this number, from 0 in the order of storing."""
        begin, end = self._ends[number], self._ends[number + 1]
        place = bisect_right(self._first, begin) - 1  # the last that begins there: those before it are empty
        begin, end = begin - self._first[place], end - self._first[place]
        if place < len(self.names):
            path = self._path(self.names[place][0])
            kinds = zip(("<i4", "<f4"), self._places[place], strict=True)
            tokens, logps = (np.fromfile(path, kind, end - begin, offset=base + 4 * begin) for kind, base in kinds)
        else:
            record = self.tail[place - len(self.names)]
            tokens, logps = record["tokens"][begin:end], record["logps"][begin:end]
        return Stored(tuple(tokens.tolist()), tuple(logps.tolist()), self._finish[number])

    @property
    def is_empty(self) -> bool:
        """Was nothing ever appended?"""
        return not self.names and not self.tail

    def length(self, number: int) -> int:
        """Tokens of a trajectory."""
        return self._ends[number + 1] - self._ends[number]

    # ------------------------------------------------------------------ a checkpoint, and a file for other runs

    def state_dict(self) -> State:
        """The names of the shards, and the tail. Nothing in it is ever changed."""
        return {"shards": [list(one) for one in self.names], "tail": list(self.tail)}

    def are(self, state: State) -> bool:
        """Is this what was taken from here as ``state``, with nothing appended since?"""
        tail = state["tail"]
        same = len(tail) == len(self.tail) and all(one is other for one, other in zip(tail, self.tail, strict=True))
        return same and [tuple(one) for one in state["shards"]] == list(self.names)

    def load_state_dict(self, state: State) -> Iterator[tuple[int, list[Outcome]]]:
        """Go to where ``state`` was taken. Yields the step and outcomes of each record from the first.

        Raises RuntimeError, naming the file, where a shard is missing or not as it was written.
        """
        self._clear()
        for name, digest in state["shards"]:
            self._first.append(self._ends[-1])
            self.names = (*self.names, (name, digest))
            for record in self._shard(name, digest):
                yield record["step"], self._index(record)
        for record in state["tail"]:
            self._first.append(self._ends[-1])
            self.tail = (*self.tail, record)
            yield record["step"], self._index(record)

    def keep_newest(self, header: Mapping[str, Any]) -> None:
        """Write ``newest.safetensors``, by which another run can begin with this pool."""
        if self.folder is None or rank() != 0:
            return
        told = {"schema": SCHEMA, "shards": self.names, "header": header}
        durable.write_bytes(self.folder / NEWEST, _file_of(self.tail, told))

    @staticmethod
    def newest_of(folder: Path) -> tuple[dict[str, Any], State]:
        """The header and state that `keep_newest` wrote. Raises ValueError if there are none, or others."""
        from safetensors.torch import load

        try:
            data = (folder / NEWEST).read_bytes()
            told, _ = _told(data)
            if told["schema"] != SCHEMA:
                raise ValueError(f"of schema {told['schema']}, and this version reads {SCHEMA}")
            return told["header"], {"shards": told["shards"], "tail": list(_parts(told["records"], load(data)))}
        except Exception as error:  # the library has its own for a file that is not its kind
            raise ValueError(f"{folder / NEWEST}: cannot be read ({error})") from error

    # ------------------------------------------------------------------ inside

    def _index(self, record: Record) -> list[Outcome]:
        outcomes = list(outcomes_of(record["outcomes"]))
        for row in (row for outcome in outcomes for row in outcome.rows):
            self._ends.append(self._ends[-1] + row.length)
            self._finish.append(row.finish)
        return outcomes

    def _seal(self, folder: Path) -> None:
        data = _file_of(self.tail, {"schema": SCHEMA})
        digest = hashlib.sha256(data).hexdigest()
        name = f"{len(self.names):06d}-{digest[:16]}.safetensors"
        if rank() == 0:
            durable.write_bytes(folder / name, data)
        gather([None])  # all wait until it is there
        self._first = self._first[: len(self.names) + 1]  # it begins where the tail did
        self._places.append(_told(data)[1])
        self.names, self.tail = (*self.names, (name, digest)), ()

    def _path(self, name: str) -> Path:
        assert self.folder is not None, "shards are read from a folder"
        path = self.folder / name
        if not path.is_file():
            raise RuntimeError(
                f"{path}: not there, and the pool of replayed trajectories lies in it; bring it back, or start a new "
                "run. Several processes need a run folder that all of them see"
            )
        return path

    def _shard(self, name: str, digest: str) -> list[Record]:
        """The records of a shard that is read for the first time, without tokens."""
        path = self._path(name)
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise RuntimeError(
                f"{path}: not the bytes that were written, and replayed trajectories lie in it; "
                "bring the file back, or start a new run"
            )
        told, places = _told(data)
        self._places.append(places)
        return told["records"]


def _told(data: bytes) -> tuple[dict[str, Any], tuple[int, int]]:
    """What a file says besides its tensors, and where in it tokens and log-probs begin."""
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    tokens, logps = (begin + header[name]["data_offsets"][0] for name in ("tokens", "logps"))
    return json.loads(header["__metadata__"]["told"]), (tokens, logps)


def _file_of(records: tuple[Record, ...], told: Mapping[str, Any]) -> bytes:
    from safetensors.torch import save

    listed = [{"step": one["step"], "outcomes": one["outcomes"]} for one in records]
    whole = {
        "tokens": torch.cat([torch.empty(0, dtype=torch.int32), *(one["tokens"] for one in records)]),
        "logps": torch.cat([torch.empty(0, dtype=torch.float32), *(one["logps"] for one in records)]),
    }
    # One entry of metadata, since several would be written in no particular order.
    return save(whole, {"told": json.dumps({**told, "records": listed}, separators=(",", ":"))})


def _parts(records: list[Any], whole: Mapping[str, Tensor]) -> Iterator[Record]:
    """The records of a file with their own tensors."""
    begin = 0
    for one in records:
        size = sum(row.length for outcome in outcomes_of(one["outcomes"]) for row in outcome.rows)
        here = slice(begin, begin + size)
        yield Record(**one, tokens=whole["tokens"][here].clone(), logps=whole["logps"][here].clone())
        begin += size
