// Group C12: every field out of range, of the wrong type, unknown or not supported, with the status,
// type, param and code of its refusal; and that what is accepted has an effect.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chat, post, serve } from './hearth.mjs';

let server;
before(async () => {
  server = await serve([]);
});
after(async () => {
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
  await server.stop();
});

const CHAT = '/v1/chat/completions';
const TEXT = '/v1/completions';
const text = (more = {}) => ({ model: 'hearth-nano', prompt: 'Once upon', max_tokens: 2, ...more });
const talk = (more = {}) => chat('Hi', { max_tokens: 2, ...more });

async function refuses(route, body, param, code, status = 400) {
  const answer = await post(server, route, body);
  const name = `${route} ${JSON.stringify(body).slice(0, 200)}`;
  const got = await answer.json();
  assert.equal(answer.status, status, `${name}: ${JSON.stringify(got).slice(0, 300)}`);
  assert.deepEqual(Object.keys(got), ['error'], name);
  const { message, type } = got.error;
  assert.deepEqual(Object.keys(got.error).sort(), ['code', 'message', 'param', 'type'], name);
  assert.ok(message.length > 10 && message.length < 1024, name);
  assert.equal(type, 'invalid_request_error', name);
  assert.equal(got.error.param, param, `${name}: ${message}`);
  assert.equal(got.error.code, code, `${name}: ${message}`);
}

async function accepts(route, body) {
  const answer = await post(server, route, body);
  const got = await answer.json();
  assert.equal(answer.status, 200, `${JSON.stringify(body).slice(0, 200)}: ${JSON.stringify(got)}`);
  return got;
}

const big = 2 ** 53;
const out = {
  temperature: [-1, -0.001, 2.001, 1e30], top_p: [-0.1, 1.1], presence_penalty: [-2.1, 2.1],
  frequency_penalty: [-2.1, 2.1], n: [0, -1, 129, big], min_tokens: [-1, big], top_k: [-1, big],
  min_p: [-0.1, 1.1], min_keep: [-1, big], typical_p: [-0.1, 1.1], top_n_sigma: [-2, 1e9],
  repeat_penalty: [0, -1, 100], repeat_last_n: [-2, big], dry_multiplier: [-1, 1e9],
  dry_base: [-1, 0.5, 1e9], dry_allowed_length: [-1, big], dry_penalty_last_n: [-2, big],
  xtc_probability: [-0.1, 1.1], xtc_threshold: [-0.1, 1.1], dynatemp_range: [-1, 3],
  dynatemp_exponent: [-1, 1e9], mirostat: [-1, 1, 3], mirostat_tau: [-1, 1e9], mirostat_eta: [-1, 2],
};

test('numbers out of range', async () => {
  for (const [field, values] of Object.entries(out)) {
    for (const value of values) {
      await refuses(CHAT, talk({ [field]: value }), field, 'invalid_value');
      await refuses(TEXT, text({ [field]: value }), field, 'invalid_value');
    }
  }
  await refuses(CHAT, talk({ max_tokens: 0 }), 'max_tokens', 'invalid_value');
  await refuses(CHAT, talk({ max_tokens: -1 }), 'max_tokens', 'invalid_value');
  await refuses(CHAT, chat('Hi', { max_completion_tokens: -5 }), 'max_completion_tokens', 'invalid_value');
  await refuses(CHAT, talk({ max_completion_tokens: 3 }), 'max_completion_tokens', 'invalid_value');
  await refuses(CHAT, talk({ logprobs: true, top_logprobs: 21 }), 'top_logprobs', 'invalid_value');
  await refuses(CHAT, talk({ logprobs: true, top_logprobs: -1 }), 'top_logprobs', 'invalid_value');
  await refuses(CHAT, talk({ top_logprobs: 2 }), 'top_logprobs', 'invalid_value');
  await refuses(TEXT, text({ logprobs: 6 }), 'logprobs', 'invalid_value');
  await refuses(TEXT, text({ logprobs: -1 }), 'logprobs', 'invalid_value');
  await refuses(TEXT, text({ max_tokens: -1 }), 'max_tokens', 'invalid_value');
});

