"""A subscriber of Rampart in Python: what the native protocol asks of a client, and no more.

It follows one environment of a server over gRPC, holds an exact copy of its flags, segments and kills, proves that it
has them, and prints one line of JSON for each thing that happens:

    python subscriber.py localhost:8013 --name my-laptop

Why: it was written from proto/rampart/v1/subscription.proto and tests/vectors/set-hash-v1.json alone, so that they are
known to be enough for whoever writes a client in another language. Copy it, and start from there.

What it is not: a client library. It evaluates nothing, hence refuses no definition; it keeps nothing over a restart of
its own; it speaks no TLS; it does not poll GET /v1/kills while it has no stream, as a client for production should.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import secrets
import signal
import struct
import sys
import time

import grpc
import xxhash

# The stubs, made at the start. A program of yours makes them once: python -m grpc_tools.protoc.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "proto"))
pb, rpc = grpc.protos_and_services("rampart/v1/subscription.proto")

SILENCE_S = 45  # A sign of life comes every 18 s: two may be lost.
WAIT_S = (0.2, 30)  # Between attempts where the server asked for nothing: the first, the longest.
FAREWELL_S = 5  # How long the end of the stream is waited for after Leave.
# Where no Goodbye says when to come back, there is nothing to come back for.
FOR_GOOD = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT)


def say(event, **members):
    print(json.dumps({"event": event, **members}), flush=True)


# --- set hashes: a sum over the elements, so that their order does not matter ---


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(data)) + data


def hash_of_object(o):
    data = struct.pack("<I", o.kind) + text(o.flag_set) + text(o.key) + struct.pack("<Q", o.revision)
    return xxhash.xxh3_128_intdigest(data + text(o.definition) + text(o.allocation))


def hash_of_kill(entry):
    return xxhash.xxh3_128_intdigest(text(entry.flag_set) + text(entry.key) + struct.pack("<Q", entry.generation))


def set_hash(hashes):
    return (sum(hashes) % (1 << 128)).to_bytes(16, "big")


def flag(o):
    """What names a flag: its flag set, or None, and its key."""
    return (o.flag_set if o.HasField("flag_set") else None, o.key)


def word(enum, value):
    """An enum's value in words, without the enum's name; its number where it is of a later version."""
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return enum.Name(value).removeprefix(prefix).lower() if value in enum.values() else str(value)


# --- the two lanes ---


class Kills:
    """The kill set: parts are collected, and merged with what is held when the last is there."""

    def __init__(self):
        self.epoch, self.generation, self.complete_to, self.entries = b"", 0, 0, {}
        self.parts = []

    def set_hash(self):
        return set_hash(hash_of_kill(e) for e in self.entries.values() if not e.restored)

    def receive(self, part):
        """Takes a part; says whether the set is whole and applied."""
        if part.part == 0:
            self.parts = []
        if part.part != len(self.parts):
            self.parts = []
            return False
        self.parts.append(part)
        if len(self.parts) < part.parts:
            return False
        self.merge(part, {flag(e): e for p in self.parts for e in p.entries})
        self.parts = []
        return True

    def merge(self, head, arrived):
        if head.epoch != self.epoch:
            self.epoch, self.entries = head.epoch, {}
            self.generation = self.complete_to = 0
        newer = head.complete_to >= self.complete_to
        base, other = (arrived, self.entries) if newer else (self.entries, arrived)
        self.complete_to = max(self.complete_to, head.complete_to)
        merged = dict(base)
        for name, entry in other.items():
            # Of the other set only what is above both counts, and only where it is the last word on its flag.
            if entry.generation > self.complete_to:
                held = merged.get(name)
                if held is None or entry.generation > held.generation:
                    merged[name] = entry
        self.entries = {n: e for n, e in merged.items() if not e.restored or e.generation > self.complete_to}
        self.generation = max(self.generation, head.generation)

    def killed(self):
        return sorted(e.key for e in self.entries.values() if not e.restored)


class Objects:
    """Flags and segments: a transfer is buffered from Begin to Commit, and applied whole or not at all."""

    def __init__(self):
        self.epoch, self.revision, self.digest = b"", 0, b""
        self.held = {}  # (kind, flag set, key) to (hash, object)
        self.begin, self.buffer = None, []

    def set_hash(self):
        return set_hash(h for h, _ in self.held.values())

    def start(self, begin):
        self.begin, self.buffer = begin, []

    def chunk(self, chunk):
        if self.begin is not None:
            self.buffer.extend(chunk.objects)

    def commit(self, commit):
        """Applies the transfer. Returns why it could not be, for Resync."""
        begin, buffer, self.begin, self.buffer = self.begin, self.buffer, None, []
        if begin is None:
            return pb.RESYNC_REASON_GAP
        full = begin.mode == pb.TRANSFER_MODE_FULL
        # `from` is a word of Python's.
        if not full and (getattr(begin, "from"), begin.epoch) != (self.revision, self.epoch):
            return pb.RESYNC_REASON_GAP
        if full and not buffer and self.held and begin.reason != pb.FULL_REASON_CONFIRMED_EMPTY:
            return pb.RESYNC_REASON_SUSPICIOUS_EMPTY
        held = {} if full else dict(self.held)
        for o in buffer:
            if o.tombstone:
                held.pop((o.kind, *flag(o)), None)
            else:
                held[(o.kind, *flag(o))] = (hash_of_object(o), o)
        if len(held) != commit.object_count or set_hash(h for h, _ in held.values()) != commit.set_hash:
            return pb.RESYNC_REASON_SET_MISMATCH
        self.epoch, self.revision, self.digest, self.held = commit.epoch, commit.revision, commit.digest, held
        return None


class Subscriber:
    """One client: what it has, and what it answers."""

    def __init__(self, options):
        self.options = options
        self.instance = secrets.token_hex(16)
        self.kills, self.objects = Kills(), Objects()
        self.come_back_s = None  # As the last Goodbye asked.
        self.revoked = False

    def hello(self):
        hello = pb.Hello(instance_id=self.instance, name=self.options.name, sdk="example-python", sdk_version="1")
        hello.schema_max, hello.acks, hello.environment = 1, True, self.options.environment
        if self.objects.epoch:
            o = self.objects
            # A kill generation counts in its epoch; of another one there is nothing to say.
            known = self.kills.generation if self.kills.epoch == o.epoch else 0
            hello.resume.CopyFrom(
                pb.Resume(epoch=o.epoch, revision=o.revision, digest=o.digest, kill_generation=known)
            )
        return pb.ClientMessage(hello=hello)

    def receive(self, message):
        """What a message of the server does; the answer, if there is one."""
        began = time.perf_counter()
        kind = message.WhichOneof("message")
        if kind == "kill_set" and self.kills.receive(message.kill_set):
            k = self.kills
            say("kills", generation=k.generation, killed=k.killed(), setHash=k.set_hash().hex())
            return ack(message.nonce, pb.LANE_KILLS, k.generation, k.set_hash(), began)
        if kind == "begin":
            self.objects.start(message.begin)
        elif kind == "chunk":
            self.objects.chunk(message.chunk)
        elif kind == "commit":
            return self.commit(message, began)
        elif kind == "bookmark":
            b = message.bookmark
            say("bookmark", revision=b.revision, generation=b.kill_generation)
        elif kind == "goodbye":
            self.come_back_s = message.goodbye.reconnect_after_ms / 1000
            self.revoked = message.goodbye.reason == pb.GOODBYE_REASON_TOKEN_REVOKED
            reason = word(pb.GoodbyeReason, message.goodbye.reason)
            say("goodbye", reason=reason, reconnectAfterMs=message.goodbye.reconnect_after_ms)
        elif kind == "error":
            say("error", code=message.error.code, message=message.error.message)
        return None

    def commit(self, message, began):
        o, begin = self.objects, self.objects.begin
        keys = sorted(changed.key for changed in o.buffer)
        wrong = o.commit(message.commit)
        if wrong is not None:
            say("resync", reason=word(pb.ResyncReason, wrong))
            return pb.ClientMessage(resync=pb.Resync(reason=wrong))
        mode, reason = word(pb.TransferMode, begin.mode), word(pb.FullReason, begin.reason)
        have = {"revision": o.revision, "objects": len(o.held), "setHash": o.set_hash().hex()}
        say("commit", mode=mode, reason=reason, keys=keys, **have)
        return ack(message.nonce, pb.LANE_OBJECTS, o.revision, o.set_hash(), began)

    async def stream(self, stopped):
        """One stream, from Hello to its end."""
        token = self.options.token
        metadata = [("authorization", f"Bearer {token}")] if token else []
        one_at_a_time = asyncio.Lock()

        async def send(call, message):
            async with one_at_a_time:
                await call.write(message)

        async def follow(call):
            await send(call, self.hello())
            # Raises where the stream ends with a status that is not OK.
            while (message := await asyncio.wait_for(call.read(), SILENCE_S)) is not grpc.aio.EOF:
                if (answer := self.receive(message)) is not None:
                    await send(call, answer)

        async with grpc.aio.insecure_channel(self.options.server) as channel:
            call = rpc.SubscriptionStub(channel).Subscribe(metadata=metadata)
            following = asyncio.ensure_future(follow(call))
            leaving = asyncio.ensure_future(stopped.wait())
            await asyncio.wait({following, leaving}, return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if not following.done():
                await send(call, pb.ClientMessage(leave=pb.Leave(reason="SIGTERM")))
                await asyncio.wait({following}, timeout=FAREWELL_S)
                following.cancel()
            await following

    async def run(self):
        stopped = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stopped.set)
        wait = WAIT_S[0]
        while not stopped.is_set():
            self.come_back_s, before = None, (self.kills.epoch, self.objects.revision)
            try:
                await self.stream(stopped)
            except grpc.aio.AioRpcError as error:
                say("lost", status=error.code().name, detail=error.details())
                if self.revoked or self.come_back_s is None and error.code() in FOR_GOOD:
                    return 1
            except (asyncio.TimeoutError, asyncio.CancelledError, asyncio.InvalidStateError) as error:
                say("lost", status=type(error).__name__, detail=str(error))
            # A stream that brought something was a good one: the waits begin anew.
            wait = WAIT_S[0] if before != (self.kills.epoch, self.objects.revision) else min(2 * wait, WAIT_S[1])
            pause = random.uniform(0, wait) if self.come_back_s is None else self.come_back_s
            try:
                await asyncio.wait_for(stopped.wait(), pause)
            except asyncio.TimeoutError:
                pass
        say("left")
        return 0


def ack(nonce, lane, applied, proof, began):
    if nonce == 0:
        return None
    took = round((time.perf_counter() - began) * 1_000_000)
    return pb.ClientMessage(ack=pb.Ack(nonce=nonce, lane=lane, applied=applied, set_hash=proof, apply_us=took))


def main():
    parser = argparse.ArgumentParser(description="Follows an environment of Rampart; one line of JSON per event.")
    parser.add_argument("server", help="HOST:PORT of the data plane")
    parser.add_argument("--name", default="", help="shown where subscribers are listed")
    parser.add_argument("--environment", default="", help="where the token does not decide")
    options = parser.parse_args()
    options.token = os.environ.get("RAMPART_TOKEN", "")
    return asyncio.run(Subscriber(options).run())


if __name__ == "__main__":
    sys.exit(main())
