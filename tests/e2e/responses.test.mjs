// The Responses API through the openai client: answers, streams, what is kept, the background,
// conversations, restarts.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { post, serve, sleep, slow } from './hearth.mjs';

const model = 'hearth-nano';
const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-data-'));
let server;
let client;
const clientOf = (url, apiKey = 'unused') => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const ask = (input, more = {}) => ({ model, input, temperature: 0, ...more });

before(async () => {
  server = await serve(['--data-dir', folder]);
  client = clientOf(server.url);
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
  rmSync(folder, { recursive: true, force: true });
});

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

async function refuses(promise, status, param, code) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.status, status, error.message);
    assert.equal(error.param, param, error.message);
    assert.equal(error.code, code, error.message);
    assert.equal(error.type, 'invalid_request_error', error.message);
    return true;
  });
}

test('an answer in one piece, with every field of the object', async () => {
  const response = await client.responses.create(ask('What is hearth?', {
    instructions: 'Be helpful.', metadata: { a: 'b' }, max_output_tokens: 200, top_p: 0.9, user: 'ann',
    safety_identifier: 'id', prompt_cache_key: 'key', service_tier: 'auto', truncation: 'disabled',
    parallel_tool_calls: false, max_tool_calls: 3, tool_choice: 'none',
  }));
  assert.match(response.id, /^resp_[0-9a-f]{24}$/);
  assert.equal(response.object, 'response');
  assert.equal(response.status, 'completed');
  assert.ok(response.completed_at >= response.created_at);
  assert.equal(response.error, null);
  assert.equal(response.incomplete_details, null);
  assert.equal(response.instructions, 'Be helpful.');
  assert.deepEqual(response.metadata, { a: 'b' });
  assert.equal(response.max_output_tokens, 200);
  assert.equal(response.top_p, 0.9);
  assert.equal(response.temperature, 0);
  assert.equal(response.service_tier, 'default');
  assert.equal(response.prompt_cache_key, 'key');
  assert.equal(response.safety_identifier, 'id');
  assert.equal(response.user, 'ann');
  assert.equal(response.parallel_tool_calls, false);
  assert.equal(response.max_tool_calls, 3);
  assert.equal(response.tool_choice, 'none');
  assert.equal(response.background, false);
  assert.equal(response.truncation, 'disabled');
  assert.deepEqual(response.text, { format: { type: 'text' }, verbosity: 'medium' });
  const [message] = response.output;
  assert.equal(response.output.length, 1);
  assert.match(message.id, /^msg_/);
  assert.equal(message.type, 'message');
  assert.equal(message.role, 'assistant');
  assert.equal(message.status, 'completed');
  assert.equal(message.content[0].type, 'output_text');
  assert.deepEqual(message.content[0].annotations, []);
  assert.equal(response.output_text, message.content[0].text);
  assert.ok(response.output_text.length > 0);
  const { usage } = response;
  assert.equal(usage.total_tokens, usage.input_tokens + usage.output_tokens);
  assert.equal(typeof usage.input_tokens_details.cached_tokens, 'number');
  assert.equal(typeof usage.output_tokens_details.reasoning_tokens, 'number');
});

// What the reference says of the order, whatever is told.
function checkEvents(events, { from = 0, background = false } = {}) {
  events.forEach((event, i) => assert.equal(event.sequence_number, from + i));
  if (from > 0) return;
  const types = events.map((event) => event.type);
  const start = background ? ['response.created', 'response.queued', 'response.in_progress']
    : ['response.created', 'response.in_progress'];
  assert.deepEqual(types.slice(0, start.length), start);
  assert.equal(types[start.length], 'response.output_item.added');
  const end = events.at(-1);
  assert.ok(['response.completed', 'response.incomplete'].includes(end.type), end.type);
  const items = new Map();
  for (const event of events.slice(start.length, -1)) {
    const item = items.get(event.output_index) ?? { text: '', open: false };
    items.set(event.output_index, item);
    if (event.type === 'response.output_item.added') {
      assert.equal(event.item.status, 'in_progress');
      item.id = event.item.id;
      item.open = true;
    } else if (event.type === 'response.output_item.done') {
      assert.equal(event.item.id, item.id);
      assert.deepEqual(event.item, end.response.output[event.output_index]);
      item.open = false;
    } else {
      assert.equal(event.item_id, item.id, event.type);
      assert.ok(item.open);
      if (event.type.endsWith('.delta')) item.text += event.delta;
      if (event.type === 'response.output_text.done') assert.equal(event.text, item.text);
      if (event.type === 'response.content_part.done') assert.equal(event.part.text, item.text);
    }
  }
  assert.ok([...items.values()].every((item) => !item.open));
  assert.equal(items.size, end.response.output.length);
}

