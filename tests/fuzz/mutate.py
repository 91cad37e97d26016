"""Damage to files: bytes flipped, cut out, put in and taken from others; headers that lie."""

from __future__ import annotations

import contextlib
import gzip
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random

from hypothesis import strategies as st

ODD = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 127, 128, 255, 256, 512, 4096, 32767, 32768, 65535)
ODD += (65536, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
ODD_FLOATS = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0, 1e-30, 1e38, 4096.0)
ODD_WORDS = ("", "-1", "0", "nan", "inf", "1e400", "99999999999999999999", "4294967296", "LIST")
ODD_WORDS += ("../x", "%03d", "\0", "\x1b[31m", "é", "[" * 50, "{" * 50, "null", "true", "&a *a")
ELEMENTS = ((0x28, 0x10), (0x28, 0x11), (0x28, 0x8), (0x28, 0x2), (0x28, 0x100), (0x28, 0x101))
ELEMENTS += ((0x28, 0x102), (0x28, 0x103), (0x28, 0x1052), (0x28, 0x1053), (0x20, 0x32))
ELEMENTS += ((0x20, 0x37), (0x28, 0x30), (0x18, 0x50), (0x7FE0, 0x10), (0x8, 0x8), (0x2, 0x10))
TEXT = (".csv", ".yaml", ".json", ".nhdr", ".mhd")

Operation = Callable[[bytearray, Random, bytes], None]


def mutate(content: bytes, suffix: str, random: Random, other: bytes) -> bytes:
    """Return damaged content; ``other`` is another file to take parts from."""
    if suffix == ".gz" and random.random() < 0.6:  # damage the compressed content
        with contextlib.suppress(OSError, EOFError, zlib.error):  # a seed may be damaged already
            return gzip.compress(mutate(gzip.decompress(content), "", random, other), 1)
    damaged = bytearray(content)
    operations: Sequence[Operation] = (*BINARY, *(WORDS if suffix in (*TEXT, "") else ()))
    if suffix in TEXT:
        operations = (*WORDS, *WORDS, flip)
    if suffix == ".dcm":
        operations = (*BINARY, lie_in_element, lie_in_element)
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        if damaged:
            random.choice(operations)(damaged, random, other)
    return bytes(damaged)


def place(content: bytearray, random: Random) -> int:
    """Choose a place, more often near the start, where headers are."""
    reach = min(len(content), random.choice((64, 400, 2000, len(content), len(content))))
    return random.randrange(reach)


def flip(content: bytearray, random: Random, _: bytes) -> None:
    for _ in range(random.choice((1, 1, 2, 8))):
        content[place(content, random)] ^= random.randrange(1, 256)


def truncate(content: bytearray, random: Random, _: bytes) -> None:
    del content[place(content, random) :]


def remove(content: bytearray, random: Random, _: bytes) -> None:
    at = place(content, random)
    del content[at : at + random.choice((1, 2, 4, 8, 100))]


def insert(content: bytearray, random: Random, _: bytes) -> None:
    at = place(content, random)
    content[at:at] = random.randbytes(random.choice((1, 2, 4, 8, 100)))


def splice(content: bytearray, random: Random, other: bytes) -> None:
    begin = random.randrange(len(other) or 1)
    part = other[begin : begin + random.choice((4, 16, 64, 1000))]
    at = place(content, random)
    content[at : at + len(part)] = part


def repeat(content: bytearray, random: Random, _: bytes) -> None:
    at = place(content, random)
    content[at:at] = content[at : at + random.choice((4, 16, 64, 1000))] * random.choice((1, 2, 50))


def blank(content: bytearray, random: Random, _: bytes) -> None:
    at, n = place(content, random), random.choice((1, 4, 16, 200))
    content[at : at + n] = bytes([random.choice((0, 255))]) * len(content[at : at + n])


def lie(content: bytearray, random: Random, _: bytes) -> None:
    at = place(content, random) & ~1
    order = random.choice("<>")
    if random.random() < 0.2:
        number = struct.pack(order + random.choice("fd"), random.choice(ODD_FLOATS))
    else:
        kind, bits = random.choice((("H", 16), ("I", 32), ("Q", 64)))
        number = struct.pack(order + kind, random.choice(ODD) & ((1 << bits) - 1))
    content[at : at + len(number)] = number


def lie_in_element(content: bytearray, random: Random, other: bytes) -> None:
    """Overwrite the length or the value of an element that matters."""
    group, element = random.choice(ELEMENTS)
    at = content.find(struct.pack("<HH", group, element), 132)
    if at < 0 or at + 10 > len(content):
        return lie(content, random, other)
    kind = random.choice("HHI")
    value = random.choice(ODD) & (0xFFFF if kind == "H" else 0xFFFFFFFF)
    if random.random() < 0.3:
        content[at + 8 : at + 10] = random.choice((b"-1", b"na", b"1\\", b"\0\0", b"9e", b" "))
    else:
        struct.pack_into("<" + kind, content, at + random.choice((6, 8, 8, 8)), value)
    return None


def change_word(content: bytearray, random: Random, _: bytes) -> None:
    words = list(re.finditer(rb"[^\s,:=\[\]]+", bytes(content[:4000])))
    if words:
        word = random.choice(words)
        new = random.choice((*ODD_WORDS, str(random.choice(ODD)), str(-random.choice(ODD))))
        content[word.start() : word.end()] = new.encode()


def change_line(content: bytearray, random: Random, _: bytes) -> None:
    lines = bytes(content).split(b"\n")
    i, j = random.randrange(len(lines)), random.randrange(len(lines))
    what = random.choice(("drop", "double", "swap", "indent"))
    if what == "drop":
        del lines[i]
    elif what == "double":
        lines.insert(j, lines[i])
    elif what == "swap":
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines[i] = b"  " + lines[i]
    content[:] = b"\n".join(lines)


BINARY: tuple[Operation, ...] = (flip, flip, truncate, remove, insert, splice, repeat, blank, lie)
BINARY += (lie, lie)
WORDS: tuple[Operation, ...] = (change_word, change_word, change_line)


def damaged_files(seeds: Sequence[tuple[str, bytes]]) -> st.SearchStrategy[tuple[str, bytes]]:
    """Return a Hypothesis strategy of (name of the seed, damaged content)."""

    def damage(i: int, j: int, random: Random) -> tuple[str, bytes]:
        name, content = seeds[i]
        return name, mutate(content, name[name.rindex(".") :], random, seeds[j][1])

    index = st.integers(0, len(seeds) - 1)
    return st.builds(damage, index, index, st.randoms(use_true_random=False))
