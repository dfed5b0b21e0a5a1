// A subscriber of Rampart over plain HTTP, in JavaScript without packages: what the event stream asks of a client.
//
// It follows one environment of a server by server-sent events, holds its flags, segments and kills, acknowledges them,
// asks for the kill set every ten seconds while it has no stream, and prints one line of JSON for each thing that
// happens:
//
//     node subscriber.mjs http://localhost:8013 --name my-laptop
//
// Why: for whoever cannot have gRPC. Messages mean what proto/rampart/v1/subscription.proto says; the README's
// "Keeping up" says how they look here. Copy it, and start from there.
//
// What it is not: a client library. It evaluates nothing, hence refuses no definition, and keeps nothing over a restart
// of its own. And its receipts are weaker than gRPC's: Node.js has no XXH3, so it checks how many objects and kills it
// holds, and sends the server's set hash back instead of one of its own. In a browser an EventSource reads, and comes
// back with the last id, by itself.

import { randomBytes } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const SILENCE_MS = 45_000; // A sign of life comes every 18 s: two may be lost.
const POLL_MS = 10_000;
const LONGEST_MS = 30_000;
const FOR_GOOD = [400, 401, 403, 404];

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { name: { type: 'string', default: '' }, environment: { type: 'string', default: '' } },
});
const server = positionals[0] ?? 'http://localhost:8013';
const headers = process.env.RAMPART_TOKEN ? { authorization: `Bearer ${process.env.RAMPART_TOKEN}` } : {};
const instance = randomBytes(16).toString('hex');

const say = (event, members = {}) => console.log(JSON.stringify({ event, ...members }));
const nameOf = ({ kind, flagSet, key }) => JSON.stringify([kind, flagSet, key]);

// What it holds.
let kills = { epoch: '', generation: 0, completeTo: 0, entries: new Map() };
let objects = new Map();
let transfer = null;
let lastEventId = null;
let killTag = null;

// What the stream said of itself.
let stream = null;
let retryMs = 3_000;
let goodbye = null;

/** Merges a kill set with the one held; says whether it is whole. */
function applyKills(set) {
  if (set.killed.length !== set.count) return false;
  const held = set.epoch === kills.epoch ? kills : { generation: 0, completeTo: 0, entries: new Map() };
  const arrived = new Map(set.killed.map((entry) => [nameOf(entry), entry]));
  const [base, other] = set.completeTo >= held.completeTo ? [arrived, held.entries] : [held.entries, arrived];
  const completeTo = Math.max(set.completeTo, held.completeTo);
  const entries = new Map(base);
  for (const [name, entry] of other) {
    // Of the other set only what is above both counts, and only where it is the last word on its flag.
    if (entry.generation > completeTo && entry.generation > (entries.get(name)?.generation ?? 0)) {
      entries.set(name, entry);
    }
  }
  kills = { epoch: set.epoch, generation: Math.max(set.generation, held.generation), completeTo, entries };
  return true;
}

function sayKills(via) {
  const killed = [...kills.entries.values()].filter((entry) => !entry.restored).map((entry) => entry.key);
  say('kills', { via, generation: kills.generation, killed: killed.sort() });
}

/** Applies a transfer whole; says why it could not. */
function applyTransfer(commit) {
  const full = transfer.mode === 'full';
  if (full && transfer.puts.length === 0 && objects.size > 0 && transfer.reason !== 'confirmed-empty') {
    return 'everything is gone, unconfirmed';
  }
  const held = full ? new Map() : new Map(objects);
  for (const put of transfer.puts) held.set(nameOf(put), put);
  for (const gone of transfer.deletes) held.delete(nameOf(gone));
  if (held.size !== commit.objectCount) return `${held.size} objects, not ${commit.objectCount}`;
  objects = held;
  return null;
}

async function acknowledge(lane, { nonce, setHash }, applied) {
  if (!nonce) return;
  await post({ acks: [{ nonce, lane, applied, setHash }] });
}

async function post(body) {
  const content = JSON.stringify({ stream, ...body });
  const request = { method: 'POST', headers, body: content, signal: AbortSignal.timeout(5_000) };
  const answer = await fetch(`${server}/v1/stream/acks`, request);
  if (!answer.ok) say('error', { code: `acks-${answer.status}`, message: await answer.text() });
}

