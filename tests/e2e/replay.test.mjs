// Records of answers, and answers made again from them.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { chat, post, run, serve } from './hearth.mjs';

const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-record-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const ask = (more) => ({ ...chat('Tell me about the sea.'), temperature: 1, max_tokens: 40, ...more });
const files = (dir) => readdirSync(dir).map((name) => path.join(dir, name));

test('an answer is recorded and made again; a changed record is told from where on', async () => {
  const dir = path.join(folder, 'all');
  const server = await serve(['--record', dir, '--parallel', '3']);
  const answers = await Promise.all([1, 2, 3].map((seed) => post(server, '/v1/chat/completions', ask({ seed }))));
  for (const answer of answers) assert.equal(answer.status, 200);
  await server.stop();
  assert.equal(statSync(dir).mode & 0o777, 0o700);
  const records = files(dir);
  assert.equal(records.length, 3);
  for (const file of records) {
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const again = await run(['replay', file]);
    assert.equal(again.status, 0, again.stderr + again.stdout);
    assert.match(again.stdout, /^the same answer: \d+ tokens$/m);
  }
  const record = JSON.parse(readFileSync(records[0]));
  record.answer.tokens[5] += 1;
  record.version = '0.0.1';
  record.cpu_level = 'reference';
  const changed = path.join(folder, 'changed.json');
  writeFileSync(changed, JSON.stringify(record));
  const differs = await run(['replay', changed]);
  assert.equal(differs.status, 1);
  assert.match(differs.stdout, /differ from token 5 on/);
  assert.match(differs.stdout, /version then: "0\.0\.1"/);
});

test('only requests that ask are recorded with --record-asked; without a folder they are refused', async () => {
  const dir = path.join(folder, 'asked');
  const server = await serve(['--record-asked', dir]);
  assert.equal((await post(server, '/v1/chat/completions', ask({ seed: 1 }))).status, 200);
  assert.equal((await post(server, '/v1/chat/completions', ask({ seed: 1, record: true }))).status, 200);
  await server.stop();
  assert.equal(files(dir).length, 1);
  const plain = await serve();
  const refused = await post(plain, '/v1/chat/completions', ask({ record: true }));
  assert.equal(refused.status, 400);
  assert.equal((await refused.json()).error.param, 'record');
  await plain.stop();
});

test('what is no record is refused', async () => {
  const file = path.join(folder, 'no.json');
  for (const text of ['', '{}', '{"hearth_record":1}', 'x'.repeat(1000)]) {
    writeFileSync(file, text);
    chmodSync(file, 0o600);
    const result = await run(['replay', file]);
    assert.ok(result.status > 0 && result.status < 64 && result.stderr.startsWith('hearth: '), result.stderr);
  }
});