test('the same as a stream, in the documented order', async () => {
  const whole = await client.responses.create(ask('What is hearth?'));
  const events = await collect(await client.responses.create(ask('What is hearth?', { stream: true })));
  checkEvents(events);
  const text = events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta);
  assert.equal(text.join(''), whole.output_text);
  assert.ok(text.length > 4);
  assert.equal(events.at(-1).type, 'response.completed');
  assert.deepEqual(events.at(-1).response.usage.output_tokens, whole.usage.output_tokens);
  assert.equal(events[0].response.status, 'in_progress');
  assert.deepEqual(events[0].response.output, []);
});

test('the stream helper of the client', async () => {
  const stream = client.responses.stream(ask('What is hearth?'));
  let text = '';
  stream.on('response.output_text.delta', (event) => (text += event.delta));
  const final = await stream.finalResponse();
  assert.equal(final.status, 'completed');
  assert.equal(final.output_text, text);
});

test('max_output_tokens makes it incomplete', async () => {
  const response = await client.responses.create(ask('What is hearth?', { max_output_tokens: 3 }));
  assert.equal(response.status, 'incomplete');
  assert.deepEqual(response.incomplete_details, { reason: 'max_output_tokens' });
  assert.equal(response.usage.output_tokens, 3);
  assert.equal(response.output[0].status, 'incomplete');
  const events = await collect(await client.responses.create(ask('What is hearth?', { max_output_tokens: 3, stream: true })));
  checkEvents(events);
  assert.equal(events.at(-1).type, 'response.incomplete');
});

test('log probabilities, in one piece and streamed', async () => {
  const more = { include: ['message.output_text.logprobs'], top_logprobs: 2, max_output_tokens: 5 };
  const response = await client.responses.create(ask('What is hearth?', more));
  const { logprobs } = response.output[0].content[0];
  assert.equal(logprobs.length, response.usage.output_tokens);
  for (const token of logprobs) {
    assert.ok(token.logprob <= 0);
    assert.equal(token.top_logprobs.length, 2);
    assert.deepEqual([...Buffer.from(token.token)], token.bytes);
  }
  const events = await collect(await client.responses.create(ask('What is hearth?', { ...more, stream: true })));
  checkEvents(events);
  const deltas = events.filter((event) => event.type === 'response.output_text.delta');
  assert.deepEqual(deltas.flatMap((event) => event.logprobs), logprobs);
  const again = await collect(await client.responses.retrieve(events[0].response.id, { stream: true }));
  assert.deepEqual(again, events, 'also from the disk');
});

test('what is stored is retrieved, listed and deleted', async () => {
  const response = await client.responses.create(ask([
    { role: 'developer', content: 'Be brief.' },
    { role: 'user', content: [{ type: 'input_text', text: 'What is' }, { type: 'input_text', text: 'hearth?' }] },
  ]));
  assert.deepEqual(await client.responses.retrieve(response.id), response);
  const items = await client.responses.inputItems.list(response.id, { order: 'asc' });
  assert.deepEqual(items.data.map((item) => [item.type, item.role, item.content.map((part) => part.text).join('|')]),
    [['message', 'developer', 'Be brief.'], ['message', 'user', 'What is|hearth?']]);
  const page = await client.responses.inputItems.list(response.id, { limit: 1 });
  assert.equal(page.data[0].role, 'user', 'the newest first');
  assert.equal(page.has_more, true);
  const rest = await page.getNextPage();
  assert.equal(rest.data[0].role, 'developer');
  assert.equal(rest.has_more, false);
  await client.responses.delete(response.id);
  await refuses(client.responses.retrieve(response.id), 404, null, 'not_found');
  await refuses(client.responses.delete(response.id), 404, null, 'not_found');
  await refuses(client.responses.inputItems.list(response.id), 404, null, 'not_found');
});

