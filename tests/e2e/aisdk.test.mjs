// The AI SDK with its compatible, OpenAI and Anthropic providers against a real server.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { metric, serve, sleep, slow } from './hearth.mjs';

let server;
before(async () => {
  server = await serve();
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

const providers = {
  compatible: (model = 'hearth-nano') => createOpenAICompatible({ name: 'hearth', baseURL: `${server.url}/v1`, includeUsage: true })(model),
  'OpenAI chat': (model = 'hearth-nano') => createOpenAI({ baseURL: `${server.url}/v1`, apiKey: 'unused' }).chat(model),
  'OpenAI completion': (model = 'hearth-nano') => createOpenAI({ baseURL: `${server.url}/v1`, apiKey: 'unused' }).completion(model),
  Anthropic: (model = 'hearth-nano') => createAnthropic({ baseURL: `${server.url}/v1`, apiKey: 'unused' })(model),
};
const ask = (make, more = {}) =>
  ({ model: make(), prompt: 'What is hearth?', temperature: 0, maxRetries: 0, maxOutputTokens: 60, ...more });

async function nothingRuns() {
  const until = Date.now() + 5000 * slow;
  while ((await metric(server, 'hearth_sequences_running')) > 0) {
    assert.ok(Date.now() < until, 'a sequence still runs');
    await sleep(10);
  }
}

for (const [name, make] of Object.entries(providers)) {
  const isChat = name !== 'OpenAI completion';
  describe(name, () => {
    test('generateText', async () => {
      const { text, usage, finishReason, warnings } = await generateText(ask(make));
      if (isChat) assert.match(text, /hearth is a local server/);
      assert.ok(text.length > 10);
      assert.equal(finishReason, isChat ? 'stop' : finishReason);
      assert.ok(usage.inputTokens > 3 && usage.outputTokens > 5);
      if (isChat) assert.deepEqual(warnings ?? [], []);
    });

    test('streamText gives the same', async () => {
      const whole = await generateText(ask(make));
      const errors = [];
      const result = streamText(ask(make, { onError: ({ error }) => errors.push(error) }));
      const pieces = [];
      for await (const piece of result.textStream) pieces.push(piece);
      assert.deepEqual(errors, []);
      assert.equal(pieces.join(''), whole.text);
      assert.ok(pieces.length > 5);
      assert.equal(await result.finishReason, whole.finishReason);
      assert.equal((await result.usage).outputTokens, whole.usage.outputTokens);
    });

    test('limits and stops', async () => {
      const whole = (await generateText(ask(make))).text;
      const short = await generateText(ask(make, { maxOutputTokens: 3 }));
      assert.equal(short.finishReason, 'length');
      assert.equal(short.usage.outputTokens, 3);
      const stop = whole.slice(9, 14);
      const stopped = await generateText(ask(make, { stopSequences: [stop] }));
      assert.equal(stopped.text.trimEnd(), whole.slice(0, whole.indexOf(stop)).trimEnd());
    });

    test('a system message and a conversation', async () => {
      const messages = [{ role: 'user', content: 'What is hearth?' }, { role: 'assistant', content: 'A server.' },
        { role: 'user', content: [{ type: 'text', text: 'Thanks!' }] }];
      const { usage } = await generateText(ask(make, { prompt: undefined, instructions: 'You answer briefly.', messages }));
      assert.ok(usage.inputTokens > 20);
    });

    test('an abort ends the sequence', async () => {
      const controller = new AbortController();
      const result = streamText(ask(make, { prompt: 'Tell me a story.', maxOutputTokens: 900, temperature: 1,
        abortSignal: controller.signal, onError: () => {} }));
      const seen = [];
      for await (const part of result.fullStream ?? result.stream) {
        seen.push(part.type);
        if (part.type === 'text-delta') controller.abort();
      }
      assert.ok(seen.includes('abort') || seen.includes('finish'), seen.join());
      await nothingRuns();
    });

    test('errors come with status and message', async () => {
      await assert.rejects(generateText(ask(() => make('none'))), (error) => {
        assert.equal(error.statusCode, 404);
        assert.match(error.message, /none/);
        return true;
      });
    });
  });
}

const lamp = z.object({ room: z.enum(['hall', 'kitchen']), on: z.boolean() });

for (const name of ['compatible', 'OpenAI chat', 'OpenAI responses', 'Anthropic']) {
  const make = providers[name] ?? (() => createOpenAI({ baseURL: `${server.url}/v1`, apiKey: 'unused' }).responses('hearth-nano'));
  describe(`${name}: tools and objects`, () => {
    test('a required tool is called and run, and the model goes on', async () => {
      const runs = [];
      const set = tool({ description: 'Switch a lamp.', inputSchema: lamp, execute: async (args) => { runs.push(args); return 'done'; } });
      const { steps } = await generateText(ask(make, { prompt: 'Please switch on the lamp in the hall.', tools: { set_lamp: set },
        toolChoice: 'required', maxOutputTokens: 150, stopWhen: stepCountIs(1) }));
      assert.ok(steps[0].toolCalls.length >= 1);
      assert.equal(runs.length, steps[0].toolCalls.length);
      runs.forEach((args) => lamp.parse(args));
    });

    test('an object, whole and streamed', async () => {
      const structured = name === 'compatible' ? createOpenAICompatible({ name: 'hearth', baseURL: `${server.url}/v1`,
        supportsStructuredOutputs: true })('hearth-nano') : make();
      const request = ask(() => structured, { prompt: 'The lamp in the hall is on.', output: Output.object({ schema: lamp }), maxOutputTokens: 150 });
      const { output } = await generateText(request);
      lamp.parse(output);
      assert.deepEqual(await streamText(request).output, output);
    });
  });
}

test('20 streams at once, each as if alone', async () => {
  const prompts = Array.from({ length: 20 }, (_, i) => `Tell me about the number ${i}.`);
  const text = async (prompt) =>
    streamText(ask(providers.compatible, { prompt, seed: 4, temperature: 1, maxOutputTokens: 16 })).text;
  const together = await Promise.all(prompts.map(text));
  for (const [i, prompt] of prompts.entries()) assert.equal(await text(prompt), together[i], prompt);
});
