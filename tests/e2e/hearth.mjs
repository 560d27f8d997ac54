// Starts and stops servers under test, and speaks raw HTTP to them.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const binary = process.env.HEARTH ?? path.join(root, 'build/hearth');
export const modelFile = process.env.HEARTH_MODEL ?? path.join(root, 'models/hearth-nano.gguf');
export const sanitizer = process.env.HEARTH_SANITIZER ?? '';
export const slow = sanitizer ? 10 : 1; // how much longer things may take

// A test that fails leaves its server behind, whose pipes keep this process alive; the run must end
// all the same. Without such a child the timer holds nothing up.
const children = new Set();
after(() => {
  setTimeout(() => children.forEach((child) => child.kill('SIGKILL')), 30000).unref();
});

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Folders of the servers: fresh ones each, so that no test finds the prompts or data of another.
const caches = mkdtempSync(path.join(os.tmpdir(), 'hearth-e2e-'));
after(() => rmSync(caches, { recursive: true, force: true }));

// An environment in which no setting of the caller leaks into the server.
export function cleanEnv(extra = {}) {
  const cache = mkdtempSync(path.join(caches, 'cache-'));
  const data = mkdtempSync(path.join(caches, 'data-'));
  const env = { PATH: process.env.PATH, HOME: caches, XDG_CACHE_HOME: cache, XDG_DATA_HOME: data };
  for (const name of ['ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS', 'LD_LIBRARY_PATH']) {
    if (process.env[name]) env[name] = process.env[name];
  }
  return { ...env, ...extra };
}

// Runs `hearth ARGS...` to its end: {status, signal, stdout, stderr}.
export function run(args, { env = {}, input = '', timeout = 30000 * slow } = {}) {
  return new Promise((done, fail) => {
    const child = spawn(binary, args, { env: cleanEnv(env) });
    const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (bytes) => (stdout += bytes));
    child.stderr.on('data', (bytes) => (stderr += bytes));
    child.on('error', fail);
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      done({ status, signal, stdout, stderr });
    });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

// A running server: {url, port, pid, log(), stop()}. `wrap` puts a command before the binary.
export async function serve(args = [], { env = {}, ready = true, wrap = [], model = true } = {}) {
  const words = [...wrap, binary, 'serve', ...(model ? [modelFile] : []), ...args];
  if (!args.some((word) => /^--(port|listen)/.test(word))) words.push('--port', '0');
  const child = spawn(words[0], words.slice(1), { env: cleanEnv(env) });
  const server = { child, pid: child.pid, stdout: '', stderr: '' };
  children.add(child);
  child.stdout.on('data', (bytes) => (server.stdout += bytes));
  child.stderr.on('data', (bytes) => (server.stderr += bytes));
  const ended = new Promise((done) => {
    child.on('close', (status, signal) => {
      children.delete(child);
      server.ended = { status, signal };
      done(server.ended);
    });
  });
  server.wait = () => ended;
  server.log = () =>
    server.stderr
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line));
  server.stop = async (signal = 'SIGTERM') => {
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), 20000 * slow);
    const end = await ended;
    clearTimeout(timer);
    return end;
  };
  const until = Date.now() + 30000 * slow;
  while (!/listening on (\S+)/.test(server.stdout)) {
    if (server.ended || Date.now() > until) {
      child.kill('SIGKILL');
      throw new Error(`the server did not start: ${server.stdout}${server.stderr}`);
    }
    await sleep(5);
  }
  server.url = server.stdout.match(/listening on (\S+)/)[1];
  server.port = Number(new URL(server.url).port);
  while (ready && !/^try:/m.test(server.stdout)) {
    if (server.ended || Date.now() > until) throw new Error(`not ready: ${server.stderr}`);
    await sleep(5);
  }
  return server;
}

// Sends bytes on a connection of its own and gives what comes back until it is closed, or until
// `enough` matches it. `half` closes our side after the bytes.
export function raw(server, bytes, { enough = null, timeout = 8000 * slow, half = false } = {}) {
  return new Promise((done) => {
    const socket = net.connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
    let got = '';
    const started = Date.now();
    const end = (closed) => {
      clearTimeout(timer);
      socket.destroy();
      done({ text: got, closed, ms: Date.now() - started });
    };
    const timer = setTimeout(() => end(false), timeout);
    socket.on('data', (data) => {
      got += data.toString('latin1');
      if (enough && enough.test(got)) end(false);
    });
    socket.on('end', () => end(true));
    socket.on('close', () => end(true));
    socket.on('error', () => {});
    for (const piece of Array.isArray(bytes) ? bytes : [bytes]) socket.write(piece, 'latin1');
    if (half) socket.end();
  });
}

export const status = (answer) => Number(answer.text.match(/^HTTP\/1\.[01] (\d+)/)?.[1] ?? 0);

export function post(server, route, body, headers = {}) {
  return fetch(server.url + route, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
  });
}

export const chat = (text, more = {}) => ({
  model: 'hearth-nano',
  messages: [{ role: 'user', content: text }],
  ...more,
});

// What the kernel says about a process: open descriptors and resident bytes.
export function usage(pid) {
  const rss = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * 4096;
  return { fds: readdirSync(`/proc/${pid}/fd`).length, rss };
}

export const hasProc = existsSync('/proc/self/fd');

// One metric of the server without labels other than the model's.
export async function metric(server, name, headers = {}) {
  const text = await (await fetch(`${server.url}/metrics`, { headers })).text();
  const line = text.split('\n').find((row) => row.startsWith(name) && /[ {]/.test(row[name.length]));
  return line ? Number(line.slice(line.lastIndexOf(' '))) : NaN;
}
