// Requests in the shapes that coding agents send, against a real server with the bundled model: what
// Claude Code asks of the Messages API, streamed and whole, with the conversation that follows.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { post, serve } from './hearth.mjs';

let server;
let client;
const model = 'hearth-nano';

before(async () => {
  server = await serve(['--threads', '2', '--ctx', '16384', '--kv-tokens', '49152', '--api-key', 'secret']);
  client = new Anthropic({ baseURL: server.url, authToken: 'secret', apiKey: null, maxRetries: 0 });
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

const names = ['Task', 'Bash', 'Glob', 'Grep', 'LS', 'ExitPlanMode', 'Read', 'Edit', 'MultiEdit', 'Write', 'NotebookEdit',
  'WebFetch', 'TodoWrite', 'WebSearch', 'BashOutput', 'KillShell', 'SlashCommand', 'AskUserQuestion', 'Skill', 'EnterPlanMode',
  'mcp__github__search_issues', 'mcp__files__read_file'];

// Schemas as zod writes them: nested objects, enums, defaults, bounds, $schema.
const tools = names.map((name, i) => ({
  name,
  description: `${name} does one thing for the agent. Use it when the user asks for that.`,
  input_schema: {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    properties: {
      file_path: { type: 'string', description: 'An absolute path' },
      mode: { type: 'string', enum: ['content', 'files_with_matches', 'count'] },
      limit: { type: 'integer', minimum: 0, maximum: 2000 },
      ...(i % 3 === 0 ? { todos: { type: 'array', maxItems: 3, items: { type: 'object', properties: { content: { type: 'string', minLength: 1, maxLength: 20 }, done: { type: 'boolean' } }, required: ['content', 'done'], additionalProperties: false } } } : {}),
    },
    required: ['file_path'],
    additionalProperties: false,
  },
  ...(i === names.length - 1 ? { cache_control: { type: 'ephemeral', ttl: '1h' } } : {}),
}));

const system = [
  { type: 'text', text: 'x-anthropic-billing-header: cc_version=2.0.0; cc_entrypoint=cli' },
  { type: 'text', text: 'You are an agent that helps with code.', cache_control: { type: 'ephemeral', ttl: '1h' } },
  { type: 'text', text: `Rules:\n${Array.from({ length: 40 }, (_, i) => `- rule ${i}: be careful with files.`).join('\n')}`, cache_control: { type: 'ephemeral' } },
];

const history = [
  { role: 'user', content: [
    { type: 'text', text: '<system-reminder>\nToday is a day.\n</system-reminder>' },
    { type: 'text', text: 'What is in a.txt?' }] },
  { role: 'assistant', content: [
    { type: 'thinking', thinking: 'I should read the file.', signature: 'abc' },
    { type: 'text', text: 'I will read it.' },
    { type: 'tool_use', id: 'toolu_01A', name: 'Read', input: { file_path: '/a.txt' } },
    { type: 'tool_use', id: 'toolu_01B', name: 'Bash', input: { file_path: '/b', limit: 3 } }] },
  { role: 'user', content: [
    { type: 'tool_result', tool_use_id: 'toolu_01A', content: [{ type: 'text', text: '     1\thello' }] },
    { type: 'tool_result', tool_use_id: 'toolu_01B', is_error: true, content: '<tool_use_error>no</tool_use_error>', cache_control: { type: 'ephemeral' } }] },
];

const ask = (more = {}) => ({
  model, max_tokens: 2000, temperature: 1, system, tools, messages: history,
  thinking: { type: 'enabled', budget_tokens: 1024 },
  metadata: { user_id: JSON.stringify({ device_id: 'd', account_uuid: '', session_id: 's' }) },
  ...more,
});
const headers = { 'anthropic-beta': 'claude-code-20250219,interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14,prompt-caching-scope-2026-01-05' };

function checkInput(input, where) {
  assert.equal(typeof input.file_path, 'string', where);
  for (const key of Object.keys(input)) assert.ok(['file_path', 'mode', 'limit', 'todos'].includes(key), where);
  if ('mode' in input) assert.ok(['content', 'files_with_matches', 'count'].includes(input.mode), where);
  if ('limit' in input) assert.ok(Number.isInteger(input.limit) && input.limit >= 0 && input.limit <= 2000, where);
}

// The events of a stream in the order that the API documents.
function checkEvents(events) {
  assert.equal(events[0].type, 'message_start');
  assert.equal(events.at(-1).type, 'message_stop');
  assert.equal(events.at(-2).type, 'message_delta');
  let open = null;
  let index = 0;
  for (const event of events.slice(1, -2)) {
    if (event.type === 'ping') continue;
    assert.equal(event.index, index, JSON.stringify(event));
    if (event.type === 'content_block_start') {
      assert.equal(open, null);
      open = event.content_block.type;
    } else if (event.type === 'content_block_stop') {
      open = null;
      index++;
    } else {
      const fits = { text: ['text_delta'], thinking: ['thinking_delta', 'signature_delta'], tool_use: ['input_json_delta'] };
      assert.ok(fits[open].includes(event.delta.type), `${open}: ${event.delta.type}`);
    }
  }
  assert.equal(open, null);
}

test('a turn of an agent, whole and streamed', async () => {
  const whole = await client.beta.messages.create(ask(), { headers });
  assert.ok(['end_turn', 'tool_use', 'max_tokens'].includes(whole.stop_reason), whole.stop_reason);
  assert.ok(whole.content.every((block) => ['text', 'thinking', 'tool_use'].includes(block.type)));
  const { usage } = whole;
  assert.ok(usage.cache_creation_input_tokens + usage.cache_read_input_tokens >= 64, JSON.stringify(usage));
  const events = [];
  for await (const event of await client.beta.messages.create({ ...ask(), stream: true }, { headers })) events.push(event);
  checkEvents(events);
  const again = (await client.beta.messages.create(ask({ max_tokens: 1100 }), { headers })).usage;
  assert.ok(again.cache_read_input_tokens > usage.input_tokens, 'the second turn reads the first one\'s prompt from the cache');
});

test('a call that is asked for has an input that fits its schema, streamed as JSON', async () => {
  for (const choice of [{ type: 'any' }, { type: 'tool', name: 'TodoWrite' }, { type: 'any', disable_parallel_tool_use: true }]) {
    const body = ask({ tool_choice: choice, thinking: { type: 'disabled' }, max_tokens: 600, temperature: 0.7 });
    const stream = client.messages.stream(body, { headers });
    const events = [];
    stream.on('streamEvent', (event) => events.push(event));
    const message = await stream.finalMessage();
    checkEvents([...events]);
    const calls = message.content.filter((block) => block.type === 'tool_use');
    assert.ok(calls.length >= 1, JSON.stringify(message).slice(0, 500));
    if (choice.disable_parallel_tool_use) assert.equal(calls.length, 1);
    if (message.stop_reason === 'max_tokens') continue;
    assert.equal(message.stop_reason, 'tool_use');
    for (const call of calls) {
      assert.ok(names.includes(call.name));
      if (choice.name) assert.equal(call.name, choice.name);
      checkInput(call.input, JSON.stringify(call));
    }
    // and back: what was called is answered
    const next = await client.messages.create(ask({
      thinking: { type: 'disabled' }, max_tokens: 8, tool_choice: { type: 'none' },
      messages: [...history, { role: 'assistant', content: message.content },
        { role: 'user', content: calls.map((call) => ({ type: 'tool_result', tool_use_id: call.id, content: 'done' })) }],
    }), { headers });
    assert.ok(next.content.every((block) => block.type !== 'tool_use'));
  }
});

test('tokens are counted with tools and system', async () => {
  const count = async (body) => (await client.beta.messages.countTokens(body, { headers })).input_tokens;
  const { max_tokens, temperature, metadata, ...prompt } = ask();
  assert.ok(max_tokens && temperature && metadata);
  const all = await count(prompt);
  const bare = await count({ ...prompt, tools: [] });
  assert.ok(all > bare + 22 * 10, `${all} ${bare}`);
  assert.ok(bare > (await count({ model, messages: [{ role: 'user', content: 'quota' }] })) + 100);
});

test('the small requests beside the conversation', async () => {
  const quota = await client.messages.create({ model, max_tokens: 1, messages: [{ role: 'user', content: 'quota' }], metadata: { user_id: 'u' } });
  assert.equal(quota.usage.output_tokens, 1);
  const title = await client.beta.messages.create({
    model, max_tokens: 200, temperature: 0, system: [{ type: 'text', text: 'Write a title.' }], tools: [],
    messages: [{ role: 'user', content: [{ type: 'text', text: 'fix the bug' }] }],
    output_config: { format: { type: 'json_schema', schema: { type: 'object', properties: { title: { type: 'string', maxLength: 24 } }, required: ['title'], additionalProperties: false } } },
  }, { headers });
  const text = title.content.map((block) => block.text).join('');
  assert.equal(typeof JSON.parse(text).title, 'string', text);
  const answer = await post(server, '/v1/messages?beta=true', ask({ max_tokens: 1100 }), { authorization: 'Bearer secret', 'anthropic-version': '2023-06-01', ...headers });
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get('request-id'), /^req_/);
});

test('what an agent may send and cannot have is refused by name', async () => {
  const refuses = async (more, pattern) => {
    await assert.rejects(client.beta.messages.create(ask(more), { headers }), (error) => {
      assert.ok(error instanceof Anthropic.BadRequestError, `${error}`);
      assert.match(error.error.error.message, pattern);
      return true;
    });
  };
  await refuses({ tools: [...tools, { type: 'web_search_20250305', name: 'web_search', max_uses: 8 }] }, /tools\.22\.type: .*web_search_20250305/);
  await refuses({ messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'aGk=' } }] }] }, /'image'/);
  await refuses({ messages: history.slice(0, 2) }, /tool_use.*toolu_01A/);
  await refuses({ thinking: { type: 'enabled', budget_tokens: 4000 } }, /thinking\.budget_tokens/);
});
