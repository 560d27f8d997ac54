// /v1/chat/stream with the ws client, and with raw frames where ws sends no wrong ones.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import net from 'node:net';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { chat, metric, post, raw, serve, sleep, slow, status } from './hearth.mjs';

const KEY = 'key "one" ü/+0123456789';
const ROUTE = '/v1/chat/stream';
let server;
let locked;
before(async () => {
  server = await serve(['--body-mib', '1', '--parallel', '8']);
  locked = await serve(['--api-key', KEY]);
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
  await locked.stop();
});

// A client that keeps the frames of each id: {socket, frames, ask(id, body), ended(id), closed}.
function connect(to = server, { protocols = [], ...options } = {}) {
  const socket = new WebSocket(to.url.replace(/^http/, 'ws') + ROUTE, protocols, options);
  const client = { socket, frames: [], waiting: [] };
  const look = () => (client.waiting = client.waiting.filter((wait) => !wait()));
  client.closed = new Promise((done) =>
    socket.on('close', (code, reason) => {
      client.end = { code, reason: String(reason) };
      look();
      done(client.end);
    }));
  client.opened = new Promise((done, fail) => {
    socket.on('open', () => done(client));
    socket.on('error', fail);
    socket.on('unexpected-response', (_, answer) => {
      let text = '';
      answer.on('data', (bytes) => (text += bytes));
      answer.on('end', () => fail(Object.assign(new Error(text), { status: answer.statusCode, headers: answer.headers })));
    });
  });
  socket.on('message', (bytes, isBinary) => {
    assert.ok(!isBinary);
    const frame = JSON.parse(String(bytes));
    if (frame.type !== 'queued') client.frames.push(frame);
    else client.waits = frame;
    look();
  });
  client.send = (frame) => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  client.of = (id) => client.frames.filter((frame) => frame.id === id);
  client.until = (test) =>
    new Promise((done, fail) => {
      const check = () => {
        const found = client.frames.find(test);
        if (found) done(found);
        else if (client.end) fail(new Error(`closed: ${JSON.stringify(client.end)}`));
        return found || client.end;
      };
      if (!check()) client.waiting.push(check);
    });
  client.last = (id) => client.until((f) => f.id === id && ['done', 'cancelled', 'error'].includes(f.type));
  client.ask = (id, body) => {
    client.send({ type: 'request', id, body });
    return client.last(id);
  };
  client.text = (id, index = 0) =>
    client.of(id).filter((f) => f.type === 'token' && f.index === index).map((f) => f.text).join('');
  return client;
}

const question = (more = {}) => chat('What is hearth?', { temperature: 0, ...more });
const endless = chat('Tell me a story.', { ignore_eos: true, temperature: 1, max_tokens: 100000 });

async function nothingRuns(to = server) {
  const until = Date.now() + 5000 * slow;
  while ((await metric(to, 'hearth_sequences_running')) > 0) {
    assert.ok(Date.now() < until, 'sequences still run');
    await sleep(10);
  }
}

test('an answer in frames is the answer over HTTP', async () => {
  const whole = await (await post(server, '/v1/chat/completions', question())).json();
  const client = await connect().opened;
  const done = await client.ask('q-1', question());
  assert.equal(client.text('q-1'), whole.choices[0].message.content);
  assert.ok(client.of('q-1').length > 5);
  assert.deepEqual(done.choices, [{ index: 0, finish_reason: 'stop' }]);
  assert.equal(done.model, 'hearth-nano');
  assert.equal(done.system_fingerprint, whole.system_fingerprint);
  assert.equal(done.usage.completion_tokens, whole.usage.completion_tokens);
  client.socket.close();
  assert.equal((await client.closed).code, 1005);
});

test('not streamed, the done frame has the answer', async () => {
  const client = await connect().opened;
  const done = await client.ask('a', question({ stream: false }));
  assert.deepEqual(client.of('a').map((frame) => frame.type), ['done']);
  assert.equal(done.answer.object, 'chat.completion');
  assert.match(done.answer.choices[0].message.content, /hearth/);
  client.socket.close();
});

