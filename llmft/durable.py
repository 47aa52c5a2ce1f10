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
SCHEMA = 2
TEMPORARY = (".tmp-", ".del-", ".old-")  # what a crash may leave behind: half-written, half-deleted, replaced


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


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file by ``data``; a reader sees the old one or the new one."""
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    with writing(path):
        try:
            temporary.write_bytes(data)
            flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        flush(path.parent)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def append_text(path: Path, text: str) -> None:
    """Add ``text`` to a file; the system has it when this returns, the disk when the file is flushed."""
    with writing(path), path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)


@contextmanager
def new_folder(target: Path, *, seal: str | None) -> Iterator[Path]:
    """A temporary folder that becomes ``target`` if the block succeeds, and vanishes if it does not.

    ``seal`` puts a manifest into it, by which `fault` finds damage, and says in it whose the folder is. A folder that
    is already there is replaced. Raises RuntimeError, with the bytes that are free, where the disk does not take it.
    """
    temporary, replaced = (target.with_name(f"{mark}-{target.name}") for mark in (".tmp", ".old"))
    shutil.rmtree(temporary, ignore_errors=True)
    with writing(target):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if seal is not None:
                _seal(temporary, seal)
            _flush_all(temporary)
            if target.exists():
                os.rename(target, replaced)  # `clean` brings it back if this process dies here
            os.rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        flush(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What fails inside raises RuntimeError with the path and the bytes that are free there."""
    try:
        yield
    except Exception as error:  # libraries have their own for a full disk
        raise RuntimeError(f"{path}: cannot be written ({error}); {free(path):,} bytes are free there") from error


def free(path: Path) -> int:
    """Bytes that are free where ``path`` is or would be."""
    return shutil.disk_usage(next(one for one in (path, *path.absolute().parents) if one.exists())).free


def require_space(path: Path, size: int) -> None:
    """Raise RuntimeError, before anything is written, where ``size`` bytes do not fit."""
    if size > free(path):
        raise RuntimeError(
            f"{path}: takes {size:,} bytes, and {free(path):,} bytes are free there; make room, then continue the run"
        )


def require_writable(folder: Path) -> None:
    """Raise RuntimeError where nothing can be written into ``folder``, which is made if it is not there."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".tmp-probe"
        probe.touch()
        probe.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Delete a folder; a crash on the way leaves nothing that could be taken for it."""
    if folder.exists():
        doomed = folder.with_name(f".del-{folder.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def clean(folder: Path) -> None:
    """Delete what crashes left behind in ``folder``; bring back what was to be replaced and was not."""
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        replaced = path.with_name(path.name.removeprefix(".old-"))
        if replaced != path and not replaced.exists():
            os.rename(path, replaced)
        elif path.name.startswith(TEMPORARY):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def fault(folder: Path, owner: str | None = None) -> str | None:
    """What is wrong with a folder that `new_folder` made, naming the file; None if every byte is as it was written.

    ``owner`` is what it must have been sealed with; None for anything.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["schema"] != SCHEMA:
            return f"{folder / MANIFEST}: written by another version (schema {manifest['schema']}, not {SCHEMA})"
        if owner is not None and manifest["owner"] != owner:
            return f"{folder / MANIFEST}: of another run"
        files: dict[str, dict[str, object]] = manifest["files"]
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


def _seal(folder: Path, owner: str) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": sha256(path)} for path in paths}
    manifest = {"schema": SCHEMA, "owner": owner, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def _flush_all(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        flush(path)
