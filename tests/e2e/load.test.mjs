// hearth bench --server against hearth itself, and against servers that fail.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { metric, run, serve, sleep, slow } from './hearth.mjs';

const folder = mkdtempSync(path.join(tmpdir(), 'hearth-load-'));
const file = (name) => path.join(folder, name);
let server;
before(async () => {
  server = await serve(['--api-key', 'key-0123456789abcdef']);
});
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const key = { HEARTH_API_KEY: 'key-0123456789abcdef' };
const bench = (args, env = key) => run(['bench', ...args], { env, timeout: 60000 * slow });

// A server of our own: `answer(response)` for every request.
async function own(answer, use) {
  const other = http.createServer((request, response) => {
    request.resume();
    request.on('end', () => answer(response));
  });
  await new Promise((done) => other.listen(0, '127.0.0.1', done));
  try {
    return await use(`http://127.0.0.1:${other.address().port}/v1/`);
  } finally {
    other.closeAllConnections();
    other.close();
  }
}
const event = (value) => `data: ${JSON.stringify(value)}\n\n`;
const piece = (content) => event({ choices: [{ delta: { content } }] });

test('two stages as JSON, a picture, and nothing left running', async () => {
  const end = await bench(['--server', server.url, '--model', 'hearth-nano', '--users', '1,6', '--seconds', '1',
    '--max-tokens', '20', '--json', '--svg', file('load.svg')]);
  assert.equal(end.status, 0, end.stderr);
  const { stages } = JSON.parse(end.stdout);
  assert.deepEqual(stages.map((stage) => stage.users), [1, 6]);
  for (const stage of stages) {
    assert.ok(stage.completed > 0 && stage.failed === 0, JSON.stringify(stage));
    assert.ok(stage.tokens_per_second > 0 && stage.ttft.p50_ms > 0);
    assert.ok(stage.ttft.p50_ms <= stage.ttft.p99_ms && stage.ttft.p99_ms <= stage.ttft.max_ms);
    assert.ok(Math.abs(stage.seconds - 1) < 0.5);
    assert.ok(stage.cut <= stage.users);
  }
  assert.match(readFileSync(file('load.svg'), 'utf8'), /^<svg [\s\S]*tokens\/s[\s\S]*<\/svg>\n$/);
  const until = Date.now() + 5000 * slow;
  while ((await metric(server, 'hearth_sequences_running', { 'x-api-key': key.HEARTH_API_KEY })) > 0) {
    assert.ok(Date.now() < until, 'what was cut still runs');
    await sleep(10);
  }
});

test('a table for people', async () => {
  const end = await bench(['--server', `${server.url}/v1`, '-m', 'hearth-nano', '--seconds', '0.5', '-n', '8']);
  assert.equal(end.status, 0, end.stderr);
  assert.match(end.stdout, /users {2}answers/);
  assert.match(end.stdout, /\n {4}1 \|#{40} [\d.]+\n/);
});

test('a scenario, and limits that hold or do not', async () => {
  const scenario = { model: 'hearth-nano', stages: [{ users: 2, seconds: 0.7 }],
    requests: [{ weight: 2, prompt: 'Hi', max_tokens: 5 }, { words: 30, fresh: true, max_tokens: 5, body: { temperature: 0 } }] };
  for (const [limits, status, said] of [[{ ttft_p99_ms: 60000, errors_percent: 0 }, 0, /^$/],
    [{ ttft_p99_ms: 0.001 }, 15, /p99 of the first token/], [{ tokens_per_second: 1e8 }, 15, /at best/]]) {
    writeFileSync(file('scenario.json'), JSON.stringify({ ...scenario, limits }));
    const end = await bench(['--server', server.url, '--scenario', file('scenario.json')]);
    assert.equal(end.status, status, end.stderr);
    assert.match(end.stderr, said);
  }
  writeFileSync(file('scenario.json'), '{"modle":"x"}');
  const wrong = await bench(['--server', server.url, '--scenario', file('scenario.json')]);
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr, /scenario\.json: there is no key 'modle'/);
});

test('a wrong key, a wrong model and nobody there are failures that are told', async () => {
  const limits = file('limits.json');
  writeFileSync(limits, JSON.stringify({ stages: [{ users: 1, seconds: 0.3 }], limits: { errors_percent: 0 } }));
  for (const [args, env, said] of [
    [['--server', server.url, '-m', 'hearth-nano'], {}, /status 401: .*API key/],
    [['--server', server.url, '-m', 'none'], key, /status 404: .*none/],
    [['--server', 'http://127.0.0.1:9', '-m', 'x'], key, /connect/],
  ]) {
    const end = await bench([...args, '--scenario', limits], env);
    assert.equal(end.status, 15, end.stderr);
    assert.match(end.stdout, said);
  }
});

test('tokens as the server counts them; pieces where it does not', async () => {
  for (const [usage, perAnswer] of [[{ usage: { completion_tokens: 30 }, choices: [] }, 30], [null, 3]]) {
    const { stages } = await own((response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(`: hello\n\n${piece('a')}${piece('')}${piece('b')}${piece('c')}${usage ? event(usage) : ''}data: [DONE]\n\n`);
    }, async (url) => JSON.parse((await bench(['--server', url, '-m', 'x', '--seconds', '0.5', '--json'])).stdout));
    const [stage] = stages;
    assert.equal(stage.failed, 0);
    const tokens = stage.tokens_per_second * stage.seconds;
    assert.ok(Math.abs(tokens - stage.completed * perAnswer) <= 2 * perAnswer, `${tokens} of ${stage.completed}`);
    assert.ok(stage.gap.count >= stage.completed * 2);
  }
});

test('errors within a stream, half streams and nonsense are failures', async () => {
  for (const answer of [
    (response) => response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`${piece('a')}${event({ error: { message: 'no' } })}`),
    (response) => { response.writeHead(200, { 'content-length': 1000 }); response.write(piece('a')); setTimeout(() => response.destroy(), 20); },
    (response) => response.writeHead(200).end('data: {nonsense\n\n'),
    (response) => response.writeHead(500).end('x'.repeat(100000)),
    (response) => response.destroy(),
  ]) {
    const { stages } = await own(answer, async (url) =>
      JSON.parse((await bench(['--server', url, '-m', 'x', '--seconds', '0.4', '--json'])).stdout));
    assert.ok(stages[0].failed > 0 && stages[0].completed === 0, JSON.stringify(stages[0]));
    assert.ok(stages[0].first_error.length > 0);
  }
});