test('many requests on one socket, each as if asked alone', async () => {
  const client = await connect().opened;
  const body = (i) => chat(`Tell me about the number ${i}.`, { temperature: 1, seed: i, max_tokens: 20 });
  const ids = Array.from({ length: 24 }, (_, i) => `r${i}`);
  await Promise.all(ids.map((id, i) => client.ask(id, body(i))));
  for (const [i, id] of ids.entries()) {
    const alone = await (await post(server, '/v1/chat/completions', body(i))).json();
    assert.equal(client.text(id), alone.choices[0].message.content, id);
    assert.equal(client.of(id).at(-1).type, 'done');
    assert.equal(client.of(id).filter((frame) => frame.type === 'done').length, 1);
  }
  client.socket.close();
});

test('50 sockets at once', async () => {
  const clients = await Promise.all(Array.from({ length: 50 }, () => connect().opened));
  const done = await Promise.all(clients.map((client) => client.ask('x', question())));
  assert.equal(new Set(clients.map((client) => client.text('x'))).size, 1);
  assert.ok(done.every((frame) => frame.type === 'done'));
  clients.forEach((client) => client.socket.close());
  await Promise.all(clients.map((client) => client.closed));
  await nothingRuns();
});

test('choices, log probabilities and limits', async () => {
  const client = await connect().opened;
  const done = await client.ask('n', question({ n: 2, temperature: 1, seed: 3, max_tokens: 6, logprobs: true, top_logprobs: 2 }));
  assert.deepEqual(done.choices.map((choice) => choice.finish_reason), ['length', 'length']);
  for (const index of [0, 1]) {
    const tokens = client.of('n').filter((f) => f.index === index).flatMap((f) => f.logprobs ?? []);
    assert.equal(tokens.length, 6);
    assert.ok(tokens.every((token) => token.top_logprobs.length === 2));
    assert.equal(Buffer.from(tokens.flatMap((token) => token.bytes)).toString(), client.text('n', index));
  }
  client.socket.close();
});

test('cancel ends a request and its sequence; the id is free again', async () => {
  const client = await connect().opened;
  client.send({ type: 'request', id: 'long', body: endless });
  await client.until((frame) => frame.type === 'token');
  client.send({ type: 'request', id: 'long', body: question() });
  const twice = await client.until((frame) => frame.type === 'error');
  assert.equal(twice.error.param, 'id');
  client.frames.length = 0;
  client.send({ type: 'cancel', id: 'long' });
  assert.equal((await client.last('long')).type, 'cancelled');
  await nothingRuns();
  client.frames.length = 0;
  assert.equal((await client.ask('long', question())).type, 'done');
  client.send({ type: 'cancel', id: 'long' });
  const late = await client.until((frame) => frame.type === 'error');
  assert.equal(late.error.code, 'not_found');
  assert.equal(late.status, 404);
  client.socket.close();
});

test('a client that leaves cancels all; one that comes back is served', async () => {
  const client = await connect().opened;
  for (const id of ['a', 'b', 'c']) client.send({ type: 'request', id, body: endless });
  await client.until((frame) => frame.id === 'c' && frame.type === 'token');
  client.socket.terminate();
  await nothingRuns();
  const again = await connect().opened;
  assert.equal((await again.ask('a', question())).type, 'done');
  again.socket.close();
});

