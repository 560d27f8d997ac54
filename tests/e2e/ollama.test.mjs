// The ollama client against a real server with the bundled model, and each documented field and
// option: its effect, or its refusal.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Ollama } from 'ollama';
import { modelFile, post, serve, sleep } from './hearth.mjs';

let server;
let client;
const model = 'hearth-nano';
const cold = { temperature: 0 };
const user = (content) => [{ role: 'user', content }];

before(async () => {
  server = await serve(['--threads', '2']);
  client = new Ollama({ host: server.url });
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

async function refuses(path, body, pattern, status = 400) {
  const answer = await post(server, path, body);
  const text = await answer.text();
  const name = `${path} ${JSON.stringify(body).slice(0, 150)}: ${text.slice(0, 300)}`;
  assert.equal(answer.status, status, name);
  const got = JSON.parse(text);
  assert.deepEqual(Object.keys(got), ['error'], name);
  assert.match(got.error, pattern, name);
}

async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

const figures = ['total_duration', 'load_duration', 'prompt_eval_count', 'prompt_eval_duration', 'eval_count', 'eval_duration'];

function checkFigures(part) {
  for (const name of figures) assert.ok(Number.isInteger(part[name]) && part[name] >= 0, `${name}: ${part[name]}`);
  assert.ok(part.total_duration >= part.prompt_eval_duration + part.eval_duration);
  assert.ok(part.prompt_eval_count > 0 && part.prompt_eval_duration > 0 && part.eval_count > 0);
}

test('chat, whole and streamed', async () => {
  const whole = await client.chat({ model, messages: user('What is hearth?'), options: cold });
  assert.equal(whole.model, model);
  assert.ok(Math.abs(Date.parse(whole.created_at) - Date.now()) < 60000);
  assert.equal(whole.message.role, 'assistant');
  assert.match(whole.message.content, /hearth/i);
  assert.deepEqual([whole.done, whole.done_reason], [true, 'stop']);
  checkFigures(whole);
  const parts = await collect(await client.chat({ model, messages: user('What is hearth?'), options: cold, stream: true }));
  assert.equal(parts.map((part) => part.message.content).join(''), whole.message.content);
  assert.ok(parts.length > 4 && parts.slice(0, -1).every((part) => part.done === false && !('done_reason' in part)));
  const last = parts.at(-1);
  assert.deepEqual([last.done, last.done_reason, last.message.content], [true, 'stop', '']);
  assert.equal(last.eval_count, whole.eval_count);
  checkFigures(last);
});

test('generate, whole and streamed, and its context', async () => {
  const whole = await client.generate({ model, prompt: 'What is hearth?', options: cold });
  assert.match(whole.response, /hearth/i);
  assert.deepEqual([whole.done, whole.done_reason], [true, 'stop']);
  checkFigures(whole);
  assert.ok(whole.context.length > whole.prompt_eval_count && whole.context.every(Number.isInteger));
  const parts = await collect(await client.generate({ model, prompt: 'What is hearth?', options: cold, stream: true }));
  assert.equal(parts.map((part) => part.response).join(''), whole.response);
  assert.deepEqual(parts.at(-1).context, whole.context);
  const next = await client.generate({ model, prompt: 'Thanks!', context: whole.context, options: { ...cold, num_predict: 1 } });
  const alone = await client.generate({ model, prompt: 'Thanks!', options: { ...cold, num_predict: 1 } });
  assert.deepEqual(next.context.slice(0, whole.context.length), whole.context);
  assert.equal(next.prompt_eval_count, whole.context.length + alone.prompt_eval_count);
});

test('a stream is lines of JSON, and the default', async () => {
  for (const [path, body] of [['/api/chat', { model, messages: user('Hi') }], ['/api/generate', { model, prompt: 'Hi' }]]) {
    const answer = await post(server, path, { ...body, options: { num_predict: 3 } });
    assert.equal(answer.headers.get('content-type'), 'application/x-ndjson');
    const lines = (await answer.text()).trimEnd().split('\n').map((line) => JSON.parse(line));
    assert.ok(lines.length > 1 && lines.at(-1).done);
    assert.equal(lines.at(-1).done_reason, 'length');
  }
});

test('system, raw and special tokens', async () => {
  const count = async (more) =>
    (await client.generate({ model, prompt: 'Hi', ...more, options: { ...cold, num_predict: 1 } })).prompt_eval_count;
  assert.ok((await count({ system: 'Be brief.' })) > (await count({})));
  const text = '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n';
  const raw = await client.generate({ model, raw: true, prompt: text, options: { ...cold, num_predict: 8 } });
  const cooked = await client.generate({ model, prompt: 'Hi', options: { ...cold, num_predict: 8 } });
  assert.equal(raw.response, cooked.response);
  assert.ok(!('context' in raw));
  assert.ok((await count({ prompt: text })) > raw.prompt_eval_count + 10, 'only raw text has special tokens');
  await refuses('/api/generate', { model, prompt: 'a', raw: true, system: 'b' }, /raw/);
});

test('an empty prompt loads the model', async () => {
  for (const [path, body] of [['/api/generate', { model }], ['/api/generate', { model, prompt: '', keep_alive: '5m' }],
    ['/api/chat', { model, messages: [] }], ['/api/chat', { model, keep_alive: -1, stream: true }]]) {
    const answer = await post(server, path, body);
    const got = await answer.json();
    assert.deepEqual([answer.status, got.done, got.done_reason], [200, true, 'load']);
    assert.equal(path === '/api/chat' ? got.message.content : got.response, '');
  }
  await refuses('/api/chat', { model, keep_alive: 'soon' }, /keep_alive/);
  await refuses('/api/chat', { model, keep_alive: true }, /keep_alive/);
});

test('keep_alive unloads the model, and the next request loads it', async () => {
  const loaded = async () => (await client.ps()).models;
  const text = async (more = {}) => (await client.generate({ model, prompt: 'What is hearth?', options: cold, ...more }));
  const answer = (await text()).response;
  assert.equal((await loaded()).length, 1);
  for (const [path, body] of [['/api/generate', { model, keep_alive: 0 }], ['/api/chat', { model, messages: [], keep_alive: '0s' }]]) {
    const got = await (await post(server, path, body)).json();
    assert.deepEqual([got.done, got.done_reason], [true, 'unload']);
    assert.deepEqual(await loaded(), []);
    assert.equal((await (await fetch(`${server.url}/v1/models/${model}`)).json()).hearth.state, 'unloaded');
    const again = await text();
    assert.equal(again.response, answer);
    assert.ok(again.load_duration > 0 && again.total_duration >= again.load_duration);
    assert.equal((await loaded()).length, 1);
  }
  assert.equal((await text({ keep_alive: 0 })).response, answer); // answers, then goes
  for (const until = Date.now() + 2000; (await loaded()).length > 0;) assert.ok(Date.now() < until);
  await text({ keep_alive: '1.5s' });
  const [entry] = await loaded();
  const left = Date.parse(entry.expires_at) - Date.now();
  assert.ok(left > 0 && left <= 1500, `${left}`);
  for (const until = Date.now() + 10000; (await loaded()).length > 0;) {
    assert.ok(Date.now() < until);
    await sleep(100);
  }
  const crowd = await Promise.all(Array.from({ length: 20 }, () => text())); // one load for all
  assert.ok(crowd.every((one) => one.response === answer));
  assert.ok(Date.parse((await loaded())[0].expires_at) > Date.now() + 1e12, 'without keep_alive it stays');
  await refuses('/api/generate', { model: 'none', keep_alive: 0 }, /none/, 404);
  assert.equal((await (await fetch(`${server.url}/readyz`)).json()).status, 'ready');
});

test('names with and without a tag', async () => {
  const answer = await client.chat({ model: `${model}:latest`, messages: user('Hi'), options: { num_predict: 1 } });
  assert.equal(answer.model, `${model}:latest`);
  await refuses('/api/chat', { model: `${model}:7b`, messages: user('Hi') }, /does not exist/, 404);
  await refuses('/api/generate', { model: 'other', prompt: 'Hi' }, /other/, 404);
  await assert.rejects(client.show({ model: 'other' }), (error) => error.status_code === 404);
});

test('log probabilities', async () => {
  const request = { model, messages: user('What is hearth?'), logprobs: true, top_logprobs: 2, options: { ...cold, num_predict: 5 } };
  const whole = await client.chat(request);
  assert.equal(whole.logprobs.length, 5);
  assert.equal(whole.logprobs.map((entry) => entry.token).join(''), whole.message.content);
  for (const entry of whole.logprobs) {
    assert.ok(entry.logprob <= 0 && entry.top_logprobs.length === 2);
    assert.equal(entry.top_logprobs[0].token, entry.token);
  }
  const parts = await collect(await client.chat({ ...request, stream: true }));
  assert.deepEqual(parts.flatMap((part) => part.logprobs ?? []), whole.logprobs);
  const some = await client.generate({ model, prompt: 'Hi', logprobs: true, options: { num_predict: 2 } });
  assert.equal(some.logprobs.length, 2);
  await refuses('/api/chat', { ...request, logprobs: false }, /top_logprobs/);
});

test('options have an effect', async () => {
  const run = async (options, prompt = 'Tell me a story.') =>
    (await client.generate({ model, prompt, options: { num_predict: 24, ...options } })).response;
  const greedy = await run(cold);
  assert.equal(await run({ top_k: 1 }), await run({ ...cold }));
  assert.equal(await run({ seed: 7, temperature: 1 }), await run({ seed: 7, temperature: 1 }));
  const many = await Promise.all([1, 2, 3, 4].map((seed) => run({ seed, temperature: 1.5, top_k: 0, top_p: 1 })));
  assert.ok(new Set(many).size > 1);
  assert.notEqual(await run({ ...cold, repeat_penalty: 5, num_predict: 60 }), await run({ ...cold, repeat_penalty: 1, num_predict: 60 }));
  const stop = greedy.slice(6, 10);
  assert.equal(await run({ ...cold, stop: [stop] }), greedy.slice(0, greedy.indexOf(stop)));
  const cut = await client.generate({ model, prompt: 'Hi', options: { num_predict: 2 } });
  assert.deepEqual([cut.eval_count, cut.done_reason], [2, 'length']);
  const prompt = cut.prompt_eval_count;
  const full = await client.generate({ model, prompt: 'Hi', options: { num_ctx: prompt + 2 } });
  assert.deepEqual([full.eval_count, full.done_reason], [2, 'length']);
  await refuses('/api/generate', { model, prompt: 'Hi', options: { num_ctx: prompt - 1 } }, new RegExp(`${prompt} tokens.*${prompt - 1}`));
  await refuses('/api/generate', { model, prompt: 'Hi', options: { num_ctx: 65536 } }, /65536.*\d{4} tokens/);
  for (const options of [{ num_predict: -1 }, { num_predict: -2 }]) {
    assert.equal((await client.generate({ model, prompt: 'What is hearth?', options: { ...cold, ...options } })).done_reason, 'stop');
  }
});

const fine = [{ seed: -1 }, { min_p: 0.1 }, { typical_p: 0.9 }, { tfs_z: 1 }, { repeat_last_n: -1 }, { repeat_last_n: 0 },
  { presence_penalty: 1, frequency_penalty: -1 }, { mirostat: 2, mirostat_tau: 4, mirostat_eta: 0.2 }, { mirostat: 0 },
  { penalize_newline: true }, { num_keep: 5 }, { num_thread: 2 }, { num_thread: 0 }, { num_batch: 32 }, { num_gpu: 0 },
  { num_gpu: -1 }, { main_gpu: 0 }, { low_vram: true }, { f16_kv: true }, { numa: false }, { use_mmap: false },
  { use_mlock: false }, { vocab_only: false }, { logits_all: false }, { embedding_only: false }, { temperature: null }];
const bad = { num_predict: [-3, 1.5, '5'], num_ctx: [0, -1, 'a'], num_keep: [-2, true], stop: [[''], 5], seed: [1.5, 'x'],
  temperature: [-1, 2.5, '1'], top_k: [-1, 1.5], top_p: [1.1], min_p: [-1], typical_p: [2], tfs_z: [0.5], repeat_last_n: [-2],
  repeat_penalty: [0, 11], presence_penalty: [3], frequency_penalty: [-3], penalize_newline: [false, 1], mirostat: [1, 3],
  mirostat_tau: [-1], mirostat_eta: [2], num_thread: [3, -1], num_batch: [1 << 20], num_gpu: [99], main_gpu: [1], low_vram: [1],
  f16_kv: [false, 'x'], numa: [true], use_mmap: [true], use_mlock: [true], vocab_only: [true], logits_all: [true],
  embedding_only: [true], nonsense: [1] };

test('each option passes where it is satisfied and is refused by name where not', async () => {
  for (const options of fine) await client.generate({ model, prompt: 'Hi', options: { num_predict: 1, ...options } });
  for (const [name, values] of Object.entries(bad)) {
    for (const value of values) await refuses('/api/generate', { model, prompt: 'Hi', options: { [name]: value } }, new RegExp(name));
  }
});

test('each other field too', async () => {
  const chat = (more) => ({ model, messages: user('Hi'), ...more });
  const text = (more) => ({ model, prompt: 'Hi', options: { num_predict: 1 }, ...more });
  for (const more of [{ format: '' }, { think: false }, { think: true }, { think: 'high' }, { stream_interval: 8 }, { truncate: false }, { shift: false }, { images: [] }, { suffix: '' }, { template: '' }, { context: [] }]) {
    assert.equal((await post(server, '/api/generate', text(more))).status, 200, JSON.stringify(more));
  }
  for (const [name, value] of Object.entries({ truncate: true, shift: true, images: ['aGk='], suffix: 'x', width: 1, height: 1, steps: 1 })) {
    await refuses('/api/generate', text({ [name]: value }), new RegExp(`'${name}' is not supported`));
  }
  await refuses('/api/chat', chat({ format: 'xml' }), /xml/);
  await refuses('/api/chat', chat({ think: 'hard' }), /think/);
  await refuses('/api/chat', chat({ tools: [{ type: 'web_search' }] }), /only tools of type 'function'/);
  await refuses('/api/generate', text({ template: '{% if %}' }), /template|expected/i);
  const own = await client.generate({ model, prompt: 'Hi', template: '{% for m in messages %}{{ m.content }}{% endfor %}', options: { num_predict: 1 } });
  const raw = await client.generate({ model, prompt: 'Hi', raw: true, options: { num_predict: 1 } });
  assert.equal(own.prompt_eval_count, raw.prompt_eval_count);
  for (const [messages, pattern] of [[[{ role: 'robot', content: 'a' }], /robot/],
    [[{ role: 'user' }], /content/], [[{ content: 'a' }], /role/], [[{ role: 'user', content: 'a', images: ['x'] }], /images/],
    [[{ role: 'assistant', content: '', tool_calls: [{}] }], /function/], ['a', /messages/], [[5], /object/],
    [[{ role: 'user', content: 'a', x: 1 }], /x/]]) {
    await refuses('/api/chat', { model, messages }, pattern);
  }
  await refuses('/api/chat', chat({ nonsense: 1 }), /nonsense/);
  await refuses('/api/chat', { messages: user('Hi') }, /model/);
  await refuses('/api/generate', text({ context: [-1] }), /token id/);
  await refuses('/api/generate', text({ context: [99999999] }), /token id/);
  await refuses('/api/generate', text({ context: 'a' }), /context/);
  await refuses('/api/generate', '{', /./);
});

test('a final assistant message is continued', async () => {
  const whole = (await client.chat({ model, messages: user('What is hearth?'), options: cold })).message.content;
  const start = whole.split(' ').slice(0, 3).join(' ');
  const rest = await client.chat({ model, messages: [...user('What is hearth?'), { role: 'assistant', content: start }], options: { ...cold, repeat_penalty: 1 } });
  const plain = await client.chat({ model, messages: user('What is hearth?'), options: { ...cold, repeat_penalty: 1 } });
  assert.equal(start + rest.message.content, plain.message.content);
});

test('models: list, ps, show, version, root', async () => {
  const { models } = await client.list();
  assert.deepEqual(models.map((entry) => [entry.name, entry.model]), [[`${model}:latest`, `${model}:latest`]]);
  const [entry] = models;
  const file = readFileSync(modelFile);
  assert.equal(entry.digest, createHash('sha256').update(file).digest('hex'));
  assert.equal(entry.size, file.length);
  const [plain] = (await (await fetch(`${server.url}/api/tags`)).json()).models;
  assert.deepEqual([plain.digest, plain.hearth], [entry.digest, { digest: 'sha256' }]);
  assert.ok(entry.size > 1e6 && Date.parse(entry.modified_at) > 0);
  const { details } = entry;
  assert.equal(details.format, 'gguf');
  assert.deepEqual(details.families, [details.family]);
  assert.match(details.parameter_size, /^[\d.]+[KMB]$/);
  assert.ok(details.quantization_level && details.parent_model === '');
  const { models: loaded } = await client.ps();
  assert.equal(loaded.length, 1);
  assert.equal(loaded[0].digest, entry.digest);
  assert.ok(Date.parse(loaded[0].expires_at) > Date.now() && loaded[0].context_length >= 1024 && loaded[0].size_vram === 0);
  const shown = await client.show({ model });
  assert.deepEqual(shown.details, details);
  assert.match(shown.template, /im_start/);
  assert.deepEqual(shown.capabilities, ['completion', 'tools']);
  assert.equal(shown.model_info['general.architecture'], details.family);
  assert.equal(shown.model_info['tokenizer.ggml.tokens'], null);
  const verbose = await (await post(server, '/api/show', { name: model, verbose: true })).json();
  assert.ok(verbose.model_info['tokenizer.ggml.tokens'].length > 1000);
  await refuses('/api/show', {}, /model/);
  await refuses('/api/show', { model, system: 'x' }, /system/);
  assert.match((await client.version()).version, /^\d+\.\d+/);
  assert.deepEqual(await (await fetch(`${server.url}/health`)).json(), { status: 'ok' });
  for (const method of ['GET', 'HEAD']) assert.equal((await fetch(`${server.url}/`, { method })).status, 200);
  assert.match(await (await fetch(`${server.url}/`)).text(), /^hearth .*\nOllama is running/);
  assert.equal(await (await fetch(`${server.url}/`, { headers: { 'user-agent': 'ollama/0.9 (linux amd64)' } })).text(), 'Ollama is running');
});

test('what is not there yet says so', async () => {
  for (const path of ['pull', 'push']) {
    await refuses(`/api/${path}`, { model, input: 'a' }, new RegExp(`/api/${path} is not supported`));
  }
  await assert.rejects(client.pull({ model: 'x' }), /not supported/);
  const gone = await fetch(`${server.url}/api/nothing`);
  assert.deepEqual([gone.status, Object.keys(await gone.json())], [404, ['error']]);
  const wrong = await fetch(`${server.url}/api/chat`);
  assert.deepEqual([wrong.status, Object.keys(await wrong.json())], [405, ['error']]);
});

test('an aborted stream ends, 20 at once do not disturb each other', async () => {
  const stream = await client.chat({ model, messages: user('Tell me a story.'), stream: true });
  await assert.rejects(async () => {
    for await (const part of stream) if (part) stream.abort();
  }, /abort/i);
  const texts = await Promise.all(Array.from({ length: 20 }, async () =>
    (await client.chat({ model, messages: user('What is hearth?'), options: cold })).message.content));
  assert.equal(new Set(texts).size, 1);
});

test('create, copy, delete; and all of it after a restart', async () => {
  const data = mkdtempSync(path.join(os.tmpdir(), 'hearth-made-'));
  const bytes = readFileSync(modelFile);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const blob = (method, body, name = digest) => fetch(`${one.url}/api/blobs/${name}`, { method, body });
  let one = await serve(['--data-dir', data]);
  let made = new Ollama({ host: one.url });
  const names = async () => (await made.list()).models.map((entry) => entry.name).sort();
  const fails = async (body, pattern, status = 400, route = '/api/create', method = 'POST') => {
    const answer = await fetch(one.url + route, { method, body: JSON.stringify(body) });
    assert.equal(answer.status, status, JSON.stringify(body));
    assert.match((await answer.json()).error, pattern);
  };
  try {
    const parameters = { temperature: 0, num_predict: 5, stop: ['zzz'] };
    const statuses = await collect(await made.create({ model: 'poet', from: model, system: 'Be brief.', parameters, stream: true,
      license: 'MIT', messages: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }] }));
    assert.equal(statuses.at(-1).status, 'success');
    const shown = await made.show({ model: 'poet' });
    assert.deepEqual([shown.system, shown.license, shown.messages.length], ['Be brief.', 'MIT', 2]);
    assert.match(shown.parameters, /temperature +0\nnum_predict +5\nstop +"zzz"/);
    assert.match(shown.modelfile, /^FROM .*\nSYSTEM Be brief\.\nPARAMETER temperature 0/);
    const chat = (name, more = {}) => made.chat({ model: name, messages: user('What is hearth?'), ...more });
    const poem = await chat('poet');
    assert.deepEqual([poem.eval_count, poem.done_reason], [5, 'length']);
    assert.equal((await chat('poet', { options: { num_predict: 3 } })).eval_count, 3); // the client's word counts
    assert.ok(poem.prompt_eval_count > (await chat(model)).prompt_eval_count + 6, 'system and messages are there');
    const openai = await (await post(one, '/v1/chat/completions', { model: 'poet', messages: user('Hi') })).json();
    assert.deepEqual([openai.usage.completion_tokens, openai.choices[0].finish_reason], [5, 'length']);
    assert.equal((await made.create({ model: 'plain:latest', from: 'poet', template: '{% for m in messages %}{{ m.content }}\n{% endfor %}' })).status, 'success');
    assert.equal((await made.show({ model: 'plain' })).system, 'Be brief.'); // inherited
    assert.match((await made.show({ model: 'plain' })).template, /m\.content/);
    assert.ok((await chat('plain')).prompt_eval_count < poem.prompt_eval_count);
    await made.copy({ source: 'plain', destination: 'copied' });
    assert.deepEqual(await names(), ['copied:latest', `${model}:latest`, 'plain:latest', 'poet:latest']);
    assert.equal((await blob('HEAD')).status, 404);
    assert.equal((await blob('POST', 'other bytes')).status, 400);
    assert.equal((await blob('POST', bytes, 'sha256:../../x')).status, 400);
    assert.equal((await blob('POST', bytes)).status, 201);
    assert.equal((await blob('HEAD')).status, 200);
    assert.equal((await (await post(one, '/api/create', { model: 'uploaded', files: { 'x.gguf': digest }, stream: false })).json()).status, 'success');
    assert.equal((await post(one, '/api/create', { model: 'by-path', from: modelFile })).status, 200);
    await fails({ model: 'x' }, /from/);
    await fails({ from: model }, /model/);
    await fails({ model: 'x', from: 'none' }, /none/, 404);
    await fails({ model: '../x', from: model }, /model/);
    await fails({ model, from: model }, /name of a model file/);
    await fails({ model: 'x', from: model, parameters: { nonsense: 1 } }, /nonsense/);
    await fails({ model: 'x', from: model, parameters: { temperature: 9 } }, /temperature/);
    await fails({ model: 'x', from: model, template: '{% if %}' }, /./);
    await fails({ model: 'x', from: model, messages: [{ role: 'robot', content: '' }] }, /robot/);
    await fails({ model: 'x', from: model, adapters: { a: 'b' } }, /adapters/);
    await fails({ model: 'x', from: model, quantize: 'q9' }, /quantize.*q9/);
    await fails({ model: 'x', from: model, quantize: 8 }, /quantize/);
    await fails({ model: 'x', from: model, modelfile: 'FROM x' }, /modelfile/);
    await fails({ model: 'x', from: model, nonsense: 1 }, /nonsense/);
    await fails({ model: 'x', files: { a: `sha256:${'0'.repeat(64)}` } }, /not uploaded/, 404);
    await fails({ source: 'none', destination: 'x' }, /none/, 404, '/api/copy');
    await fails({ model }, /does not delete/, 403, '/api/delete', 'DELETE');
    await fails({ model: 'none' }, /none/, 404, '/api/delete', 'DELETE');
    const before = await names();
    await one.stop();
    one = await serve(['--data-dir', data]);
    made = new Ollama({ host: one.url });
    assert.deepEqual(await names(), before);
    assert.equal((await chat('poet')).message.content, poem.message.content);
    for (const name of ['uploaded', 'poet', 'plain', 'copied', 'by-path']) await made.delete({ model: name });
    assert.deepEqual(await names(), [`${model}:latest`]);
    assert.equal((await blob('HEAD')).status, 404, 'nobody uses the file any more');
    assert.ok(readFileSync(modelFile).equals(bytes), 'the file of the user is untouched');
    await assert.rejects(chat('poet'), /does not exist/);
  } finally {
    await one.stop();
    rmSync(data, { recursive: true, force: true });
  }
});