test('the ends of each range are fine', async () => {
  for (const more of [{ temperature: 0 }, { temperature: 2 }, { top_p: 1 }, { top_p: 0.01 }, { n: 128, max_tokens: 1 },
    { presence_penalty: -2, frequency_penalty: 2 }, { max_tokens: 2 ** 31 }, { max_tokens: 2 ** 53 },
    { seed: -1 }, { seed: big }, { top_k: 0 }, { top_k: 2 ** 31 - 1 }, { repeat_last_n: -1, repeat_penalty: 1.1 },
    { repeat_last_n: 0, repeat_penalty: 1.1 }, { dry_multiplier: 0.8, dry_penalty_last_n: -1 },
    { mirostat: 2, mirostat_tau: 5, mirostat_eta: 0.1 }, { xtc_probability: 1, xtc_threshold: 0.1 },
    { repeat_penalty: 0.01 }, { repeat_penalty: 10 }, { top_n_sigma: -1 }, { top_n_sigma: 100 }, { min_p: 1 },
    { typical_p: 0 }, { top_p: 0 }, { dynatemp_range: 2, dynatemp_exponent: 100 }, { dry_multiplier: 100, dry_base: 100 },
    { mirostat: 2, mirostat_tau: 100, mirostat_eta: 1 }, { mirostat: 2, mirostat_tau: 0, mirostat_eta: 0 },
    { min_keep: 2 ** 31 - 1 }, { xtc_probability: 1, xtc_threshold: 0 }, { presence_penalty: 2, frequency_penalty: -2 },
    { stop: [] }, { stop: null }, { logit_bias: {} }, { min_tokens: 1 }, { typical_p: 0.5 }]) {
    await accepts(CHAT, chat('Hi', { max_tokens: 2, ...more }));
  }
});

test('wrong types', async () => {
  const numbers = [...Object.keys(out), 'seed', 'max_tokens'];
  for (const field of numbers) {
    for (const value of ['1', true, [1], { a: 1 }]) {
      await refuses(CHAT, chat('Hi', { [field]: value }), field, 'invalid_type');
    }
  }
  for (const field of ['n', 'seed', 'max_tokens', 'top_k', 'min_tokens', 'repeat_last_n', 'mirostat']) {
    await refuses(CHAT, chat('Hi', { [field]: 1.5 }), field, 'invalid_type');
  }
  for (const field of ['stream', 'ignore_eos', 'logprobs']) {
    await refuses(CHAT, talk({ [field]: 1 }), field, 'invalid_type');
    await refuses(CHAT, talk({ [field]: 'true' }), field, 'invalid_type');
  }
  await refuses(CHAT, { ...talk(), model: 5 }, 'model', 'invalid_type');
  await refuses(CHAT, talk({ user: 5 }), 'user', 'invalid_type');
  await refuses(CHAT, talk({ stream_options: 5 }), 'stream_options', 'invalid_type');
  await refuses(CHAT, talk({ logit_bias: [] }), 'logit_bias', 'invalid_type');
  await refuses(CHAT, talk({ chat_template_kwargs: [] }), 'chat_template_kwargs', 'invalid_type');
  await refuses(TEXT, text({ echo: 'yes' }), 'echo', 'invalid_type');
});

test('null is as good as absent', async () => {
  const nulls = Object.fromEntries(['stream', 'stream_options', 'n', 'user', 'stop', 'temperature', 'top_p', 'seed',
    'logit_bias', 'logprobs', 'top_logprobs', 'tools', 'tool_choice', 'response_format', 'metadata', 'store',
    'parallel_tool_calls', 'reasoning_effort', 'service_tier', 'modalities', 'top_k'].map((name) => [name, null]));
  await accepts(CHAT, talk(nulls));
});

test('required fields', async () => {
  await refuses(CHAT, { messages: [] }, 'messages', 'invalid_value');
  await refuses(CHAT, { model: 'hearth-nano' }, 'messages', 'missing_required_parameter');
  await refuses(CHAT, { messages: [{ role: 'user', content: 'x' }] }, 'model', 'missing_required_parameter');
  await refuses(CHAT, { ...talk(), model: null }, 'model', 'missing_required_parameter');
  await refuses(TEXT, { model: 'hearth-nano' }, 'prompt', 'missing_required_parameter');
  await refuses(CHAT, { ...talk(), model: '' }, 'model', 'model_not_found', 404);
  await refuses(CHAT, { ...talk(), model: 'HEARTH-NANO' }, 'model', 'model_not_found', 404);
});