test('store: false keeps nothing', async () => {
  const response = await client.responses.create(ask('Hi', { store: false, max_output_tokens: 4 }));
  assert.equal(response.store, false);
  await refuses(client.responses.retrieve(response.id), 404, null, 'not_found');
  await refuses(client.responses.create(ask('Hi', { previous_response_id: response.id })), 404,
    'previous_response_id', 'not_found');
});

test('previous_response_id continues; the chain is the conversation', async () => {
  const first = await client.responses.create(ask('What is hearth?', { instructions: 'Be kind.' }));
  const second = await client.responses.create(ask('And then?', { previous_response_id: first.id }));
  assert.equal(second.previous_response_id, first.id);
  assert.equal(second.instructions, null, 'instructions are not carried over');
  const third = await client.responses.create(ask('Why?', { previous_response_id: second.id, max_output_tokens: 8 }));
  const flat = await client.responses.create(ask([
    { role: 'user', content: 'What is hearth?' }, { role: 'assistant', content: first.output_text },
    { role: 'user', content: 'And then?' }, { role: 'assistant', content: second.output_text },
    { role: 'user', content: 'Why?' }], { max_output_tokens: 8 }));
  assert.equal(third.output_text, flat.output_text);
  assert.equal(third.usage.input_tokens, flat.usage.input_tokens);
  const replayed = await client.responses.create(ask([{ role: 'user', content: 'What is hearth?' },
    ...first.output, { role: 'user', content: 'And then?' }, { type: 'item_reference', id: second.output[0].id },
    { role: 'user', content: 'Why?' }], { max_output_tokens: 8 }));
  assert.equal(replayed.output_text, flat.output_text);
  assert.equal(replayed.usage.input_tokens, flat.usage.input_tokens);
});

test('input_tokens counts what create would read', async () => {
  const body = ask('What is hearth?', { instructions: 'Be kind.', max_output_tokens: 4 });
  const { input_tokens: count, object } = await client.responses.inputTokens.count({ model, input: body.input, instructions: body.instructions });
  assert.equal(object, 'response.input_tokens');
  assert.equal(count, (await client.responses.create(body)).usage.input_tokens);
});

test('conversations', async () => {
  const conversation = await client.conversations.create({
    items: [{ role: 'user', content: 'My name is Ann.' }], metadata: { topic: 'x' } });
  assert.match(conversation.id, /^conv_/);
  assert.deepEqual(await client.conversations.retrieve(conversation.id), conversation);
  const updated = await client.conversations.update(conversation.id, { metadata: { topic: 'y' } });
  assert.deepEqual(updated.metadata, { topic: 'y' });
  const response = await client.responses.create(ask('What is hearth?', { conversation: conversation.id }));
  assert.deepEqual(response.conversation, { id: conversation.id });
  const items = await client.conversations.items.list(conversation.id, { order: 'asc' });
  assert.deepEqual(items.data.map((item) => item.role), ['user', 'user', 'assistant']);
  assert.deepEqual(items.data[2], response.output[0]);
  const longer = await client.responses.create(ask('And then?', { conversation: { id: conversation.id } }));
  assert.ok(longer.usage.input_tokens > response.usage.input_tokens);
  const added = await client.conversations.items.create(conversation.id, { items: [{ role: 'system', content: 'Hm.' }] });
  assert.equal(added.data.length, 1);
  const [item] = added.data;
  assert.deepEqual(await client.conversations.items.retrieve(item.id, { conversation_id: conversation.id }), item);
  assert.equal((await client.conversations.items.delete(item.id, { conversation_id: conversation.id })).id, conversation.id);
  await refuses(client.conversations.items.retrieve(item.id, { conversation_id: conversation.id }), 404, null, 'not_found');
  assert.equal((await client.conversations.delete(conversation.id)).deleted, true);
  await refuses(client.conversations.items.list(conversation.id), 404, null, 'not_found');
  await refuses(client.responses.create(ask('x', { conversation: conversation.id })), 404, 'conversation', 'not_found');
  await refuses(client.responses.create(ask('x', { conversation: 'a', previous_response_id: 'b' })), 400,
    'conversation', 'invalid_value');
});

