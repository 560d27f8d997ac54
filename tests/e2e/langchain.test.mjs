// LangChain's models for OpenAI, Ollama and Anthropic against a real server with the bundled model.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ChatAnthropic } from '@langchain/anthropic';
import { AIMessage, HumanMessage, SystemMessage } from '@langchain/core/messages';
import { StringOutputParser } from '@langchain/core/output_parsers';
import { ChatPromptTemplate } from '@langchain/core/prompts';
import { tool } from '@langchain/core/tools';
import { ChatOllama, Ollama } from '@langchain/ollama';
import { ChatOpenAI, OpenAI } from '@langchain/openai';
import { z } from 'zod';
import { metric, serve, sleep, slow } from './hearth.mjs';

let server;
before(async () => {
  server = await serve();
});
after(async () => {
  assert.deepEqual(await server.stop(), { status: 0, signal: null });
});

const model = 'hearth-nano';
const schema = z.object({ room: z.enum(['hall', 'kitchen']), on: z.boolean() });
const common = { model, temperature: 0, maxRetries: 0 };
// The same cases for every class: what makes a model of it, given options in LangChain's names.
const families = {
  ChatOpenAI: (more) => new ChatOpenAI({ ...common, apiKey: 'unused', streamUsage: true, ...more,
    configuration: { baseURL: `${server.url}/v1` } }),
  ChatOllama: ({ maxTokens, ...more } = {}) => new ChatOllama({ ...common, baseUrl: server.url,
    ...(maxTokens ? { numPredict: maxTokens } : {}), ...more }),
  ChatAnthropic: (more) => new ChatAnthropic({ ...common, apiKey: 'unused', anthropicApiUrl: server.url,
    maxTokens: 200, ...more }),
};

async function nothingRuns() {
  const until = Date.now() + 5000 * slow;
  while ((await metric(server, 'hearth_sequences_running')) > 0) {
    assert.ok(Date.now() < until, 'a sequence still runs');
    await sleep(10);
  }
}

