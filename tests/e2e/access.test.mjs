// Groups G1 to G5 and G12 of the attack list: keys, hosts, origins, binds; and TLS.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { chat, modelFile, raw, run, serve, sleep, slow, status } from './hearth.mjs';

const folder = mkdtempSync(path.join(tmpdir(), 'hearth-'));
let open; // no keys
let locked; // three keys
const keys = ['key-one-0123456789', 'key-two-0123456789', 'key-three-012345'];

before(async () => {
  const file = path.join(folder, 'keys');
  writeFileSync(file, `# a comment\n${keys[2]}\n\n`);
  open = await serve(['--allowed-origin', 'https://app.example', '--allowed-host', 'llm.example']);
  locked = await serve(['--api-key', keys[0], '--api-key-file', file],
    { env: { HEARTH_ALLOWED_ORIGIN: 'null,file://' } });
});
after(async () => {
  await Promise.all([open.stop(), locked.stop()]);
  rmSync(folder, { recursive: true });
});

const routes = [
  ['GET', '/', false], ['GET', '/healthz', false], ['GET', '/readyz', false],
  ['GET', '/metrics', true], ['GET', '/v1/models', true], ['GET', '/v1/models/hearth-nano', true],
  ['POST', '/v1/chat/completions', true], ['POST', '/v1/completions', true],
];

function request(server, method, route, headers = {}) {
  const text = method === 'POST' ? JSON.stringify(chat('Hi', { max_tokens: 1 })) : '';
  const lines = [`${method} ${route} HTTP/1.1`, 'Connection: close',
    ...Object.entries({ Host: '127.0.0.1', ...headers }).map(([name, value]) => `${name}: ${value}`)];
  if (text) lines.push(`Content-Length: ${text.length}`);
  if (text && !('Content-Type' in headers)) lines.push('Content-Type: application/json');
  return raw(server, `${lines.join('\r\n')}\r\n\r\n${text}`);
}

test('G1: every route without, with a wrong and with a right key', async () => {
  for (const [method, route, guarded] of routes) {
    for (const [headers, right] of [
      [{}, false],
      [{ Authorization: 'Bearer wrong' }, false],
      [{ Authorization: `Bearer ${keys[0]}x` }, false],
      [{ Authorization: `Bearer ${keys[0].slice(0, -1)}` }, false],
      [{ Authorization: 'Bearer ' }, false],
      [{ Authorization: keys[0] }, false],
      [{ Authorization: `Basic ${Buffer.from(`x:${keys[0]}`).toString('base64')}` }, false],
      [{ 'x-api-key': '' }, false],
      [{ 'x-api-key': keys[1] }, false],
      [{ Cookie: `key=${keys[0]}` }, false],
      [{ Authorization: `Bearer ${keys[0]}` }, true],
      [{ authorization: `bearer ${keys[2]}` }, true],
      [{ 'X-Api-Key': keys[0] }, true],
    ]) {
      const answer = await request(locked, method, route, headers);
      const code = status(answer);
      if (!guarded || right) {
        assert.ok(code < 300 || code === 400, `${route} ${JSON.stringify(headers)}: ${code}`);
      } else {
        assert.equal(code, 401, `${route} ${JSON.stringify(headers)}`);
        assert.match(answer.text, /WWW-Authenticate: Bearer/i);
        assert.match(answer.text, /"code":"invalid_api_key"/);
      }
    }
    const inQuery = await request(locked, method, `${route}?api_key=${keys[0]}&key=${keys[0]}`);
    assert.equal(status(inQuery), guarded ? 401 : 200, `a key in the query of ${route}`);
  }
});

test('G1: a key is needed before a body is read', async () => {
  const answer = await raw(locked, 'POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n' +
    'Content-Length: 30000000\r\n\r\n');
  assert.equal(status(answer), 401);
});

test('G3: keys appear in no answer and no log line', async () => {
  const page = await request(locked, 'GET', '/metrics', { 'x-api-key': keys[0] });
  for (const text of [page.text, locked.stderr, locked.stdout]) {
    for (const key of keys) assert.ok(!text.includes(key));
  }
});

