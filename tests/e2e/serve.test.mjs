// The command `hearth serve`: settings and their order, several models, what is refused at start,
// idling, and that nothing is connected to.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { chat, hasProc, modelFile, post, run, sanitizer, serve, sleep, usage } from './hearth.mjs';

const folder = mkdtempSync(path.join(tmpdir(), 'hearth-'));
after(() => rmSync(folder, { recursive: true }));
const file = (name, text) => {
  writeFileSync(path.join(folder, name), text);
  return path.join(folder, name);
};

const idsOf = async (server) =>
  (await (await fetch(`${server.url}/v1/models`)).json()).data.map((entry) => entry.id);

test('without a model the bundled one is served, found from the binary\'s place', async () => {
  const server = await serve([], { model: false, env: { HOME: '' } }).catch((error) => error);
  if (server instanceof Error) { // a binary outside the tree has no bundled model beside it
    assert.match(server.message, /bundled model/);
    return;
  }
  assert.deepEqual((await idsOf(server)).sort(), ['hearth-nano', 'hearth-nano-embed']);
  await server.stop();
});

test('it listens before the model is ready, and /readyz tells', async () => {
  const server = await serve([], { ready: false });
  const codes = new Set();
  for (let i = 0; i < 500; i++) {
    const answer = await fetch(`${server.url}/readyz`);
    codes.add(answer.status);
    assert.ok([200, 503].includes(answer.status));
    if (answer.status === 200) break;
    assert.equal(answer.headers.get('retry-after'), '1');
  }
  assert.ok(codes.has(200));
  assert.equal((await post(server, '/v1/chat/completions', chat('Hi', { max_tokens: 1 }))).status, 200);
  await server.stop();
});

test('several models, ids with slashes, aliases', async () => {
  const copy = path.join(folder, 'other-00001-of-00001.gguf');
  copyFileSync(modelFile, copy);
  const server = await serve(['--model', `${modelFile}=team/nano:v1`, '--model', copy], { model: false });
  assert.deepEqual((await idsOf(server)).sort(), ['other', 'team/nano:v1']);
  for (const at of ['team/nano:v1', 'team%2Fnano%3Av1']) {
    const answer = await fetch(`${server.url}/v1/models/${at}`);
    assert.equal((await answer.json()).id, 'team/nano:v1');
  }
  for (const model of ['team/nano:v1', 'other']) {
    const answer = await post(server, '/v1/chat/completions', { ...chat('Hi'), model, max_tokens: 2 });
    assert.equal((await answer.json()).model, model);
  }
  const unknown = await post(server, '/v1/chat/completions', chat('Hi'));
  assert.equal(unknown.status, 404);
  await server.stop();
  const alias = await serve(['--alias', 'gpt-4o']);
  assert.deepEqual(await idsOf(alias), ['gpt-4o']);
  await alias.stop();
  const twice = await run(['serve', modelFile, modelFile, '--port', '0']);
  assert.equal(twice.status, 2);
  assert.match(twice.stderr, /two models have the id/);
});

test('file < environment < flags', async () => {
  const config = file('a.yaml', `model: ${modelFile}\nport: 0\nalias: from-file\nparallel: 2\n`);
  const fromFile = await serve(['--config', config], { model: false });
  assert.deepEqual(await idsOf(fromFile), ['from-file']);
  assert.match(fromFile.stdout, /2 sequences at once/);
  await fromFile.stop();
  const env = { HEARTH_CONFIG: config, HEARTH_ALIAS: 'from-env', HEARTH_LOG_LEVEL: 'off' };
  const fromEnv = await serve([], { model: false, env });
  assert.deepEqual(await idsOf(fromEnv), ['from-env']);
  assert.equal(fromEnv.log().length, 0);
  await fromEnv.stop();
  const fromFlag = await serve(['--alias=from-flag'], { model: false, env });
  assert.deepEqual(await idsOf(fromFlag), ['from-flag']);
  await fromFlag.stop();
  const toml = file('a.toml', `model = ["${modelFile}=toml"]\nport = 0\nidle_timeout = 5.5\n`);
  const fromToml = await serve(['--config', toml], { model: false });
  assert.deepEqual(await idsOf(fromToml), ['toml']);
  await fromToml.stop();
});

test('wrong settings are refused with their place', async () => {
  for (const [args, env, message] of [
    [['--port', '65536'], {}, /--port: "65536" is not a whole number between 0 and 65535/],
    [['--port', '-1'], {}, /--port/], [['--port'], {}, /--port needs a value/],
    [['--prot', '1'], {}, /unknown option --prot/], [['--kv', 'f8'], {}, /--kv.*auto f32 f16 bf16/],
    [['--listen', 'example.org:1'], {}, /--listen.*IP:PORT/], [['--host', 'example.org'], {}, /--host/],
    [['--listen', '127.0.0.1:0', '--port', '1'], {}, /--listen/], [['--tls-cert', 'x'], {}, /together/],
    [[], { HEARTH_PORT: 'x' }, /HEARTH_PORT/], [[], { HEARTH_GRACE: '-1' }, /HEARTH_GRACE/],
    [['--config', file('b.yaml', 'port: 1\nprot: 2\n')], {}, /b\.yaml:2: prot is no setting/],
    [['--config', file('c.yaml', 'port: "1"\n')], {}, /c\.yaml:1: port must be a whole number/],
    [['--config', file('d.yaml', 'alias: 5\n')], {}, /d\.yaml:1: alias must be a text/],
    [['--config', file('e.yaml', 'a: &x 1\nb: *x\n')], {}, /e\.yaml:/],
    [['--config', file('f.toml', 'port = 1\nport = 2\n')], {}, /f\.toml:2/],
    [['--config', file('g.toml', 'port = true\n')], {}, /g\.toml:1: port must be/],
    [['--config', '/nonexistent.yaml'], {}, /config file/],
    [['--chat-template-file', '/nonexistent'], {}, /nonexistent/],
  ]) {
    const end = await run(['serve', modelFile, ...args], { env });
    assert.ok(end.status > 0 && end.status < 64 && !end.signal, `${args} ${JSON.stringify(end)}`);
    assert.match(end.stderr, message);
    assert.equal(end.stdout, '');
    assert.ok(end.stderr.length < 4096);
  }
  const secret = await run(['serve', modelFile], { env: { HEARTH_API_KEY: ' ,SECRET' } });
  assert.ok(!secret.stderr.includes('SECRET'));
});

