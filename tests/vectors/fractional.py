#!/usr/bin/env python3
"""Computes tests/vectors/fractional.json from the formulas alone: no Rust, no package, no floating point.

    python3 tests/vectors/fractional.py            compares the file with what the formulas give
    python3 tests/vectors/fractional.py --write    writes the file

flagd's `fractional` in both generations, and the native percentages that use its hashes. The values under PUBLISHED are
flagd's own, so that the formulas here cannot drift from what its clients do.
"""

import json
import pathlib
import struct
import sys

FILE = pathlib.Path(__file__).with_name("fractional.json")
MASK = 0xFFFFFFFF


def murmur3(data):
    """MurmurHash3 x86 32, seed 0."""
    state = 0

    def mixed(block):
        block = (block * 0xCC9E2D51) & MASK
        block = ((block << 15) | (block >> 17)) & MASK
        return (block * 0x1B873593) & MASK

    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        state ^= mixed(int.from_bytes(data[at : at + 4], "little"))
        state = ((state << 13) | (state >> 19)) & MASK
        state = (state * 5 + 0xE6546B64) & MASK
    if whole < len(data):
        state ^= mixed(int.from_bytes(data[whole:], "little"))
    state ^= len(data) & MASK
    state = ((state ^ (state >> 16)) * 0x85EBCA6B) & MASK
    state = ((state ^ (state >> 13)) * 0xC2B2AE35) & MASK
    return state ^ (state >> 16)


def head(major, number):
    for more, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 24:
            return bytes([major << 5 | number])
        if number < 1 << (8 * size):
            return bytes([major << 5 | more]) + number.to_bytes(size, "big")
    raise ValueError(number)


def cbor(value):
    """RFC 8949, section 4.2, after whole floats became integers."""
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, float) and value.is_integer() and -(2**63) <= value <= 2**64 - 1:
        value = int(value)
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        for mark, form in ((0xF9, ">e"), (0xFA, ">f"), (0xFB, ">d")):
            try:
                packed = struct.pack(form, value)
            except OverflowError:
                continue
            if struct.unpack(form, packed)[0] == value:
                return bytes([mark]) + packed
    if isinstance(value, str):
        text = value.encode()
        return head(3, len(text)) + text
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, dict):
        entries = sorted((cbor(name), cbor(entry)) for name, entry in value.items())
        return head(5, len(entries)) + b"".join(name + entry for name, entry in entries)
    raise ValueError(value)


def bucket(hash_, total):
    return hash_ * total >> 32


def chosen(hash_, shares):
    place = bucket(hash_, sum(weight for _, weight in shares))
    end = 0
    for name, weight in shares:
        end += weight
        if place < end:
            return name
    return None


PUBLISHED = [
    # (what is hashed by, v2 hash, v3 hash)
    ("fractional-flagjack", 2682799072, 1435348822),
    ("fractional-flagqueen", 4278517551, 2128956876),
    ("fractional-flagten", 801845258, 448151196),
    ("fractional-flagnine", 1406129861, 212516069),
    ("fractional-flag3", 604371928, 3444928664),
    ("ejOoVL", 0, None),
    ("bY9fO-", 1, None),
    ("SI7p-", 2147483647, None),
    ("6LvT0", 2147483648, None),
    ("ceQdGm", 4294967295, None),
    ("jon@company.com", 1557731397, None),
    ("user1", 3305849917, 3686933882),
    ("", None, 661569231),
    (True, None, 836216331),
    (False, None, 116478471),
    (123, None, 3334029857),
    (1.23, None, 2393468550),
    (0, None, 1364076727),
    (-0.0, None, 1364076727),
    ({"z": 1, "aa": 2}, None, 3447691377),
    ({}, None, 408952885),
    (["fractional-flag-shorthand", "jon@company.com"], None, 3783143057),
    (["fractional-flag-shorthand", "jane@company.com"], None, 4250290490),
    ("fractional-flag-shorthandjon@company.com", 618039204, None),
    ("fractional-flag-shorthandjane@company.com", 2316038310, None),
]
for by, v2, v3 in PUBLISHED:
    assert v2 is None or murmur3(by.encode()) == v2, by
    assert v3 is None or murmur3(cbor(by)) == v3, by

VALUES = [
    "user-1", "jürgen@example.com", "用户-7", "🙂", "a" * 23, "a" * 24, "a" * 255, "a" * 256, "tab\t\"quote\"",
    1.0, -1, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, -24, -25, -256, -257,
    1e20, -1e20, 0.5, 1.5, 0.1, 65504.5, 100000.5, 5.960464477539063e-08, 2.9802322387695312e-08, 6.103515625e-05, 1e300, 1e-300,
    [], [1, 2.0, "x", None, [True]], {"b": {"c": [1.5]}, "aaa": None, "é": False, "z": 2.0}, {"10": 1, "9": 2, "": 3},
]
SUITS = [["clubs", 25], ["diamonds", 25], ["hearts", 25], ["spades", 25]]
SPLITS = [
    # (percentages in thousandths of a percent, default variant)
    ({"on": 5_000}, "off"),
    ({"on": 25_000, "off": 75_000}, "off"),
    ({"on": 125}, None),
    ({"blue": 10_000, "green": 20_000, "red": 0}, "white"),
    ({"a": 33_333, "b": 33_333, "c": 33_334}, None),
]


def served(hash_, percentages, default):
    """Listed variants in the order of their names, the default variant's own share and the remainder last."""
    shares = [(name, percentages[name]) for name in sorted(percentages) if name != default]
    return chosen(hash_, shares + [(default, 100_000 - sum(weight for _, weight in shares))])


def vectors():
    hashes, suits, native = [], [], []
    for by in [by for by, _, _ in PUBLISHED] + VALUES:
        v2 = murmur3(by.encode()) if isinstance(by, str) else None
        hashes.append({"by": by, "cbor": cbor(by).hex(), "v2": v2, "v3": murmur3(cbor(by))})
    for name in ["jack", "queen", "ten", "nine", "3"] + [f"user-{n}" for n in range(20)]:
        by = "fractional-flag" + name
        suits.append({"by": by, "v2": chosen(murmur3(by.encode()), SUITS), "v3": chosen(murmur3(cbor(by)), SUITS)})
    for percentages, default in SPLITS:
        for salt in (None, "s"):
            for unit in ["jon@company.com", "größe"] + [f"user-{n}" for n in range(12)]:
                text = (salt or "flag-1") + unit
                v3 = cbor(text) if salt else cbor(["flag-1", unit])
                native.append({
                    "flag": "flag-1", "salt": salt, "unit": unit, "thousandths": percentages, "default": default,
                    "murmur3": served(murmur3(text.encode()), percentages, default),
                    "murmur3_cbor": served(murmur3(v3), percentages, default),
                })
    return {
        "version": 1,
        "about": "flagd's fractional; v2 hashes a text, v3 deterministic CBOR; null where v2 has no text to hash",
        "hashes": hashes, "suits": suits, "native": native,
    }


def text():
    """One vector a line, so that a difference can be read."""
    lines = []
    for name, value in vectors().items():
        shown = lambda item: json.dumps(item, ensure_ascii=False)
        body = "[\n    " + ",\n    ".join(map(shown, value)) + "\n  ]" if isinstance(value, list) else shown(value)
        lines.append(f'  "{name}": {body}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(text(), encoding="utf-8")
    elif FILE.read_text(encoding="utf-8") != text():
        sys.exit(f"{FILE.name} is not what the formulas give")
    print(f"{FILE.name}: in order")