test('unknown fields are named', async () => {
  for (const field of ['foo', 'n_discard', 'n_keep', 'id_slot', 'Temperature', '__proto__x']) {
    await refuses(CHAT, talk({ [field]: 1 }), field, 'unknown_parameter');
    await refuses(TEXT, text({ [field]: 1 }), field, 'unknown_parameter');
  }
  await refuses(CHAT, talk({ stream: true, stream_options: { x: 1 } }), 'stream_options.x', 'unknown_parameter');
  await refuses(CHAT, { ...talk(), messages: [{ role: 'user', content: 'x', foo: 1 }] }, 'messages[0].foo', 'unknown_parameter');
  await refuses(TEXT, text({ messages: [] }), 'messages', 'unknown_parameter');
  const calls = (call) => ({ ...talk(), messages: [{ role: 'user', content: 'x' },
    { role: 'assistant', content: null, tool_calls: [call] }, { role: 'user', content: 'x' }] });
  const call = { id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } };
  const at = 'messages[1].tool_calls[0]';
  await refuses(CHAT, calls({ ...call, foo: 1 }), `${at}.foo`, 'unknown_parameter');
  await refuses(CHAT, calls({ ...call, function: { ...call.function, foo: 1 } }), `${at}.function.foo`, 'unknown_parameter');
  await refuses(CHAT, calls({ ...call, type: 5 }), `${at}.type`, 'invalid_type');
  await refuses(CHAT, calls({ ...call, id: 5 }), `${at}.id`, 'invalid_type');
  await refuses(CHAT, calls({ ...call, function: { name: 'f' } }), `${at}.function.arguments`, 'missing_required_parameter');
  await refuses(CHAT, calls({ ...call, function: { name: 'f', arguments: {} } }), `${at}.function.arguments`, 'invalid_type');
  await refuses(CHAT, calls({ id: 'a', type: 'function' }), `${at}.function`, 'missing_required_parameter');
  await refuses(CHAT, calls('x'), at, 'invalid_type');
  await accepts(CHAT, calls({ ...call, index: 0, function: { ...call.function, parsed_arguments: null } }));
  await refuses(CHAT, talk({ response_format: {} }), 'response_format.type', 'missing_required_parameter');
  await refuses(CHAT, talk({ response_format: { type: 5 } }), 'response_format.type', 'invalid_type');
  await refuses(CHAT, talk({ stream: true, stream_options: { include_obfuscation: 1 } }),
    'stream_options.include_obfuscation', 'invalid_type');
  assert.equal((await post(server, CHAT, talk({ stream: true, stream_options: { include_obfuscation: false } }))).status, 200);
  for (const [body, param] of [[{ ...talk(), messages: [5] }, 'messages[0]'],
    [{ ...talk(), messages: [{ role: 'user', content: ['x'] }] }, 'messages[0].content[0]']]) {
    const { message } = (await (await post(server, CHAT, body)).json()).error;
    assert.doesNotMatch(message, /''/, `${param}: ${message}`);
    await refuses(CHAT, body, param, 'invalid_type');
  }
});

test('documented fields that are not supported are refused by name', async () => {
  for (const [field, value] of Object.entries({
    modalities: ['audio'], audio: { voice: 'x', format: 'mp3' },
    service_tier: 'flex', web_search_options: {}, verbosity: 'low',
  })) {
    await refuses(CHAT, talk({ [field]: value }), field, 'unsupported_parameter');
  }
  await refuses(CHAT, talk({ response_format: { type: 'json_schema', json_schema: {} } }),
    'response_format.json_schema.schema', 'missing_required_parameter');
  await refuses(TEXT, text({ suffix: 'x' }), 'suffix', 'unsupported_parameter');
  await refuses(TEXT, text({ best_of: 2, n: 3 }), 'best_of', 'invalid_value');
  await refuses(TEXT, text({ best_of: 2, stream: true }), 'best_of', 'invalid_value');
  await refuses(TEXT, text({ best_of: 129 }), 'best_of', 'invalid_value');
  await refuses(TEXT, text({ suffix: 'x', echo: true }), 'suffix', 'invalid_value');
  await accepts(CHAT, talk({ tools: [], tool_choice: 'none', response_format: { type: 'text' }, store: false,
    modalities: ['text'], service_tier: 'auto' }));
  await accepts(TEXT, text({ best_of: 2, n: 2 }));
});

