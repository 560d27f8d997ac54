// Tools, formats and reasoning of the Responses API, and what coding agents send.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { serve } from './hearth.mjs';

const model = 'hearth-nano';
let server;
let client;
before(async () => {
  server = await serve();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'k', maxRetries: 0 });
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});
const ask = (input, more = {}) => ({ model, input, temperature: 0, ...more });
const weather = { type: 'function', name: 'get_weather', description: 'Weather of a city.', strict: true,
  parameters: { type: 'object', properties: { city: { type: 'string', enum: ['Paris', 'Rome'] } }, required: ['city'], additionalProperties: false } };
async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

test('a function is called, in one piece and streamed, and its output is read', async () => {
  const response = await client.responses.create(ask('Weather?', { tools: [weather], tool_choice: 'required' }));
  const call = response.output.find((item) => item.type === 'function_call');
  assert.match(call.id, /^fc_/);
  assert.equal(call.status, 'completed');
  assert.equal(call.name, 'get_weather');
  assert.ok(call.call_id);
  assert.ok(['Paris', 'Rome'].includes(JSON.parse(call.arguments).city));
  assert.deepEqual(response.tools, [weather]);
  const events = await collect(await client.responses.create(ask('Weather?', { tools: [weather], tool_choice: { type: 'function', name: 'get_weather' }, stream: true })));
  events.forEach((event, i) => assert.equal(event.sequence_number, i));
  const deltas = events.filter((event) => event.type === 'response.function_call_arguments.delta');
  const done = events.find((event) => event.type === 'response.function_call_arguments.done');
  assert.equal(deltas.map((event) => event.delta).join(''), done.arguments);
  assert.equal(done.arguments, call.arguments);
  assert.equal(done.name, 'get_weather');
  const again = await collect(await client.responses.retrieve(events[0].response.id, { stream: true }));
  assert.deepEqual(again, events);
  const next = await client.responses.create(ask([{ type: 'function_call_output', call_id: call.call_id, output: '{"sky":"blue"}' }],
    { previous_response_id: response.id, tools: [weather], tool_choice: 'none', max_output_tokens: 6 }));
  const flat = await client.responses.create(ask([{ role: 'user', content: 'Weather?' }, ...response.output,
    { type: 'function_call_output', call_id: call.call_id, output: [{ type: 'input_text', text: '{"sky":"blue"}' }] }], { tools: [weather], tool_choice: 'none', max_output_tokens: 6 }));
  assert.equal(next.output_text, flat.output_text);
  assert.equal(next.usage.input_tokens, flat.usage.input_tokens);
});

test('allowed tools', async () => {
  const other = { ...weather, name: 'other' };
  const response = await client.responses.create(ask('x', { tools: [weather, other],
    tool_choice: { type: 'allowed_tools', mode: 'required', tools: [{ type: 'function', name: 'other' }] } }));
  assert.ok(response.output.every((item) => item.type !== 'function_call' || item.name === 'other'));
  assert.ok(response.output.some((item) => item.type === 'function_call'));
});

test('custom tools: text and regex', async () => {
  const patch = { type: 'custom', name: 'patch', description: 'x', format: { type: 'grammar', syntax: 'regex', definition: '[a-c]{3}' } };
  const response = await client.responses.create(ask('x', { tools: [patch], tool_choice: 'required' }));
  const call = response.output.find((item) => item.type === 'custom_tool_call');
  assert.match(call.input, /^[a-c]{3}$/);
  assert.match(call.id, /^ctc_/);
  const events = await collect(await client.responses.create(ask('x', { tools: [patch], tool_choice: 'required', stream: true })));
  const done = events.find((event) => event.type === 'response.custom_tool_call_input.done');
  assert.equal(done.input, call.input);
  assert.equal(events.filter((event) => event.type === 'response.custom_tool_call_input.delta').map((event) => event.delta).join(''), call.input);
  const next = await client.responses.create(ask([{ type: 'custom_tool_call_output', call_id: call.call_id, output: 'done' }],
    { previous_response_id: response.id, max_output_tokens: 4 }));
  assert.equal(next.status === 'completed' || next.status === 'incomplete', true);
});

