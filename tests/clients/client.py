"""One published Python provider, driven by a test: commands in, what the provider says out; both as lines of JSON.

    client.py flagd-rpc|flagd-in-process|ofrep HOST:PORT

A command asks one flag: {"flag", "type", "default", "context", "until"?}. Every command is answered by one line
{"answer": {...}}. With "until" the question is asked again until the value is that one or the guard is over: for what
a provider tells nobody. Events of the provider come between the answers, as {"event": "...", "flags": [...]}.
"""

import json
import sys
import threading
import time

from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEvent

GUARD_SECONDS = 30
EVENTS = {
    ProviderEvent.PROVIDER_READY: "ready",
    ProviderEvent.PROVIDER_CONFIGURATION_CHANGED: "changed",
    ProviderEvent.PROVIDER_STALE: "stale",
    ProviderEvent.PROVIDER_ERROR: "error",
}

out = threading.Lock()


def say(line):
    """Prints one line; handlers run on threads of their own."""
    with out:
        print(json.dumps(line), flush=True)


def provider_of(kind, host, port):
    if kind == "ofrep":
        return OFREPProvider(f"http://{host}:{port}")
    resolver = {"flagd-rpc": ResolverType.RPC, "flagd-in-process": ResolverType.IN_PROCESS}[kind]
    # The longest that a start may take, and short waits between attempts: the defaults are for production.
    return FlagdProvider(
        host=host,
        port=port,
        resolver_type=resolver,
        deadline_ms=GUARD_SECONDS * 1000,
        retry_backoff_ms=100,
        retry_backoff_max_ms=500,
        retry_grace_period=GUARD_SECONDS,
    )


def ask(client, command):
    given = dict(command.get("context") or {})
    context = EvaluationContext(given.pop("targetingKey", None), given)
    method = getattr(client, f"get_{command['type']}_details")
    details = method(command["flag"], command["default"], context)
    return {
        "value": details.value,
        "variant": details.variant,
        "reason": None if details.reason is None else str(getattr(details.reason, "value", details.reason)),
        "errorCode": None if details.error_code is None else details.error_code.value,
        "metadata": dict(details.flag_metadata or {}),
    }


def main():
    kind, address = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    for event, word in EVENTS.items():
        api.add_handler(event, lambda details, word=word: say({"event": word, "flags": details.flags_changed}))
    api.set_provider_and_wait(provider_of(kind, host, int(port)))
    client = api.get_client()
    for line in sys.stdin:
        command = json.loads(line)
        answer = ask(client, command)
        guard = time.monotonic() + GUARD_SECONDS
        while "until" in command and answer["value"] != command["until"] and time.monotonic() < guard:
            time.sleep(0.02)
            answer = ask(client, command)
        say({"answer": answer})
    api.shutdown()


main()
