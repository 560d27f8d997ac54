// The tools of an MCP server in this process, offered to the model as function tools; what it calls is
// run there and given back, until it answers. The bundled model is too small to choose well, so the
// calls are required where a call is the point; that they are valid is the server's doing.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import OpenAI from 'openai';
import { z } from 'zod';
import { serve } from './hearth.mjs';

const calls = [];
const rooms = ['kitchen', 'hall', 'garden'];

function tools() {
  const server = new McpServer({ name: 'house', version: '1.0.0' });
  const tool = (name, description, inputSchema, run) =>
    server.registerTool(name, { description, inputSchema }, (args) => {
      calls.push({ name, args });
      return { content: [{ type: 'text', text: run(args) }] };
    });
  tool('set_lamp', 'Switch a lamp.', { room: z.enum(rooms), on: z.boolean(), level: z.number().int().min(0).max(9).optional() },
    ({ room, on }) => `the lamp in the ${room} is ${on ? 'on' : 'off'}`);
  tool('list_rooms', 'All rooms.', {}, () => rooms.join(', '));
  tool('plan_days', 'Plan what happens on days.', {
    days: z.array(z.object({ day: z.enum(['mon', 'tue', 'wed']), note: z.string().max(20) })).min(1).max(3),
    owner: z.union([z.string().max(10), z.null()]) }, ({ days }) => `${days.length} days planned`);
  return server;
}

let hearth;
let mcp;
let house;
let openai;
let anthropic;
before(async () => {
  hearth = await serve();
  openai = new OpenAI({ baseURL: `${hearth.url}/v1`, apiKey: 'unused', maxRetries: 0 });
  anthropic = new Anthropic({ baseURL: hearth.url, apiKey: 'unused', maxRetries: 0 });
  house = tools();
  mcp = new Client({ name: 'test', version: '1.0.0' });
  const [left, right] = InMemoryTransport.createLinkedPair();
  await Promise.all([house.connect(left), mcp.connect(right)]);
});
after(async () => {
  await mcp.close();
  assert.deepEqual(await hearth.stop(), { status: 0, signal: null });
});

const model = 'hearth-nano';
const question = 'Please switch on the lamp in the hall.';

