// What bench/table.mjs measures: models of random weights, `hearth bench`, a peer's llama-bench, and a
// server at its start and under clients. Everything is spawned without a shell and ends by its pid.
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { promisify } from 'node:util';

const call = promisify(execFile);
const OUTPUT_MAX = 64 << 20;

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

// ---- models ----

// The file of a shape and type, written when it is not there yet.
export async function model(tools, shape, type) {
  const file = path.join(tools.models, `${shape}-${type.toLowerCase()}.gguf`);
  if (!existsSync(file)) {
    mkdirSync(tools.models, { recursive: true });
    tools.say(`writing ${path.basename(file)}, random weights`);
    await call(tools.randomModel, [shape, type, `${file}.part`]);
    renameSync(`${file}.part`, file);
  }
  return file;
}

// ---- engines ----

export async function hearthBench(tools, file, options) {
  const args = ['bench', file, '--json', '--reps', String(tools.reps)];
  for (const [name, value] of Object.entries(options)) args.push(`--${name}`, String(value));
  const { stdout } = await call(tools.hearth, args, { maxBuffer: OUTPUT_MAX });
  return JSON.parse(stdout);
}

// llama-bench of llama.cpp or of ik_llama.cpp: {prefill, decode} in tokens per second, medians.
export async function peerBench(tools, peer, file, threads) {
  const args = ['-m', file, '-p', '512', '-n', '64', '-t', String(threads), '-r', String(tools.reps)];
  const { stdout } = await call(peer, [...args, '-o', 'json'], { maxBuffer: OUTPUT_MAX });
  const runs = JSON.parse(stdout);
  const rate = (run) => median(run.samples_ts ?? [run.avg_ts]);
  return {
    prefill: rate(runs.find((run) => run.n_gen === 0)),
    decode: rate(runs.find((run) => run.n_gen > 0)),
  };
}

// ---- a server ----

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// {url, readyMs, stop()} of a server that is ready, with folders of its own.
export async function serve(tools, file, options = []) {
  const started = process.hrtime.bigint();
  const args = ['serve', file, '--port', '0', '--cache-disk', '0', '--log-level', 'warn', ...options];
  const child = spawn(tools.hearth, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  const ended = new Promise((done) => child.on('close', done));
  const stop = async () => {
    child.kill('SIGTERM');
    await ended;
  };
  child.stdout.on('data', (bytes) => (text += bytes));
  child.stderr.on('data', (bytes) => (text += bytes));
  for (;;) {
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0];
    if (child.exitCode !== null) throw new Error(`hearth serve ended: ${text}`);
    if (url && (await fetch(`${url}/readyz`).catch(() => null))?.ok) {
      return { url, readyMs: Number(process.hrtime.bigint() - started) / 1e6, stop };
    }
    await sleep(url ? 2 : 1);
  }
}

// A streamed completion of exactly `tokens` tokens: {firstMs, lastMs, tokens}, from the call on.
function stream(url, prompt, tokens, agent) {
  const body = JSON.stringify({
    model: null, prompt, max_tokens: tokens, ignore_eos: true, stream: true,
    stream_options: { include_usage: true },
  });
  const started = performance.now();
  return new Promise((done, fail) => {
    const request = http.request(`${url}/v1/completions`, {
      method: 'POST', agent, headers: { 'content-type': 'application/json' },
    });
    request.on('error', fail);
    request.on('response', (response) => {
      const seen = { firstMs: 0, lastMs: 0, tokens: 0 };
      let text = '';
      response.on('data', (bytes) => {
        seen.lastMs = performance.now() - started;
        seen.firstMs ||= seen.lastMs;
        text += bytes;
      });
      response.on('error', fail);
      response.on('end', () => {
        if (response.statusCode !== 200) return fail(new Error(text));
        seen.tokens = Number(/"completion_tokens":(\d+)/.exec(text)?.[1] ?? 0);
        return done(seen);
      });
    });
    request.end(body.replace('"model":null', `"model":${JSON.stringify(stream.model)}`));
  });
}

// Tokens per second that `clients` get together, each `rounds` answers one after another.
export async function clientsRate(url, id, clients, rounds, tokens) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: clients });
  stream.model = id;
  const client = async (number) => {
    let count = 0;
    for (let round = 0; round < rounds; round++) {
      const prompt = `client ${number} asks for the ${round}th time: tell me something new. `.repeat(2);
      count += (await stream(url, prompt, tokens, agent)).tokens;
    }
    return count;
  };
  const started = performance.now();
  const counts = await Promise.all([...Array(clients).keys()].map(client));
  agent.destroy();
  return (counts.reduce((a, b) => a + b) * 1000) / (performance.now() - started);
}

// Milliseconds to the first token of a prompt of about `tokens` tokens (a byte each).
export async function firstToken(url, id, tokens) {
  stream.model = id;
  const words = 'the quick brown fox jumps over the lazy dog and runs away ';
  const prompt = words.repeat(tokens / words.length + 1).slice(0, tokens);
  return (await stream(url, prompt, 1)).firstMs;
}

// ---- disk ----

// Takes a file out of the system's cache of pages; works for its owner.
const evict = (file) => call('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none']);

// {readS, readyS}: seconds to read a file from a cold disk, and until a server with it is ready.
export async function coldStart(tools, file) {
  await evict(file);
  const started = performance.now();
  await call('dd', [`if=${file}`, 'of=/dev/null', 'bs=4M', 'status=none']);
  const readS = (performance.now() - started) / 1000;
  await evict(file);
  const server = await serve(tools, file, ['--ctx', '4096', '--parallel', '1']);
  await server.stop();
  return { readS, readyS: server.readyMs / 1000, bytes: statSync(file).size };
}

export const remove = (file) => rmSync(file, { force: true });
