// Vectors and ranks over HTTP and at the command line: the clients of OpenAI, Ollama and LangChain,
// the plain bodies of Jina, Cohere and llama-server, and each field: its effect, or its refusal.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { OllamaEmbeddings } from '@langchain/ollama';
import { OpenAIEmbeddings } from '@langchain/openai';
import { Ollama } from 'ollama';
import OpenAI from 'openai';
import { metric, post, run, serve } from './hearth.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const goldens = path.resolve(here, '../golden/encoder');
const golden = (name) => JSON.parse(readFileSync(path.join(goldens, `${name}.json`), 'utf8'));
const model = 'hearth-nano-embed';
const words = 'bert-words-f32';
const ranker = 'bert-words-rank-f32';
const texts = ['how do I wake up earlier', 'set an alarm and go to bed early', 'the engine of a car'];

let server;
let client;

before(async () => {
  const files = [words, ranker, 'bert-none-f32'].map((name) => path.join(goldens, `${name}.gguf`));
  server = await serve([files[0], files[1]]);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const norm = (a) => Math.sqrt(dot(a, a));
const near = (a, b, most = 1e-5) => Math.max(...a.map((x, i) => Math.abs(x - b[i]))) <= most;

async function ask(route, body) {
  const answer = await post(server, route, body);
  assert.equal(answer.status, 200, `${route}: ${await answer.clone().text()}`);
  return answer.json();
}

async function refuses(route, body, param, code, pattern = /./) {
  const answer = await post(server, route, body);
  const { error } = await answer.json();
  const what = JSON.stringify(error);
  assert.equal(answer.status, 400, what);
  assert.deepEqual([error.param, error.code], [param, code], what);
  assert.match(error.message, pattern);
}

const vectors = async (input, more = {}) =>
  (await ask('/v1/embeddings', { model, input, ...more })).data.map((item) => item.embedding);

test('texts of like meaning have like vectors', async () => {
  const [a, b, c] = await vectors(texts);
  for (const v of [a, b, c]) {
    assert.equal(v.length, 256);
    assert.ok(Math.abs(norm(v) - 1) < 1e-5);
  }
  assert.ok(dot(a, b) > dot(a, c) + 0.1);
});

test('the openai client: base64 and floats, one text and many, usage', async () => {
  const binary = await client.embeddings.create({ model, input: texts });
  const plain = await client.embeddings.create({ model, input: texts, encoding_format: 'float' });
  assert.deepEqual(binary.data.map((item) => item.index), [0, 1, 2]);
  binary.data.forEach((item, i) => assert.deepEqual(item.embedding, plain.data[i].embedding.map(Math.fround)));
  assert.equal(plain.object, 'list');
  assert.equal(plain.model, model);
  assert.ok(plain.usage.prompt_tokens > 20 && plain.usage.prompt_tokens === plain.usage.total_tokens);
  const one = await client.embeddings.create({ model, input: texts[1] });
  assert.deepEqual(one.data[0].embedding, binary.data[1].embedding);
  const short = await client.embeddings.create({ model, input: texts[1], dimensions: 64 });
  const cut = one.data[0].embedding.slice(0, 64);
  assert.ok(near(short.data[0].embedding, cut.map((x) => x / norm(cut))));
});

test('a batch equals its singles, byte for byte', async () => {
  const input = Array.from({ length: 40 }, (_, i) => `${'word '.repeat(i * 3)}number ${i}`);
  const raw = async (value) => (await ask('/v1/embeddings', { model, input: value, encoding_format: 'base64' })).data;
  const batch = await raw(input);
  const singles = await Promise.all(input.map(raw));
  singles.forEach(([item], i) => assert.equal(item.embedding, batch[i].embedding, `text ${i}`));
});

test('token ids instead of texts', async () => {
  const { texts: ids, vectors: raw } = golden(words);
  const unit = (v) => v.map((x) => x / norm(v));
  const many = (await ask('/v1/embeddings', { model: words, input: ids })).data;
  many.forEach((item, i) => assert.ok(near(item.embedding, unit(raw[i]))));
  const [one] = (await ask('/v1/embeddings', { model: words, input: ids[0] })).data;
  assert.deepEqual(one.embedding, many[0].embedding);
  const { documents } = golden(words);
  const text = (await ask('/v1/embeddings', { model: words, input: documents })).data;
  text.forEach((item, i) => assert.deepEqual(item.embedding, many[i].embedding));
});

test('what /v1/embeddings refuses', async () => {
  const route = '/v1/embeddings';
  await refuses(route, { model }, 'input', 'missing_required_parameter');
  await refuses(route, { input: 'x' }, 'model', 'missing_required_parameter');
  await refuses(route, { model, input: [] }, 'input', 'invalid_value');
  await refuses(route, { model, input: ['a', 3] }, 'input[1]', 'invalid_type');
  await refuses(route, { model, input: [[1], []] }, 'input[1]', 'invalid_value', /no tokens/);
  await refuses(route, { model, input: [1, 99999999] }, 'input[1]', 'invalid_value', /vocabulary/);
  await refuses(route, { model, input: [1, -1] }, 'input[1]', 'invalid_value', /vocabulary/);
  await refuses(route, { model, input: 'x', encoding_format: 'hex' }, 'encoding_format', 'invalid_value');
  await refuses(route, { model, input: 'x', dimensions: 0 }, 'dimensions', 'invalid_value');
  await refuses(route, { model, input: 'x', dimensions: 257 }, 'dimensions', 'invalid_value', /256/);
  await refuses(route, { model, input: 'x', input_type: 'poem' }, 'input_type', 'invalid_value', /query, document/);
  await refuses(route, { model, input: 'x', temperature: 1 }, 'temperature', 'unknown_parameter');
  await refuses(route, { model, input: ['x', 'word '.repeat(600)] }, 'input[1]', 'context_length_exceeded', /602 tokens.*512/);
  await refuses(route, { model: ranker, input: 'x' }, 'model', 'unsupported_parameter', /rerank/);
  const none = await post(server, route, { model: 'nobody', input: 'x' });
  assert.equal(none.status, 404);
  const many = await post(server, route, { model, input: Array(2049).fill('x') });
  assert.equal(many.status, 400);
});

test('an encoder does not generate; a decoder embeds by the mean', async () => {
  await refuses('/v1/chat/completions', { model, messages: [{ role: 'user', content: 'x' }] }, 'model', 'unsupported_parameter');
  const list = await (await fetch(`${server.url}/v1/models`)).json();
  const facts = Object.fromEntries(list.data.map((item) => [item.id, item.hearth]));
  assert.deepEqual(facts[model].capabilities, ['embedding']);
  assert.deepEqual(facts[model].embedding, { pooling: 'mean', pooling_source: 'file', normalized: true, dimensions: 256 });
  assert.deepEqual(facts[ranker].capabilities, ['rerank']);
  assert.deepEqual(facts['hearth-nano'].embedding, { pooling: 'mean', pooling_source: 'default', normalized: true, dimensions: 256 });
  const [a, b, c] = await vectors([texts[0], texts[0], texts[2]], { model: 'hearth-nano' });
  assert.ok(Math.abs(norm(a) - 1) < 1e-5);
  assert.deepEqual(a, b);
  assert.notDeepEqual(a, c);
});

test('ranks: scores of the reference, order, shapes', async () => {
  const { query, documents, vectors: scores } = golden(ranker);
  const order = scores.map((score, index) => ({ score: score[0], index })).sort((x, y) => y.score - x.score);
  const whole = await ask('/v1/rerank', { model: ranker, query, documents });
  assert.deepEqual(whole.results.map((item) => item.index), order.map((item) => item.index));
  whole.results.forEach((item, i) => assert.ok(Math.abs(item.relevance_score - order[i].score) < 1e-4));
  assert.equal(whole.usage.total_tokens, golden(ranker).texts.flat().length);
  const top = await ask('/v2/rerank', { model: ranker, query, documents: documents.map((text) => ({ text })), top_n: 2, return_documents: true });
  assert.deepEqual(top.results.map((item) => item.document.text), order.slice(0, 2).map((item) => documents[item.index]));
  const bare = await ask('/rerank', { model: ranker, query, texts: documents, return_text: true, raw_scores: false });
  bare.forEach((item, i) => {
    assert.ok(Math.abs(item.score - 1 / (1 + Math.exp(-order[i].score))) < 1e-4);
    assert.equal(item.text, documents[item.index]);
  });
  await refuses('/v1/rerank', { model: ranker, query }, 'documents', 'missing_required_parameter');
  await refuses('/v1/rerank', { model: ranker, documents }, 'query', 'missing_required_parameter');
  await refuses('/v1/rerank', { model: ranker, query, documents: [] }, 'documents', 'invalid_value');
  await refuses('/v1/rerank', { model: ranker, query, documents: [{ title: 'x' }] }, 'documents[0]', 'invalid_type');
  await refuses('/v1/rerank', { model: ranker, query, documents, top_n: 0 }, 'top_n', 'invalid_value');
  await refuses('/v1/rerank', { model: ranker, query, documents, rank_fields: ['a'] }, 'rank_fields', 'unsupported_parameter');
  await refuses('/v1/rerank', { model, query, documents }, 'model', 'unsupported_parameter', /no head/);
});

test('llama-server: /embedding', async () => {
  const { documents, vectors: raw } = golden(words);
  const rows = await ask('/embedding', { model: words, content: documents, embd_normalize: -1 });
  rows.forEach((row, i) => {
    assert.equal(row.index, i);
    assert.ok(near(row.embedding[0], raw[i]));
  });
  const [taxi] = await ask('/embedding', { model: words, input: documents[0], embd_normalize: 1 });
  assert.ok(Math.abs(taxi.embedding[0].reduce((sum, x) => sum + Math.abs(x), 0) - 1) < 1e-5);
  await refuses('/embedding', { model: words }, 'content', 'missing_required_parameter');
});

test('the ollama client: embed, embeddings, cutting by demand', async () => {
  const ollama = new Ollama({ host: server.url });
  const plain = await vectors(texts);
  const answer = await ollama.embed({ model, input: texts });
  assert.deepEqual(answer.embeddings, plain);
  assert.equal(answer.model, model);
  assert.ok(answer.prompt_eval_count > 20 && answer.total_duration >= answer.load_duration);
  assert.deepEqual((await ollama.embed({ model: `${model}:latest`, input: texts[0] })).embeddings, [plain[0]]);
  assert.equal((await ollama.embed({ model, input: 'x', dimensions: 32 })).embeddings[0].length, 32);
  const old = (await ollama.embeddings({ model, prompt: texts[0] })).embedding;
  assert.ok(near(old.map((x) => x / norm(old)), plain[0]));
  const long = 'word '.repeat(600);
  await assert.rejects(ollama.embed({ model, input: [long] }), /602 tokens.*512/);
  const cut = await ask('/api/embed', { model, input: ['x', long], truncate: true });
  assert.deepEqual([cut.truncated, cut.prompt_eval_count], [[1], 512 + 3]);
  assert.deepEqual(cut.embeddings[1], (await vectors('word '.repeat(510)))[0]);
  assert.deepEqual((await ask('/api/embed', { model, input: [] })).embeddings, []);
});

test('LangChain: both of its clients', async () => {
  const plain = await vectors(texts);
  const viaOpenai = new OpenAIEmbeddings({ model, apiKey: 'none', configuration: { baseURL: `${server.url}/v1` } });
  const viaOllama = new OllamaEmbeddings({ model, baseUrl: server.url });
  for (const embeddings of [viaOpenai, viaOllama]) {
    const documents = await embeddings.embedDocuments(texts);
    documents.forEach((v, i) => assert.ok(near(v, plain[i])));
    assert.ok(near(await embeddings.embedQuery(texts[2]), plain[2]));
  }
});

test('a client that leaves gives its place back', async () => {
  const input = Array(400).fill('word '.repeat(500));
  const stop = new AbortController();
  const gone = fetch(`${server.url}/v1/embeddings`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, signal: stop.signal,
    body: JSON.stringify({ model, input }),
  });
  setTimeout(() => stop.abort(), 150);
  await assert.rejects(gone);
  const [v] = await vectors('still here');
  assert.equal(v.length, 256);
  assert.ok((await metric(server, 'process_resident_memory_bytes')) !== 0);
});

test('the command line', async () => {
  const [want] = await vectors(texts[0]);
  const bundled = await run(['embed', '--text', texts[0], '--json']);
  assert.deepEqual(JSON.parse(bundled.stdout).embedding, want);
  const piped = await run(['embed', '--json'], { input: texts[0] });
  assert.equal(piped.stdout, bundled.stdout);
  const file = (name) => path.join(goldens, `${name}.gguf`);
  const { query, documents, texts: ids, vectors: raw } = golden(ranker);
  const ranked = await run(['rerank', file(ranker), '--query', query, ...documents.flatMap((d) => ['--document', d]), '--json']);
  const { results } = JSON.parse(ranked.stdout);
  assert.deepEqual(Object.keys(results[0]), ['index', 'relevance_score']);
  results.forEach((item) => assert.ok(Math.abs(item.relevance_score - raw[item.index][0]) < 1e-4));
  const score = await run(['embed', file(ranker), '--tokens', ids[1].join(','), '--raw', '--json']);
  assert.ok(Math.abs(JSON.parse(score.stdout).embedding[0] - raw[1][0]) < 1e-4);
  const rows = await run(['embed', file('bert-none-f32'), '--tokens', '1,2,3', '--json']);
  assert.deepEqual(JSON.parse(rows.stdout).embedding.map((row) => row.length), [24, 24, 24]);
  const wrong = await run(['run', file(words), '-p', 'x']);
  assert.match(wrong.stderr, /does not generate/);
  assert.notEqual(wrong.status, 0);
  assert.equal((await run(['rerank', file(ranker), '--query', 'x'])).status, 2);
});