for (const [name, make] of Object.entries(families)) {
  describe(name, () => {
    test('invoke', async () => {
      const answer = await make().invoke('What is hearth?');
      assert.ok(AIMessage.isInstance(answer));
      assert.match(answer.text, /hearth is a local server/);
      const usage = answer.usage_metadata;
      assert.ok(usage.input_tokens > 5 && usage.output_tokens > 5);
      assert.equal(usage.total_tokens, usage.input_tokens + usage.output_tokens);
    });

    test('stream gives the same text in pieces', async () => {
      const whole = await make().invoke('What is hearth?');
      let text = '';
      let pieces = 0;
      let last;
      for await (const chunk of await make().stream('What is hearth?')) {
        text += chunk.text;
        pieces += chunk.text ? 1 : 0;
        last = last ? last.concat(chunk) : chunk;
      }
      assert.equal(text, whole.text);
      assert.ok(pieces > 5);
      assert.equal(last.usage_metadata.output_tokens, whole.usage_metadata.output_tokens);
    });

    test('batch', async () => {
      const questions = ['What is hearth?', 'Tell me a story.', 'Hello!'];
      const answers = await make({ maxTokens: 20 }).batch(questions);
      assert.equal(answers.length, 3);
      for (const [i, question] of questions.entries()) {
        assert.equal((await make({ maxTokens: 20 }).invoke(question)).text, answers[i].text);
      }
    });

    test('a conversation with a system message', async () => {
      const answer = await make({ maxTokens: 30 }).invoke([new SystemMessage('You answer briefly.'),
        new HumanMessage('What is hearth?'), new AIMessage('A server.'), new HumanMessage('Thanks!')]);
      assert.ok(answer.text.length > 0);
      assert.ok(answer.usage_metadata.input_tokens > 20);
    });

    test('a chain of prompt, model and parser', async () => {
      const chain = ChatPromptTemplate.fromMessages([['system', 'You are {who}.'], ['human', '{question}']])
        .pipe(make()).pipe(new StringOutputParser());
      const text = await chain.invoke({ who: 'a helpful assistant', question: 'What is hearth?' });
      assert.match(text, /hearth/);
      let streamed = '';
      for await (const piece of await chain.stream({ who: 'a helpful assistant', question: 'What is hearth?' })) streamed += piece;
      assert.equal(streamed, text);
    });

    test('stop and limits', async () => {
      const whole = (await make().invoke('What is hearth?')).text;
      const stopped = await make().invoke('What is hearth?', { stop: [whole.slice(9, 14)] });
      assert.equal(stopped.text, whole.slice(0, whole.indexOf(whole.slice(9, 14))));
      const short = await make({ maxTokens: 3 }).invoke('What is hearth?');
      assert.equal(short.usage_metadata.output_tokens, 3);
    });

    test('an abort ends the sequence', async () => {
      const controller = new AbortController();
      const stream = await make({ maxTokens: 900 }).stream('Tell me a story.', { signal: controller.signal });
      await assert.rejects(async () => {
        for await (const chunk of stream) {
          if (chunk.text) controller.abort();
        }
        controller.signal.throwIfAborted(); // the story was over before
      });
      await nothingRuns();
    });

    test('bindTools: the call is valid, and its result is read', async () => {
      const lamp = tool(({ room, on }) => `${room} ${on}`, { name: 'set_lamp', description: 'Switch a lamp.', schema });
      const bound = make({ maxTokens: 120 }).bindTools([lamp], ...(name === 'ChatOllama' ? [] : [{ tool_choice: 'any' }]));
      const question = new HumanMessage('Please switch on the lamp in the hall.');
      const answer = await bound.invoke([question]);
      if (name === 'ChatOllama' && answer.tool_calls.length === 0) return; // Ollama's API cannot require a call
      assert.ok(answer.tool_calls.length >= 1);
      const results = [];
      for (const call of answer.tool_calls) {
        schema.parse(call.args);
        results.push(await lamp.invoke(call));
      }
      const last = await make({ maxTokens: 30 }).invoke([question, answer, ...results]);
      assert.equal(typeof last.text, 'string');
      let streamed;
      for await (const chunk of await bound.stream([question])) streamed = streamed ? streamed.concat(chunk) : chunk;
      assert.deepEqual(streamed.tool_calls.map((call) => call.args), answer.tool_calls.map((call) => call.args));
    });

    test('withStructuredOutput gives what the schema says', async () => {
      const methods = { ChatOpenAI: ['jsonSchema', 'functionCalling'], ChatOllama: ['jsonSchema'], ChatAnthropic: ['functionCalling'] };
      for (const method of methods[name]) {
        const value = await make({ maxTokens: 120 }).withStructuredOutput(schema, { method, name: 'lamp' }).invoke('The hall lamp, on.');
        schema.parse(value);
      }
    });

    test('an unknown model is an error', async () => {
      await assert.rejects(make({ model: 'none' }).invoke('Hi'), /none/);
    });
  });
}

test('ChatOpenAI: log probabilities and choices', async () => {
  const answer = await families.ChatOpenAI({ logprobs: true, topLogprobs: 2, maxTokens: 5 }).invoke('What is hearth?');
  assert.equal(answer.response_metadata.logprobs.content.length, 5);
  const result = await families.ChatOpenAI({ n: 3, temperature: 1, maxTokens: 8, modelKwargs: { seed: 1 } })
    .generate([[new HumanMessage('Tell me a story.')]]);
  assert.equal(result.generations[0].length, 3);
});

test('OpenAI and Ollama, the models of plain text', async () => {
  const openai = new OpenAI({ ...common, apiKey: 'unused', maxTokens: 12, configuration: { baseURL: `${server.url}/v1` } });
  assert.ok((await openai.invoke('Once upon a time')).length > 5);
  const ollama = new Ollama({ ...common, baseUrl: server.url, numPredict: 12 });
  const text = await ollama.invoke('Once upon a time');
  let streamed = '';
  for await (const piece of await ollama.stream('Once upon a time')) streamed += piece;
  assert.equal(streamed, text);
});