test('messages that are refused', async () => {
  const client = await connect().opened;
  const body = question();
  for (const [message, id, param, code, number = 400] of [
    ['', null, null, 'invalid_json'],
    ['nonsense', null, null, 'invalid_json'],
    ['[]', null, null, 'invalid_json'],
    ['{"type":"cancel","id":"a"', null, null, 'invalid_json'],
    ['{"type":"cancel","id":"a"} x', null, null, 'invalid_json'],
    ['{"type":"cancel","type":"cancel","id":"a"}', null, null, 'invalid_json'],
    [{}, null, 'id', 'missing_required_parameter'],
    [{ type: 'request', body }, null, 'id', 'missing_required_parameter'],
    [{ type: 'request', id: 5, body }, null, 'id', 'invalid_type'],
    [{ type: 'request', id: '', body }, null, 'id', 'invalid_value'],
    [{ type: 'request', id: 'a b', body }, null, 'id', 'invalid_value'],
    [{ type: 'request', id: 'ü', body }, null, 'id', 'invalid_value'],
    [{ type: 'request', id: 'x'.repeat(65), body }, null, 'id', 'invalid_value'],
    [{ id: 'i', body }, 'i', 'type', 'missing_required_parameter'],
    [{ type: 1, id: 'i', body }, 'i', 'type', 'invalid_type'],
    [{ type: 'ask', id: 'i', body }, 'i', 'type', 'invalid_value'],
    [{ type: 'request', id: 'i' }, 'i', 'body', 'missing_required_parameter'],
    [{ type: 'request', id: 'i', body: 'x' }, 'i', 'body', 'invalid_type'],
    [{ type: 'request', id: 'i', body, extra: 1 }, 'i', 'extra', 'unknown_parameter'],
    [{ type: 'cancel', id: 'i', body }, 'i', 'body', 'unknown_parameter'],
    [{ type: 'request', id: 'i', body: {} }, 'i', 'messages', 'missing_required_parameter'],
    [{ type: 'request', id: 'i', body: { ...body, temperature: 9 } }, 'i', 'temperature', 'invalid_value'],
    [{ type: 'request', id: 'i', body: { ...body, foo: 9 } }, 'i', 'foo', 'unknown_parameter'],
    [{ type: 'request', id: 'i', body: { ...body, model: 'none' } }, 'i', 'model', 'model_not_found', 404],
    [{ type: 'request', id: 'i', body: chat('word '.repeat(3000)) }, 'i', 'messages', 'context_length_exceeded'],
    ['{"type":"request","id":"i","body":{"model":}}', 'i', null, 'invalid_json'],
  ]) {
    client.frames.length = 0;
    client.send(message);
    const frame = await client.until(() => true);
    const said = [frame.type, frame.id, frame.status, frame.error?.type, frame.error?.param, frame.error?.code];
    assert.deepEqual(said, ['error', id, number, 'invalid_request_error', param, code], JSON.stringify(message));
  }
  assert.equal((await client.ask('fine', body)).type, 'done', 'the connection goes on');
  client.socket.close();
});

test('more than 64 requests at once are refused', async () => {
  const client = await connect().opened;
  for (let i = 0; i < 65; i++) client.send({ type: 'request', id: `r${i}`, body: endless });
  const frame = await client.last('r64');
  assert.equal(frame.status, 503);
  assert.equal(frame.error.code, 'overloaded');
  client.socket.close();
  await nothingRuns();
});

test('keys: as headers, and as a protocol for pages', async () => {
  const url = Buffer.from(KEY).toString('base64url');
  const wrong = Buffer.from(`${KEY}x`).toString('base64url');
  const ascii = (text) => Buffer.from(text).toString('latin1'); // bytes of a header
  for (const options of [{}, { headers: { 'x-api-key': 'wrong' } }, { headers: { authorization: 'Bearer wrong' } },
    { protocols: ['hearth.chat.v1'] }, { protocols: ['hearth.chat.v1', `hearth.key.${wrong}`] },
    { protocols: ['hearth.chat.v1', `hearth.key.${url.slice(0, -1)}`] }]) {
    await assert.rejects(connect(locked, options).opened, (error) => {
      assert.equal(error.status, 401, JSON.stringify(options));
      assert.equal(JSON.parse(error.message).error.code, 'invalid_api_key');
      assert.equal(error.headers['www-authenticate'], 'Bearer');
      return true;
    });
  }
  for (const options of [{ headers: { 'x-api-key': ascii(KEY) } }, { headers: { authorization: `Bearer ${ascii(KEY)}` } },
    { protocols: ['hearth.chat.v1', `hearth.key.${url}`] }]) {
    const client = await connect(locked, options).opened;
    assert.equal(client.socket.protocol, options.protocols ? 'hearth.chat.v1' : '');
    assert.equal((await client.ask('a', question())).type, 'done');
    client.socket.close();
  }
  assert.ok(!locked.stderr.includes(url), 'no key in the log');
});