/** What each event does. A kind of a later version is skipped. */
const handlers = {
  open(data) {
    stream = data.stream;
    say('open', { environment: data.environment });
  },
  async kill(data) {
    if (!applyKills(data)) throw new Error('half a kill set');
    sayKills('stream');
    await acknowledge('kills', data, kills.generation);
  },
  begin(data) {
    transfer = { ...data, puts: [], deletes: [] };
  },
  put(data) {
    transfer?.puts.push(data);
  },
  delete(data) {
    transfer?.deletes.push(data);
  },
  async commit(data, id) {
    const { mode, reason, puts, deletes } = transfer;
    const wrong = applyTransfer(data);
    transfer = null;
    if (wrong) {
      // There is no Resync here: to come back without an id asks for everything.
      lastEventId = null;
      throw new Error(wrong);
    }
    lastEventId = id;
    const keys = [...puts, ...deletes].map((object) => object.key).sort();
    say('commit', { mode, reason, keys, revision: data.revision, objects: objects.size });
    await acknowledge('objects', data, data.revision);
  },
  bookmark(data, id) {
    lastEventId = id ?? lastEventId;
    say('bookmark', { revision: data.revision, generation: data.killGeneration });
  },
  goodbye(data) {
    goodbye = data;
    say('goodbye', data);
  },
  error(data) {
    say('error', data);
  },
};

/** Server-sent events as they come. */
async function* events(body) {
  let text = '';
  for await (const piece of body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const event = { data: '' };
      for (const line of text.slice(0, end).split('\n')) {
        const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
        event[field] = value;
      }
      yield event;
    }
  }
}

/** One stream, from its opening to its end. */
async function follow(stopped) {
  const query = new URLSearchParams({ instance, name: options.name, acks: 'true', sdk: 'example-javascript' });
  if (options.environment) query.set('environment', options.environment);
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(new Error('silence')), SILENCE_MS);
  try {
    const answer = await fetch(`${server}/v1/stream?${query}`, {
      headers: lastEventId ? { ...headers, 'last-event-id': lastEventId } : headers,
      signal: AbortSignal.any([stopped, silence.signal]),
    });
    if (!answer.ok) {
      say('refused', { status: answer.status, detail: await answer.text() });
      retryMs = Number(answer.headers.get('retry-after') ?? 0) * 1000 || retryMs;
      return FOR_GOOD.includes(answer.status);
    }
    for await (const { event, data, id, retry } of events(answer.body)) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(new Error('silence')), SILENCE_MS);
      if (retry) retryMs = Number(retry);
      if (data) await handlers[event]?.(JSON.parse(data), id);
    }
  } finally {
    clearTimeout(timer);
  }
  return goodbye?.reason === 'token-revoked';
}

/** Asks for the kill set until the stream is back. */
async function poll(until) {
  const query = options.environment ? `?${new URLSearchParams({ environment: options.environment })}` : '';
  while (!until.aborted) {
    try {
      const tag = killTag ? { 'if-none-match': killTag } : {};
      const answer = await fetch(`${server}/v1/kills${query}`, { headers: { ...headers, ...tag }, signal: until });
      if (answer.status === 200 && applyKills(await answer.json())) {
        killTag = answer.headers.get('etag');
        sayKills('poll');
      }
    } catch {
      // It is away: the next question may find it.
    }
    await wait(POLL_MS, null, { signal: until }).catch(() => {});
  }
}

const leaving = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, async () => {
    if (stream) await post({ leave: signal }).catch(() => {});
    leaving.abort();
  });
}

let longest = 500;
while (!leaving.signal.aborted) {
  const before = lastEventId;
  [stream, goodbye, transfer] = [null, null, null];
  let forGood = false;
  try {
    forGood = await follow(leaving.signal);
    if (stream && !leaving.signal.aborted) say('lost', { detail: 'the stream ended' });
  } catch (error) {
    if (!leaving.signal.aborted) say('lost', { detail: String(error.cause?.code ?? error.message) });
  }
  stream = null;
  if (forGood) process.exit(1);
  if (leaving.signal.aborted) break;
  // What the server asked for; else from twice as long a time with each attempt that brought nothing.
  longest = lastEventId !== before ? 500 : Math.min(2 * longest, LONGEST_MS);
  const pause = goodbye?.reconnectAfterMs ?? Math.random() * longest;
  const again = new AbortController();
  const polling = poll(AbortSignal.any([again.signal, leaving.signal]));
  await wait(pause, null, { signal: leaving.signal }).catch(() => {});
  again.abort();
  await polling;
}
say('left');
process.exit(0);
