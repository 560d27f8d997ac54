// Many at once: 200 streams of which every second is aborted, ten rounds, nothing grows; and how a
// busy server ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chat, hasProc, metric, post, sanitizer, serve, sleep, slow, usage } from './hearth.mjs';

const words = ['river', 'lamp', 'winter', 'garden', 'music', 'stone', 'paper', 'ship', 'bread', 'wind'];
const STREAMS = 200;
const request = (i) => ({
  ...chat(`Tell me a story about a ${words[i % words.length]} and the number ${i}.`),
  temperature: 1, seed: i, max_tokens: 24, stream: true,
});

async function read(answer, limit = Infinity) {
  let text = '';
  let done = false;
  let seen = 0;
  let rest = '';
  for await (const bytes of answer.body) {
    rest += Buffer.from(bytes).toString();
    const frames = rest.split('\n\n');
    rest = frames.pop();
    for (const frame of frames) {
      if (frame.startsWith(':')) continue; // the place in the queue
      const data = frame.replace(/^data: /, '');
      if (data === '[DONE]') {
        done = true;
        continue;
      }
      const chunk = JSON.parse(data);
      assert.ok(!chunk.error, JSON.stringify(chunk.error));
      text += chunk.choices[0]?.delta.content ?? '';
      seen++;
    }
    if (seen >= limit) return { text, done, aborted: true };
  }
  return { text, done, aborted: false };
}

async function stream(server, i, abortAfter) {
  const controller = new AbortController();
  const answer = await fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(request(i)),
    signal: controller.signal,
  });
  assert.equal(answer.status, 200);
  if (abortAfter === undefined) return read(answer);
  const result = await read(answer, abortAfter);
  controller.abort();
  return result;
}

test('200 streams at once, every second aborted, sixteen rounds', { timeout: 300000 * slow }, async () => {
  const server = await serve(['--parallel', '16']);
  const alone = [];
  for (let i = 0; i < STREAMS; i++) alone.push(await stream(server, i));
  assert.ok(new Set(alone.map((one) => one.text)).size > 50, 'the answers differ');
  const sizes = [];
  const rounds = sanitizer ? 3 : 16;
  for (let round = 0; round < rounds; round++) {
    const results = await Promise.all(
      Array.from({ length: STREAMS }, (_, i) =>
        stream(server, i, i % 2 ? 1 + ((i + round) % 6) : undefined)),
    );
    results.forEach((result, i) => {
      if (i % 2 === 0) {
        assert.ok(result.done, `stream ${i} ended`);
        assert.equal(result.text, alone[i].text, `stream ${i} of round ${round}`);
      } else {
        assert.ok(alone[i].text.startsWith(result.text), `aborted stream ${i}`);
      }
    });
    const until = Date.now() + 5000 * slow;
    while ((await metric(server, 'hearth_sequences_running')) +
      (await metric(server, 'hearth_kv_pages_used')) > 0) {
      assert.ok(Date.now() < until, 'sequences or pages are left');
      await sleep(10);
    }
    if (hasProc) {
      await sleep(200);
      sizes.push(usage(server.pid));
    }
  }
  if (hasProc && !sanitizer) {
    const settled = sizes[7]; // 40 rounds stay between 55 and 60 MB from the seventh on
    const last = sizes.at(-1);
    assert.ok(last.fds <= settled.fds + 5, `descriptors: ${sizes.map((size) => size.fds)}`);
    assert.ok(last.rss <= settled.rss + 4e6, `memory: ${sizes.map((size) => size.rss)}`);
  }
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

test('a full queue is 503 with Retry-After, and no stream of others suffers', async () => {
  const server = await serve(['--parallel', '1', '--queue', '2']);
  const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => post(server,
    '/v1/chat/completions', { ...request(i), stream: false, max_tokens: 100, ignore_eos: true })));
  const codes = answers.map((answer) => answer.status);
  assert.ok(codes.includes(200) && codes.includes(503), codes.join());
  for (const answer of answers) {
    const body = await answer.json();
    if (answer.status === 503) {
      assert.equal(answer.headers.get('retry-after'), '1');
      assert.equal(body.error.code, 'overloaded');
    } else {
      assert.equal(body.usage.completion_tokens, 100);
    }
  }
  await server.stop();
});

test('a body of 32 MiB does not hold up the streams of others', async () => {
  const server = await serve([]);
  const big = post(server, '/v1/chat/completions', chat('a'.repeat(31 << 20)));
  const times = [];
  let running = true;
  big.then(() => (running = false));
  while (running) {
    const started = Date.now();
    await (await post(server, '/v1/chat/completions', { ...request(1), stream: false, max_tokens: 4 })).json();
    times.push(Date.now() - started);
  }
  assert.equal((await big).status, 400);
  assert.ok(Math.max(...times) < 1000 * slow, times.join());
  await server.stop();
});

test('SIGTERM lets a stream end; a second one does not', async () => {
  for (const signal of ['SIGTERM', 'SIGINT']) {
    const server = await serve([]);
    const answer = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...request(3), max_tokens: 400, ignore_eos: true }),
    });
    const ended = server.stop(signal);
    const result = await read(answer);
    assert.ok(result.done, 'the stream ended by itself');
    assert.deepEqual(await ended, { status: 0, signal: null });
  }
});

test('the grace has an end', async () => {
  const server = await serve(['--grace', '0.2', '--ctx', '1024']);
  const held = await Promise.all(Array.from({ length: 40 }, (_, i) =>
    fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...request(i), n: 16, max_tokens: 900, ignore_eos: true }),
    })));
  const started = Date.now();
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
  assert.ok(Date.now() - started < 4000 * slow);
  await Promise.allSettled(held.map((answer) => answer.text()));
});