test('pages of other origins, hosts and protocols', async () => {
  for (const [options, wanted] of [[{ origin: 'https://evil.example' }, 403], [{ origin: 'null' }, 403],
    [{ headers: { host: 'evil.example' } }, 403], [{ protocols: ['chat'] }, 400]]) {
    await assert.rejects(connect(server, options).opened, (error) => error.status === wanted, JSON.stringify(options));
  }
  const client = await connect(server, { origin: 'http://localhost:3000' }).opened;
  client.socket.close();
});

test('requests that do not upgrade', async () => {
  const ask = (lines, method = 'GET') => raw(server,
    `${method} ${ROUTE} HTTP/1.1\r\nHost: localhost\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`, { enough: /\r\n\r\n/ });
  const upgrade = ['Connection: keep-alive, Upgrade', 'Upgrade: websocket'];
  const key = `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`;
  for (const [lines, wanted, method] of [
    [[], 426], [['Connection: Upgrade', 'Upgrade: h2c', key, 'Sec-WebSocket-Version: 13'], 426],
    [[...upgrade, key, 'Sec-WebSocket-Version: 12'], 426], [[...upgrade, key], 426],
    [['Upgrade: websocket', key, 'Sec-WebSocket-Version: 13'], 426],
    [[...upgrade, 'Sec-WebSocket-Version: 13'], 400],
    [[...upgrade, 'Sec-WebSocket-Key: abc', 'Sec-WebSocket-Version: 13'], 400],
    [[...upgrade, key, 'Sec-WebSocket-Version: 13'], 405, 'DELETE'],
    [[...upgrade, key, 'Sec-WebSocket-Version: 13'], 101],
  ]) {
    const answer = await ask(lines, method);
    assert.equal(status(answer), wanted, lines.join());
    if (wanted === 426) {
      assert.match(answer.text, /Upgrade: websocket\r/i);
      assert.match(answer.text, /Sec-WebSocket-Version: 13\r/i);
    }
  }
});

// ---- raw frames ----

function frame(opcode, payload, { fin = true, mask = true, rsv = 0, length = null } = {}) {
  const body = Buffer.from(payload);
  const size = length ?? BigInt(body.length);
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
  const bit = mask ? 0x80 : 0;
  if (size < 126n) head.push(bit | Number(size));
  else if (size < 65536n) head.push(bit | 126, Number(size >> 8n), Number(size & 255n));
  else head.push(bit | 127, ...Array.from({ length: 8 }, (_, i) => Number((size >> BigInt(56 - 8 * i)) & 255n)));
  const key = randomBytes(4);
  const masked = mask ? body.map((byte, i) => byte ^ key[i % 4]) : body;
  return Buffer.concat([Buffer.from(head), mask ? key : Buffer.alloc(0), masked]);
}