test('stop', async () => {
  await refuses(CHAT, talk({ stop: '' }), 'stop', 'invalid_value');
  await refuses(CHAT, talk({ stop: ['a', ''] }), 'stop[1]', 'invalid_value');
  await refuses(CHAT, talk({ stop: ['a', 5] }), 'stop[1]', 'invalid_type');
  await refuses(CHAT, talk({ stop: Array(100000).fill('x') }), 'stop', 'invalid_value');
  await refuses(CHAT, talk({ stop: 'x'.repeat(1 << 20) }), 'stop', 'invalid_value');
  await refuses(CHAT, talk({ stop: { a: 1 } }), 'stop', 'invalid_type');
  await refuses(CHAT, talk({ banned_strings: [''] }), 'banned_strings[0]', 'invalid_value');
});

test('logit_bias', async () => {
  await refuses(CHAT, talk({ logit_bias: { 999999: 1 } }), 'logit_bias', 'invalid_value');
  await refuses(CHAT, talk({ logit_bias: { '-1': 1 } }), 'logit_bias', 'invalid_value');
  await refuses(CHAT, talk({ logit_bias: { x: 1 } }), 'logit_bias', 'invalid_value');
  await refuses(CHAT, talk({ logit_bias: { 1: 101 } }), 'logit_bias', 'invalid_value');
  await refuses(CHAT, talk({ logit_bias: { 1: '5' } }), 'logit_bias', 'invalid_type');
  const many = Object.fromEntries(Array.from({ length: 500000 }, (_, i) => [i, 1]));
  await refuses(CHAT, talk({ logit_bias: many }), 'logit_bias', 'invalid_value');
});

