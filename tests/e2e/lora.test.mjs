// LoRA adapters of a served model: the field of requests, the routes, and what the start refuses.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { post, run, serve } from './hearth.mjs';

const file = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const MODEL = file('data/models/stories260K.gguf');
const A = file('golden/lora/stories-a.gguf');
const B = file('golden/lora/stories-b.gguf');

let server;
before(async () => {
  server = await serve(['--model', `${MODEL}=stories`, '--lora', `${A}=0.5`, '--lora', B, '--threads', '2'], { model: false });
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

const PROMPT = 'Once upon a time there was a little girl named Lily.';

async function json(answer, status = 200) {
  const text = await answer.text();
  assert.equal(answer.status, status, text);
  return JSON.parse(text);
}

async function write(more = {}) {
  const body = { prompt: PROMPT, n_predict: 24, temperature: 0, n_probs: 1, ...more };
  const answer = await json(await post(server, '/completion', body));
  return JSON.stringify(answer.completion_probabilities);
}

const scales = async (list) => json(await post(server, '/lora-adapters', list));

test('the adapters are listed with the scales of the start', async () => {
  assert.deepEqual(await json(await fetch(`${server.url}/lora-adapters`)), [
    { id: 0, path: A, scale: 0.5 },
    { id: 1, path: B, scale: 1 },
  ]);
});

test('a request says which and how much; others at the same time change nothing', async () => {
  const ways = [[], [{ id: 0, scale: 1 }], [{ id: 1, scale: -0.5 }], [{ id: 1, scale: 0.25 }, { id: 0, scale: 2 }]];
  const alone = [];
  for (const lora of ways) alone.push(await write({ lora }));
  assert.equal(new Set(alone).size, ways.length, 'each is an answer of its own');
  const together = await Promise.all([...ways, ...ways].map((lora) => write({ lora })));
  assert.deepEqual(together, [...alone, ...alone]);
  assert.equal(await write(), await write({ lora: [{ id: 0, scale: 0.5 }, { id: 1, scale: 1 }] }));
});

test('the default scales are set', async () => {
  const plain = await write({ lora: [] });
  const only = await write({ lora: [{ id: 1, scale: 0.75 }] });
  assert.deepEqual(await scales([{ id: 1, scale: 0.75 }]), { success: true });
  assert.deepEqual((await json(await fetch(`${server.url}/lora-adapters`))).map((a) => a.scale), [0, 0.75]);
  assert.equal(await write(), only);
  await scales([]);
  assert.equal(await write(), plain);
  await scales([{ id: 0, scale: 0.5 }, { id: 1, scale: 1 }]);
});

test('chat and text completions of OpenAI have the field', async () => {
  const ask = async (lora) => {
    const body = { model: 'stories', prompt: PROMPT, max_tokens: 16, temperature: 0, logprobs: 1, lora };
    return JSON.stringify((await json(await post(server, '/v1/completions', body))).choices[0].logprobs);
  };
  assert.notEqual(await ask([]), await ask([{ id: 0, scale: 1 }]));
  const body = {
    model: 'stories',
    messages: [{ role: 'user', content: 'Hello' }],
    max_tokens: 4,
    temperature: 0,
    logprobs: true,
  };
  const chat = async (lora) =>
    JSON.stringify((await json(await post(server, '/v1/chat/completions', { ...body, lora }))).choices[0].logprobs);
  assert.notEqual(await chat([]), await chat([{ id: 1, scale: 1 }]));
});

test('what makes no sense is refused', async () => {
  const cases = [
    [[{ id: 2, scale: 1 }], /adapter 2 of a model with 2 adapters/],
    [[{ id: -1, scale: 1 }], /no adapter -1/],
    [[{ id: 16, scale: 1 }], /no adapter 16/],
    [[{ id: 0, scale: 101 }], /between -100 and 100/],
    [[{ id: 0 }], /list of/],
    [[{ id: 0, scale: 1, more: 1 }], /list of/],
    [['a'], /list of/],
    [{ id: 0, scale: 1 }, /array/],
  ];
  for (const [lora, pattern] of cases) {
    for (const answer of [
      await post(server, '/completion', { prompt: PROMPT, n_predict: 1, lora }),
      await post(server, '/lora-adapters', lora),
    ]) {
      const got = await json(answer, 400);
      assert.match(got.error.message, pattern, JSON.stringify(lora));
      assert.equal(got.error.code, 400);
    }
  }
});

test('the command line has them as well', async () => {
  const ask = async (...more) => {
    const { status, stdout, stderr } = await run(['eval', MODEL, '--tokens', '1,403,407', '--json', ...more]);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const plain = await ask();
  assert.equal(await ask('--lora', `${A}=0`), plain);
  assert.notEqual(await ask('--lora', A), plain);
  assert.equal(await ask('--lora', A, '--lora', `${B}=0`), await ask('--lora', `${A}=1`));
  const write = async (...more) => {
    const args = ['run', MODEL, PROMPT, '--raw', '--temp', '0', '-n', '24', ...more];
    const { status, stdout, stderr } = await run(args);
    assert.equal(status, 0, stderr);
    return stdout;
  };
  assert.equal(await write('--lora', `${B}=0`), await write());
  assert.notEqual(await write('--lora', `${B}=4`), await write());
  for (const [args, code, pattern] of [
    [['serve', MODEL, '--lora', '/nowhere.gguf'], 5, /nowhere/],
    [['serve', MODEL, '--lora', `${A}=much`], 2, /FILE=SCALE/],
    [['serve', MODEL, MODEL + '=other', '--lora', A], 2, /exactly one model/],
    [['serve', MODEL, '--lora', file('golden/lora/phi3-fused-a.gguf')], 4, /"llama" is needed/],
    [['run', MODEL, 'a', '--lora', MODEL], 3, /general.type is missing/],
  ]) {
    const got = await run([...args, ...(args[0] === 'serve' ? ['--port', '0'] : [])]);
    assert.match(got.stderr, pattern, args.join(' '));
    assert.equal(got.status, code, got.stderr);
  }
});

test('hearth lora shows an adapter and writes a model with it', async () => {
  const shown = await run(['lora', 'show', A]);
  assert.equal(shown.status, 0, shown.stderr);
  assert.match(shown.stdout, /architecture +llama\nalpha +2\n/);
  assert.match(shown.stdout, /blk\.0\.attn_q\.weight +rank +2 +64 x 64 +F16/);
  const folder = mkdtempSync(path.join(tmpdir(), 'hearth-lora-'));
  const merged = path.join(folder, 'merged.gguf');
  const ask = async (...args) => (await run(['eval', ...args, '--tokens', '1,403,407', '--json'])).stdout;
  const made = await run(['lora', 'export', MODEL, '--lora', `${A}=0.5`, '--lora', B, '-o', merged]);
  assert.equal(made.status, 0, made.stderr);
  const numbers = (value) => value.match(/-?\d+(\.\d+)?(e[-+]?\d+)?/g).map(Number);
  const want = numbers(await ask(MODEL, '--lora', `${A}=0.5`, '--lora', B));
  const got = numbers(await ask(merged));
  assert.equal(got.length, want.length);
  assert.ok(got.every((value, i) => Math.abs(value - want[i]) < 1e-3));
  for (const args of [['export', MODEL, '-o', merged], ['export', MODEL, '--lora', A], ['show'], ['make', A]]) {
    assert.equal((await run(['lora', ...args])).status, 2, args.join(' '));
  }
  assert.equal((await run(['lora', 'show', MODEL])).status, 3);
  rmSync(folder, { recursive: true });
});