async function finished(id, of = client) {
  for (const until = Date.now() + 20000 * slow; Date.now() < until; await sleep(20)) {
    const response = await of.responses.retrieve(id);
    if (!['queued', 'in_progress'].includes(response.status)) return response;
  }
  throw new Error('it does not end');
}

test('in the background', async () => {
  const queued = await client.responses.create(ask('What is hearth?', { background: true }));
  assert.ok(['queued', 'in_progress'].includes(queued.status), queued.status);
  assert.equal(queued.background, true);
  assert.deepEqual(queued.output, []);
  const response = await finished(queued.id);
  const plain = await client.responses.create(ask('What is hearth?'));
  assert.equal(response.status, 'completed');
  assert.equal(response.output_text ?? response.output[0].content[0].text, plain.output_text);
  const events = await collect(await client.responses.retrieve(queued.id, { stream: true }));
  checkEvents(events, { background: true });
  assert.deepEqual(events.at(-1).response.output, response.output);
});

test('a broken background stream is resumed, running and finished', async () => {
  const body = { model, input: 'Tell me a story.', logit_bias: {}, max_output_tokens: 300, background: true, stream: true };
  const stream = await client.responses.create(body);
  const seen = [];
  for await (const event of stream) {
    seen.push(event);
    if (seen.length === 8) break;
  }
  const { id } = seen[0].response;
  const rest = await collect(await client.responses.retrieve(id, { stream: true, starting_after: seen.at(-1).sequence_number }));
  checkEvents(rest, { from: 8 });
  const all = await collect(await client.responses.retrieve(id, { stream: true }));
  checkEvents(all, { background: true });
  assert.deepEqual(all.slice(0, 8), seen);
  assert.deepEqual(all.slice(8), rest);
  const none = await collect(await client.responses.retrieve(id, { stream: true, starting_after: all.at(-1).sequence_number }));
  assert.deepEqual(none, []);
  await refuses(client.responses.retrieve(id, { stream: true, starting_after: -1 }), 400, 'starting_after', 'invalid_value');
});

test('a background response is cancelled; another cannot be', async () => {
  const body = { model, input: 'Tell me a long story.', temperature: 1.2, seed: 3, max_output_tokens: 700 };
  const queued = await client.responses.create({ ...body, background: true });
  const cancelled = await client.responses.cancel(queued.id);
  assert.ok(['cancelled', 'completed', 'incomplete'].includes(cancelled.status), cancelled.status);
  const { output_text: _text, ...again } = await client.responses.cancel(queued.id);
  const { output_text: _, ...kept } = await client.responses.retrieve(queued.id);
  assert.deepEqual(again, kept, 'twice is fine');
  const plain = await client.responses.create(ask('Hi', { max_output_tokens: 2 }));
  await assert.rejects(client.responses.cancel(plain.id), { status: 400 });
  await assert.rejects(client.responses.cancel('resp_none'), { status: 404 });
});

test('a client that leaves a stream leaves a cancelled response', async () => {
  const stream = await client.responses.create({ ...ask('Tell me a long story.'), temperature: 1.5, min_p: 0, stream: true });
  let id;
  for await (const event of stream) {
    id ??= event.response?.id;
    if (event.type === 'response.output_text.delta') break;
  }
  const response = await finished(id);
  assert.ok(['cancelled', 'completed', 'incomplete'].includes(response.status), JSON.stringify(response));
});

test('padding of deltas on request', async () => {
  const events = await collect(await client.responses.create(ask('Hi', { stream: true, max_output_tokens: 4, stream_options: { include_obfuscation: true } })));
  const deltas = events.filter((event) => event.type.endsWith('.delta'));
  assert.ok(deltas.every((event) => (event.obfuscation.length + Buffer.byteLength(event.delta)) % 32 === 0));
});