test('G4: the Host header', async () => {
  for (const [host, wanted] of [
    ['127.0.0.1', 200], [`127.0.0.1:${open.port}`, 200], ['localhost', 200], ['LOCALHOST:1', 200],
    ['[::1]:8484', 200], ['127.9.9.9', 200], ['llm.example:443', 200],
    ['evil.example', 403], ['localhost.evil.example', 403], ['evil.example:8484', 403],
    ['127.0.0.1.evil.example', 403], ['192.168.1.1', 403], ['0.0.0.0', 403], ['', 403],
    ['localhost:99999', 403], ['localhost:x', 403], ['[::1', 403], ['user@localhost', 403],
  ]) {
    for (const [method, route] of routes) {
      assert.equal(status(await request(open, method, route, { Host: host })) === 403, wanted === 403,
        `${host} ${route}`);
    }
  }
});

test('G4: origins of pages', async () => {
  const inference = routes.filter(([, route]) => route.startsWith('/v1'));
  for (const [origin, fine] of [
    ['http://localhost:3000', true], ['http://127.0.0.1', true], ['https://localhost', true],
    ['http://[::1]:5173', true], ['https://app.example', true],
    ['https://evil.example', false], ['http://localhost.evil.example', false], ['null', false],
    ['file://', false], ['http://app.example', false], ['https://app.example:444', false],
    ['chrome-extension://abc', false], ['http://localhost@evil.example', false],
  ]) {
    for (const [method, route] of inference) {
      const answer = await request(open, method, route, { Origin: origin });
      assert.equal(status(answer) !== 403, fine, `${origin} ${route}`);
      const allowed = answer.text.match(/Access-Control-Allow-Origin: (.*)\r/i)?.[1];
      assert.equal(allowed, fine ? origin : undefined, `${origin} ${route}`);
      if (fine) assert.match(answer.text, /Vary: Origin/i);
    }
  }
  assert.equal(status(await request(open, 'GET', '/metrics', { Origin: 'http://localhost:1' })), 403);
  const own = `http://127.0.0.1:${open.port}`;
  assert.equal(status(await request(open, 'GET', '/metrics', { Origin: own, Host: own.slice(7) })), 200);
  for (const origin of ['null', 'file://']) {
    const answer = await request(locked, 'GET', '/v1/models', { Origin: origin, 'x-api-key': keys[0] });
    assert.equal(status(answer), 200, `${origin} was configured`);
  }
});

test('G4: preflights need no key and echo the asked headers', async () => {
  const ask = (server, origin, route = '/v1/chat/completions', method = 'POST') =>
    request(server, 'OPTIONS', route, {
      Origin: origin, 'Access-Control-Request-Method': method,
      'Access-Control-Request-Headers': 'authorization,content-type,x-stainless-os',
    });
  const fine = await ask(locked, 'http://localhost:3000');
  assert.equal(status(fine), 204);
  assert.match(fine.text, /Access-Control-Allow-Origin: http:\/\/localhost:3000\r/i);
  assert.match(fine.text, /Access-Control-Allow-Headers: authorization,content-type,x-stainless-os\r/i);
  assert.match(fine.text, /Access-Control-Allow-Methods: POST, GET, HEAD, OPTIONS\r/i);
  for (const [method, route] of routes.filter(([, at]) => at.startsWith('/v1'))) {
    assert.equal(status(await ask(open, 'http://localhost:1', route, method)), 204, route);
    const denied = await ask(open, 'https://evil.example', route, method);
    assert.equal(status(denied), 403, route);
    assert.ok(!/Access-Control-Allow/i.test(denied.text));
  }
  assert.equal(status(await ask(open, 'http://localhost:1', '/nothing')), 404);
});

test('G5: what a page can send without asking is refused', async () => {
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', '']) {
    for (const mark of [{ Origin: 'http://localhost:3000' }, { 'Sec-Fetch-Site': 'same-origin' }]) {
      const answer = await request(open, 'POST', '/v1/chat/completions', { ...mark, 'Content-Type': type });
      assert.equal(status(answer), 415, `${type} ${JSON.stringify(mark)}`);
    }
    const program = await request(open, 'POST', '/v1/chat/completions', { 'Content-Type': type });
    assert.equal(status(program), 200, `a program may send ${type}`);
  }
  for (const type of ['application/json; charset=utf-8', 'Application/JSON', 'application/x+json']) {
    const answer = await request(open, 'POST', '/v1/chat/completions',
      { Origin: 'http://localhost:3000', 'Content-Type': type });
    assert.equal(status(answer), 200, type);
  }
});