// Connects, sends bytes, and gives the close code and the text of what came before it.
function rawSocket(bytes, { to = server, step = 0, close = false } = {}) {
  return new Promise((done, fail) => {
    const key = randomBytes(16).toString('base64');
    const socket = net.connect({ port: to.port, host: '127.0.0.1' });
    let got = Buffer.alloc(0);
    let open = false;
    const timer = setTimeout(() => { socket.destroy(); done({ code: null, texts: [] }); }, 8000 * slow);
    socket.on('data', async (data) => {
      got = Buffer.concat([got, data]);
      if (open || !got.includes('\r\n\r\n')) return;
      open = true;
      const head = got.toString('latin1');
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      assert.ok(head.startsWith('HTTP/1.1 101 ') && head.includes(`Sec-WebSocket-Accept: ${accept}\r\n`), head);
      got = got.subarray(got.indexOf('\r\n\r\n') + 4);
      if (!step) socket.write(bytes);
      for (let i = 0; step && i < bytes.length && !socket.destroyed; i += step) {
        socket.write(bytes.subarray(i, i + step));
        await sleep(1);
      }
      if (close) setTimeout(() => socket.write(frame(8, Buffer.from([3, 232]))), 100 * slow);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      const texts = [];
      let code = null;
      let pings = 0;
      for (let at = 0; at + 2 <= got.length;) {
        let length = got[at + 1];
        let from = at + 2;
        if (length === 126) { length = got.readUInt16BE(at + 2); from += 2; }
        const payload = got.subarray(from, from + length);
        const opcode = got[at] & 15;
        if (opcode === 8) code = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
        else if (opcode === 9) pings++;
        else texts.push(payload.toString());
        at = from + length;
      }
      done({ code, texts, pings });
    });
    socket.write(`GET ${ROUTE} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`);
    socket.on('timeout', fail);
  });
}

test('faults of the protocol have their close code', async () => {
  const text = JSON.stringify({ type: 'cancel', id: 'a' });
  for (const [name, bytes, code] of [
    ['binary', frame(2, 'abc'), 1003],
    ['invalid UTF-8', frame(1, Buffer.from([0x22, 0xff, 0x22])), 1007],
    ['an overlong form', frame(1, Buffer.from([0xc0, 0xaf])), 1007],
    ['a surrogate', frame(1, Buffer.from([0xed, 0xa0, 0x80])), 1007],
    ['half a character at the end', frame(1, Buffer.from([0xe2, 0x82])), 1007],
    ['no mask', frame(1, text, { mask: false }), 1002],
    ['a reserved bit', frame(1, text, { rsv: 4 }), 1002],
    ['an unknown opcode', frame(3, text), 1002],
    ['a continuation of nothing', frame(0, text), 1002],
    ['a text within a text', Buffer.concat([frame(1, 'a', { fin: false }), frame(1, 'b')]), 1002],
    ['a ping in fragments', frame(9, 'a', { fin: false }), 1005],
    ['a long ping', frame(9, 'a'.repeat(126)), 1005],
    ['a message of 2^62 bytes', frame(1, 'a', { length: 1n << 62n }), 1009],
    ['a message over the limit', frame(1, 'a'.repeat((1 << 20) + 2000)), 1009],
    ['fragments over the limit', Buffer.concat([frame(1, 'a'.repeat(1 << 20), { fin: false }),
      frame(0, 'a'.repeat(2000))]), 1009],
    ['a close', frame(8, Buffer.from([3, 232])), 1000],
  ]) {
    assert.equal((await rawSocket(bytes)).code, code, name);
  }
  await nothingRuns();
});

test('fragments, pings between them, and every split of the bytes', async () => {
  const text = Buffer.from(JSON.stringify({ type: 'cancel', id: 'nobody', }));
  const bytes = Buffer.concat([frame(1, text.subarray(0, 5), { fin: false }), frame(9, 'hi'),
    frame(0, text.subarray(5, 6), { fin: false }), frame(0, '', { fin: false }), frame(10, ''), frame(0, text.subarray(6))]);
  for (const step of [0, 1, 2, 3, 7]) {
    const { code, texts } = await rawSocket(bytes, { step, close: true });
    assert.equal(code, 1000, `step ${step}`);
    assert.ok(texts.includes('hi'), 'the pong');
    assert.equal(texts.filter((one) => one.includes('"not_found"')).length, 1);
  }
});

test('bytes before the answer to the handshake end the connection', async () => {
  const answer = await raw(server, `GET ${ROUTE} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n` +
    frame(1, '{"type":"cancel","id":"a"}').toString('latin1'));
  assert.ok(answer.closed);
  assert.ok(!answer.text.includes('not_found'));
});

