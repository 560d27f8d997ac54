// POST /api/create with `quantize`: the bundled model in F16 becomes Q8_0 and Q4_0, and generates.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Ollama } from 'ollama';
import { post, serve } from './hearth.mjs';

const source = path.resolve(import.meta.dirname, '../../../shared/models/hearth-nano-f16.gguf');
const skip = existsSync(source) ? false : `there is no ${source}`;
const messages = [{ role: 'user', content: 'What is hearth?' }];

function filesBelow(folder) {
  return readdirSync(folder, { recursive: true }).filter((name) => name.includes('quantized-'));
}

test('quantize: statuses as they happen, a smaller model that answers, gone when deleted', { skip }, async () => {
  const data = mkdtempSync(path.join(os.tmpdir(), 'hearth-quantize-'));
  let server = await serve(['--data-dir', data, '--threads', '2']);
  let client = new Ollama({ host: server.url });
  try {
    assert.equal((await post(server, '/api/create', { model: 'whole', from: source })).status, 200);
    for (const type of ['q8_0', 'Q4_0']) {
      const statuses = [];
      for await (const status of await client.create({ model: `nano-${type}`, from: 'whole', quantize: type, system: 'Be brief.', stream: true })) {
        statuses.push(status);
      }
      assert.equal(statuses[0].status, 'reading model');
      assert.equal(statuses.at(-1).status, 'success');
      const steps = statuses.filter((status) => status.status === `quantizing to ${type.toUpperCase()}`);
      assert.ok(steps.length > 3 && steps.at(-1).completed === steps.at(-1).total, JSON.stringify(steps));
      assert.ok(steps.every((step, i) => i === 0 || step.completed > steps[i - 1].completed));
    }
    const answer = await post(server, '/api/create', { model: 'plain', from: source, quantize: 'Q8_0', stream: false });
    assert.deepEqual([answer.status, await answer.json()], [200, { status: 'success' }]);
    const failed = await post(server, '/api/create', { model: 'x', from: source, quantize: 'IQ1_S' });
    const lines = (await failed.text()).trim().split('\n').map(JSON.parse);
    assert.match(lines.at(-1).error, /importance/);
    const typed = await post(server, '/api/create', { model: 'x', from: source, quantize: 'IQ1_S', stream: false });
    assert.equal(typed.status, 400);
    assert.equal(filesBelow(data).length, 3, 'a failure leaves nothing');
    await server.stop();
    server = await serve(['--data-dir', data, '--threads', '2']);
    client = new Ollama({ host: server.url });
    const { models } = await client.list();
    const size = (name) => models.find((model) => model.name === `${name}:latest`).size;
    assert.ok(size('nano-Q4_0') < size('nano-q8_0') && size('nano-q8_0') < statSync(source).size);
    for (const name of ['nano-q8_0', 'nano-Q4_0', 'plain']) {
      const { message, eval_count: count } = await client.chat({ model: name, messages, options: { temperature: 0, num_predict: 20 } });
      assert.ok(message.content.length > 0 && count > 0);
    }
    assert.equal((await client.show({ model: 'nano-Q4_0' })).details.quantization_level, 'Q4_0');
    for (const name of ['nano-q8_0', 'nano-Q4_0', 'plain']) await client.delete({ model: name });
    assert.deepEqual(filesBelow(data), []);
    assert.ok(existsSync(source));
  } finally {
    await server.stop();
    rmSync(data, { recursive: true, force: true });
  }
});