test('G12: a bind beyond loopback needs a key', async () => {
  for (const words of [['--host', '0.0.0.0'], ['--host', '::'], ['--listen', '0.0.0.0:0'],
    ['--listen', '127.0.0.1:0', '--listen', '[::]:0'], ['--host', '192.0.2.1'], ['--host', '::ffff:0.0.0.0']]) {
    const end = await run(['serve', modelFile, ...words]);
    assert.equal(end.status, 2, words.join(' '));
    assert.match(end.stderr, /API key/, words.join(' '));
    assert.equal(end.stdout, '');
  }
  const server = await serve(['--host', '0.0.0.0', '--api-key', keys[0]]);
  const answer = await request(server, 'GET', '/healthz', { Host: 'evil.example' });
  assert.equal(status(answer), 403, 'Host is checked on every bind');
  assert.equal(status(await request(server, 'GET', '/healthz', { Host: '10.1.2.3' })), 200);
  await server.stop();
});

test('several addresses', async () => {
  const server = await serve(['--listen', '127.0.0.1:0', '--listen', '127.0.0.2:0']);
  const urls = [...server.stdout.matchAll(/listening on (\S+)/g)].map((match) => match[1]);
  assert.equal(urls.length, 2);
  for (const url of urls) assert.equal((await fetch(`${url}/healthz`)).status, 200);
  await server.stop();
});

test('HTTPS', async (t) => {
  const cert = path.join(folder, 'cert.pem');
  const key = path.join(folder, 'key.pem');
  try {
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj',
      '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert],
    { stdio: 'ignore' });
  } catch {
    t.skip('no openssl command to make a certificate with');
    return;
  }
  const server = await serve(['--tls-cert', cert, '--tls-key', key, '--header-timeout', '1']);
  assert.match(server.url, /^https:/);
  const ask = (text, route = '/v1/chat/completions') =>
    new Promise((done, fail) => {
      const call = https.request({
        port: server.port, host: '127.0.0.1', path: route, rejectUnauthorized: false, agent: false,
        method: text ? 'POST' : 'GET', headers: text ? { 'content-type': 'application/json' } : {},
      }, (answer) => {
        let got = '';
        answer.on('data', (data) => (got += data));
        answer.on('end', () => done(got));
      });
      call.on('error', fail);
      call.end(text);
    });
  assert.equal(await ask('', '/healthz'), '{"status":"ok"}');
  const streamed = await ask(JSON.stringify(chat('Hi', { stream: true })));
  assert.ok(streamed.endsWith('data: [DONE]\n\n'));
  const big = await ask(JSON.stringify(chat('a'.repeat(8 << 20))));
  assert.match(big, /context_length_exceeded/);
  const answers = await Promise.all(Array.from({ length: 30 }, () =>
    ask(JSON.stringify(chat('What is hearth?', { temperature: 0 })))));
  assert.equal(new Set(answers.map((text) => JSON.parse(text).choices[0].message.content)).size, 1);
  const plain = await raw(server, 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.ok(plain.closed && !plain.text.startsWith('HTTP'), 'plain HTTP gets no answer');
  const silent = await raw(server, '');
  assert.ok(silent.closed, 'a handshake that does not come is cut');
  const socket = tls.connect({ port: server.port, host: '127.0.0.1', rejectUnauthorized: false });
  await new Promise((done) => socket.once('secureConnect', done));
  const body = JSON.stringify(chat('Tell me a story.', { ignore_eos: true, stream: true, n: 8 }));
  socket.write('POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ' +
    `${body.length}\r\n\r\n${body}`);
  await new Promise((done) => socket.once('data', done));
  socket.destroy();
  const until = Date.now() + 3000 * slow;
  while (!/hearth_sequences_running\{[^}]*\} 0\n/.test(await ask('', '/metrics'))) {
    assert.ok(Date.now() < until, 'the sequences of a client that left still run');
    await sleep(10);
  }
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});