test('messages', async () => {
  const message = (body, param, code) =>
    refuses(CHAT, { model: 'hearth-nano', messages: [{ role: 'user', content: 'x' }, body] }, param, code);
  await message('x', 'messages[1]', 'invalid_type');
  await message({}, 'messages[1].role', 'missing_required_parameter');
  await message({ role: 5, content: 'x' }, 'messages[1].role', 'invalid_type');
  await message({ role: 'king', content: 'x' }, 'messages[1].role', 'invalid_value');
  await message({ role: 'user' }, 'messages[1].content', 'missing_required_parameter');
  await message({ role: 'user', content: null }, 'messages[1].content', 'missing_required_parameter');
  await message({ role: 'user', content: 5 }, 'messages[1].content', 'invalid_type');
  await message({ role: 'user', content: ['x'] }, 'messages[1].content[0]', 'invalid_type');
  await message({ role: 'user', content: [{ text: 'x' }] }, 'messages[1].content[0].type', 'missing_required_parameter');
  await message({ role: 'user', content: [{ type: 'text' }] }, 'messages[1].content[0].text', 'missing_required_parameter');
  await message({ role: 'user', content: [{ type: 'text', text: 'a', b: 1 }] }, 'messages[1].content[0].b', 'unknown_parameter');
  await message({ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:' } }] },
    'messages[1].content[0].type', 'unsupported_parameter');
  await message({ role: 'user', content: 'x', name: 5 }, 'messages[1].name', 'invalid_type');
  await message({ role: 'user', content: 'x', tool_calls: [{}] }, 'messages[1].tool_calls', 'invalid_value');
  await message({ role: 'assistant', tool_calls: [{ type: 'function' }] }, 'messages[1].tool_calls[0].function', 'missing_required_parameter');
  await refuses(CHAT, { model: 'hearth-nano', messages: 'x' }, 'messages', 'invalid_type');
});

test('prompts', async () => {
  const prompt = (value, param, code) => refuses(TEXT, text({ prompt: value }), param, code);
  await prompt([], 'prompt', 'invalid_value');
  await prompt(5, 'prompt', 'invalid_type');
  await prompt([1, 'a'], 'prompt[1]', 'invalid_type');
  await prompt(['a', 1], 'prompt[1]', 'invalid_type');
  await prompt([1, -1], 'prompt[1]', 'invalid_value');
  await prompt([1, 2 ** 31], 'prompt[1]', 'invalid_value');
  await prompt([1, 99999], 'prompt[1]', 'invalid_value');
  await prompt([[1], [99999]], 'prompt[1][0]', 'invalid_value');
  await prompt([1, 1.5], 'prompt[1]', 'invalid_type');
  await prompt([[]], 'prompt[0]', 'invalid_value');
  await prompt('', 'prompt', 'invalid_value');
  await prompt(Array(129).fill('a'), 'prompt', 'invalid_value');
  await refuses(TEXT, text({ prompt: Array(128).fill('a'), n: 2 }), 'n', 'invalid_value');
  await prompt('word '.repeat(4000), 'prompt', 'context_length_exceeded');
  await prompt(Array(4000).fill(300), 'prompt', 'context_length_exceeded');
  const ids = await accepts(TEXT, text({ prompt: [0, 1, 2], max_tokens: 1 })); // control tokens, on request
  assert.equal(ids.usage.prompt_tokens, 3);
});

test('template arguments', async () => {
  await accepts(CHAT, talk({ chat_template_kwargs: { enable_thinking: false } }));
  for (const name of ['messages', 'bos_token', 'add_generation_prompt', 'tools']) {
    const answer = await post(server, CHAT, talk({ chat_template_kwargs: { [name]: 'x' } }));
    assert.equal(answer.status, 400, name);
    assert.match((await answer.json()).error.param, /^chat_template_kwargs/);
  }
});

test('a context that is exceeded is told with both counts', async () => {
  const answer = await post(server, CHAT, chat('word '.repeat(3000)));
  const { error } = await answer.json();
  assert.equal(error.param, 'messages');
  const counts = error.message.match(/\d+/g).map(Number);
  assert.ok(counts.includes(1024) && counts.some((count) => count > 3000), error.message);
});

test('samplers have an effect', async () => {
  const answer = async (more) =>
    (await accepts(CHAT, chat('Tell me a story.', { max_tokens: 24, seed: 5, temperature: 1, ...more })))
      .choices[0].message.content;
  const greedy = await answer({ temperature: 0 });
  for (const more of [{ top_k: 1 }, { top_p: 0 }, { min_p: 1 }]) {
    assert.equal(await answer(more), greedy, JSON.stringify(more));
  }
  const plain = await answer({ temperature: 2 });
  for (const more of [{ top_k: 2 }, { min_p: 0.3 }, { typical_p: 0.2 }, { top_n_sigma: 0.5 },
    { mirostat: 2, mirostat_tau: 1 }, { dynatemp_range: 1.9 }]) {
    assert.notEqual(await answer({ temperature: 2, ...more }), plain, JSON.stringify(more));
  }
  const word = greedy.match(/[a-z]{4,}/i)[0];
  assert.ok(!(await answer({ temperature: 0, banned_strings: [word] })).toLowerCase().includes(word.toLowerCase()));
  for (const more of [{ repeat_penalty: 2, repeat_last_n: -1 }, { presence_penalty: 2 }, { frequency_penalty: 2 }]) {
    assert.notEqual(await answer({ temperature: 0, max_tokens: 200, ...more }),
      await answer({ temperature: 0, max_tokens: 200 }), JSON.stringify(more));
  }
  const long = await accepts(CHAT, chat('Hi', { min_tokens: 40, max_tokens: 60, temperature: 0 }));
  assert.ok(long.usage.completion_tokens >= 40);
  const forever = await accepts(CHAT, chat('Hi', { ignore_eos: true, max_tokens: 90 }));
  assert.equal(forever.usage.completion_tokens, 90);
});