test('refusals name the field', async () => {
  const bad = (more, param, code = 'invalid_value', status = 400) =>
    refuses(client.responses.create(ask('x', more)), status, param, code);
  await bad({ foo: 1 }, 'foo', 'unknown_parameter');
  for (const field of ['prompt', 'moderation', 'context_management', 'access_programs', 'image', 'background_options', 'prompt_cache_options']) {
    await bad({ [field]: { id: 'x' } }, field, 'unsupported_parameter');
  }
  await bad({ max_output_tokens: 0 }, 'max_output_tokens');
  await bad({ max_tool_calls: 0 }, 'max_tool_calls');
  await bad({ top_logprobs: 21 }, 'top_logprobs');
  await bad({ temperature: 3 }, 'temperature');
  await bad({ top_p: '1' }, 'top_p', 'invalid_type');
  await bad({ truncation: 'middle' }, 'truncation');
  await bad({ service_tier: 'priority' }, 'service_tier', 'unsupported_parameter');
  await bad({ include: ['file_search_call.results'] }, 'include[0]', 'unsupported_parameter');
  await bad({ include: ['x'] }, 'include[0]');
  await bad({ include: 'x' }, 'include', 'invalid_type');
  await bad({ reasoning: { effort: 'huge' } }, 'reasoning.effort');
  await bad({ reasoning: { mode: 'pro' } }, 'reasoning.mode');
  await bad({ reasoning: { x: 1 } }, 'reasoning.x', 'unknown_parameter');
  await bad({ text: { verbosity: 'loud' } }, 'text.verbosity');
  await bad({ text: { format: { type: 'xml' } } }, 'text.format.type');
  await bad({ text: { format: { type: 'json_schema', name: 'a' } } }, 'text.format.schema', 'missing_required_parameter');
  await bad({ metadata: { a: 1 } }, 'metadata.a', 'invalid_type');
  await bad({ metadata: { a: 'x'.repeat(513) } }, 'metadata.a');
  await bad({ metadata: Object.fromEntries([...Array(17).keys()].map((i) => [`k${i}`, 'v'])) }, 'metadata');
  await bad({ background: true, store: false }, 'background');
  await bad({ stream_options: { include_obfuscation: true } }, 'stream_options');
  await bad({ stream_options: { include_usage: true } }, 'stream_options.include_usage', 'unknown_parameter');
  await bad({ previous_response_id: 'resp_x' }, 'previous_response_id', 'not_found', 404);
  await bad({ previous_response_id: 7 }, 'previous_response_id', 'invalid_type');
  for (const type of ['web_search', 'web_search_preview', 'file_search', 'code_interpreter', 'computer_use_preview', 'mcp', 'image_generation', 'shell', 'apply_patch']) {
    await bad({ tools: [{ type }] }, 'tools[0].type', 'unsupported_parameter');
  }
  await bad({ tools: [{ type: 'function' }] }, 'tools[0].name', 'missing_required_parameter');
  await bad({ tools: [{ type: 'custom', name: 'a', format: { type: 'grammar', syntax: 'lark', definition: 'start: "a"' } }] },
    'tools[0].format.syntax', 'unsupported_parameter');
  await bad({ tool_choice: 'required' }, 'tool_choice');
  await bad({ tool_choice: 'some' }, 'tool_choice');
  await bad({ tool_choice: { type: 'web_search' }, tools: [{ type: 'function', name: 'f', parameters: {} }] }, 'tool_choice.type', 'unsupported_parameter');
  const input = (value, param, code) => refuses(client.responses.create({ model, input: value }), 400, param, code);
  await input([], 'input', 'invalid_value');
  await input(5, 'input', 'invalid_type');
  await input([5], 'input[0]', 'invalid_type');
  await input([{ role: 'robot', content: 'x' }], 'input[0].role', 'invalid_value');
  await input([{ role: 'user', content: 'x', foo: 1 }], 'input[0].foo', 'unknown_parameter');
  for (const type of ['input_image', 'input_file', 'input_audio']) {
    await input([{ role: 'user', content: [{ type: 'input_text', text: 'a' }, { type, file_id: 'f' }] }],
      'input[0].content[1].type', 'unsupported_parameter');
  }
  await input([{ type: 'web_search_call', id: 'x' }], 'input[0].type', 'unsupported_parameter');
  await input([{ type: 'function_call', name: 'f', arguments: '{}' }], 'input[0].call_id', 'missing_required_parameter');
  await refuses(client.responses.create({ model }), 400, 'input', 'missing_required_parameter');
  await refuses(client.responses.create({ input: 'x' }), 400, 'model', 'missing_required_parameter');
  await refuses(client.responses.create({ model: 'gpt-6', input: 'x' }), 404, 'model', 'model_not_found');
  await assert.rejects(client.responses.inputItems.list('x', { limit: 0 }), { status: 404 });
});

