"""Files and folders that are there whole or not at all, whatever moment the machine stops at.

Everything is written under a temporary name beside its target (so that the rename stays on one filesystem), flushed
to the disk, and renamed. A folder carries a manifest of its files' sizes and hashes, so that what was damaged later is
found when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "MANIFEST.json"
SCHEMA = 1
TEMPORARY = (".tmp-", ".del-")  # what a crash may leave behind: half-written, half-deleted


def sha256(path: Path) -> str:
    """The hash of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Have the disk hold a file's bytes, or a folder's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replace a file by ``text``; a reader sees the old one or the new one."""
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def new_folder(target: Path, *, sealed: bool) -> Iterator[Path]:
    """A temporary folder that becomes ``target`` if the block succeeds, and vanishes if it does not.

    ``sealed`` puts a manifest into it, by which `fault` finds damage. A folder that is already there is replaced. Raises RuntimeError, with the bytes that are free, where the disk
    does not take what is written.
    """
    temporary = target.with_name(f".tmp-{target.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if sealed:
            _seal(temporary)
        _flush_all(temporary)
        remove_folder(target)
        os.rename(temporary, target)
    except OSError as error:
        free = shutil.disk_usage(target.parent).free if target.parent.is_dir() else 0
        raise RuntimeError(f"{target}: cannot be written ({error}); {free:,} bytes are free there") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    flush(target.parent)


def remove_folder(folder: Path) -> None:
    """Delete a folder; a crash on the way leaves nothing that could be taken for it."""
    if folder.exists():
        doomed = folder.with_name(f".del-{folder.name}-{os.getpid()}")
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def clean(folder: Path) -> None:
    """Delete what crashes left behind in ``folder``."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.startswith(TEMPORARY):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def fault(folder: Path) -> str | None:
    """What is wrong with a folder that `new_folder` made, naming the file; None if every byte is as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, dict[str, object]] = manifest["files"]
        if manifest["schema"] != SCHEMA:
            return f"{folder / MANIFEST}: written by another version (schema {manifest['schema']}, not {SCHEMA})"
        present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
        if differing := present ^ set(files):
            return f"{folder / min(differing)}: the manifest and the folder do not agree on this file"
        for name, expected in files.items():
            path = folder / name
            if path.stat().st_size != expected["size"] or sha256(path) != expected["sha256"]:
                return f"{path}: not the bytes that were written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{folder / MANIFEST}: cannot be read ({error})"
    return None


def _seal(folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": sha256(path)} for path in paths}
    (folder / MANIFEST).write_text(json.dumps({"schema": SCHEMA, "files": files}, indent=2), encoding="utf-8")


def _flush_all(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        flush(path)