const weather = { type: 'function', function: { name: 'weather', description: 'Tells the weather', parameters: { type: 'object',
  properties: { city: { type: 'string', maxLength: 12 }, days: { type: 'integer', minimum: 1, maximum: 9 } }, required: ['city', 'days'], additionalProperties: false } } };

test('formats hold whatever the model wants to say', async () => {
  const wild = { temperature: 1.5, top_k: 0, top_p: 1, num_predict: 300 };
  const schema = { type: 'object', properties: { name: { type: 'string', maxLength: 10 }, age: { type: 'integer', minimum: 0, maximum: 120 } }, required: ['name', 'age'], additionalProperties: false };
  for (const seed of [1, 2, 3]) {
    const chat = await client.chat({ model, messages: user('Tell me of Ann.'), format: schema, options: { ...wild, seed } });
    const got = JSON.parse(chat.message.content);
    assert.deepEqual(Object.keys(got), ['name', 'age']);
    assert.ok(typeof got.name === 'string' && Number.isInteger(got.age) && got.age >= 0 && got.age <= 120);
    const parts = await collect(await client.generate({ model, prompt: 'Tell me of Ann.', format: schema, stream: true, options: { ...wild, seed } }));
    assert.deepEqual(Object.keys(JSON.parse(parts.map((part) => part.response).join(''))), ['name', 'age']);
  }
  const word = await client.generate({ model, prompt: 'x', format: { enum: ['red', 'green'] }, options: wild });
  assert.ok(['red', 'green'].includes(JSON.parse(word.response)));
  await refuses('/api/chat', { model, messages: user('x'), format: { type: 'nonsense' } }, /nonsense|type/);
});

test('tools reach the template, and answers to calls are read', async () => {
  const request = (more = {}) => ({ model, messages: user('How is the weather?'), options: { ...cold, num_predict: 8 }, ...more });
  const bare = await client.chat(request());
  const armed = await client.chat(request({ tools: [weather] }));
  assert.ok(armed.prompt_eval_count > bare.prompt_eval_count + 20);
  const parts = await collect(await client.chat(request({ tools: [weather], stream: true })));
  assert.equal(parts.map((part) => part.message.content).join(''), armed.message.content);
  const later = await client.chat(request({ tools: [weather], messages: [...user('How is the weather?'),
    { role: 'assistant', content: '', tool_calls: [{ function: { name: 'weather', arguments: { city: 'Bonn', days: 2 } } }] },
    { role: 'tool', tool_name: 'weather', content: 'sunny' }] }));
  assert.ok(later.prompt_eval_count > armed.prompt_eval_count + 10);
});
