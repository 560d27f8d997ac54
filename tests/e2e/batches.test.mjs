// Files and batches through the openai client: what goes in comes out, also after a kill.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import OpenAI, { toFile } from 'openai';
import { serve, sleep, slow } from './hearth.mjs';

const model = 'hearth-nano';
let server;
let client;
const clientOf = (of, apiKey = 'k') => new OpenAI({ baseURL: `${of.url}/v1`, apiKey, maxRetries: 0 });
before(async () => {
  server = await serve();
  client = clientOf(server);
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

const upload = (text, more = {}, of = client) => toFile(Buffer.from(text), 'input.jsonl')
  .then((file) => of.files.create({ file, purpose: 'batch', ...more }));
const jsonl = (lines) => lines.map((line) => JSON.stringify(line)).join('\n') + '\n';
const line = (id, body, url = '/v1/chat/completions') => ({ custom_id: id, method: 'POST', url, body });
const chat = (text, more = {}) => ({ model, messages: [{ role: 'user', content: text }], temperature: 0, max_tokens: 5, ...more });
const isRefused = (promise, status, param, code) => assert.rejects(promise, (error) => {
  assert.deepEqual([error.status, error.param, error.code], [status, param, code], error.message);
  return true;
});

async function finished(batch, of = client) {
  for (const until = Date.now() + 30000 * slow; Date.now() < until; await sleep(20)) {
    const now = await of.batches.retrieve(batch.id);
    if (!['validating', 'in_progress', 'finalizing', 'cancelling'].includes(now.status)) return now;
  }
  throw new Error('the batch does not end');
}
const start = async (lines, endpoint = '/v1/chat/completions', of = client, more = {}) => of.batches.create({
  input_file_id: (await upload(typeof lines === 'string' ? lines : jsonl(lines), {}, of)).id, endpoint, completion_window: '24h', ...more });
async function read(id, of = client) {
  const text = await (await of.files.content(id)).text();
  return text.trimEnd().split('\n').map((item) => JSON.parse(item)).sort((a, b) => (a.custom_id < b.custom_id ? -1 : 1));
}

test('files: upload, list, retrieve, content, delete', async () => {
  const bytes = Buffer.from([0, 255, 13, 10, 45, 45, 65]);
  const file = await client.files.create({ file: await toFile(bytes, 'a "b" é.bin'), purpose: 'user_data',
    expires_after: { anchor: 'created_at', seconds: 3600 } });
  assert.match(file.id, /^file-/);
  assert.equal(file.object, 'file');
  assert.equal(file.bytes, bytes.length);
  assert.equal(file.purpose, 'user_data');
  assert.equal(file.expires_at - file.created_at, 3600);
  assert.deepEqual(await client.files.retrieve(file.id), file);
  assert.deepEqual(Buffer.from(await (await client.files.content(file.id)).arrayBuffer()), bytes);
  const second = await upload('{}\n');
  assert.equal(second.filename, 'input.jsonl');
  const ids = async (query) => (await client.files.list(query)).data.map((item) => item.id);
  assert.deepEqual(await ids({}), [second.id, file.id]);
  assert.deepEqual(await ids({ order: 'asc', limit: 1 }), [file.id]);
  assert.deepEqual(await ids({ purpose: 'batch' }), [second.id]);
  assert.deepEqual(await client.files.delete(file.id), { id: file.id, object: 'file', deleted: true });
  await isRefused(client.files.retrieve(file.id), 404, null, 'not_found');
  await isRefused(client.files.content(file.id), 404, null, 'not_found');
  await isRefused(upload('x', { purpose: 'vision' }), 400, 'purpose', 'unsupported_parameter');
  await isRefused(upload('x', { purpose: 'nothing' }), 400, 'purpose', 'invalid_value');
  await isRefused(upload('x', { expires_after: { anchor: 'created_at', seconds: 5 } }), 400, 'expires_after.seconds', 'invalid_value');
});

test('malformed uploads', async () => {
  const send = (body, type) => fetch(`${server.url}/v1/files`, { method: 'POST', body, headers: { 'content-type': type } });
  const form = 'multipart/form-data; boundary=xx';
  const part = '--xx\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nbytes\r\n';
  for (const [body, type, status] of [
    ['{}', 'application/json', 415], ['', form, 400], ['--xx', form, 400], ['--xx\r\n\r\n', form, 400],
    [part, form, 400], [`${part}--xx--`, form, 400], [part.replaceAll('xx', 'yy'), form, 400],
    ['--xx\r\nContent-Disposition: form-data\r\n\r\nx\r\n--xx--', form, 400], [`${part}--xx--`, 'multipart/form-data', 400],
    [`${part.repeat(9)}--xx--`, form, 400]]) {
    const answer = await send(body, type);
    assert.equal(answer.status, status, body);
    assert.ok((await answer.json()).error.message);
  }
  const good = await send(`${part}--xx\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n--xx--\r\n`, form);
  assert.equal(good.status, 200);
});

test('a batch of chat completions', async () => {
  const batch = await start([line('a', chat('What is hearth?')), line('b', chat('Hi', { temperature: 9 })), line('c', chat('Hi'))],
    '/v1/chat/completions', client, { metadata: { job: 'x' } });
  assert.equal(batch.object, 'batch');
  assert.equal(batch.status, 'validating');
  assert.equal(batch.expires_at - batch.created_at, 86400);
  const done = await finished(batch);
  assert.equal(done.status, 'completed');
  assert.deepEqual(done.request_counts, { total: 3, completed: 2, failed: 1 });
  assert.deepEqual(done.metadata, { job: 'x' });
  assert.equal(done.model, model);
  assert.ok(done.in_progress_at <= done.finalizing_at && done.finalizing_at <= done.completed_at);
  const [a, c] = await read(done.output_file_id);
  assert.equal(a.custom_id, 'a');
  assert.equal(c.custom_id, 'c');
  assert.equal(a.error, null);
  assert.equal(a.response.status_code, 200);
  const direct = await client.chat.completions.create(chat('What is hearth?'));
  assert.deepEqual(a.response.body.choices, direct.choices);
  assert.equal(done.usage.output_tokens, a.response.body.usage.completion_tokens + c.response.body.usage.completion_tokens);
  const [b] = await read(done.error_file_id);
  assert.equal(b.custom_id, 'b');
  assert.equal(b.response.status_code, 400);
  assert.equal(b.response.body.error.param, 'temperature');
  const file = await client.files.retrieve(done.output_file_id);
  assert.equal(file.purpose, 'batch_output');
  assert.ok((await client.batches.list()).data.some((item) => item.id === batch.id));
});

test('batches of the other endpoints', async () => {
  const responses = await finished(await start([line('a', { model, input: 'Hi', max_output_tokens: 4 }, '/v1/responses')], '/v1/responses'));
  const [a] = await read(responses.output_file_id);
  assert.equal(a.response.body.object, 'response');
  assert.equal((await client.responses.retrieve(a.response.body.id)).id, a.response.body.id);
  const texts = await finished(await start([line('a', { model, prompt: 'Once', max_tokens: 3 }, '/v1/completions')], '/v1/completions'));
  assert.equal((await read(texts.output_file_id))[0].response.body.object, 'text_completion');
  const vectors = await finished(await start([line('a', { model, input: 'Hi' }, '/v1/embeddings')], '/v1/embeddings'));
  assert.deepEqual(vectors.request_counts.total, 1);
});

test('an input that is wrong fails with its lines', async () => {
  const batch = await finished(await start(
    ['nonsense', JSON.stringify(line('a', chat('x'))), JSON.stringify(line('a', chat('x'))),
      JSON.stringify(line('b', chat('x'), '/v1/completions')), JSON.stringify({ custom_id: 'c' }), JSON.stringify(line('d', chat('x', { stream: true })))].join('\n')));
  assert.equal(batch.status, 'failed');
  assert.ok(batch.failed_at);
  assert.deepEqual(batch.errors.data.map((error) => [error.line, error.code, error.param ?? null]), [
    [1, 'invalid_json', null], [3, 'invalid_value', 'custom_id'], [4, 'invalid_value', 'url'],
    [5, 'missing_required_parameter', 'method'], [6, 'invalid_value', 'body.stream']]);
  assert.equal((await finished(await start(''))).status, 'failed');
});

test('refusals', async () => {
  const file = await upload(jsonl([line('a', chat('Hi'))]));
  const make = (more) => client.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h', ...more });
  await isRefused(make({ endpoint: '/v1/moderations' }), 400, 'endpoint', 'unsupported_parameter');
  await isRefused(make({ completion_window: '1h' }), 400, 'completion_window', 'invalid_value');
  await isRefused(make({ input_file_id: 'file-x' }), 404, 'input_file_id', 'not_found');
  await isRefused(make({ input_file_id: undefined }), 400, 'input_file_id', 'missing_required_parameter');
  await isRefused(make({ metadata: { a: 1 } }), 400, 'metadata.a', 'invalid_type');
  await isRefused(make({ foo: 1 }), 400, 'foo', 'unknown_parameter');
  await isRefused(make({ output_expires_after: { anchor: 'created_at', seconds: 1 } }), 400, 'output_expires_after', 'invalid_value');
  const data = await client.files.create({ file: await toFile(Buffer.from('x'), 'x'), purpose: 'user_data' });
  await isRefused(make({ input_file_id: data.id }), 400, 'input_file_id', 'invalid_value');
  await isRefused(client.batches.retrieve('batch_x'), 404, null, 'not_found');
  await isRefused(client.batches.cancel('batch_x'), 404, null, 'not_found');
});

test('a batch is cancelled', async () => {
  const batch = await start(Array.from({ length: 200 }, (_, i) => line(`n${i}`, chat('Tell me a story.', { max_tokens: 200, temperature: 1.2 }))));
  const cancelling = await client.batches.cancel(batch.id);
  assert.equal(cancelling.status, 'cancelling');
  const done = await finished(batch);
  assert.equal(done.status, 'cancelled');
  assert.ok(done.cancelled_at >= done.cancelling_at);
  assert.equal(done.request_counts.completed + done.request_counts.failed, 200);
  const errors = await read(done.error_file_id);
  assert.ok(errors.length > 0 && errors.every((item) => item.error?.code === 'batch_cancelled'));
  const done2 = await finished(await start([line('a', chat('Hi'))]));
  await isRefused(client.batches.cancel(done2.id), 400, null, 'invalid_value');
});

test('a batch goes on after a kill, and answers no line twice', async () => {
  const data = mkdtempSync(path.join(os.tmpdir(), 'hearth-batch-'));
  let victim = await serve(['--data-dir', data]);
  let of = clientOf(victim);
  const lines = Array.from({ length: 40 }, (_, i) => line(`n${String(i).padStart(2, '0')}`, chat('What is hearth?', { max_tokens: 40, ignore_eos: true, seed: i, temperature: 1 })));
  const batch = await start(lines, '/v1/chat/completions', of);
  let seen;
  do {
    await sleep(5);
    seen = (await of.batches.retrieve(batch.id)).request_counts;
  } while (seen.completed < 3);
  await victim.stop('SIGKILL');
  victim = await serve(['--data-dir', data]);
  of = clientOf(victim);
  assert.ok((await of.batches.retrieve(batch.id)).request_counts.completed >= seen.completed);
  const done = await finished(batch, of);
  assert.equal(done.status, 'completed');
  assert.deepEqual(done.request_counts, { total: 40, completed: 40, failed: 0 });
  assert.deepEqual((await read(done.output_file_id, of)).map((item) => item.custom_id), lines.map((item) => item.custom_id));
  await victim.stop();
  rmSync(data, { recursive: true, force: true });
});

test('a stop amid background answers, batches and calls about them is clean', async () => {
  const data = mkdtempSync(path.join(os.tmpdir(), 'hearth-batches-'));
  for (let round = 0; round < 4; round++) {
    const own = await serve(['--data-dir', data, '--grace', '0', '--parallel', '4']);
    const mine = clientOf(own);
    const story = { model, input: 'Tell me a story.', logit_bias: {}, max_output_tokens: 700, background: true };
    const batch = await start([line('a', chat('a', { max_tokens: 200 })), line('b', chat('b'))], undefined, mine);
    const stories = await Promise.all(Array.from({ length: 3 }, () => mine.responses.create(story)));
    const ends = Promise.allSettled([...stories.map(({ id }) => mine.responses.cancel(id)),
      ...Array.from({ length: 24 }, () => mine.batches.cancel(batch.id))]); // answered, refused or cut
    await sleep(round * 5);
    assert.deepEqual(await own.stop(), { status: 0, signal: null });
    await ends;
  }
  rmSync(data, { recursive: true });
});

test('keys do not see each other', async () => {
  const shared = await serve(['--api-key', 'ann', '--api-key', 'bob']);
  const [ann, bob] = [clientOf(shared, 'ann'), clientOf(shared, 'bob')];
  const file = await upload(jsonl([line('a', chat('Hi'))]), {}, ann);
  await isRefused(bob.files.content(file.id), 404, null, 'not_found');
  await isRefused(bob.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' }), 404, 'input_file_id', 'not_found');
  assert.deepEqual((await bob.files.list()).data, []);
  const batch = await finished(await ann.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' }), ann);
  assert.equal(batch.status, 'completed');
  await isRefused(bob.batches.retrieve(batch.id), 404, null, 'not_found');
  await isRefused(bob.files.content(batch.output_file_id), 404, null, 'not_found');
  await shared.stop();
});
