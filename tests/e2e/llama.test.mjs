// What llama-server has beside OpenAI's API, against a real server with the bundled model: each
// documented field's effect or refusal, and the shapes that its clients read.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { metric, post, serve } from './hearth.mjs';

let server;
before(async () => {
  server = await serve(['--threads', '2']);
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

const PROMPT = '<|im_start|>user\nWhat is hearth?<|im_end|>\n<|im_start|>assistant\n';
const ask = (more = {}) => ({ prompt: PROMPT, n_predict: 16, temperature: 0, ...more });

async function accepts(path, body) {
  const answer = await post(server, path, body);
  const text = await answer.text();
  assert.equal(answer.status, 200, `${path} ${JSON.stringify(body).slice(0, 200)}: ${text.slice(0, 300)}`);
  return JSON.parse(text);
}

async function refuses(path, body, pattern, status = 400, type = null) {
  const answer = await post(server, path, body);
  const got = await answer.json();
  const name = `${path} ${JSON.stringify(body).slice(0, 200)}: ${JSON.stringify(got)}`;
  assert.equal(answer.status, status, name);
  assert.deepEqual(Object.keys(got), ['error'], name);
  assert.deepEqual(Object.keys(got.error), ['code', 'message', 'type'], name);
  assert.equal(got.error.code, status, name);
  assert.match(got.error.message, pattern, name);
  if (type) assert.equal(got.error.type, type, name);
}

async function events(path, body) {
  const answer = await post(server, path, { ...body, stream: true });
  assert.equal(answer.headers.get('content-type'), 'text/event-stream; charset=utf-8');
  const parts = (await answer.text()).split('\n\n').filter(Boolean);
  return parts.map((part) => JSON.parse(part.replace(/^data: /, '')));
}

test('tokens of a text and text of tokens', async () => {
  const { tokens } = await accepts('/tokenize', { content: 'Hello world' });
  assert.ok(tokens.length >= 2 && tokens.every(Number.isInteger));
  assert.equal((await accepts('/detokenize', { tokens })).content, 'Hello world');
  const pieces = (await accepts('/tokenize', { content: 'Hello world', with_pieces: true })).tokens;
  assert.deepEqual(pieces.map((token) => token.id), tokens);
  assert.equal(pieces.map((token) => token.piece).join(''), 'Hello world');
  const control = (await accepts('/tokenize', { content: '<|im_end|>' })).tokens;
  const plain = (await accepts('/tokenize', { content: '<|im_end|>', parse_special: false })).tokens;
  assert.equal(control.length, 1);
  assert.ok(plain.length > 1);
  assert.equal((await accepts('/detokenize', { tokens: plain })).content, '<|im_end|>');
  const odd = (await accepts('/tokenize', { content: 'a\u{1F600}', with_pieces: true })).tokens;
  const bytes = odd.flatMap(({ piece }) => (typeof piece === 'string' ? [...Buffer.from(piece)] : piece));
  assert.equal(Buffer.from(bytes).toString(), 'a\u{1F600}');
  assert.deepEqual((await accepts('/tokenize', { content: '' })).tokens, []);
  assert.equal((await accepts('/detokenize', { tokens: [] })).content, '');
  await accepts('/tokenize', { content: 'x', add_special: true });
  await refuses('/tokenize', {}, /content/);
  await refuses('/tokenize', { content: 5 }, /content/);
  await refuses('/tokenize', { content: 'a', add_special: 1 }, /add_special/);
  await refuses('/tokenize', { content: 'a', nonsense: 1 }, /nonsense/);
  await refuses('/detokenize', { tokens: ['a'] }, /tokens\[0\]/);
  await refuses('/detokenize', { tokens: [-1] }, /vocabulary/);
  await refuses('/detokenize', { tokens: [99999999] }, /vocabulary/);
  await refuses('/tokenize', { content: 'a', model: 'other' }, /other/, 404, 'not_found_error');
});

test('the template, and a completion of what it gives', async () => {
  const messages = [{ role: 'user', content: 'What is hearth?' }];
  const { prompt } = await accepts('/apply-template', { messages });
  assert.match(prompt, /im_start.*What is hearth\?/s);
  const done = await accepts('/completion', { prompt, temperature: 0 });
  const chat = await accepts('/v1/chat/completions', { model: 'hearth-nano', messages, temperature: 0, min_p: 0.05, top_p: 0.95, top_k: 40 });
  assert.equal(done.content, chat.choices[0].message.content);
  assert.equal(done.tokens_evaluated, chat.usage.prompt_tokens);
  await refuses('/apply-template', {}, /messages/);
  await refuses('/apply-template', { messages: [{ role: 'user' }] }, /content/);
});

test('a completion, whole and streamed', async () => {
  const whole = await accepts('/completion', ask({ return_tokens: true }));
  assert.deepEqual([whole.index, whole.stop, whole.model, whole.truncated, whole.stopping_word], [0, true, 'hearth-nano', false, '']);
  assert.equal(whole.stop_type, 'limit');
  assert.equal(whole.tokens_predicted, 16);
  assert.equal(whole.tokens.length, 16);
  assert.equal(whole.prompt, PROMPT);
  assert.equal(whole.generation_settings.n_predict, 16);
  assert.equal(whole.generation_settings.temperature, 0);
  assert.equal(whole.tokens_evaluated, (await accepts('/tokenize', { content: PROMPT, add_special: true })).tokens.length);
  assert.equal((await accepts('/detokenize', { tokens: whole.tokens })).content, whole.content);
  for (const name of ['prompt_n', 'prompt_ms', 'prompt_per_token_ms', 'prompt_per_second', 'predicted_n', 'predicted_ms',
    'predicted_per_token_ms', 'predicted_per_second', 'cache_n']) assert.ok(whole.timings[name] >= 0, name);
  assert.equal((await accepts('/completions', ask())).content, whole.content);
  const parts = await events('/completion', ask({ return_tokens: true }));
  assert.equal(parts.map((part) => part.content).join(''), whole.content);
  assert.deepEqual(parts.slice(0, -1).flatMap((part) => part.tokens), whole.tokens);
  assert.ok(parts.slice(0, -1).every((part) => part.stop === false) && parts.at(-1).stop === true);
  assert.equal(parts.at(-1).tokens_predicted, 16);
  assert.ok((await events('/completion', ask({ stream_interval: 8 }))).length < parts.length);
  const end = await accepts('/completion', ask({ n_predict: -1 }));
  assert.equal(end.stop_type, 'eos');
  const word = await accepts('/completion', ask({ n_predict: 64, stop: ['server'] }));
  assert.deepEqual([word.stop_type, word.stopping_word, word.content.includes('server')], ['word', 'server', false]);
  const none = await accepts('/completion', ask({ n_predict: 0 }));
  assert.deepEqual([none.content, none.tokens_predicted], ['', 0]);
});

test('prompts of every shape', async () => {
  const text = (await accepts('/completion', ask())).content;
  const ids = (await accepts('/tokenize', { content: PROMPT, add_special: true })).tokens;
  const at = PROMPT.indexOf('What');
  const head = (await accepts('/tokenize', { content: PROMPT.slice(0, at), add_special: true })).tokens;
  for (const prompt of [ids, { prompt_string: PROMPT }, [...head, PROMPT.slice(at)]]) {
    assert.equal((await accepts('/completion', ask({ prompt }))).content, text, JSON.stringify(prompt));
  }
  const many = await accepts('/completion', ask({ prompt: [PROMPT, ids, { prompt_string: PROMPT }] }));
  assert.deepEqual(many.map((one) => [one.index, one.content]), [[0, text], [1, text], [2, text]]);
  assert.equal((await accepts('/completion', ask({ prompt: [PROMPT] }))).length, 1);
  assert.equal((await accepts('/completion', ask({ n_cmpl: 3 }))).length, 3);
  const streams = await events('/completion', ask({ prompt: [PROMPT, PROMPT] }));
  for (const index of [0, 1]) {
    assert.equal(streams.filter((part) => part.index === index).map((part) => part.content).join(''), text);
  }
  for (const [prompt, pattern] of [[5, /string, an array/], [[], /empty/], [[true], /string, an array/], [[1, true], /token id or a string/], [[-1], /vocabulary/],
    [[99999999], /vocabulary/], [{ prompt_string: 'a', multimodal_data: ['aGk='] }, /multimodal_data/], [{}, /prompt_string/]]) {
    await refuses('/completion', { prompt }, pattern);
  }
  await refuses('/completion', {}, /prompt/);
  await refuses('/completion', { prompt: 'word '.repeat(9000) }, /\d+ tokens/, 400, 'exceed_context_size_error');
});

test('probabilities, fields and the cache', async () => {
  const likely = await accepts('/completion', ask({ n_predict: 4, n_probs: 3 }));
  assert.equal(likely.completion_probabilities.length, 4);
  for (const token of likely.completion_probabilities) {
    assert.ok(token.logprob <= 0 && token.top_logprobs.length === 3 && Buffer.from(token.bytes).length > 0);
    assert.equal(token.top_logprobs[0].id, token.id);
  }
  assert.ok((await events('/completion', ask({ n_predict: 2, n_probs: 1 })))[0].completion_probabilities.length === 1);
  assert.deepEqual(Object.keys(await accepts('/completion', ask({ response_fields: ['content', 'generation_settings/n_predict', 'nothing'] }))), ['content', 'n_predict']);
  const long = `${PROMPT}${'Once upon a time. '.repeat(40)}`;
  await accepts('/completion', ask({ prompt: long, n_predict: 1 }));
  assert.ok((await accepts('/completion', ask({ prompt: long, n_predict: 1 }))).tokens_cached > 0);
  assert.equal((await accepts('/completion', ask({ prompt: long, n_predict: 1, cache_prompt: false }))).tokens_cached, 0);
  const first = (await accepts('/completion', ask({ n_predict: 1, return_tokens: true }))).tokens[0];
  for (const logit_bias of [[[first, false]], [[first, -100]], { [first]: -100 }]) {
    assert.notEqual((await accepts('/completion', ask({ n_predict: 1, return_tokens: true, logit_bias }))).tokens[0], first);
  }
});

const fine = [{ top_k: -1 }, { top_k: 0 }, { min_keep: 0 }, { repeat_last_n: -1, repeat_penalty: 1.2 }, { dry_multiplier: 0.8, dry_sequence_breakers: ['\n'] },
  { xtc_probability: 0.5, xtc_threshold: 0.1 }, { mirostat: 2, mirostat_tau: 4, mirostat_eta: 0.2, temperature: 1 }, { seed: -1 }, { dynatemp_range: 0.5, temperature: 1 },
  { top_n_sigma: 1 }, { typical_p: 0.9 }, { n_keep: -1 }, { id_slot: -1 }, { n_indent: 0 }, { n_cache_reuse: 0 }, { t_max_predict_ms: 0 }, { lora: [] },
  { samplers: ['top_k', 'temperature'] }, { samplers: [] }, { post_sampling_probs: false }, { timings_per_token: false }, { return_progress: false },
  { grammar: '' }, { image_data: [] }, { ignore_eos: true }, { num_ctx: 512 }, { logit_bias: [] }, { stop: [] }, { model: 'hearth-nano' }, { temperature: null }];
const bad = { n_predict: [-2, 'a', 1.5], temperature: [-1, 3, 'a'], top_k: [-2, 1.5], top_p: [1.1], min_p: [-1], top_n_sigma: [-2], typical_p: [2], repeat_penalty: [0, 11],
  repeat_last_n: [-2], presence_penalty: [3], frequency_penalty: [-3], dry_multiplier: [-1], dry_base: [0], dry_allowed_length: [-1], dry_penalty_last_n: [-2],
  dry_sequence_breakers: ['a'.repeat(2000)], xtc_probability: [2], xtc_threshold: [-1], mirostat: [1], mirostat_tau: [-1], mirostat_eta: [2], min_keep: [-1],
  seed: ['a', 1.5], ignore_eos: [1], stream: [1], stop: [5], n_probs: [-1, 21], return_tokens: [1], cache_prompt: [1], n_cmpl: [0], num_ctx: [0, 1 << 20],
  logit_bias: ['a', [[1]], [['word', 1]], [[1, 'a']], [[99999999, 1]], { word: 1 }], grammar: [5, 'root ::= ('], json_schema: ['a', { type: 'nonsense' }],
  samplers: ['top_k', ['top_p', 'top_k'], ['infill']], response_fields: ['content', [5]], n_keep: [-2], id_slot: [0], n_indent: [4], n_cache_reuse: [256],
  t_max_predict_ms: [100], post_sampling_probs: [true], timings_per_token: [true], return_progress: [true], lora: [[{ id: 0, scale: 1 }]], image_data: [[{}]], nonsense: [1] };

test('each field passes in range and is refused by name out of it', async () => {
  for (const more of fine) await accepts('/completion', ask({ n_predict: 1, ...more }));
  for (const [name, values] of Object.entries(bad)) {
    for (const value of values) {
      await refuses('/completion', ask({ n_predict: 1, [name]: value }), new RegExp(name === 'num_ctx' ? 'num_ctx' : '.'));
    }
  }
});

test('samplers that are not listed are off', async () => {
  const wild = { temperature: 2, top_k: 1, n_predict: 8, seed: 3 };
  const narrow = await accepts('/completion', ask(wild));
  assert.equal((await accepts('/completion', ask({ ...wild, samplers: ['top_k', 'temperature'] }))).content, narrow.content);
  const open = await Promise.all([1, 2, 3, 4].map((seed) => accepts('/completion', ask({ ...wild, seed, samplers: ['temperature'] }))));
  assert.ok(new Set(open.map((one) => one.content)).size > 1);
});

test('infill needs tokens that this model lacks', async () => {
  await refuses('/infill', { input_prefix: 'def f(', input_suffix: '): pass' }, /no tokens to fill in/, 400, 'not_supported_error');
  await refuses('/infill', { input_suffix: 'a' }, /input_prefix/);
  await refuses('/infill', { input_prefix: 'a', input_suffix: 'b', input_extra: [{ filename: 'x' }] }, /input_extra/);
  await refuses('/infill', { input_prefix: 'a', input_suffix: 'b', prompt: 5 }, /prompt/);
});

test('what is told of the server', async () => {
  const props = await (await fetch(`${server.url}/props`)).json();
  assert.equal(props.total_slots, 8);
  assert.match(props.chat_template, /im_start/);
  assert.match(props.model_path, /hearth-nano\.gguf$/);
  assert.ok(props.default_generation_settings.n_ctx >= 1024 && props.default_generation_settings.params.top_k === 40);
  assert.deepEqual([props.is_sleeping, props.modalities.vision], [false, false]);
  const slots = await (await fetch(`${server.url}/slots`)).json();
  assert.deepEqual(slots.map((slot) => slot.id), [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.ok(slots.every((slot) => slot.is_processing === false));
  assert.equal((await fetch(`${server.url}/slots?fail_on_no_slot=1`)).status, 200);
  assert.equal((await fetch(`${server.url}/props?nonsense=1`)).status, 400);
  await refuses('/props', {}, /cannot be changed/, 400, 'not_supported_error');
  await refuses('/slots/0?action=save', { filename: 'x' }, /cannot be changed/);
  const gone = await fetch(`${server.url}/tokenize`);
  assert.deepEqual([gone.status, (await gone.json()).error.code], [405, 405]);
});

test('an aborted completion frees its sequence', async () => {
  const abort = new AbortController();
  const answer = await fetch(`${server.url}/completion`, { method: 'POST', signal: abort.signal, headers: { 'content-type': 'application/json' },
    body: JSON.stringify(ask({ n_predict: -1, ignore_eos: true, temperature: 1, stream: true })) });
  for await (const chunk of answer.body) if (chunk.length) break;
  abort.abort();
  for (const until = Date.now() + 5000; (await metric(server, 'hearth_sequences_running')) > 0;) assert.ok(Date.now() < until);
});

test('grammars and schemas hold', async () => {
  const wild = { temperature: 2, top_k: 0, top_p: 1, min_p: 0, n_predict: 100 };
  for (const seed of [1, 2, 3]) {
    assert.match((await accepts('/completion', ask({ ...wild, seed, grammar: 'root ::= ("yes" | "no") " " [0-9]{3}' }))).content, /^(yes|no) \d{3}$/);
    const list = JSON.parse((await accepts('/completion', ask({ ...wild, seed, json_schema: { type: 'array', items: { type: 'integer', maximum: 9, minimum: 0 }, minItems: 2, maxItems: 4 } }))).content);
    assert.ok(list.length >= 2 && list.length <= 4 && list.every((n) => n >= 0 && n <= 9));
  }
});
