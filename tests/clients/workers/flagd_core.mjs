// The flagd evaluator that is published for JavaScript (fractional of the second generation), as a worker.
//
// One line in: {"now", "document", "asks": [{"flag", "type", "context"}]}. One line out: {"answers": [...]} in the same
// order, or {"refused": "why"} where the whole document was not taken. An answer without a value means the code default.
//
// The argument says how rules are run: `compiled`, which is the library's default, or `interpreted`. The code that it
// makes answers some rules with an error, see `flagd-differences.md`.

import { createInterface } from 'node:readline';
import { FlagdCore } from '@openfeature/flagd-core';

const CODE_DEFAULT = Symbol('code default');
const TYPES = { boolean: 'boolean', string: 'string', integer: 'number', float: 'number', object: 'object' };
const [mode] = process.argv.slice(2);
if (!['compiled', 'interpreted'].includes(mode)) throw new Error('say compiled or interpreted');
const quiet = { error() {}, warn() {}, info() {}, debug() {} };

function answer(core, { flag, type, context }) {
  try {
    const details = core.resolve(TYPES[type], flag, CODE_DEFAULT, context);
    if (details.errorCode) {
      // Half of a pair of surrogates is no JSON elsewhere.
      return { error: details.errorCode, note: details.errorMessage?.toWellFormed() };
    }
    const value = details.value === CODE_DEFAULT ? null : details.value;
    return { value, variant: details.variant ?? null, reason: details.reason };
  } catch (error) {
    // The SDK around the evaluator makes GENERAL of whatever names no code of its own.
    return { error: error.code ?? 'GENERAL', note: String(error.message).toWellFormed() };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { now, document, asks } = JSON.parse(line);
  Date.now = () => now * 1000;
  const core = new FlagdCore(undefined, quiet, { disableDynamicCodeGeneration: mode === 'interpreted' });
  let said;
  try {
    core.setConfigurations(JSON.stringify(document));
    said = { answers: asks.map((ask) => answer(core, ask)) };
  } catch (error) {
    said = { refused: `${error.name}: ${error.message}` };
  }
  process.stdout.write(JSON.stringify(said) + '\n');
}