test('a flood of pings to a client that reads nothing is bounded', async () => {
  const socket = net.connect({ port: server.port, host: '127.0.0.1' });
  socket.write(`GET ${ROUTE} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`);
  await new Promise((done) => socket.once('data', done));
  socket.pause();
  const pings = Buffer.concat(Array.from({ length: 2000 }, () => frame(9, 'x'.repeat(120))));
  let sent = 0;
  const until = Date.now() + 3000;
  while (Date.now() < until && sent < 200) {
    sent++;
    if (!socket.write(pings)) {
      await Promise.race([new Promise((done) => socket.once('drain', done)), sleep(500)]);
      if (socket.writableLength > 2e6) break; // the server stopped reading
    }
  }
  assert.ok(socket.writableLength > 1e6, 'the server no longer reads');
  socket.destroy();
});

// ---- time ----

test('a client that does not read is cut after the write timeout', async () => {
  const small = await serve(['--write-timeout', '0.5']);
  const client = await connect(small).opened;
  client.socket.pause();
  for (let i = 0; i < 60; i++) {
    client.send({ type: 'request', id: `r${i}`, body: { ...endless, n: 8, logprobs: true, top_logprobs: 20 } });
  }
  const until = Date.now() + 20000 * slow;
  while ((await metric(small, 'hearth_sequences_running')) + (await metric(small, 'hearth_sequences_waiting')) > 0 ||
    !small.log().some((line) => line.status === 101)) {
    assert.ok(Date.now() < until, 'the connection is still there');
    await sleep(50);
  }
  client.socket.terminate();
  await small.stop();
});

test('pings keep a quiet connection; without pongs, or without requests for long, it is closed', async () => {
  const quick = await serve(['--idle-timeout', '0.4', '--socket-idle-timeout', '2']);
  const client = await connect(quick).opened;
  let pings = 0;
  client.socket.on('ping', () => pings++);
  await sleep(1000);
  assert.equal(client.end, undefined);
  assert.ok(pings >= 2, `${pings} pings`);
  assert.equal((await client.ask('a', question())).type, 'done');
  const mute = await rawSocket(frame(9, ''), { to: quick });
  assert.equal(mute.code, 1001);
  assert.equal(mute.pings, 1);
  assert.equal((await client.closed).code, 1000);
  await quick.stop();
});

test('SIGTERM lets requests end, refuses new ones, then closes', async () => {
  const own = await serve(['--parallel', '1', '--grace', String(10 * slow)]);
  const client = await connect(own).opened;
  const quiet = await connect(own).opened;
  const ids = Array.from({ length: 8 }, (_, i) => `r${i}`);
  for (const id of ids) client.send({ type: 'request', id, body: { ...endless, max_tokens: 900 } });
  while ((await metric(own, 'hearth_sequences_running')) + (await metric(own, 'hearth_sequences_waiting')) < ids.length) {
    await sleep(5); // all of them were taken
  }
  const ended = own.stop();
  assert.equal((await quiet.closed).code, 1001);
  const late = await client.ask('late', question());
  assert.ok(late.status === 503 && late.error.code === 'overloaded');
  for (const id of ids) {
    const done = await client.last(id);
    assert.deepEqual(done.choices, [{ index: 0, finish_reason: 'length' }]);
  }
  assert.ok(client.waits.ahead >= 1, 'those that waited were told so');
  assert.equal((await client.closed).code, 1001);
  assert.deepEqual(await ended, { status: 0, signal: null });
});

test('what asks to be stored is stored, whole and once', async () => {
  const client = await connect().opened;
  await client.ask('kept', question({ store: true, max_tokens: 8, metadata: { from: 'a socket' } }));
  const list = await (await fetch(`${server.url}/v1/chat/completions?metadata[from]=a%20socket`)).json();
  assert.equal(list.data.length, 1);
  assert.equal(list.data[0].choices[0].message.content, client.text('kept'));
  client.socket.close();
  await client.closed;
});
