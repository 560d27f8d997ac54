// /openapi.json: valid for a validator of others, complete, and true to what the server does; /docs.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv from 'ajv/dist/2020.js';
import { chat, post, serve } from './hearth.mjs';

let server;
let api;
before(async () => {
  server = await serve(['--api-key', 'secret-key-0123456789']);
  api = await (await fetch(`${server.url}/openapi.json`)).json();
});
after(() => server.stop());

const operations = () => Object.entries(api.paths).flatMap(([path, item]) =>
  Object.entries(item).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })));
const withKey = { 'x-api-key': 'secret-key-0123456789' };

test('the document is valid OpenAPI 3.1', async () => {
  const validator = new Validator();
  const result = await validator.validate(structuredClone(api));
  assert.ok(result.valid, JSON.stringify(result.errors));
  assert.equal(validator.version, '3.1');
  const ids = operations().map(({ operation }) => operation.operationId);
  assert.equal(new Set(ids).size, ids.length);
});

test('it has every route of the server, and each path variable', async () => {
  const listed = (await (await fetch(`${server.url}/`)).text()).match(/^(GET|POST|DELETE|PUT|PATCH|HEAD) +\/\S*/gm)
    .map((line) => line.replace(/ +/, ' ').replaceAll('...', ''));
  assert.ok(listed.length > 20);
  assert.deepEqual(operations().map(({ method, path }) => `${method} ${path}`).sort(), [...listed].sort());
  for (const { path, operation } of operations()) {
    const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    assert.deepEqual((operation.parameters ?? []).map((one) => one.name), names, path);
  }
});

test('what it says of keys is so', async () => {
  for (const { method, path, operation } of operations()) {
    const url = server.url + path.replace(/\{\w+\}/g, 'x');
    const answer = await fetch(url, { method, body: method === 'POST' ? '{}' : undefined,
      headers: { 'content-type': 'application/json' } });
    const isOpen = operation.security?.length === 0;
    assert.equal(answer.status === 401, !isOpen, `${method} ${path}: ${answer.status}`);
  }
});

test('bodies: what the schema takes the server takes, what it refuses is refused', async () => {
  const schema = api.paths['/v1/chat/completions'].post.requestBody.content['application/json'].schema;
  const ajv = new Ajv({ strict: false });
  const valid = ajv.compile(schema);
  assert.deepEqual(schema.required.sort(), ['messages', 'model']);
  for (const [more, good] of [[{}, true], [{ temperature: 2 }, true], [{ temperature: null }, true],
    [{ temperature: 3 }, false], [{ n: 0 }, false], [{ n: 'x' }, false], [{ nothing_known: 1 }, false],
    [{ stream: 'yes' }, false], [{ web_search_options: {} }, false], [{ web_search_options: null }, true],
    [{ min_p: -1 }, false], [{ user: 5 }, false]]) {
    const body = chat('Hi', { max_tokens: 1, ...more });
    assert.equal(valid(body), good, JSON.stringify(more));
    const answer = await post(server, '/v1/chat/completions', body, withKey);
    assert.equal(answer.status === 200, good, JSON.stringify(more));
  }
});

test('errors have the shape it promises', async () => {
  const ajv = new Ajv({ strict: false });
  for (const { method, path, operation } of operations().filter((one) => one.operation.security?.length !== 0)) {
    const name = operation.responses.default.content['application/json'].schema.$ref.split('/').at(-1);
    const answer = await fetch(server.url + path.replace(/\{\w+\}/g, 'x'), { method });
    const body = await answer.json();
    assert.ok(ajv.compile(api.components.schemas[name])(body), `${method} ${path}: ${JSON.stringify(body)}`);
  }
});

test('/docs is a page of its own, without foreign parts', async () => {
  const page = await fetch(`${server.url}/docs`);
  const html = await page.text();
  assert.match(page.headers.get('content-type'), /^text\/html/);
  const policy = page.headers.get('content-security-policy');
  assert.match(policy, /default-src 'none'/);
  assert.ok(!/unsafe|https?:|\*/.test(policy));
  const parts = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1]);
  assert.ok(parts.length >= 3 && parts.every((part) => part.startsWith('/')), parts.join());
  for (const part of new Set(parts)) {
    const answer = await fetch(server.url + part);
    assert.equal(answer.status, 200, part);
    if (part.endsWith('.js')) {
      assert.match(answer.headers.get('content-type'), /^text\/javascript/);
      assert.ok(!/innerHTML|insertAdjacentHTML|document\.write|eval\(/.test(await answer.text()));
    }
  }
  assert.ok(!/<script>|<style|style=|onclick/.test(html), 'nothing inline, which the policy forbids');
});
