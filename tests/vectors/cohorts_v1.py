#!/usr/bin/env python3
"""Computes tests/vectors/cohorts-v1.json from the formulas alone: no Rust, no package, no floating point.

    python3 tests/vectors/cohorts_v1.py            compares the file with what the formulas give
    python3 tests/vectors/cohorts_v1.py --write    writes the file

The file was written by this program once and is for life: an implementation that disagrees with it is wrong. The Rust
implementation is held against it by the test `cohorts`. XXH3-64 is written out here for inputs up to 240 bytes, which
is all the vectors need.
"""

import json
import pathlib
import sys
from decimal import Decimal, getcontext

FILE = pathlib.Path(__file__).with_name("cohorts-v1.json")
MASK = (1 << 64) - 1
PRIME_1, PRIME_2, PRIME_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def read(data, at, size):
    return int.from_bytes(data[at : at + size], "little")


def rotate(value, by):
    return ((value << by) | (value >> (64 - by))) & MASK


def swap(value):
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def fold(left, right):
    product = left * right
    return (product & MASK) ^ (product >> 64)


def avalanche_64(value):
    value = ((value ^ (value >> 33)) * PRIME_2) & MASK
    value = ((value ^ (value >> 29)) * PRIME_3) & MASK
    return value ^ (value >> 32)


def avalanche(value):
    value = ((value ^ (value >> 37)) * 0x165667919E3779F9) & MASK
    return value ^ (value >> 32)


def mix(data, at, secret):
    low = read(data, at, 8) ^ read(SECRET, secret, 8)
    high = read(data, at + 8, 8) ^ read(SECRET, secret + 8, 8)
    return fold(low, high)


