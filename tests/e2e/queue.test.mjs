// Waiting: places as comments of a stream, the bound with Retry-After, lanes, and that paused answers
// are the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chat, metric, modelFile, post, run, sanitizer, serve, sleep, slow } from './hearth.mjs';

// The reference kernels give a fast machine answers that take seconds, so that others have to wait.
const unhurried = sanitizer ? [] : ['--cpu-level', 'reference'];

const long = (seed, more = {}) => ({
  ...chat('Tell me a very long story.'), seed, temperature: 1, max_tokens: 900, ignore_eos: true, ...more,
});

function open(server, body) {
  const controller = new AbortController();
  const answer = fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, signal: controller.signal,
    body: JSON.stringify({ ...body, stream: true }),
  });
  return { answer, controller };
}

async function until(condition) {
  for (let i = 0; i < 400 * slow && !(await condition()); i++) await sleep(25);
}

test('a stream that waits tells its place; beyond the bound 503 with Retry-After', async () => {
  const server = await serve(['--parallel', '1', '--queue', '2', ...unhurried]);
  const first = open(server, long(1));
  await until(async () => (await metric(server, 'hearth_sequences_running')) === 1);
  const second = open(server, long(2, { max_tokens: 4 }));
  const third = open(server, long(3, { max_tokens: 4 }));
  await until(async () => (await metric(server, 'hearth_sequences_waiting')) === 2);
  const refused = await post(server, '/v1/chat/completions', long(4));
  assert.equal(refused.status, 503);
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);
  const text = (await Promise.all([second, third].map(async (one) => (await one.answer).text())));
  assert.match(text[0], /^: queued, [01] before this one/m);
  assert.match(text[1], /^: queued, [01] before this one/m);
  for (const one of text) assert.match(one, /data: \[DONE\]/);
  first.controller.abort();
  await first.answer.then((a) => a.text()).catch(() => {});
  await server.stop();
});

test('lanes: interactive comes before batch, and its turn costs batch nothing but time', async () => {
  const server = await serve(['--parallel', '1', ...unhurried]);
  const alone = await (await post(server, '/v1/chat/completions', long(7, { lane: 'batch' }))).json();
  const batch = post(server, '/v1/chat/completions', long(7, { lane: 'batch' }));
  await until(async () => (await metric(server, 'hearth_sequences_running')) === 1);
  await sleep(150);
  const quick = await post(server, '/v1/chat/completions', { ...chat('Hi'), max_tokens: 3, lane: 'interactive' });
  assert.equal(quick.status, 200);
  assert.equal(await metric(server, 'hearth_preempted_total'), 1);
  const answer = await (await batch).json();
  assert.equal(answer.choices[0].message.content, alone.choices[0].message.content);
  const wrong = await post(server, '/v1/chat/completions', { ...chat('Hi'), lane: 'fast' });
  assert.equal(wrong.status, 400);
  assert.equal((await wrong.json()).error.param, 'lane');
  await server.stop();
});

test('settings of the scheduler are checked', async () => {
  for (const weights of ['8,4', '0,1,1', 'a,b,c', '8,4,1,1']) {
    const result = await run(['serve', modelFile, '--port', '0', '--lane-weights', weights]);
    assert.equal(result.status, 2);
    assert.match(result.stderr, /--lane-weights/);
  }
});
