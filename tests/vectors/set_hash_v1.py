"""Recomputes set-hash-v1.json from the description in subscription.proto. Needs the package `xxhash` from PyPI."""

import json
import pathlib
import struct
import sys

import xxhash

MASK = (1 << 128) - 1


def text(value):
    data = (value or "").encode()
    return struct.pack("<I", len(data)) + data


def of_object(o):
    data = struct.pack("<I", o["kind"]) + text(o.get("flagSet")) + text(o["key"])
    data += struct.pack("<Q", o["revision"]) + text(o["definition"]) + text(o.get("allocation"))
    return xxhash.xxh3_128_intdigest(data)


def of_kill(k):
    if k.get("restored"):
        return 0
    return xxhash.xxh3_128_intdigest(text(k.get("flagSet")) + text(k["key"]) + struct.pack("<Q", k["generation"]))


path = pathlib.Path(__file__).with_name("set-hash-v1.json")
for case in json.loads(path.read_text())["cases"]:
    total = sum(map(of_object, case.get("objects", []))) + sum(map(of_kill, case.get("kills", [])))
    if f"{total & MASK:032x}" != case["hash"]:
        sys.exit(f"{path.name}: {case['name']}: {total & MASK:032x} is not {case['hash']}")
print(f"{path.name}: in order")
