#!/usr/bin/env python3
"""Recomputes every hash of a list of stored records from the published encoding, and nothing else.

The encoding is specified in src/world/chain.rs. This program shares no code with Rampart.
"""

import hashlib
import json
import pathlib
import struct
import sys


def text(value):
    data = value.encode("utf-8")
    return struct.pack(">I", len(data)) + data


def payload_digest(content):
    salt, body = bytes.fromhex(content["salt"]), content["body"].encode("utf-8")
    return hashlib.sha256(b"rampart.journal.payload.1\0" + salt + body).digest()


def record_hash(record):
    parts = [
        b"rampart.journal.record.1\0",
        struct.pack(">I", record["format"]),
        struct.pack(">Q", record["revision"]),
        bytes.fromhex(record["epoch"]),
        bytes.fromhex(record["prevHash"]),
        struct.pack(">q", record["at"]),
        text(record["actorKind"]),
        text(record["actorId"]),
    ]
    request = record.get("idempotency")
    if request is None:
        parts.append(b"\0")
    else:
        parts += [b"\1", text(request["token"]), text(request["key"]), bytes.fromhex(request["fingerprint"])]
    parts += [text(record["writer"]), struct.pack(">I", len(record["payloads"]))]
    for payload in record["payloads"]:
        parts += [text(payload["kind"]), bytes.fromhex(payload["digest"])]
    return hashlib.sha256(b"".join(parts)).digest()


def verify(lines):
    previous, epoch, erased, declared = bytes(32), None, set(), set()
    for number, line in enumerate(lines, start=1):
        record = json.loads(line)
        assert record["format"] == 1, f"record {number}: format {record['format']}"
        assert record["revision"] == number, f"record {number}: revision {record['revision']}"
        assert bytes.fromhex(record["prevHash"]) == previous, f"record {number}: previous hash"
        kinds = [p["kind"] for p in record["payloads"] if p["kind"] not in ("actor_name", "reason")]
        assert epoch in (None, record["epoch"]) or kinds[:1] == ["epoch_started"], f"record {number}: epoch"
        assert record_hash(record).hex() == record["hash"], f"record {number}: hash"
        for place, payload in enumerate(record["payloads"]):
            content = payload.get("content")
            if content is None:
                erased.add((number, place))
                continue
            assert payload_digest(content).hex() == payload["digest"], f"record {number}: payload {place}"
            if payload["kind"] == "payload_erased":
                change = json.loads(content["body"])
                declared.add((change["revision"], change["payload"]))
        previous, epoch = bytes.fromhex(record["hash"]), record["epoch"]
    assert erased <= declared, f"erased without a word: {sorted(erased - declared)}"
    return number, previous.hex(), len(erased)


def main():
    folder = pathlib.Path(__file__).parent
    published = [folder / "records.jsonl", folder / "propagation_observed.jsonl"]
    for path in [pathlib.Path(sys.argv[1])] if len(sys.argv) > 1 else published:
        records, head, erased = verify(path.read_text(encoding="utf-8").splitlines())
        print(f"{records} records verify, {erased} payloads are erased, head {head}")


if __name__ == "__main__":
    main()
