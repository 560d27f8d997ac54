// The @anthropic-ai/sdk client against a real server with the bundled model, and each documented
// field of a body: its effect, or its refusal in the API's own shape.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { metric, post, serve, sleep } from './hearth.mjs';

let server;
let client;
const model = 'hearth-nano';
const user = (content) => [{ role: 'user', content }];
const ask = (more = {}) => ({
  model, max_tokens: 64, temperature: 0, messages: user('What is hearth?'), ...more,
});

before(async () => {
  server = await serve(['--api-key', 'secret']);
  client = new Anthropic({ baseURL: server.url, apiKey: 'secret', maxRetries: 0 });
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

const send = (body, path = '/v1/messages', headers = {}) =>
  post(server, path, body, { 'x-api-key': 'secret', 'anthropic-version': '2023-06-01', ...headers });

async function refuses(body, pattern, { path = '/v1/messages', status = 400, type = 'invalid_request_error' } = {}) {
  const answer = await send(body, path);
  const got = await answer.json();
  const name = `${JSON.stringify(body).slice(0, 150)}: ${JSON.stringify(got)}`;
  assert.equal(answer.status, status, name);
  assert.deepEqual(Object.keys(got), ['type', 'error', 'request_id'], name);
  assert.equal(got.type, 'error', name);
  assert.deepEqual(Object.keys(got.error), ['type', 'message'], name);
  assert.equal(got.error.type, type, name);
  assert.match(got.error.message, pattern, name);
  assert.equal(got.request_id, answer.headers.get('request-id'), name);
}

async function accepts(body, path) {
  const answer = await send(body, path);
  const got = await answer.json();
  assert.equal(answer.status, 200, `${JSON.stringify(body).slice(0, 150)}: ${JSON.stringify(got)}`);
  return got;
}

const textOf = (message) => message.content.map((block) => block.text).join('');

test('a message in one piece', async () => {
  const message = await client.messages.create(ask());
  assert.match(message.id, /^msg_/);
  assert.equal(message.type, 'message');
  assert.equal(message.role, 'assistant');
  assert.equal(message.model, model);
  assert.equal(message.content.length, 1);
  assert.equal(message.content[0].type, 'text');
  assert.match(message.content[0].text, /hearth/i);
  assert.equal(message.stop_reason, 'end_turn');
  assert.equal(message.stop_sequence, null);
  const { usage } = message;
  assert.ok(usage.input_tokens > 0 && usage.output_tokens > 5);
  assert.equal(usage.cache_creation_input_tokens, 0);
  assert.equal(usage.service_tier, 'standard');
  assert.match(message._request_id, /^req_/);
});

test('the events of a stream, in order', async () => {
  const whole = await client.messages.create(ask());
  const events = [];
  for await (const event of await client.messages.create(ask({ stream: true }))) events.push(event);
  const kinds = events.map((event) => event.type);
  assert.deepEqual(kinds.slice(0, 2), ['message_start', 'content_block_start']);
  assert.deepEqual(kinds.slice(-3), ['content_block_stop', 'message_delta', 'message_stop']);
  assert.ok(kinds.slice(2, -3).every((kind) => kind === 'content_block_delta'));
  assert.ok(kinds.length > 8, 'several pieces');
  const [start] = events;
  assert.deepEqual(start.message.content, []);
  assert.equal(start.message.stop_reason, null);
  assert.ok(start.message.usage.input_tokens > 0);
  const deltas = events.filter((event) => event.type === 'content_block_delta');
  assert.ok(deltas.every((event) => event.index === 0 && event.delta.type === 'text_delta'));
  assert.equal(deltas.map((event) => event.delta.text).join(''), textOf(whole));
  const end = events.at(-2);
  assert.deepEqual(end.delta, { stop_reason: 'end_turn', stop_sequence: null });
  assert.equal(end.usage.output_tokens, whole.usage.output_tokens);
});

test('the frames of a stream name their event; a ping is among them', async () => {
  const answer = await send(ask({ stream: true }));
  assert.match(answer.headers.get('content-type'), /^text\/event-stream/);
  assert.match(answer.headers.get('request-id'), /^req_/);
  const frames = (await answer.text()).trimEnd().split('\n\n');
  const names = frames.map((frame) => {
    const [, name, data] = frame.match(/^event: (\w+)\ndata: (.*)$/);
    assert.equal(JSON.parse(data).type, name);
    return name;
  });
  assert.deepEqual(names.slice(0, 4), ['message_start', 'content_block_start', 'ping', 'content_block_delta']);
});

test('the stream helper gathers the same message', async () => {
  const whole = await client.messages.create(ask());
  const stream = client.messages.stream(ask());
  let text = '';
  stream.on('text', (piece) => (text += piece));
  const final = await stream.finalMessage();
  assert.equal(text, textOf(whole));
  assert.equal(textOf(final), textOf(whole));
  assert.equal(final.stop_reason, 'end_turn');
});

test('the beta namespace asks with ?beta=true and anthropic-beta', async () => {
  const message = await client.beta.messages.create({ ...ask(), betas: ['prompt-caching-2024-07-31'] });
  assert.match(textOf(message), /hearth/i);
});

test('stop reasons', async () => {
  const whole = textOf(await client.messages.create(ask()));
  const cut = await client.messages.create(ask({ max_tokens: 4 }));
  assert.equal(cut.stop_reason, 'max_tokens');
  assert.equal(cut.usage.output_tokens, 4);
  const none = await client.messages.create(ask({ max_tokens: 0 }));
  assert.deepEqual([none.content, none.stop_reason, none.usage.output_tokens], [[], 'max_tokens', 0]);
  const stop = whole.slice(9, 14);
  const stopped = await client.messages.create(ask({ stop_sequences: ['never seen', stop] }));
  assert.equal(stopped.stop_reason, 'stop_sequence');
  assert.equal(stopped.stop_sequence, stop);
  assert.equal(textOf(stopped), whole.slice(0, whole.indexOf(stop)));
  const streamed = await client.messages.stream(ask({ stop_sequences: [stop] })).finalMessage();
  assert.deepEqual([streamed.stop_reason, streamed.stop_sequence], ['stop_sequence', stop]);
  const { input_tokens: prompt } = await client.messages.countTokens({ model, messages: user('What is hearth?') });
  const full = await client.messages.create(ask({ num_ctx: prompt + 3 }));
  assert.equal(full.stop_reason, 'model_context_window_exceeded');
  assert.equal(full.usage.output_tokens, 3);
  await refuses(ask({ num_ctx: prompt - 1 }), new RegExp(`${prompt} tokens.*${prompt - 1}`));
  await refuses(ask({ num_ctx: 1 << 20 }), /num_ctx.*1048576.*\d{4} tokens/);
});

test('an answer without text has no block', async () => {
  const events = [];
  const stream = await client.messages.create(ask({ stream: true, max_tokens: 0 }));
  for await (const event of stream) events.push(event.type);
  assert.deepEqual(events, ['message_start', 'message_delta', 'message_stop']);
});

test('count_tokens is what a message then costs', async () => {
  const bodies = [
    { messages: user('What is hearth?') },
    { system: 'Be brief.', messages: user('What is hearth?') },
    { messages: [...user('a'), { role: 'assistant', content: 'It is' }] },
  ];
  for (const body of bodies) {
    const { input_tokens: count } = await client.messages.countTokens({ model, ...body });
    const { usage } = await client.messages.create(ask({ ...body, max_tokens: 1 }));
    assert.equal(count, usage.input_tokens + usage.cache_read_input_tokens);
  }
  const huge = await client.messages.countTokens({ model, messages: user('word '.repeat(5000)) });
  assert.ok(huge.input_tokens > 5000, 'counting has no limit of context');
  await refuses({ model, max_tokens: 1, messages: user('a') }, /max_tokens/, { path: '/v1/messages/count_tokens' });
});

test('system, blocks and turns reach the template', async () => {
  const count = async (body) => (await client.messages.countTokens({ model, ...body })).input_tokens;
  const plain = await count({ messages: user('a\nb') });
  const block = (text, more = {}) => ({ type: 'text', text, ...more });
  const cached = { cache_control: { type: 'ephemeral', ttl: '1h' } };
  assert.equal(await count({ messages: user([block('a', cached), block('b', { citations: null })]) }), plain);
  assert.equal(await count({ messages: [...user('a'), ...user('b')] }), plain, 'one turn');
  const system = await count({ system: 'x\ny', messages: user('a') });
  assert.equal(await count({ system: [block('x', cached), block('y')], messages: user('a') }), system);
  assert.ok(system > (await count({ messages: user('a') })));
  assert.equal(await count({ system: '', messages: user('a') }), await count({ messages: user('a') }));
  assert.equal(await count({ cache_control: { type: 'ephemeral' }, messages: user('a\nb') }), plain);
});

test('a final assistant message is continued', async () => {
  const whole = textOf(await client.messages.create(ask()));
  const start = whole.split(' ').slice(0, 3).join(' ');
  const rest = await client.messages.create(ask({ messages: [...user('What is hearth?'), { role: 'assistant', content: start }] }));
  assert.equal(start + textOf(rest), whole);
  await refuses(ask({ messages: [...user('a'), { role: 'assistant', content: 'b ' }] }), /white space/);
});

test('sampling has an effect', async () => {
  const run = async (more) => textOf(await client.messages.create({ ...ask({ messages: user('Tell me a story.'), max_tokens: 32 }), ...more }));
  assert.equal(await run({ temperature: 1, seed: 5 }), await run({ temperature: 1, seed: 5 }));
  const many = await Promise.all([1, 2, 3, 4].map((seed) => run({ temperature: 1, seed })));
  assert.ok(new Set(many).size > 1);
  const greedy = await run({});
  assert.equal(await run({ temperature: 1, top_k: 1 }), greedy);
  assert.equal(await run({ temperature: 1, top_p: 0 }), greedy);
});

test('hints and neutral values pass', async () => {
  for (const more of [
    { metadata: { user_id: 'ann' } }, { metadata: {} }, { service_tier: 'auto' }, { service_tier: 'standard_only' },
    { thinking: { type: 'disabled' } }, { tools: [] }, { tool_choice: { type: 'none' } }, { speed: 'standard' },
    { output_config: { effort: null, format: null } }, { system: null, stop_sequences: null, metadata: null, tools: null },
  ]) await accepts(ask({ max_tokens: 1, ...more }));
  assert.ok(server.log().some((line) => line.user === 'ann'), 'metadata.user_id is in the log');
});

test('what is not supported is refused by name', async () => {
  for (const [field, value] of Object.entries({
    container: 'c', mcp_servers: [], context_management: { edits: [{ type: 'clear_tool_uses_20250919' }] },
    compaction: {}, billing_policy: {}, service_tier: 'priority', speed: 'fast', inference_geo: 'us', diagnostics: {}, fallbacks: {}, thread: {},
  })) await refuses(ask({ [field]: value }), new RegExp(`^${field}: .*not supported`));
  for (const type of ['web_search_20250305', 'bash_20250124', 'text_editor_20250728', 'computer_20250124', 'memory_20250818',
    'code_execution_20250825', 'web_fetch_20250910', 'tool_search_tool_regex_20251119']) {
    await refuses(ask({ tools: [{ type, name: 'x' }] }), new RegExp(`^tools\\.0\\.type: .*'${type}'`));
  }
  for (const type of ['image', 'server_tool_use', 'web_search_tool_result', 'container_upload', 'mcp_tool_use', 'tool_use', 'thinking']) {
    await refuses(ask({ messages: user([{ type: 'text', text: 'a' }, { type, source: {} }]) }),
      new RegExp(`^messages\\.0\\.content\\.1\\.type: .*'${type}'`));
  }
});

test('bad values name their place', async () => {
  const cases = [
    [{ max_tokens: null }, /^max_tokens: missing/], [{ max_tokens: -1 }, /^max_tokens/], [{ max_tokens: '5' }, /^max_tokens: invalid type/],
    [{ temperature: 1.1 }, /^temperature/], [{ temperature: -0.1 }, /^temperature/], [{ top_p: 2 }, /^top_p/],
    [{ top_k: -1 }, /^top_k/], [{ top_k: 1.5 }, /^top_k/], [{ stream: 1 }, /^stream/], [{ stop_sequences: [''] }, /^stop_sequences\.0/],
    [{ metadata: { x: 1 } }, /^metadata\.x/], [{ metadata: { user_id: 1 } }, /^metadata\.user_id/], [{ nonsense: 1 }, /^nonsense: unknown/],
    [{ messages: [] }, /^messages: at least one/], [{ messages: null }, /^messages: missing/], [{ messages: 'a' }, /^messages/],
    [{ messages: [{ role: 'tool', content: 'a' }] }, /^messages\.0\.role: .*'tool'/], [{ messages: user('') }, /^messages\.0\.content: .*non-empty/],
    [{ messages: [{ content: 'a' }] }, /^messages\.0\.role/], [{ messages: [{ role: 'user' }] }, /^messages\.0\.content/],
    [{ messages: [{ role: 'user', content: 'a', name: 'x' }] }, /^messages\.0\.name: unknown/], [{ messages: [1] }, /^messages\.0: /],
    [{ messages: user([{ type: 'text', text: '' }]) }, /^messages\.0\.content\.0\.text/], [{ messages: user([{ text: 'a' }]) }, /^messages\.0\.content\.0\.type/],
    [{ messages: user([{ type: 'text', text: 'a', cache_control: { type: 'x' } }]) }, /^messages\.0\.content\.0\.cache_control\.type/],
    [{ system: 5 }, /^system/], [{ system: [{ type: 'image' }] }, /^system\.0\.type/], [{ model: null }, /^model: missing/],
  ];
  for (const [more, pattern] of cases) await refuses(ask(more), pattern);
  await refuses('{', /JSON|object|line/i);
  await refuses([], /object/);
  await refuses(ask({ messages: user('word '.repeat(5000)) }), /\d+ tokens.*\d+/);
});

test('errors are the client\'s own classes', async () => {
  await assert.rejects(client.messages.create(ask({ model: 'other' })), (error) => {
    assert.ok(error instanceof Anthropic.NotFoundError);
    assert.equal(error.error.error.type, 'not_found_error');
    assert.match(error.requestID, /^req_/);
    return true;
  });
  await assert.rejects(client.messages.create(ask({ temperature: 3 })), Anthropic.BadRequestError);
  const stranger = new Anthropic({ baseURL: server.url, apiKey: 'wrong', maxRetries: 0 });
  await assert.rejects(stranger.messages.create(ask()), (error) => {
    assert.ok(error instanceof Anthropic.AuthenticationError);
    assert.equal(error.error.error.type, 'authentication_error');
    return true;
  });
  const bearer = new Anthropic({ baseURL: server.url, authToken: 'secret', apiKey: null, maxRetries: 0 });
  assert.match(textOf(await bearer.messages.create(ask())), /hearth/i);
});

test('paths, methods, sizes and versions in the API\'s shape', async () => {
  const check = async (answer, status, type) => {
    const got = await answer.json();
    assert.equal(answer.status, status);
    assert.equal(got.error.type, type, JSON.stringify(got));
    assert.equal(got.request_id, answer.headers.get('request-id'));
  };
  await check(await fetch(`${server.url}/v1/messages`, { headers: { 'x-api-key': 'secret' } }), 405, 'invalid_request_error');
  await check(await send({}, '/v1/messages/batches'), 400, 'invalid_request_error');
  await check(await send({}, '/v1/messages/nothing'), 404, 'not_found_error');
  await check(await fetch(`${server.url}/v1/models/none`, { headers: { 'x-api-key': 'secret', 'anthropic-version': '2023-06-01' } }), 404, 'not_found_error');
  await check(await send(`"${'x'.repeat(40 << 20)}"`), 413, 'request_too_large');
  await check(await send(ask(), '/v1/messages', { 'anthropic-version': '2020-01-01' }), 400, 'invalid_request_error');
  const plain = await fetch(`${server.url}/v1/nothing`);
  assert.deepEqual(Object.keys((await plain.json()).error).sort(), ['code', 'message', 'param', 'type'], 'others keep their shape');
});

test('an aborted stream frees its sequence', async () => {
  const stream = await client.messages.create(
    ask({ messages: user('Tell me a story.'), temperature: 1, max_tokens: 900, stream: true }),
  );
  for await (const event of stream) {
    if (event.type === 'content_block_delta') break; // the iterator aborts the request
  }
  const until = Date.now() + 3000;
  while ((await metric(server, 'hearth_sequences_running', { 'x-api-key': 'secret' })) > 0) {
    assert.ok(Date.now() < until, 'the sequence still runs');
    await sleep(10);
  }
});

test('20 streams at once', async () => {
  const texts = await Promise.all(
    Array.from({ length: 20 }, async () => textOf(await client.messages.stream(ask()).finalMessage())),
  );
  assert.equal(new Set(texts).size, 1);
});

test('a full queue is 529 overloaded_error', async () => {
  const small = await serve(['--queue', '1', '--parallel', '1']);
  try {
    const body = ask({ messages: user('Tell me a story.'), temperature: 1, max_tokens: 900 });
    const answers = await Promise.all(Array.from({ length: 24 }, () => post(small, '/v1/messages', body)));
    const bodies = await Promise.all(answers.map((answer) => answer.json()));
    const busy = answers.findIndex((answer) => answer.status === 529);
    assert.ok(busy >= 0, answers.map((answer) => answer.status).join());
    assert.equal(bodies[busy].error.type, 'overloaded_error');
    assert.ok(answers[busy].headers.get('retry-after'));
  } finally {
    await small.stop();
  }
});

test('models by the client\'s own list', async () => {
  const all = [];
  for await (const info of client.models.list({ limit: 1 })) all.push(info);
  assert.deepEqual(all.map((info) => [info.type, info.id]), [['model', model]]);
  assert.ok(Date.parse(all[0].created_at) > 0 && all[0].max_input_tokens > 0);
  assert.equal((await client.models.retrieve(model)).id, model);
  await assert.rejects(client.models.retrieve('none'), Anthropic.NotFoundError);
  await assert.rejects(client.models.list({ limit: 5000 }), Anthropic.BadRequestError);
  await assert.rejects(client.models.list({ after_id: 'none' }), Anthropic.BadRequestError);
  await assert.rejects(client.messages.batches.list(), Anthropic.BadRequestError);
});

test('cache_control tells what the prompt adds to the cache and what it took from it', async () => {
  const long = `${'Once upon a time there was a hearth. '.repeat(20)}${Date.now()}`;
  const marked = (text) => ask({ max_tokens: 1, system: [{ type: 'text', text: long, cache_control: { type: 'ephemeral', ttl: '1h' } }], messages: user(text) });
  const first = (await client.messages.create(marked('a'))).usage;
  const second = (await client.messages.create(marked('b'))).usage;
  const total = (usage) => usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens;
  assert.ok(first.cache_creation_input_tokens >= 64 && first.cache_creation_input_tokens % 64 === 0, JSON.stringify(first));
  assert.equal(first.cache_creation.ephemeral_1h_input_tokens, first.cache_creation_input_tokens);
  assert.equal(second.cache_read_input_tokens >= 64, true, JSON.stringify(second));
  assert.ok(second.cache_creation_input_tokens < first.cache_creation_input_tokens);
  assert.equal(total(first), (await client.messages.countTokens({ model, system: marked('a').system, messages: user('a') })).input_tokens);
  const plain = (await client.messages.create(ask({ max_tokens: 1, system: `${long}x`, messages: user('a') }))).usage;
  assert.equal(plain.cache_creation_input_tokens, 0);
});
