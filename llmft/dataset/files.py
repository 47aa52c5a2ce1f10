"""Rows as they stand in files: JSONL with line numbers, Parquet, or a hub's dataset.

A row that cannot be read is kept as a `Bad` in its place, so that who reads the rows can stop or count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmft.config import find

SPLITS = ("train", "heldout", "test")
SUFFIXES = (".jsonl", ".json", ".parquet", ".jsonl.gz")


@dataclass(frozen=True, slots=True)
class Row:
    """A row and where it stands: ``train.jsonl:17``."""

    number: int  # from 1
    where: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be used, and why."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of one split."""

    split: str
    name: str  # the file, or the hub's name of it
    rows: list[Row | Bad]
    sha256: str

    def columns(self) -> list[str]:
        """Every column that some row has, in the order met."""
        return list(dict.fromkeys(name for row in self.rows if isinstance(row, Row) for name in row.values))


def read(path: str, name: str | None) -> list[Source]:
    """The splits under ``path``: a folder of ``train.jsonl`` (or Parquet) and its like, one file, or a hub name.

    Raises ValueError where there is nothing, or nothing in it.
    """
    place = find(path)
    if place.is_dir():
        return [_read_file(file, split, file.name) for split, file in _split_files(place, path)]
    if place.is_file():
        return [_read_file(place, "train", place.name)]
    if path.startswith((".", "/", "~")) or path.count("/") > 1 or place.name.endswith(SUFFIXES):
        raise ValueError(f"dataset.path={path}: there is no such file or folder{_nearest(place)}")
    return list(_read_hub(path, name))


def _split_files(folder: Path, path: str) -> list[tuple[str, Path]]:
    found = [
        (split, folder / f"{split}{suffix}")
        for split in SPLITS
        for suffix in SUFFIXES
        if (folder / f"{split}{suffix}").is_file()
    ]
    if "train" not in [split for split, _ in found]:
        there = ", ".join(sorted(file.name for file in folder.iterdir())[:10]) or "nothing"
        raise ValueError(
            f"dataset.path={path}: the folder has no train.jsonl, train.json or train.parquet, it holds {there}; "
            "rename a file, or name one file alone"
        )
    for split in SPLITS:
        if len(files := [file.name for name, file in found if name == split]) > 1:
            raise ValueError(f"dataset.path={path}: {' and '.join(files)} are both its {split} split; keep one")
    return found


def _read_file(file: Path, split: str, name: str) -> Source:
    content = _content(file)
    if not content.strip():
        raise ValueError(f"dataset.path: {file} is empty; give a file with one JSON object per line, or Parquet")
    if file.suffix == ".parquet":
        rows = _parquet_rows(file, name)
    elif file.suffix == ".json" and content.lstrip().startswith(b"["):
        rows = _array_rows(content, file, name)
    else:
        rows = [_line(line, number, name) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    if not rows:
        raise ValueError(f"dataset.path: {file} has no rows")
    return Source(split, str(file), rows, hashlib.sha256(content).hexdigest())


def _content(file: Path) -> bytes:
    if file.suffix != ".gz":
        return file.read_bytes()
    import gzip
    import zlib

    try:
        return gzip.decompress(file.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"dataset.path: {file} is not gzip, or broken off ({error})") from None


def _line(line: bytes, number: int, name: str) -> Row | Bad:
    return _row(lambda: json.loads(line), number, f"{name}:{number}")


def _row(load: Any, number: int, where: str) -> Row | Bad:
    try:
        values = load()
    except UnicodeDecodeError as error:
        return Bad(where, f"not UTF-8 text ({error.reason})")
    except (ValueError, RecursionError) as error:
        return Bad(where, f"not JSON ({error})")
    if not isinstance(values, dict):
        return Bad(where, f"a JSON {type(values).__name__}, not an object with columns")
    return Row(number, where, values)


def _array_rows(content: bytes, file: Path, name: str) -> list[Row | Bad]:
    try:
        values = json.loads(content)
    except ValueError as error:
        raise ValueError(f"dataset.path: {file} is not JSON ({error})") from None
    return [_row(lambda value=value: value, n, f"{name}:row {n}") for n, value in enumerate(values, 1)]


def _parquet_rows(file: Path, name: str) -> list[Row | Bad]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file).read()
    except pyarrow.ArrowException as error:
        raise ValueError(f"dataset.path: {file} is not Parquet ({str(error).splitlines()[0]})") from None
    return [Row(number, f"{name}:row {number}", values) for number, values in enumerate(table.to_pylist(), 1)]


def _read_hub(path: str, name: str | None) -> Iterator[Source]:
    import datasets

    try:
        loaded = datasets.load_dataset(path, name)
    except Exception as error:  # whatever a hub, a network or a cache says
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"dataset.path={path}: no file or folder here, and as a hub name it gave: {reason}; "
            "give a local folder with train.jsonl and test.jsonl, or a dataset that can be reached"
        ) from None
    for split, rows in loaded.items():
        split = {"validation": "heldout"}.get(str(split), str(split))
        if split in SPLITS:
            listed = list(rows)
            digest = hashlib.sha256(json.dumps(listed, sort_keys=True, default=str).encode()).hexdigest()
            found: list[Row | Bad] = [Row(n, f"{path}/{split}:{n}", dict(row)) for n, row in enumerate(listed, 1)]
            yield Source(split, f"{path}/{split}", found, digest)


def _nearest(place: Path) -> str:
    from difflib import get_close_matches

    if not place.parent.is_dir():
        return f"; {_first_missing(place)} does not exist either"
    near = get_close_matches(place.name, [entry.name for entry in place.parent.iterdir()], n=1)
    return f"; did you mean {str(place.parent / near[0])!r}?" if near else f"; look in {place.parent}"


def _first_missing(place: Path) -> Path:
    return next((parent for parent in reversed(place.parents) if not parent.exists()), place.parent)
