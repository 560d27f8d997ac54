// Legacy completions through the openai client: best_of, prompts of all kinds, echo, suffix.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { serve } from './hearth.mjs';

let server;
let client;
before(async () => {
  server = await serve();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'k', maxRetries: 0 });
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});
const ask = (more = {}) => client.completions.create({ model: 'hearth-nano', prompt: 'Once upon', max_tokens: 8, ...more });
const mean = ({ logprobs }) => logprobs.token_logprobs.reduce((a, b) => a + b, 0) / logprobs.token_logprobs.length;

test('best_of gives the n answers with the best mean log probability', async () => {
  const more = { seed: 11, temperature: 1.3, logprobs: 0 };
  const all = await ask({ ...more, n: 6 });
  const ranked = all.choices.map((choice) => [mean(choice), choice.text]).sort((a, b) => b[0] - a[0]);
  const best = await ask({ ...more, n: 2, best_of: 6 });
  assert.deepEqual(best.choices.map((choice) => choice.text), ranked.slice(0, 2).map(([, text]) => text));
  assert.deepEqual(best.choices.map((choice) => choice.index), [0, 1]);
  assert.equal(best.usage.completion_tokens, all.usage.completion_tokens, 'all that were generated count');
  const silent = await ask({ ...more, logprobs: null, n: 2, best_of: 6 });
  assert.deepEqual(silent.choices.map((choice) => [choice.text, choice.logprobs]), best.choices.map((choice) => [choice.text, null]));
  const two = await ask({ ...more, prompt: ['Once upon', 'The cat'], best_of: 3 });
  assert.deepEqual(two.choices.map((choice) => choice.index), [0, 1]);
});

test('prompts as texts and as token ids are the same', async () => {
  const text = await ask({ prompt: 'Once upon', temperature: 0, echo: true, logprobs: 1, max_tokens: 4 });
  const { tokens, text_offset: offsets } = text.choices[0].logprobs;
  assert.ok(text.choices[0].text.startsWith('Once upon'));
  assert.equal(tokens.length, offsets.length);
  const both = await ask({ prompt: ['Once upon', 'Once upon'], temperature: 0, max_tokens: 4 });
  assert.equal(both.choices[0].text, both.choices[1].text);
  assert.ok(text.choices[0].text.endsWith(both.choices[0].text));
});

test('a suffix is refused by a model without tokens for it', async () => {
  await assert.rejects(ask({ suffix: 'the end' }), (error) => {
    assert.deepEqual([error.status, error.param, error.code], [400, 'suffix', 'unsupported_parameter'], error.message);
    return true;
  });
  await ask({ suffix: '', max_tokens: 2 });
  await ask({ suffix: null, max_tokens: 2 });
});
