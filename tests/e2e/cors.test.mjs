// Every route: preflights, methods it does not take, HEAD, and paths that are nowhere, each as JSON
// in the shape of the client whose path it is.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { raw, serve, status } from './hearth.mjs';

let server;
let paths; // path -> methods
before(async () => {
  server = await serve(['--allowed-origin', 'https://app.example', '--allowed-origin', 'https://b.example:8443']);
  const api = await (await fetch(`${server.url}/openapi.json`)).json();
  paths = new Map(Object.entries(api.paths).map(([path, item]) =>
    [path.replace(/\{\w+\}/g, 'x'), Object.keys(item).map((method) => method.toUpperCase())]));
});
after(() => server.stop());

const ask = (method, path, headers = {}) => raw(server,
  `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n` +
  `${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`);
const header = (answer, name) => answer.text.match(new RegExp(`^${name}: (.*)\r$`, 'im'))?.[1];
const bodyOf = (answer) => answer.text.slice(answer.text.indexOf('\r\n\r\n') + 4);
const list = (text) => (text ?? '').split(', ').sort();
// "GET /x" also answers HEAD; "HEAD /" alone is a route of its own.
const allowed = (methods) => [...new Set([...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'])].sort();

function isError(answer, path) {
  assert.match(header(answer, 'Content-Type'), /^application\/json/, path);
  const body = JSON.parse(bodyOf(answer));
  if (/^\/api(\/|$)/.test(path)) assert.equal(typeof body.error, 'string', path);
  else if (path.startsWith('/v1/messages')) assert.equal(body.type, 'error', path);
  else assert.equal(typeof body.error.message, 'string', path);
}

test('a preflight of every route and method', async () => {
  for (const [path, methods] of paths) {
    for (const method of methods) {
      const answer = await ask('OPTIONS', path, { Origin: 'https://app.example',
        'Access-Control-Request-Method': method, 'Access-Control-Request-Headers': 'content-type,authorization' });
      assert.equal(status(answer), 204, `${method} ${path}`);
      assert.equal(header(answer, 'Access-Control-Allow-Origin'), 'https://app.example');
      assert.equal(header(answer, 'Access-Control-Allow-Headers'), 'content-type,authorization');
      assert.ok(list(header(answer, 'Access-Control-Allow-Methods')).includes(method), `${method} ${path}`);
      assert.deepEqual(list(header(answer, 'Allow')), allowed(methods), path);
      assert.match(header(answer, 'Vary'), /Origin/);
      assert.equal(bodyOf(answer), '');
    }
  }
});

test('a preflight of a page that may not ask', async () => {
  for (const [path, methods] of paths) {
    for (const origin of ['https://evil.example', 'https://b.example', 'http://app.example', 'null']) {
      const answer = await ask('OPTIONS', path, { Origin: origin, 'Access-Control-Request-Method': methods[0] });
      assert.equal(status(answer), 403, `${origin} ${path}`);
      assert.equal(header(answer, 'Access-Control-Allow-Origin'), undefined);
      isError(answer, path);
    }
  }
});

test('methods that a route does not take are 405 with Allow', async () => {
  for (const [path, methods] of paths) {
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'FOO']) {
      if (methods.includes(method)) continue;
      const answer = await ask(method, path);
      assert.equal(status(answer), 405, `${method} ${path}`);
      assert.deepEqual(list(header(answer, 'Allow')), allowed(methods), `${method} ${path}`);
      isError(answer, path);
    }
  }
});

test('OPTIONS without a preflight tells the methods', async () => {
  for (const [path, methods] of paths) {
    const answer = await ask('OPTIONS', path);
    assert.equal(status(answer), 204, path);
    assert.deepEqual(list(header(answer, 'Allow')), allowed(methods), path);
  }
});

test('HEAD is GET without the body', async () => {
  for (const [path, methods] of paths) {
    if (!methods.includes('GET')) continue;
    const get = await ask('GET', path);
    const head = await ask('HEAD', path);
    assert.equal(status(head), status(get), path);
    assert.equal(bodyOf(head), '', path);
    assert.equal(header(head, 'Content-Type'), header(get, 'Content-Type'), path);
    if (path !== '/metrics') assert.equal(header(head, 'Content-Length'), header(get, 'Content-Length'), path);
  }
});

test('paths that are nowhere are 404 in the shape of their client', async () => {
  for (const path of ['/nothing', '/v1/nothing', '/v1', '/v1/', '/v1/chat', '/v1/chat/completions/', '/V1/models',
    '/api/nothing', '/api', '/v1/messages/nothing', '/docs/', '/docs/../metrics'.replace('/..', '/x')]) {
    for (const method of ['GET', 'POST', 'OPTIONS']) {
      const answer = await ask(method, path);
      assert.equal(status(answer), 404, `${method} ${path}`);
      isError(answer, path);
    }
  }
});

test('an answer to a welcome page says so, errors too', async () => {
  for (const [method, path, wanted] of [['GET', '/v1/models', 200], ['GET', '/v1/models/none', 404], ['PUT', '/v1/models', 405],
    ['GET', '/nothing', 404], ['GET', '/healthz', 200], ['GET', '/api/tags', 200]]) {
    const answer = await ask(method, path, { Origin: 'https://b.example:8443' });
    assert.equal(status(answer), wanted, path);
    assert.equal(header(answer, 'Access-Control-Allow-Origin'), 'https://b.example:8443', path);
    assert.match(header(answer, 'Access-Control-Expose-Headers'), /X-Request-ID/);
    assert.match(header(answer, 'Vary'), /Origin/);
  }
});

test('a star lets every page ask', async () => {
  const open = await serve(['--allowed-origin', '*']);
  const answer = await fetch(`${open.url}/v1/models`, { headers: { origin: 'https://anywhere.example' } });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get('access-control-allow-origin'), 'https://anywhere.example');
  await open.stop();
});

test('two addresses: the second serves all of it as well', async () => {
  const both = await serve(['--listen', '127.0.0.1:0', '--listen', '127.0.0.1:0']);
  const urls = [...both.stdout.matchAll(/listening on (\S+)/g)].map((match) => match[1]);
  assert.equal(new Set(urls).size, 2);
  for (const url of urls) {
    assert.equal((await fetch(`${url}/`, { method: 'HEAD' })).status, 200);
    assert.equal((await (await fetch(`${url}/api/tags`)).json()).models.length, 1);
  }
  await both.stop();
});