// Each API in the same words: how tools are offered and a first answer is asked for; what calls are in
// it; and the second request, with the results.
const apis = {
  responses: {
    ask: async (choice, more) => {
      const tools = (await mcp.listTools()).tools.map(({ name, description, inputSchema }) =>
        ({ type: 'function', name, description, parameters: inputSchema, strict: false }));
      const request = { model, input: question, tools, store: false, max_output_tokens: 600,
        tool_choice: choice === 'any' ? 'required' : choice === 'none' ? 'none' : { type: 'function', name: choice }, ...more };
      if (!more.stream) return openai.responses.create(request);
      let last;
      for await (const event of await openai.responses.create(request)) last = event;
      assert.equal(last.type, 'response.completed');
      return last.response;
    },
    calls: (answer) => answer.output.filter((item) => item.type === 'function_call')
      .map(({ call_id: id, name, arguments: text }) => ({ id, name, args: JSON.parse(text) })),
    after: (answer, results) => ({ input: [{ role: 'user', content: question }, ...answer.output,
      ...results.map(({ id, text }) => ({ type: 'function_call_output', call_id: id, output: text }))] }),
    text: (answer) => answer.output_text,
    tokens: (answer) => answer.usage.input_tokens,
    isCut: (answer) => answer.status === 'incomplete',
  },
  anthropic: {
    ask: async (choice, { temperature, ...more }) => {
      const tools = (await mcp.listTools()).tools.map(({ name, description, inputSchema }) =>
        ({ name, description, input_schema: inputSchema }));
      const request = { model, messages: [{ role: 'user', content: question }], tools, max_tokens: 600,
        temperature: Math.min(temperature, 1),
        tool_choice: choice === 'any' || choice === 'none' ? { type: choice } : { type: 'tool', name: choice }, ...more };
      return more.stream ? anthropic.messages.stream({ ...request, stream: undefined }).finalMessage() : anthropic.messages.create(request);
    },
    calls: (answer) => answer.content.filter((block) => block.type === 'tool_use')
      .map(({ id, name, input }) => ({ id, name, args: input })),
    after: (answer, results) => ({ messages: [{ role: 'user', content: question }, { role: 'assistant', content: answer.content },
      { role: 'user', content: results.map(({ id, text }) => ({ type: 'tool_result', tool_use_id: id, content: text })) }] }),
    text: (answer) => answer.content.map((block) => block.text ?? '').join(''),
    tokens: ({ usage }) => usage.input_tokens + (usage.cache_read_input_tokens ?? 0),
    isCut: (answer) => ['max_tokens', 'model_context_window_exceeded'].includes(answer.stop_reason),
  },
  chat: {
    ask: async (choice, more) => {
      const tools = (await mcp.listTools()).tools.map(({ name, description, inputSchema }) =>
        ({ type: 'function', function: { name, description, parameters: inputSchema } }));
      const request = { model, messages: [{ role: 'user', content: question }], tools, max_tokens: 600,
        tool_choice: choice === 'any' ? 'required' : choice === 'none' ? 'none' : { type: 'function', function: { name: choice } }, ...more };
      return more.stream ? openai.chat.completions.stream({ ...request, stream_options: { include_usage: true } })
        .finalChatCompletion() : openai.chat.completions.create(request);
    },
    calls: (answer) => (answer.choices[0].message.tool_calls ?? [])
      .map((call) => ({ id: call.id, name: call.function.name, args: JSON.parse(call.function.arguments) })),
    after: (answer, results) => ({ messages: [{ role: 'user', content: question }, answer.choices[0].message,
      ...results.map(({ id, text }) => ({ role: 'tool', tool_call_id: id, content: text }))] }),
    text: (answer) => answer.choices[0].message.content,
    tokens: (answer) => answer.usage.prompt_tokens,
    isCut: (answer) => answer.choices[0].finish_reason === 'length',
  },
};

// The MCP server runs the call, and checks the arguments by its own schema.
async function run({ id, name, args }) {
  const result = await mcp.callTool({ name, arguments: args });
  assert.ok(!result.isError, `${name} ${JSON.stringify(args)}: ${JSON.stringify(result.content)}`);
  return { id, text: result.content[0].text };
}

for (const [label, api] of Object.entries(apis)) {
  describe(label, () => {
    for (const name of ['set_lamp', 'list_rooms', 'plan_days']) {
      for (const stream of [false, true]) {
        test(`${name}, ${stream ? 'streamed' : 'whole'}: called, run, and its result read`, async () => {
          const answer = await api.ask(name, { temperature: 0, stream });
          assert.ok(!api.isCut(answer));
          const made = api.calls(answer);
          assert.ok(made.length >= 1);
          assert.ok(made.every((call) => call.name === name));
          const before = calls.length;
          const results = [];
          for (const call of made) results.push(await run(call));
          assert.equal(calls.length, before + made.length);
          const last = await api.ask('none', { temperature: 0, ...api.after(answer, results) });
          assert.equal(typeof api.text(last), 'string');
          assert.deepEqual(api.calls(last), []);
          const plain = await api.ask('none', { temperature: 0 });
          assert.ok(api.tokens(last) > api.tokens(plain) + 10, 'call and result are in the prompt');
        });
      }
    }

    // Keys that the schema does not name are allowed, so a call may be longer than the limit.
    test('any tool: of eight answers the MCP server takes every call that is whole', async () => {
      let whole = 0;
      for (let i = 0; i < 8; i++) {
        const answer = await api.ask('any', { temperature: 1.2 });
        if (api.isCut(answer)) continue;
        const made = api.calls(answer);
        assert.ok(made.length >= 1);
        for (const call of made) await run(call);
        whole++;
      }
      assert.ok(whole >= 1);
    });
  });
}
