"""Where the checkout is, and how a relative path in a config is found."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the checkout: conf/ and the lab's bases lie beside the package


def find(path: str | Path) -> Path:
    """The file or folder that ``path`` names: absolute, else from the working directory, else from the checkout.

    A path that exists nowhere comes back unchanged, for the caller to report.
    """
    path = Path(path).expanduser()
    if path.is_absolute() or path.exists() or not (ROOT / path).exists():
        return path
    return ROOT / path
