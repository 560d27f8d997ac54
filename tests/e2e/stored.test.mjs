// Chat completions that are kept, and the fields beside them, through the openai client.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { chat, serve } from './hearth.mjs';

let server;
let client;
const clientOf = (of, apiKey = 'k') => new OpenAI({ baseURL: `${of.url}/v1`, apiKey, maxRetries: 0 });
const ask = (text, more = {}) => ({ ...chat(text), temperature: 0, max_tokens: 6, ...more });

before(async () => {
  server = await serve();
  client = clientOf(server);
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

const gone = (promise) => assert.rejects(promise, { status: 404, code: 'not_found', type: 'invalid_request_error' });

test('a stored completion is retrieved, changed, listed and deleted', async () => {
  const made = await client.chat.completions.create(ask('Hi', { store: true, metadata: { topic: 'a' } }));
  assert.deepEqual(made.metadata, { topic: 'a' });
  assert.deepEqual(await client.chat.completions.retrieve(made.id), made);
  const changed = await client.chat.completions.update(made.id, { metadata: { topic: 'b' } });
  assert.deepEqual(changed, { ...made, metadata: { topic: 'b' } });
  assert.deepEqual(await client.chat.completions.retrieve(made.id), changed);
  const messages = await client.chat.completions.messages.list(made.id);
  assert.deepEqual(messages.data.map(({ role, content }) => [role, content]), [['user', 'Hi']]);
  assert.ok(messages.data[0].id);
  assert.deepEqual(await client.chat.completions.delete(made.id),
    { id: made.id, object: 'chat.completion.deleted', deleted: true });
  await gone(client.chat.completions.retrieve(made.id));
  await gone(client.chat.completions.messages.list(made.id));
  await gone(client.chat.completions.update(made.id, { metadata: {} }));
  await gone(client.chat.completions.delete(made.id));
});

test('what is not to be stored is not', async () => {
  for (const more of [{}, { store: false }, { store: null }]) {
    const made = await client.chat.completions.create(ask('Hi', more));
    await gone(client.chat.completions.retrieve(made.id));
  }
});

test('a stream is stored as it would be in one piece', async () => {
  const more = { store: true, logprobs: true, top_logprobs: 1, n: 2, seed: 7, temperature: 1 };
  const whole = await client.chat.completions.create(ask('What is hearth?', more));
  const stream = await client.chat.completions.create(ask('What is hearth?', { ...more, stream: true }));
  let id;
  for await (const chunk of stream) id = chunk.id;
  const kept = await client.chat.completions.retrieve(id);
  assert.deepEqual(kept.choices, whole.choices);
  assert.equal(kept.usage.completion_tokens, whole.usage.completion_tokens);
});

test('lists by pages, model, order and metadata', async () => {
  const of = await serve();
  const own = clientOf(of);
  const ids = [];
  for (let i = 0; i < 5; i++) {
    ids.push((await own.chat.completions.create(ask(`Hi ${i}`, { store: true, metadata: { even: String(i % 2 === 0), i: String(i) } }))).id);
  }
  const all = [];
  for await (const item of own.chat.completions.list({ limit: 2 })) all.push(item.id);
  assert.deepEqual(all, ids);
  const listed = async (query) => (await own.chat.completions.list(query)).data.map((item) => item.id);
  assert.deepEqual(await listed({ order: 'desc' }), [...ids].reverse());
  assert.deepEqual(await listed({ metadata: { even: 'true' } }), [ids[0], ids[2], ids[4]]);
  assert.deepEqual(await listed({ metadata: { even: 'true', i: '2' } }), [ids[2]]);
  assert.deepEqual(await listed({ model: 'hearth-nano' }), ids);
  assert.deepEqual(await listed({ model: 'other' }), []);
  assert.deepEqual(await listed({ after: ids[3] }), [ids[4]]);
  await assert.rejects(listed({ limit: 101 }), { status: 400, param: 'limit' });
  await assert.rejects(listed({ order: 'up' }), { status: 400, param: 'order' });
  await assert.rejects(listed({ foo: 1 }), { status: 400, param: 'foo', code: 'unknown_parameter' });
  await assert.rejects(listed({ after: 'chatcmpl-x' }), { status: 404, param: 'after' });
  await of.stop();
});

test('keys do not see each other', async () => {
  const of = await serve(['--api-key', 'ann', '--api-key', 'bob']);
  const made = await clientOf(of, 'ann').chat.completions.create(ask('Hi', { store: true }));
  await gone(clientOf(of, 'bob').chat.completions.retrieve(made.id));
  assert.deepEqual((await clientOf(of, 'bob').chat.completions.list()).data, []);
  assert.equal((await clientOf(of, 'ann').chat.completions.list()).data.length, 1);
  await of.stop();
});

test('without a folder for data, store is refused', async () => {
  const of = await serve(['--data-dir', 'none']);
  await assert.rejects(clientOf(of).chat.completions.create(ask('Hi', { store: true })),
    { status: 400, param: 'store', code: 'unsupported_parameter' });
  await clientOf(of).chat.completions.create(ask('Hi'));
  await of.stop();
});

test('hints and their refusals', async () => {
  const fine = (more) => client.chat.completions.create(ask('Hi', more));
  const bad = (more, param, code) => assert.rejects(fine(more), (error) => {
    assert.deepEqual([error.status, error.param, error.code], [400, param, code], error.message);
    return true;
  });
  const plain = await fine({});
  const predicted = await fine({ prediction: { type: 'content', content: plain.choices[0].message.content } });
  assert.deepEqual(predicted.choices, plain.choices, 'a prediction changes no answer');
  await fine({ prediction: { type: 'content', content: [{ type: 'text', text: 'a' }] } });
  await fine({ prompt_cache_key: 'k', prompt_cache_retention: '24h', safety_identifier: 'u', verbosity: 'medium', service_tier: 'default' });
  await bad({ prediction: { type: 'x', content: 'a' } }, 'prediction.type', 'invalid_value');
  await bad({ prediction: { type: 'content' } }, 'prediction.content', 'missing_required_parameter');
  await bad({ prediction: { type: 'content', content: [{ type: 'image_url' }] } }, 'prediction.content[0]', 'invalid_value');
  await bad({ verbosity: 'low' }, 'verbosity', 'unsupported_parameter');
  await bad({ verbosity: 'x' }, 'verbosity', 'invalid_value');
  await bad({ prompt_cache_retention: '1h' }, 'prompt_cache_retention', 'invalid_value');
  await bad({ prompt_cache_key: 5 }, 'prompt_cache_key', 'invalid_type');
  await bad({ store: 'yes' }, 'store', 'invalid_type');
  await bad({ metadata: { a: 5 } }, 'metadata.a', 'invalid_type');
  await bad({ web_search_options: {} }, 'web_search_options', 'unsupported_parameter');
  await bad({ audio: { voice: 'x', format: 'wav' } }, 'audio', 'unsupported_parameter');
  await bad({ modalities: ['text', 'audio'] }, 'modalities', 'unsupported_parameter');
  await bad({ moderation: {} }, 'moderation', 'unsupported_parameter');
});

test('padding of deltas on request', async () => {
  const stream = await client.chat.completions.create(ask('Hi', { stream: true, stream_options: { include_obfuscation: true } }));
  let padded = 0;
  for await (const chunk of stream) {
    const text = chunk.choices[0]?.delta?.content ?? '';
    if (text) {
      padded++;
      assert.equal((chunk.obfuscation.length + Buffer.byteLength(text)) % 32, 0);
    }
  }
  assert.ok(padded > 0);
});
