// Group C of the attack list: hostile HTTP, on raw sockets.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import net from 'node:net';
import { chat, hasProc, metric, post, raw, sanitizer, serve, sleep, slow, status, usage } from './hearth.mjs';

let server;
const timeouts = ['--header-timeout', '1', '--body-timeout', '1', '--idle-timeout', '2',
  '--write-timeout', '2'];

before(async () => {
  server = await serve([...timeouts, '--connections', '300']);
});
after(async () => {
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200, 'still alive and ready');
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

const head = (line, ...headers) => [line, 'Host: 127.0.0.1', ...headers, '', ''].join('\r\n');
const get = (path, ...headers) => head(`GET ${path} HTTP/1.1`, ...headers);
const close = 'Connection: close';

async function refused(name, bytes, wanted) {
  const answer = await raw(server, bytes);
  assert.equal(status(answer), wanted, `${name}: ${answer.text.slice(0, 200)}`);
  assert.match(answer.text, /x-request-id: \S+/i, name);
  assert.match(answer.text, /content-type: application\/json/i, name);
  assert.match(answer.text, /"error":\{"message":"[^"]+","type":"invalid_request_error"/, name);
  assert.ok(answer.closed, `${name}: the connection is closed`);
}

test('C1: heads that are too large', async () => {
  await refused('header of 40 KB', get('/healthz', `X: ${'a'.repeat(40000)}`), 431);
  await refused('header of 1 MB', get('/healthz', `X: ${'a'.repeat(1 << 20)}`), 431);
  await refused('target of 1 MB', get(`/${'a'.repeat(1 << 20)}`), 431);
  await refused('target of 10 KB', get(`/${'a'.repeat(10000)}`), 414);
  await refused('10,000 headers', get('/healthz', ...Array(10000).fill('a: b')), 431);
});

test('C2: slow heads and bodies are cut', async () => {
  const drip = (first, piece) =>
    new Promise((done) => {
      const socket = net.connect(server.port, '127.0.0.1');
      const started = Date.now();
      socket.on('error', () => {});
      socket.on('close', () => {
        clearInterval(timer);
        done(Date.now() - started);
      });
      socket.resume();
      socket.write(first);
      const timer = setInterval(() => socket.write(piece), 100);
    });
  const times = await Promise.all([
    drip('GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ', 'a'),
    drip('G', 'E'),
    drip(head('POST /v1/chat/completions HTTP/1.1', 'Content-Length: 1000'), 'a'),
    drip(head('POST /v1/chat/completions HTTP/1.1', 'Transfer-Encoding: chunked'), '1\r\na\r\n'),
  ]);
  for (const ms of times) assert.ok(ms > 800 && ms < 3500 * slow, `${ms} ms`);
  const silent = await raw(server, '');
  assert.ok(silent.closed && silent.ms < 3000 * slow, 'a connection that never asks');
  const idle = await raw(server, get('/healthz'));
  assert.ok(idle.closed && status(idle) === 200 && idle.ms < 5000 * slow, 'a connection kept alive');
});

test('C3: framing that two parsers could read in two ways', async () => {
  const line = 'POST /v1/chat/completions HTTP/1.1';
  await refused('CL and TE', head(line, 'Content-Length: 4', 'Transfer-Encoding: chunked'), 400);
  await refused('two CL', head(line, 'Content-Length: 4', 'Content-Length: 5'), 400);
  await refused('space before colon', head(line, 'Content-Length : 4'), 400);
  await refused('NUL in a value', get('/healthz', 'X: a\0b'), 400);
  await refused('unknown TE', head(line, 'Transfer-Encoding: gzip'), 501);
  await refused('bare LF', 'GET /healthz HTTP/1.1\nHost: 127.0.0.1\n\n', 400);
  await refused('no Host', 'GET /healthz HTTP/1.1\r\n\r\n', 400);
  await refused('two Hosts', get('/healthz', 'Host: evil'), 400);
  await refused('HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505);
  await refused('TLS on a plain port', '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03', 400);
  for (const chunk of ['xyz\r\n', '-1\r\na\r\n', 'ffffffffffffffffff\r\n', '3\nabc',
    '3\r\nabcdef\r\n', `1;${'e'.repeat(10000)}`]) {
    const bytes = head(line, 'Transfer-Encoding: chunked', close) + chunk;
    await refused(`chunk ${JSON.stringify(chunk.slice(0, 20))}`, bytes, 400);
  }
});

test('C4: lengths', async () => {
  const line = 'POST /v1/chat/completions HTTP/1.1';
  await refused('negative', head(line, 'Content-Length: -1'), 400);
  await refused('2^64', head(line, 'Content-Length: 18446744073709551616'), 400);
  await refused('2^63', head(line, 'Content-Length: 9223372036854775808'), 400);
  await refused('33 MiB', head(line, 'Content-Length: 34603009'), 413);
  await refused('a body for a GET', get('/healthz', 'Content-Length: 1') + 'x', 413);
});

test('C4: bodies up to 32 MiB are read, larger ones refused', async () => {
  const body = (bytes) => {
    const frame = JSON.stringify(chat(''));
    return frame.replace('"content":""', `"content":"${'a'.repeat(bytes - frame.length)}"`);
  };
  const fits = await post(server, '/v1/chat/completions', body(32 << 20));
  assert.equal(fits.status, 400);
  assert.equal((await fits.json()).error.code, 'context_length_exceeded');
  const over = await post(server, '/v1/chat/completions', body((32 << 20) + 1));
  assert.equal(over.status, 413);
  assert.equal((await over.json()).error.code, 'payload_too_large');
  const stream = new ReadableStream({
    start(controller) {
      for (let i = 0; i < 34; i++) controller.enqueue(Buffer.alloc(1 << 20, 0x20));
      controller.close();
    },
  });
  const chunked = await fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST', body: stream, duplex: 'half', headers: { 'content-type': 'application/json' },
  });
  assert.equal(chunked.status, 413);
});

test('C4: a body that is refused makes room for the others', async () => {
  const small = await serve(['--bodies-mib', '8']);
  const text = 'a'.repeat(1000 << 10);
  const codes = await Promise.all(
    Array.from({ length: 24 }, async () => (await (await post(small, '/v1/chat/completions', chat(text))).json()).error.code),
  );
  const read = codes.filter((code) => code === 'context_length_exceeded').length;
  assert.ok(read >= 7, `${read} of 24 bodies of 1 MiB were read within a budget of 8`);
  assert.equal(read + codes.filter((code) => code === 'overloaded').length, 24, `${codes}`);
  await small.stop();
});

test('C4: the memory of large bodies is given back', { skip: !hasProc || sanitizer !== '' }, async () => {
  const before = usage(server.pid).rss;
  for (let round = 0; round < 3; round++) {
    assert.equal((await post(server, '/v1/chat/completions', chat('a'.repeat(16 << 20)))).status, 400);
  }
  const growth = () => (usage(server.pid).rss - before) / (1 << 20);
  for (let i = 0; i < 100 && growth() > 32; i++) await sleep(50); // it happens after the answer
  const grown = growth();
  assert.ok(grown < 32, `${grown.toFixed(0)} MiB more than before`);
});

test('C5: pipelined requests are answered in order', async () => {
  const body = JSON.stringify(chat('Hi', { max_tokens: 2 }));
  const bytes =
    get('/healthz', 'X-Request-ID: one') +
    head('POST /v1/chat/completions HTTP/1.1', 'X-Request-ID: two', `Content-Length: ${body.length}`) +
    body +
    get('/v1/models', 'X-Request-ID: three') +
    get('/nothing', 'X-Request-ID: four') +
    get('/healthz', 'X-Request-ID: five', close);
  const answer = await raw(server, bytes);
  const ids = [...answer.text.matchAll(/X-Request-ID: (\S+)/gi)].map((match) => match[1]);
  assert.deepEqual(ids, ['one', 'two', 'three', 'four', 'five']);
  const codes = [...answer.text.matchAll(/HTTP\/1\.1 (\d+) /g)].map((match) => match[1]);
  assert.deepEqual(codes, ['200', '200', '200', '404', '200']);
  const bad = await raw(server, get('/healthz') + get('/healthz', 'X : y') + get('/healthz'));
  assert.deepEqual([...bad.text.matchAll(/HTTP\/1\.1 (\d+) /g)].map((match) => match[1]), ['200', '400']);
});

test('C6: 100-continue', async () => {
  const body = JSON.stringify(chat('Hi', { max_tokens: 2 }));
  const line = head('POST /v1/chat/completions HTTP/1.1', 'Expect: 100-continue', close,
    `Content-Length: ${body.length}`);
  const answer = await new Promise((done) => {
    const socket = net.connect(server.port, '127.0.0.1');
    let got = '';
    socket.on('data', (data) => {
      got += data;
      if (got === 'HTTP/1.1 100 Continue\r\n\r\n') socket.write(body);
    });
    socket.on('close', () => done(got));
    socket.write(line);
  });
  assert.match(answer, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
  await refused('another expectation', head('POST /v1/completions HTTP/1.1', 'Expect: more'), 417);
  const denied = await raw(server, head('POST /nothing HTTP/1.1', 'Expect: 100-continue',
    'Content-Length: 10'));
  assert.equal(status(denied), 404, 'no 100 for what is refused anyway');
});

test('C7: paths', async () => {
  for (const [path, wanted] of [
    ['/healthz%00x', 400], ['/v1/models/%00', 400], ['/../healthz', 400], ['/%2e%2e/healthz', 400],
    ['/v1/./models', 400], ['/%252e%252e/healthz', 404], ['/..\\healthz', 404], ['/healthz%', 400],
    ['/healthz%zz', 400], ['/healthz%2', 400], ['/%ff', 400], ['//healthz', 404], ['/healthz/', 404],
    ['/HEALTHZ', 404], ['/healthz?x=%00', 200], ['/%68ealthz', 200], ['/v1/models/hearth%2dnano', 200],
  ]) {
    assert.equal(status(await raw(server, get(path, close))), wanted, path);
  }
});

test('C8: hostile JSON', async () => {
  const cases = {
    deep: '['.repeat(100000),
    'deep and closed': `{"a":${'['.repeat(100000)}${']'.repeat(100000)}}`,
    'a million keys': `{${Array.from({ length: 1100000 }, (_, i) => `"k${i}":0`).join()}}`,
    'duplicate keys': '{"model":"a","model":"b"}',
    '1e400': '{"temperature":1e400}',
    'lone surrogate': '{"model":"\\ud800"}',
    BOM: '\ufeff{}',
    'trailing data': '{} {}',
    empty: '',
    'no object': '[]',
    NaN: '{"temperature":NaN}',
    'single quotes': "{'a':1}",
    'raw newline': '{"model":"a\nb"}',
    'invalid UTF-8': new Uint8Array([...Buffer.from('{"model":"'), 0xff, ...Buffer.from('"}')]),
  };
  for (const [name, body] of Object.entries(cases)) {
    const answer = await post(server, '/v1/chat/completions', body);
    assert.equal(answer.status, 400, name);
    const { error } = await answer.json();
    assert.ok(error.message.length > 5 && error.message.length < 1000, name);
    assert.equal(error.type, 'invalid_request_error', name);
  }
  const zero = await post(server, '/v1/chat/completions', chat('Hi', { temperature: -0, max_tokens: 1 }));
  assert.equal(zero.status, 200);
});

test('C9: a reader that never reads is bounded and let go', async () => {
  const before_ = await metric(server, 'hearth_resident_bytes');
  const body = JSON.stringify(chat('Tell me a story.', {
    stream: true, ignore_eos: true, n: 64, logprobs: true, top_logprobs: 20,
  }));
  const socket = net.connect(server.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.pause();
  socket.write(head('POST /v1/chat/completions HTTP/1.1', `Content-Length: ${body.length}`) + body);
  const until = Date.now() + 30000 * slow;
  await sleep(500);
  while ((await metric(server, 'hearth_http_requests_active')) > 1) {
    assert.ok(Date.now() < until, 'the stalled request still lives');
    await sleep(100);
  }
  const grown = (await metric(server, 'hearth_resident_bytes')) - before_;
  if (!sanitizer) assert.ok(grown < 150e6, `${grown} bytes`);
  socket.destroy();
});

test('C10: idle connections do not keep others out', async () => {
  const idle = [];
  for (let i = 0; i < 400; i++) {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    idle.push(socket);
  }
  await sleep(1300);
  const answer = await fetch(`${server.url}/healthz`);
  assert.equal(answer.status, 200);
  for (const socket of idle) socket.destroy();
  await sleep(200);
});

test('a client that leaves while its prompt waits or is read is noticed', async () => {
  const words = 'word '.repeat(180);
  const body = JSON.stringify(chat(words, { ignore_eos: true, n: 32 }));
  for (const stream of [false, true]) {
    const text = stream ? body.replace('{', '{"stream":true,') : body;
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(head('POST /v1/chat/completions HTTP/1.1', `Content-Length: ${text.length}`) + text);
    await sleep(20);
    socket.destroy();
    const until = Date.now() + 2000 * slow;
    for (;;) {
      const running = await metric(server, 'hearth_sequences_running');
      const waiting = await metric(server, 'hearth_sequences_waiting');
      if (running + waiting === 0) break;
      assert.ok(Date.now() < until, `${running} run and ${waiting} wait`);
      await sleep(10);
    }
  }
});

test('a client that closes its half gets a plain answer', async () => {
  const answer = await raw(server, get('/healthz'), { half: true });
  assert.equal(status(answer), 200);
  assert.ok(answer.closed);
});

test('HTTP/1.0, HEAD, OPTIONS, 404 and 405', async () => {
  const old = await raw(server, 'GET /healthz HTTP/1.0\r\n\r\n');
  assert.equal(status(old), 200);
  assert.ok(old.closed);
  const body = JSON.stringify(chat('Hi', { stream: true, max_tokens: 2 }));
  const stream = await raw(server,
    `POST /v1/chat/completions HTTP/1.0\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  assert.ok(stream.closed && stream.text.endsWith('data: [DONE]\n\n'), 'no chunks for HTTP/1.0');
  const headOf = await raw(server, head('HEAD /v1/models HTTP/1.1', close));
  assert.equal(status(headOf), 200);
  assert.match(headOf.text, /Content-Length: [1-9]/);
  assert.ok(headOf.text.endsWith('\r\n\r\n'));
  for (const [method, path, allow] of [
    ['PUT', '/v1/models', 'GET, HEAD, OPTIONS'],
    ['PUT', '/v1/chat/completions', 'POST, GET, HEAD, OPTIONS'],
    ['GET', '/v1/messages', 'POST, OPTIONS'],
    ['HEAD', '/v1/completions', 'POST, OPTIONS'],
    ['DELETE', '/healthz', 'GET, HEAD, OPTIONS'],
    ['TRACE', '/', 'GET, HEAD, OPTIONS'],
    ['BREW', '/v1/models/x', 'GET, HEAD, OPTIONS'],
  ]) {
    const answer = await raw(server, head(`${method} ${path} HTTP/1.1`, close));
    assert.equal(status(answer), 405, `${method} ${path}`);
    assert.equal(answer.text.match(/^Allow: (.*)\r$/im)?.[1], allow);
  }
  const options = await raw(server, head('OPTIONS /v1/models HTTP/1.1', close));
  assert.equal(status(options), 204);
  assert.match(options.text, /Allow: GET, HEAD, OPTIONS/);
  assert.equal(status(await raw(server, head('OPTIONS * HTTP/1.1', close))), 204);
  const nothing = await fetch(`${server.url}/v1/nothing`);
  assert.equal(nothing.status, 404);
  assert.equal((await nothing.json()).error.code, 'not_found');
});

test('X-Request-ID: the client\'s if harmless, else a new one', async () => {
  const id = async (given) =>
    (await raw(server, get('/healthz', close, ...(given ? [`X-Request-ID: ${given}`] : []))))
      .text.match(/X-Request-ID: (.*)\r/i)[1];
  assert.equal(await id('abc-1.2_3:4'), 'abc-1.2_3:4');
  for (const bad of [null, 'a b', 'a"b', 'é', 'a'.repeat(65), '<script>']) {
    assert.match(await id(bad), /^req_[0-9a-f]{24}$/, String(bad));
  }
});

test('C13: log lines are JSON and hold neither prompts nor keys', async () => {
  const secret = 'SECRET-prompt-9731';
  await post(server, '/v1/chat/completions',
    chat(secret, { max_tokens: 2, user: 'ann\n{"forged":1}\u001b[31m' }),
    { authorization: 'Bearer SECRET-key-4711' });
  await post(server, '/v1/chat/completions', { ...chat(secret), model: 'x\n{"level":"forged"}\u001b[0m' });
  await fetch(`${server.url}/${encodeURIComponent('\n{"forged":2}\u001b[31m')}`);
  await sleep(100);
  assert.ok(!server.stderr.includes('SECRET'));
  assert.ok(!server.stderr.includes('\u001b'));
  const lines = server.log();
  assert.ok(lines.every((line) => line.ts && line.level && line.msg && !line.forged));
  const line = lines.findLast((entry) => entry.msg === 'request' && entry.user);
  assert.ok(line.user.startsWith('ann') && line.status === 200 && line.ms > 0);
  assert.equal(line.model, 'hearth-nano');
  assert.ok(line.prompt_tokens > 0 && line.completion_tokens === 2);
});

test('metrics are valid Prometheus text', async () => {
  const answer = await fetch(`${server.url}/metrics`);
  assert.match(answer.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
  const text = await answer.text();
  assert.ok(text.endsWith('\n'));
  const types = new Map();
  const seen = new Set();
  let current = '';
  for (const line of text.trimEnd().split('\n')) {
    const type = line.match(/^# TYPE (\S+) (counter|gauge|histogram)$/);
    if (type) types.set(type[1], type[2]);
    if (line.startsWith('#')) {
      assert.match(line, /^# (HELP \S+ .+|TYPE \S+ (counter|gauge|histogram))$/);
      continue;
    }
    const sample = line.match(/^([a-z_]+)(\{([a-z]+="([^"\\\n]|\\.)*",?)+\})? (-?[0-9.e+-]+|NaN|\+Inf)$/);
    assert.ok(sample, line);
    assert.ok(!seen.has(line.split(' ')[0] + line.match(/\{.*\}/)?.[0]), `twice: ${line}`);
    const family = sample[1].replace(/_(bucket|sum|count)$/, (end, _, at, whole) =>
      types.get(whole.slice(0, at)) === 'histogram' ? '' : end);
    assert.ok(types.has(family), family);
    if (family !== current) assert.ok(!seen.has(family), `${family} stands in two places`);
    seen.add(family);
    current = family;
  }
  for (const family of ['hearth_time_to_first_token_seconds', 'hearth_inter_token_seconds',
    'hearth_queue_wait_seconds']) {
    const rows = text.split('\n').filter((line) => line.startsWith(`${family}_bucket`));
    const counts = rows.map((line) => Number(line.slice(line.lastIndexOf(' '))));
    assert.deepEqual(counts, [...counts].sort((a, b) => a - b), 'buckets accumulate');
    assert.match(rows.at(-1), /le="\+Inf"/);
    const total = text.match(new RegExp(`^${family}_count\\{.*\\} (\\d+)$`, 'm'))[1];
    assert.equal(Number(total), counts.at(-1));
    assert.ok(counts.at(-1) > 0);
  }
});

test('nothing is left open', async () => {
  await sleep(300);
  assert.ok(usage(server.pid).fds < 60, `${usage(server.pid).fds} descriptors`);
});
