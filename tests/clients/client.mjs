// One published JavaScript provider, driven by a test: commands in, what the provider says out; both as lines of JSON.
//
//     client.mjs flagd-rpc|flagd-in-process|ofrep|flagd-web|ofrep-web HOST:PORT
//
// A command asks one flag: {"flag", "type", "default", "context", "until"?}. Every command is answered by one line
// {"answer": {...}}. With "until" the question is asked again until the value is that one or the guard is over: for
// what a provider tells nobody. Events of the provider come between the answers, as {"event": "...", "flags": [...]}.

import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';

const GUARD_MS = 30_000;
const METHODS = { boolean: 'Boolean', string: 'String', integer: 'Number', float: 'Number', object: 'Object' };

const [kind, address] = process.argv.slice(2);
const [host, port] = [address.slice(0, address.lastIndexOf(':')), Number(address.split(':').at(-1))];
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
// Providers log what goes wrong; standard output is for the test.
const logger = { error: console.error, warn: console.error, info() {}, debug() {} };

async function providerOf() {
  switch (kind) {
    case 'flagd-rpc':
    case 'flagd-in-process': {
      const { FlagdProvider } = await import('@openfeature/flagd-provider');
      const resolverType = kind.slice('flagd-'.length);
      // The longest that a start may take, and short waits between attempts: the defaults are for production.
      const waits = { deadlineMs: GUARD_MS, retryBackoffMs: 100, retryBackoffMaxMs: 500, retryGracePeriod: GUARD_MS };
      return new FlagdProvider({ host, port, resolverType, ...waits }, logger);
    }
    case 'ofrep': {
      const { OFREPProvider } = await import('@openfeature/ofrep-provider');
      return new OFREPProvider({ baseUrl: `http://${address}` });
    }
    case 'flagd-web': {
      const { FlagdWebProvider } = await import('@openfeature/flagd-web-provider');
      return new FlagdWebProvider({ host, port, tls: false, maxDelay: 500 }, logger);
    }
    case 'ofrep-web': {
      // What a browser has and Node.js has not.
      globalThis.EventSource = (await import('eventsource')).EventSource;
      const { OFREPWebProvider } = await import('@openfeature/ofrep-web-provider');
      return new OFREPWebProvider({ baseUrl: `http://${address}`, cacheMode: 'disabled' }, logger);
    }
    default:
      throw new Error(`no provider is called ${kind}`);
  }
}

const web = kind.endsWith('-web');
const { OpenFeature, ProviderEvents } = await import(web ? '@openfeature/web-sdk' : '@openfeature/server-sdk');
OpenFeature.setLogger(logger);
const events = {
  [ProviderEvents.Ready]: 'ready',
  [ProviderEvents.ConfigurationChanged]: 'changed',
  [ProviderEvents.Stale]: 'stale',
  [ProviderEvents.Error]: 'error',
};
for (const [event, word] of Object.entries(events)) {
  OpenFeature.addHandler(event, (details) => say({ event: word, flags: details?.flagsChanged ?? null }));
}
await OpenFeature.setProviderAndWait(await providerOf());
const client = OpenFeature.getClient();
let present = {};

async function ask({ flag, type, default: fallback, context }) {
  const method = `get${METHODS[type]}Details`;
  if (web && !isDeepStrictEqual(present, context ?? {})) {
    // In a browser the context belongs to the page, not to the question.
    present = context ?? {};
    await OpenFeature.setContext(present);
  }
  const details = await (web ? client[method](flag, fallback) : client[method](flag, fallback, context ?? {}));
  const { value, variant, reason, errorCode, flagMetadata } = details;
  return {
    value: value ?? null,
    variant: variant ?? null,
    reason: reason ?? null,
    errorCode: errorCode ?? null,
    metadata: flagMetadata ?? {},
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  let answer = await ask(command);
  const guard = Date.now() + GUARD_MS;
  while ('until' in command && !isDeepStrictEqual(answer.value, command.until) && Date.now() < guard) {
    await pause(20);
    answer = await ask(command);
  }
  say({ answer });
}
process.exit(0);