test('text.format: json_schema and json_object', async () => {
  const schema = { type: 'object', properties: { n: { type: 'integer' }, ok: { type: 'boolean' } }, required: ['n', 'ok'], additionalProperties: false };
  const response = await client.responses.create(ask('x', { temperature: 1.3, text: { format: { type: 'json_schema', name: 'a', strict: true, schema } }, max_output_tokens: 100 }));
  const value = JSON.parse(response.output_text);
  assert.deepEqual(Object.keys(value), ['n', 'ok']);
  assert.equal(typeof value.ok, 'boolean');
  await assert.rejects(client.responses.create(ask('x', { text: { format: { type: 'json_schema', name: 'a', strict: true, schema: { type: 'object', not: {} } } } })),
    (error) => error.status === 400 && error.param.startsWith('text.format'));
  const object = await client.responses.create(ask('x', { text: { format: { type: 'json_object' } }, max_output_tokens: 200 }));
  if (object.status === 'completed') assert.equal(typeof JSON.parse(object.output_text), 'object');
});

// The shape of Codex' requests: all of the conversation each time, nothing stored.
test('a coding agent: store false, encrypted reasoning, custom tools, a local shell', async () => {
  const body = {
    model, instructions: 'You are a coding agent.', stream: true, store: false, parallel_tool_calls: false, tool_choice: 'auto',
    include: ['reasoning.encrypted_content'], reasoning: { effort: 'medium', summary: 'auto' }, prompt_cache_key: 'session',
    text: { verbosity: 'medium' }, client_metadata: { installation: 'x' }, max_output_tokens: 16,
    tools: [
      { type: 'function', name: 'shell', description: 'Runs a command.', strict: false, parameters: { type: 'object', properties: { command: { type: 'array', items: { type: 'string' } } }, required: ['command'] } },
      { type: 'custom', name: 'apply_patch', description: 'Edits files.', format: { type: 'text' } },
      { type: 'local_shell' }],
    input: [
      { type: 'message', role: 'developer', content: [{ type: 'input_text', text: 'Sandbox.' }] },
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'List the files.' }] },
      { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'Look.' }], content: null, encrypted_content: 'hearth1:TG9vay4=' },
      { type: 'function_call', name: 'shell', arguments: '{"command":["ls"]}', call_id: 'call_1' },
      { type: 'function_call_output', call_id: 'call_1', output: 'a.c' },
      { type: 'local_shell_call', call_id: 'call_2', status: 'completed', action: { type: 'exec', command: ['cat', 'a.c'], env: {} } },
      { type: 'local_shell_call_output', id: 'call_2', call_id: 'call_2', output: 'int x;' },
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Go on.' }] }],
  };
  const events = await collect(await client.responses.create(body));
  const end = events.at(-1);
  assert.ok(['response.completed', 'response.incomplete'].includes(end.type), JSON.stringify(end));
  assert.deepEqual(end.response.client_metadata, { installation: 'x' });
  assert.equal(end.response.store, false);
  const replay = await client.responses.create({ ...body, stream: false, input: [...body.input, ...end.response.output,
    { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'More.' }] }] });
  assert.ok(replay.usage.input_tokens > end.response.usage.input_tokens);
  const shell = await client.responses.create(ask('x', { tools: [{ type: 'local_shell' }], tool_choice: { type: 'local_shell' }, max_output_tokens: 300, store: false }));
  const call = shell.output.find((item) => item.type === 'local_shell_call');
  assert.equal(call.action.type, 'exec');
  assert.ok(Array.isArray(call.action.command));
});

test('truncation: auto leaves out the first turns and says so; disabled refuses', async () => {
  const turns = Array.from({ length: 60 }, (_, i) => [{ role: 'user', content: `Question ${i}: what is hearth, and why is it small?` },
    { role: 'assistant', content: 'hearth is a local server for language models, and it is small.' }]).flat();
  const input = [{ role: 'developer', content: 'Be brief.' }, ...turns, { role: 'user', content: 'And now?' }];
  const response = await client.responses.create(ask(input, { truncation: 'auto', max_output_tokens: 8 }));
  assert.equal(response.truncation, 'auto');
  assert.ok(response.hearth.dropped_items > 0 && response.hearth.dropped_items % 2 === 0);
  const fits = await client.responses.create(ask([input[0], ...input.slice(1 + response.hearth.dropped_items)], { max_output_tokens: 8 }));
  assert.equal(fits.output_text, response.output_text);
  assert.equal(fits.usage.input_tokens, response.usage.input_tokens);
  await assert.rejects(client.responses.create(ask(input, { max_output_tokens: 8 })), { status: 400, code: 'context_length_exceeded' });
});
