"""The flagd evaluator that is published for Python (fractional of the third generation), as a worker.

One line in: {"now", "document", "asks": [{"flag", "type", "context"}]}. One line out: {"answers": [...]} in the same
order, or {"refused": "why"} where the whole document was not taken. An answer without a value means the code default.
"""

import json
import logging
import sys
import time

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

CODE_DEFAULT = object()


def answer(core, ask):
    given = dict(ask["context"])
    context = EvaluationContext(given.pop("targetingKey", None), given)
    try:
        details = getattr(core, f"resolve_{ask['type']}_value")(ask["flag"], CODE_DEFAULT, context)
    except OpenFeatureError as error:
        return {"error": error.error_code.value, "note": type(error).__name__}
    except Exception as error:  # the SDK around the evaluator makes GENERAL of everything else
        return {"error": "GENERAL", "note": type(error).__name__}
    value = None if details.value is CODE_DEFAULT else details.value
    return {"value": value, "variant": details.variant, "reason": details.reason.value}


def main():
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        batch = json.loads(line)
        time.time = lambda now=batch["now"]: float(now)
        core = FlagdCore()
        try:
            core.set_flags(json.dumps(batch["document"]))
            line = {"answers": [answer(core, ask) for ask in batch["asks"]]}
        except Exception as error:
            line = {"refused": f"{type(error).__name__}: {error}"}
        print(json.dumps(line), flush=True)


main()