test('files that are no models are refused with a status, not a signal', async () => {
  for (const target of [file('x.gguf', 'GGUF'), file('y.gguf', ''), '/dev/zero', folder, '/nonexistent.gguf']) {
    const end = await run(['serve', target, '--port', '0']);
    assert.ok(end.status > 0 && end.status < 64, `${target}: ${JSON.stringify(end)}`);
    assert.match(end.stderr, /^hearth: /);
  }
});

test('--help names every option of docs/settings.md', async () => {
  const help = await run(['serve', '--help']);
  assert.equal(help.status, 0);
  const page = readFileSync(new URL('../../docs/settings.md', import.meta.url), 'utf8');
  const flags = [...page.matchAll(/^\| `\w+` \| `(--[a-z-]+)`/gm)].map((match) => match[1]);
  assert.ok(flags.length > 30);
  for (const flag of flags) assert.ok(help.stdout.includes(`  ${flag} `), flag);
});

test('an idle server uses no processor time', { skip: !hasProc || sanitizer !== '' }, async () => {
  const server = await serve([]);
  await (await post(server, '/v1/chat/completions', chat('Hi', { max_tokens: 4 }))).json();
  await sleep(500);
  const ticks = () => {
    const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return Number(fields[11]) + Number(fields[12]);
  };
  const before = ticks();
  await sleep(5000);
  assert.ok(ticks() - before <= 1, `${ticks() - before} ticks of 10 ms in 5 s`);
  assert.ok(usage(server.pid).rss < 150e6, `${usage(server.pid).rss} bytes`);
  await server.stop();
});

test('no connection is opened', async (t) => {
  try {
    execFileSync('strace', ['-f', '-o', '/dev/null', 'true']);
  } catch {
    t.skip('no strace to count system calls with');
    return;
  }
  if (sanitizer) {
    t.skip('sanitizers do not run under strace');
    return;
  }
  const log = path.join(folder, 'strace');
  const server = await serve(['--alias', 'private'], {
    wrap: ['strace', '-f', '-qq', '-e', 'trace=connect,sendto,socket', '-o', log], env: { HOME: folder },
  });
  const answer = await post(server, '/v1/chat/completions', { ...chat('Hi'), model: 'private' });
  assert.equal(answer.status, 200);
  await fetch(`${server.url}/metrics`);
  server.child.kill('SIGTERM');
  execFileSync('sh', ['-c', `kill -TERM $(cat /proc/${server.pid}/task/${server.pid}/children)`]);
  await server.wait();
  const calls = readFileSync(log, 'utf8').split('\n');
  assert.deepEqual(calls.filter((line) => /connect\(/.test(line)), []);
  const sockets = calls.filter((line) => /socket\(AF_INET/.test(line));
  assert.equal(sockets.length, 1, `only the listening socket: ${sockets}`);
});

test('a symbolic link to a model is served under its own name', async () => {
  const link = path.join(folder, 'linked.gguf');
  symlinkSync(modelFile, link);
  const server = await serve([link], { model: false });
  assert.deepEqual(await idsOf(server), ['linked']);
  await server.stop();
});

test('list and doctor, for people and for programs', async () => {
  copyFileSync(modelFile, path.join(folder, 'split-00001-of-00002.gguf')); // a lone part
  file('broken.gguf', 'no model');
  const env = { HEARTH_MODELS: folder, HOME: '' };
  const { models, places } = JSON.parse((await run(['list', '--json'], { env })).stdout);
  assert.ok(places.includes(folder));
  const nano = models.find((one) => one.id === 'linked');
  assert.equal(nano.architecture, 'llama');
  assert.equal(nano.quantization, 'Q8_0');
  assert.ok(nano.bytes > 4e6 && nano.parameters > 4e6);
  assert.ok(models.find((one) => one.id === 'broken').error);
  assert.match((await run(['list'], { env })).stdout, /^linked +\d+\.\d MiB +Q8_0 +llama/m);
  const named = await serve(['linked'], { model: false, env });
  assert.deepEqual(await idsOf(named), ['linked']);
  await named.stop();
  const doctor = JSON.parse((await run(['doctor', '--json'])).stdout);
  assert.ok(doctor.cores >= 1 && doctor.memory_total > 1e8 && doctor.level);
  assert.equal(doctor.types.Q4_K, `integer kernel, ${doctor.level}`);
  assert.match(doctor.types.IQ3_S, /^integer kernel via table, /);
  assert.match((await run(['doctor'])).stdout, /^kernels +\w+\ntypes +\w+ kernel, \w+:.*\n +integer kernel, \w+:.* Q4_K/m);
  const banner = (await run(['show', modelFile])).stdout;
  assert.match(banner, new RegExp(`^  Q\\w+ .* integer kernel, ${doctor.level}$`, 'm'));
  for (const command of ['list', 'doctor', 'serve']) {
    assert.equal((await run([command, '--no-such-option'])).status, 2);
    assert.match((await run([command, '--help'])).stdout, new RegExp(`usage: hearth ${command}`));
  }
});
