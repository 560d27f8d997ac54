// The prefix cache over HTTP: reuse within a key and never across keys, and prompts that are found
// again on disk after kill -9, with equal answers.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { chat, run, serve, sleep, modelFile, slow } from './hearth.mjs';

const home = mkdtempSync(path.join(os.tmpdir(), 'hearth-cache-'));
after(() => rmSync(home, { recursive: true, force: true }));
const folder = path.join(home, 'cache');
const pages = path.join(folder, 'prefix');
const long = 'Tell me about fire, water and the wind in the old trees. '.repeat(20);

async function ask(server, { key, text = long, more = {} } = {}) {
  const headers = { 'content-type': 'application/json' };
  if (key) headers.authorization = `Bearer ${key}`;
  const body = JSON.stringify(chat(text, { max_tokens: 12, temperature: 0.7, seed: 5, timings: true, ...more }));
  const answer = await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', headers, body });
  assert.equal(answer.status, 200);
  const got = await answer.json();
  return {
    cached: got.usage.prompt_tokens_details.cached_tokens,
    prompt: got.usage.prompt_tokens,
    timings: got.timings,
    texts: got.choices.map((choice) => choice.message.content),
  };
}

const kept = () => readdirSync(pages).filter((name) => name.endsWith('.kv'));

test('a prompt is reused under its own key only', async () => {
  const server = await serve(['--api-key', 'alpha', '--api-key', 'beta']);
  const first = await ask(server, { key: 'alpha' });
  assert.equal(first.cached, 0);
  const again = await ask(server, { key: 'alpha' });
  assert.equal(again.cached, Math.floor((again.prompt - 1) / 64) * 64);
  assert.deepEqual(again.texts, first.texts);
  const other = await ask(server, { key: 'beta' });
  assert.equal(other.cached, 0);
  assert.deepEqual(other.texts, first.texts);
  await server.stop();
});

test('choices share their prompt', async () => {
  const server = await serve(['--batch', '64']);
  const got = await ask(server, { more: { n: 3 } });
  assert.equal(new Set(got.texts).size > 1, true);
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  const cached = Number(/^hearth_cached_tokens_total(?:\{[^}]*\})? (\d+)/m.exec(metrics)[1]);
  assert.ok(cached >= got.prompt - 65, metrics);
  await server.stop();
});

test('the timings say what was reused and where a near miss began', async () => {
  const server = await serve(['--api-key', 'alpha', '--api-key', 'beta']);
  const first = await ask(server, { key: 'alpha' });
  assert.equal(first.timings.cache_n, 0);
  assert.equal(first.timings.near_miss, null);
  const again = await ask(server, { key: 'alpha' });
  assert.equal(again.timings.cache_n, again.cached);
  assert.equal(again.timings.prompt_n, again.prompt - again.cached);
  assert.ok(again.timings.prompt_ms > 0 && again.timings.predicted_n > 0);
  assert.equal(again.timings.near_miss, null);
  const text = `${long.slice(0, long.length / 2)}BUT ${long.slice(long.length / 2)}`;
  const near = (await ask(server, { key: 'alpha', text })).timings;
  assert.ok(near.cache_n > 0 && near.cache_n < again.cached);
  assert.ok(near.near_miss.position >= near.cache_n && near.near_miss.position < near.cache_n + 64);
  assert.ok(near.near_miss.text.length > 0);
  assert.ok('BUT'.startsWith(near.near_miss.text.trim()), near.near_miss.text);
  assert.equal((await ask(server, { key: 'beta', text: `${text}?` })).timings.near_miss, null);
  await server.stop();
});

test('--cache-share 0 reuses nothing', async () => {
  const server = await serve(['--cache-share', '0']);
  await ask(server);
  assert.equal((await ask(server)).cached, 0);
  await server.stop();
});

test('prompts survive kill -9', async () => {
  const args = ['--cache-dir', folder];
  let server = await serve(args);
  const first = await ask(server);
  assert.equal(first.cached, 0);
  await sleep(2000); // on disk at the latest then
  server.child.kill('SIGKILL');
  await server.wait();
  assert.equal(statSync(pages).mode & 0o777, 0o700);
  assert.ok(kept().length >= Math.floor((first.prompt - 1) / 64));
  for (const name of kept()) assert.equal(statSync(path.join(pages, name)).mode & 0o777, 0o600);

  server = await serve(args);
  const again = await ask(server);
  assert.equal(again.cached, Math.floor((again.prompt - 1) / 64) * 64);
  assert.deepEqual(again.texts, first.texts);

  const second = await run(['serve', modelFile, '--port', '0', ...args], { timeout: 10000 * slow });
  assert.notEqual(second.status, 0);
  assert.ok(second.stderr.includes(pages), second.stderr);
  await server.stop();

  for (const name of kept()) truncateSync(path.join(pages, name), 700);
  chmodSync(pages, 0o755);
  server = await serve(args);
  assert.equal(statSync(pages).mode & 0o777, 0o700);
  const damaged = await ask(server);
  assert.equal(damaged.cached, 0);
  assert.deepEqual(damaged.texts, first.texts);
  assert.equal(server.stderr.split('a file of the prefix cache is ignored').length - 1, 1);
  await server.stop(); // a clean end writes what is left
  server = await serve(args);
  assert.equal((await ask(server)).cached, again.cached);
  await server.stop();
});

test('--cache-disk 0 writes nothing', async () => {
  const cache = path.join(home, 'off');
  const server = await serve(['--cache-disk', '0', '--cache-dir', cache]);
  await ask(server);
  await server.stop();
  assert.equal(readdirSync(home).includes('off'), false);
});

test('the quota holds', async () => {
  const quota = 1 << 20;
  const server = await serve(['--cache-disk', String(quota), '--cache-dir', folder]);
  for (let i = 0; i < 6; i++) await ask(server, { text: `${i} ${long}` });
  await server.stop();
  const bytes = kept().map((name) => statSync(path.join(pages, name)).size);
  assert.ok(bytes.length > 0);
  assert.ok(bytes.reduce((sum, size) => sum + size, 0) <= quota);
});
