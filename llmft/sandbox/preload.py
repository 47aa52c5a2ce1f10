"""What a server loads before it forks: what programs usually import, so that a child finds it there."""

from __future__ import annotations

import builtins
import importlib
import sys
from contextlib import suppress
from typing import Any

USUAL = """abc array ast base64 bisect calendar cmath collections collections.abc contextlib copy copyreg dataclasses datetime
decimal enum fractions functools hashlib heapq inspect io itertools json keyword locale math numbers operator pprint queue
random re reprlib secrets statistics string struct textwrap threading time timeit traceback types typing unicodedata warnings
weakref zoneinfo importlib importlib.util importlib.resources symtable _strptime encodings.ascii encodings.idna
encodings.latin_1 encodings.utf_16 encodings.utf_8_sig stringprep"""
# Where files cannot be opened afterwards, all else of the standard library that does not start processes or windows.
OTHERS = """argparse asyncio bz2 cProfile cmd code codecs colorsys concurrent.futures concurrent.futures.thread configparser
contextvars csv ctypes ctypes.util difflib dis doctest email email.message fileinput fnmatch getopt getpass gettext glob
graphlib gzip hmac html html.parser http ipaddress linecache logging lzma mmap multiprocessing netrc optparse pathlib pickle
pickletools pkgutil platform posixpath profile pstats resource rlcompleter sched select selectors shelve shlex shutil
signal socket sqlite3 ssl stat subprocess sysconfig tempfile termios tokenize trace tracemalloc tty unittest unittest.mock
urllib urllib.error urllib.parse urllib.request uuid wave xml.dom.minidom xml.etree.ElementTree xml.sax zipfile zlib zipimport
concurrent.futures.process multiprocessing.pool multiprocessing.dummy encodings.cp1252 encodings.utf_32 encodings.hex_codec
encodings.base64_codec encodings.rot_13 encodings.raw_unicode_escape encodings.unicode_escape encodings.cp437
encodings.utf_16_le encodings.utf_16_be encodings.utf_7 encodings.punycode encodings.iso8859_1 encodings.iso8859_15
encodings.gbk encodings.shift_jis encodings.big5 encodings.euc_jp encodings.euc_kr encodings.koi8_r"""


ZONES: list[Any] = []  # held, for zoneinfo to find them


def load(*, everything: bool) -> None:
    """Import the usual, or everything, and what only `site` would bring."""
    for name in (USUAL + " " + OTHERS if everything else USUAL).split():
        with suppress(ImportError):  # left out of this build of Python
            importlib.import_module(name)
    names = importlib.import_module("_sitebuiltins")
    for name in ("exit", "quit"):  # scripts call them
        setattr(builtins, name, names.Quitter(name, "end of file"))
    importlib.import_module("decimal").getcontext()
    importlib.import_module("_strptime")._strptime("2000", "%Y")  # which makes its tables when it is first used
    if everything:
        zoneinfo = sys.modules["zoneinfo"]
        for name in sorted(zoneinfo.available_timezones()):
            with suppress(Exception):
                ZONES.append(zoneinfo.ZoneInfo(name))
