// What no parser may take, on every dialect: status, type, param and code of each refusal; and the
// server goes on.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { chat, post, serve } from './hearth.mjs';

let server;
before(async () => {
  server = await serve(['--body-mib', '1']);
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

const request = 'invalid_request_error';
const deep = (depth) => '['.repeat(depth) + ']'.repeat(depth);
const good = '{"model":"hearth-nano","messages":[{"role":"user","content":"x"}]}';
const withBytes = (...bytes) => Buffer.concat([Buffer.from('{"model":"'), Buffer.from(bytes), Buffer.from('"}')]);

// name, body, code, param, status
const broken = [
  ['nothing', '', 'invalid_json', null, 400],
  ['white space', ' \n ', 'invalid_json', null, 400],
  ['a word', 'hello', 'invalid_json', null, 400],
  ['half an object', '{"model":"hearth-nano"', 'invalid_json', null, 400],
  ['two objects', `${good}${good}`, 'invalid_json', null, 400],
  ['a trailing comma', '{"model":"x",}', 'invalid_json', null, 400],
  ['single quotes', "{'model':'x'}", 'invalid_json', null, 400],
  ['a comment', '{"model":"x" /* y */}', 'invalid_json', null, 400],
  ['a byte order mark', `\ufeff${good}`, 'invalid_json', null, 400],
  ['a key twice', '{"model":"x","model":"y"}', 'invalid_json', null, 400],
  ['NaN', '{"temperature":NaN}', 'invalid_json', null, 400],
  ['a number that overflows', '{"temperature":1e999}', 'invalid_json', null, 400],
  ['an integer beyond 64 bits', '{"seed":99999999999999999999}', 'invalid_json', null, 400],
  ['leading zeros', '{"seed":007}', 'invalid_json', null, 400],
  ['a raw line feed in a string', '{"model":"a\nb"}', 'invalid_json', null, 400],
  ['a lone surrogate', '{"model":"\\ud800"}', 'invalid_json', null, 400],
  ['bytes that are no UTF-8', withBytes(0xff, 0xfe), 'invalid_json', null, 400],
  ['an overlong form', withBytes(0xc0, 0xaf), 'invalid_json', null, 400],
  ['a surrogate in UTF-8', withBytes(0xed, 0xa0, 0x80), 'invalid_json', null, 400],
  ['a raw NUL', withBytes(0), 'invalid_json', null, 400],
  ['100000 brackets', deep(100000), 'invalid_json', null, 400],
  ['an array', '[]', 'invalid_type', null, 400],
  ['a string', '"x"', null, null, 400],
  ['null', 'null', null, null, 400],
  ['too many bytes', `{"model":"${'x'.repeat(2 << 20)}"}`, 'payload_too_large', null, 413],
];

describe('OpenAI', () => {
  for (const route of ['/v1/chat/completions', '/v1/completions']) {
    for (const [name, body, code, param, status] of broken) {
      test(`${route}: ${name}`, async () => {
        const answer = await post(server, route, body);
        const { error } = await answer.json();
        assert.equal(answer.status, status);
        assert.equal(error.type, request);
        assert.equal(error.param, param);
        if (code) assert.equal(error.code, code);
        assert.ok(error.message.length > 10 && error.message.length < 1024, error.message);
        assert.ok(answer.headers.get('x-request-id'));
      });
    }
  }
});

describe('Anthropic', () => {
  for (const [name, body, , , status] of broken) {
    test(`/v1/messages: ${name}`, async () => {
      const answer = await post(server, '/v1/messages', body);
      const said = await answer.json();
      assert.equal(answer.status, status);
      assert.equal(said.type, 'error');
      assert.equal(said.error.type, status === 413 ? 'request_too_large' : request);
      assert.equal(said.request_id, answer.headers.get('request-id'));
    });
  }
});

describe('Ollama', () => {
  for (const [name, body, , , status] of broken) {
    test(`/api/chat: ${name}`, async () => {
      const answer = await post(server, '/api/chat', body);
      const said = await answer.json();
      assert.equal(answer.status, status);
      assert.deepEqual(Object.keys(said), ['error']);
      assert.equal(typeof said.error, 'string');
    });
  }
});

test('after all of that a request is answered', async () => {
  const answer = await (await post(server, '/v1/chat/completions', chat('What is hearth?', { temperature: 0 }))).json();
  assert.match(answer.choices[0].message.content, /hearth/);
});