def xxh3_64(data):
    size = len(data)
    if size == 0:
        return avalanche_64(read(SECRET, 56, 8) ^ read(SECRET, 64, 8))
    if size <= 3:
        combined = (data[0] << 16) | (data[size >> 1] << 24) | data[size - 1] | (size << 8)
        return avalanche_64(combined ^ read(SECRET, 0, 4) ^ read(SECRET, 4, 4))
    if size <= 8:
        value = (read(data, size - 4, 4) + (read(data, 0, 4) << 32)) ^ read(SECRET, 8, 8) ^ read(SECRET, 16, 8)
        value ^= rotate(value, 49) ^ rotate(value, 24)
        value = (value * 0x9FB21C651E98DF25) & MASK
        value ^= (value >> 35) + size
        value = (value * 0x9FB21C651E98DF25) & MASK
        return value ^ (value >> 28)
    if size <= 16:
        low = read(data, 0, 8) ^ read(SECRET, 24, 8) ^ read(SECRET, 32, 8)
        high = read(data, size - 8, 8) ^ read(SECRET, 40, 8) ^ read(SECRET, 48, 8)
        return avalanche((size + swap(low) + high + fold(low, high)) & MASK)
    sum_ = size * PRIME_1
    if size <= 128:
        for step in reversed(range((size - 1) // 32 + 1)):
            sum_ += mix(data, 16 * step, 32 * step)
            sum_ += mix(data, size - 16 * (step + 1), 32 * step + 16)
        return avalanche(sum_ & MASK)
    if size > 240:
        raise ValueError("written out for 240 bytes at most")
    for step in range(8):
        sum_ += mix(data, 16 * step, 16 * step)
    sum_ = avalanche(sum_ & MASK)
    for step in range(8, size // 16):
        sum_ += mix(data, 16 * step, 16 * (step - 8) + 3)
    sum_ += mix(data, size - 16, 136 - 17)
    return avalanche(sum_ & MASK)


def log2_table():
    """floor(2^32 * log2(1 + i/1024)), from logarithms of 60 digits."""
    getcontext().prec = 60
    table = []
    for step in range(1024):
        exact = (Decimal(1024 + step) / 1024).ln() / Decimal(2).ln() * 2**32
        floor = int(exact)
        assert step == 0 or Decimal("1e-30") < exact - floor < 1 - Decimal("1e-30"), "too close to call"
        table.append(floor)
    return table + [2**32]


TABLE = log2_table()


def negative_log2(hash_):
    x = ((hash_ >> 11) << 1) | 1
    exponent = x.bit_length() - 1
    mantissa = x << (63 - exponent)
    index = (mantissa >> 53) & 1023
    between = mantissa & ((1 << 53) - 1)
    log = (exponent << 32) + TABLE[index] + (((TABLE[index + 1] - TABLE[index]) * between) >> 53)
    return (54 << 32) - log


def joined(*parts):
    return b"\x1f".join(str(part).encode() for part in parts)


def bucket(salt, unit):
    return (xxh3_64(joined(salt, unit)) * 100_000) >> 64


def chosen(salt, unit, percentages, default):
    """The variant served; None for the code default."""
    shares = {name: weight for name, weight in percentages.items() if name != default}
    if len(shares) == 0:
        return default
    if len(shares) == 1:
        [(name, below)] = shares.items()
        return name if bucket(salt, unit) < below else default
    remainder = 100_000 - sum(shares.values())
    shares[default or ""] = remainder
    draws = [(negative_log2(xxh3_64(joined(salt, name, unit))), weight, name) for name, weight in shares.items() if weight]
    best = draws[0]
    for draw in draws[1:]:
        if (draw[0] * best[1], draw[2]) < (best[0] * draw[1], best[2]):
            best = draw
    return best[2] or None


SALTS = ["sliceB_documents", "checkout_button", "s", "größe/Menü", "key with spaces", "k" * 150]
UNITS = ["u", "user-1", "user-2", "42", 42, -7, 0, 2**63 - 1, -(2**63), 2**64 - 1, "jürgen@example.com", "用户-7", "🙂",
         "6f1c2b0e-5d0a-4f5b-9a54-0c8f4a8c9d11", "a longer unit " * 5]
SPLITS = [
    ({"on": 5_000}, "off"),
    ({"on": 5_000, "off": 95_000}, "off"),
    ({"on": 125}, None),
    ({"off": 50_000}, "off"),
    ({"green": 10_000, "red": 10_000}, "blue"),
    ({"green": 10_000, "red": 10_000, "blue": 1_000}, "blue"),
    ({"green": 33_333, "red": 33_333}, None),
    ({"green": 25_000, "red": 0}, "blue"),
    ({"a": 1, "b": 99_998, "ä": 1}, "b"),
    ({"a": 30_000, "b": 30_000, "c": 40_000}, "d"),
]


def vectors():
    buckets = [{"salt": salt, "unit": unit, "bucket": bucket(salt, unit)} for salt in SALTS for unit in UNITS]
    thresholds = []
    for salt in SALTS[:2]:
        for unit in UNITS[:6]:
            place = bucket(salt, unit)
            for below in (0, place, place + 1, 100_000):
                thresholds.append({"salt": salt, "unit": unit, "thousandths": below, "inside": place < below})
    weighted = []
    for number, (percentages, default) in enumerate(SPLITS):
        for unit in UNITS[:8] + [f"user-{n}" for n in range(100 * number, 100 * number + 30)]:
            salt = SALTS[number % 4]
            weighted.append({"salt": salt, "unit": unit, "thousandths": percentages, "default": default,
                             "variant": chosen(salt, unit, percentages, default)})
    hashes = [0, 1, 2047, 2048, 2**11 * 5 + 3, 2**32, 2**52, 2**53 - 1, 2**63, 2**63 + 12345, 2**64 - 2**20, 2**64 - 1]
    hashes += [xxh3_64(joined("log2", n)) for n in range(40)]
    logarithms = [{"hash": str(hash_), "negative_log2": str(negative_log2(hash_))} for hash_ in hashes]
    return {
        "version": 1,
        "about": "architecture.md section 4, Cohorts; read integers exactly, some exceed what a double holds",
        "buckets": buckets, "thresholds": thresholds, "weighted": weighted,
        "logarithms": logarithms, "log2_table": TABLE,
    }


def text():
    """One vector a line, so that a difference can be read."""
    lines = []
    for name, value in vectors().items():
        shown = lambda item: json.dumps(item, ensure_ascii=False)
        if name == "log2_table":
            rows = [", ".join(map(str, value[at : at + 8])) for at in range(0, len(value), 8)]
            body = "[\n    " + ",\n    ".join(rows) + "\n  ]"
        elif isinstance(value, list):
            body = "[\n    " + ",\n    ".join(map(shown, value)) + "\n  ]"
        else:
            body = shown(value)
        lines.append(f'  "{name}": {body}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(text(), encoding="utf-8")
    elif FILE.read_text(encoding="utf-8") != text():
        sys.exit(f"{FILE.name} is not what the formulas give")
    print(f"{FILE.name}: in order")
