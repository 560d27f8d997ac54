// No third state: every row of every body's table is sent to a running server. A field that is refused
// is refused by name whatever its value; one that is honoured takes its range and refuses, by name,
// what is beyond it; null is as good as absent. The rows come from /openapi.json, which is written
// from the tables that the parsers walk.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { post, serve } from './hearth.mjs';

let server;
let api;
before(async () => {
  server = await serve();
  api = await (await fetch(`${server.url}/openapi.json`)).json();
});
after(() => server.stop());

// A small body of each route that is answered; routes that take nothing of a table are left out.
const messages = [{ role: 'user', content: 'Hi' }];
const model = 'hearth-nano';
const bodies = {
  '/v1/chat/completions': { model, messages, max_tokens: 1 },
  '/v1/completions': { model, prompt: 'Once', max_tokens: 1 },
  '/v1/responses': { model, input: 'Hi', max_output_tokens: 16, store: false },
  '/v1/responses/input_tokens': { model, input: 'Hi' },
  '/v1/embeddings': { model: 'hearth-nano-embed', input: 'Hi' },
  '/completion': { prompt: 'Once', n_predict: 1 },
  '/tokenize': { content: 'Hi' },
  '/detokenize': { tokens: [300] },
  '/apply-template': { messages },
  '/embedding': { model: 'hearth-nano-embed', content: 'Hi' },
  '/api/embed': { model: 'hearth-nano-embed', input: 'Hi' },
  '/api/embeddings': { model: 'hearth-nano-embed', prompt: 'Hi' },
  '/v1/messages': { model, messages, max_tokens: 1 },
  '/v1/messages/count_tokens': { model, messages },
  '/api/chat': { model, messages, stream: false, options: { num_predict: 1 } },
  '/api/generate': { model, prompt: 'Hi', stream: false, options: { num_predict: 1 } },
  '/api/show': { model },
};

const samples = { boolean: true, integer: 512, number: 1.5, string: 'x', array: [], object: {}, odd: { nonsense: [1] },
  list: [{ nonsense: 1 }] };
const typesOf = (field) => [field.type ?? []].flat();
const fits = (value, types) =>
  types.some((type) => (type === 'integer' && Number.isInteger(value)) || (type === 'number' && typeof value === 'number') ||
    (type === 'string' && typeof value === 'string') || (type === 'boolean' && typeof value === 'boolean'));

// The status, and whether the error names the field.
async function ask(path, body, name) {
  const answer = await post(server, path, body);
  const text = await answer.text();
  if (answer.status === 200) return { status: 200, text };
  const said = JSON.parse(text);
  const param = said.error?.param;
  const message = said.error?.message ?? said.error;
  return { status: answer.status, text, names: (param ? param.split(/[.[]/)[0] === name : message.includes(name)) || text.includes('nonsense') };
}

const routes = Object.keys(bodies);
for (const path of routes) {
  test(path, async (t) => {
    const schema = api.paths[path]?.post?.requestBody.content['application/json'].schema;
    if (!schema || Object.keys(schema.properties).length === 0) {
      t.skip('this server has no such table');
      return;
    }
    const base = bodies[path];
    const plain = await ask(path, base, '');
    assert.equal(plain.status, 200, plain.text);
    for (const [name, field] of Object.entries(schema.properties)) {
      const state = field['x-hearth-state'];
      const send = (value) => ask(path, { ...base, [name]: value }, name);
      const where = (value) => `${path} ${name}=${JSON.stringify(value)}`;
      if (!schema.required.includes(name)) {
        const { status, text } = await send(null); // of two names for one thing one must be there
        assert.ok(status === 200 || (base[name] !== undefined && status === 400), `${where(null)}: ${text}`);
      } else {
        const { status, names, text } = await ask(path, { ...base, [name]: undefined }, name);
        assert.ok(status === 400 && names, `${path} without ${name}: ${text}`);
      }
      const refused = [];
      for (const value of Object.values(samples)) {
        const { status, names, text } = await send(value);
        if (status !== 200) {
          assert.ok(status === 400 || status === 404, `${where(value)}: ${status} ${text}`);
          if (status === 400 && !names) assert.fail(`${where(value)} is refused without its name: ${text}`);
          refused.push(value);
        }
        if (state === 'refused') assert.equal(status, 400, `${where(value)} is refused: ${text}`);
        if (state !== 'refused' && field.type && !fits(value, typesOf(field))) {
          assert.equal(status, 400, `${where(value)} has the wrong type: ${text}`);
        }
      }
      assert.ok(refused.length > 0, `${path} ${name} takes anything: it is ignored`);
      if (field.maximum !== undefined && state === 'honoured') {
        for (const value of [field.minimum - 1, field.maximum + 1]) {
          const { status, names, text } = await send(value);
          assert.ok(status === 400 && names, `${where(value)}: ${text}`);
        }
      }
    }
    const unknown = await ask(path, { ...base, no_such_field: 1 }, 'no_such_field');
    assert.ok(unknown.status === 400 && unknown.names, unknown.text);
  });
}

// The bundled models neither rank nor fill in; and further names of what is above.
const aliases = ['/infill', '/v1/rerank', '/v2/rerank', '/rerank', '/reranking', '/v1/reranking', '/embeddings', '/completions'];

test('every body with a table is among those above', () => {
  const tables = Object.entries(api.paths).filter(([, item]) => {
    const schema = item.post?.requestBody?.content['application/json'].schema;
    return schema && Object.keys(schema.properties).length > 0;
  });
  assert.deepEqual(tables.map(([path]) => path).filter((path) => !(path in bodies) && !aliases.includes(path)), []);
});