test('keys do not see each other', async () => {
  const shared = await serve(['--api-key', 'ann-key', '--api-key', 'bob-key']);
  const ann = clientOf(shared.url, 'ann-key');
  const bob = clientOf(shared.url, 'bob-key');
  const response = await ann.responses.create(ask('Hi', { max_output_tokens: 3 }));
  const conversation = await ann.conversations.create({});
  assert.equal((await ann.responses.retrieve(response.id)).id, response.id);
  await refuses(bob.responses.retrieve(response.id), 404, null, 'not_found');
  await refuses(bob.responses.delete(response.id), 404, null, 'not_found');
  await refuses(bob.responses.create(ask('x', { previous_response_id: response.id })), 404, 'previous_response_id', 'not_found');
  await refuses(bob.responses.create(ask('x', { conversation: conversation.id })), 404, 'conversation', 'not_found');
  await refuses(bob.responses.create(ask([{ type: 'item_reference', id: response.output[0].id }])), 404, 'input[0].id', 'not_found');
  await assert.rejects(clientOf(shared.url, 'none').responses.retrieve(response.id), { status: 401 });
  await shared.stop();
});

test('a killed server loses nothing that it acknowledged', async () => {
  const data = mkdtempSync(path.join(os.tmpdir(), 'hearth-kill-'));
  let victim = await serve(['--data-dir', data]);
  let kept = clientOf(victim.url);
  const done = await kept.responses.create(ask('What is hearth?'));
  const running = await kept.responses.create({ model, input: 'Tell me a story.', temperature: 1.5, min_tokens: 900, background: true }).catch(() => null);
  await victim.stop('SIGKILL');
  victim = await serve(['--data-dir', data]);
  kept = clientOf(victim.url);
  assert.deepEqual(await kept.responses.retrieve(done.id), done);
  if (running) {
    const after = await kept.responses.retrieve(running.id);
    assert.ok(['failed', 'completed', 'incomplete'].includes(after.status), after.status);
    if (after.status === 'failed') assert.equal(after.error.code, 'server_error');
  }
  const next = await kept.responses.create(ask('And then?', { previous_response_id: done.id, max_output_tokens: 4 }));
  assert.equal(next.previous_response_id, done.id);
  const second = await serve(['--data-dir', data]).catch((error) => error);
  assert.match(second.message, /in use by another process/);
  await victim.stop();
  rmSync(data, { recursive: true, force: true });
});

test('without a data folder nothing is stored, and that is said', async () => {
  const bare = await serve(['--data-dir', 'none']);
  const of = clientOf(bare.url);
  const response = await of.responses.create(ask('Hi', { max_output_tokens: 3 }));
  assert.equal(response.store, false);
  await refuses(of.responses.create(ask('Hi', { store: true })), 400, 'store', 'unsupported_parameter');
  await refuses(of.responses.create(ask('Hi', { background: true })), 400, 'background', 'unsupported_parameter');
  await refuses(of.responses.create(ask('Hi', { previous_response_id: 'x' })), 400, 'previous_response_id', 'unsupported_parameter');
  await refuses(of.responses.retrieve('resp_x'), 400, null, 'unsupported_parameter');
  assert.equal((await post(bare, '/v1/conversations', {})).status, 400);
  await bare.stop();
});
