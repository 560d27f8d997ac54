// ./dev bench: the table of what hearth promises about speed, each row a ratio measured in one run.
//
//   --quick           the shapes of 0.5 and 1 billion parameters, fewer rows (minutes)
//   --peer PATH       a llama-bench to measure beside hearth; may be given several times
//   --only TEXT       rows whose name contains TEXT
//   --keep            keeps the large models that were written for it
//   --json            the rows as JSON
//   --save, --check   writes the figures to bench/baseline, or fails where one is 10 % below them
//
// A ratio is of a limit of the machine that was measured beside it, of another row of the same run, or
// of a peer. Rows beyond their target are marked "ok", others "below".
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as measure from './measure.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const TYPES = ['Q4_0', 'Q4_K_M', 'Q6_K', 'Q8_0'];
const SMALL = 'qwen2-0.5b';
const MIDDLE = 'llama-1b';
const LARGE = 'mistral-7b';
const NAMES = { [SMALL]: '0.5B', [MIDDLE]: '1B', [LARGE]: '7B' };
const TOLERANCE = 0.9; // of the baseline: these machines are shared

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean' }, keep: { type: 'boolean' }, json: { type: 'boolean' },
    save: { type: 'boolean' }, check: { type: 'boolean' },
    peer: { type: 'string', multiple: true, default: [] }, only: { type: 'string', default: '' },
  },
});
const tools = {
  hearth: path.join(root, 'build/hearth'),
  randomModel: path.join(root, 'build/src/model/random_model'),
  models: path.join(root, '.dev/bench'),
  reps: 5,
  say: (text) => process.stderr.write(`bench: ${text}\n`),
};

// ---- rows ----

const rows = [];
const machine = {};

// `target`, `figure`: at least; with `most`, at most.
function add(name, model, target, figure, note, most = false) {
  const row = { name, model, target, figure, ok: most ? figure <= target : figure >= target, most, note };
  rows.push(row);
  tools.say(`${model}  ${name}: ${figure.toPrecision(3)} (${most ? '<=' : '>='} ${target})  ${note}`);
}

const wants = (...names) => names.some((name) => name.includes(options.only));
const fixed = (value, digits = 1) => value.toFixed(digits);

function prefillTarget(shape, type, depth) {
  if (depth) return 0.5;
  if (shape === SMALL) return 0.45;
  return type === 'Q8_0' || type === 'Q4_0' ? 0.65 : 0.6;
}

const decodeTarget = { [SMALL]: 0.75, [MIDDLE]: 0.85, [LARGE]: 0.9 };

function addEngineRows(shape, type, result) {
  const model = `${NAMES[shape]} ${type}`;
  for (const row of result.rows) {
    const where = row.depth ? ` at depth ${row.depth}` : '';
    if (row.kind === 'prefill' && (row.depth === 0 || row.depth === 16384)) {
      add(`prefill 512${where}`, model, prefillTarget(shape, type, row.depth), row.fraction,
        `${fixed(row.tok_s)} tokens/s of ${fixed(row.int8_gops, 0)} G int8 operations/s`);
    } else if (row.kind === 'decode') {
      add(`decode${where}`, model, decodeTarget[shape], row.fraction,
        `${fixed(row.tok_s)} tokens/s of ${fixed(row.read_gb_s)} GB/s`);
    }
  }
}

function addTogetherRows(shape, type, result) {
  const model = `${NAMES[shape]} ${type}`;
  const find = (kind) => result.rows.find((row) => row.kind === kind && row.depth === 0);
  for (const row of result.rows.filter((each) => each.kind === 'together')) {
    const note = `${fixed(row.tok_s)} tokens/s`;
    add(`${row.sequences} decode together / one`, model, 5, row.tok_s / find('decode').tok_s, note);
    add(`${row.sequences} decode together / prefill`, model, 0.8, row.tok_s / find('prefill').tok_s, note);
  }
}

function addPeerRows(shape, type, result, peers) {
  const model = `${NAMES[shape]} ${type}`;
  const [fastPrefill, fastDecode] = ['prefill', 'decode'].map((kind) => Math.max(...peers.map((peer) => peer[kind])));
  const prefill = { [SMALL]: 1, [MIDDLE]: 1.3, [LARGE]: 1.8 }[shape];
  const decode = { [SMALL]: 1, [MIDDLE]: 1.3, [LARGE]: 1.3 }[shape];
  add('prefill / faster peer', model, prefill, result.prefill_tok_s / fastPrefill, `${fixed(fastPrefill)} tokens/s there`);
  add('decode / faster peer', model, decode, result.decode_tok_s / fastDecode, `${fixed(fastDecode)} tokens/s there`);
}

const noteMachine = (result) =>
  Object.assign(machine, { cpu: result.cpu, level: result.cpu_level, threads: result.threads });

async function measureEngine(shape, type) {
  const isDeep = type === 'Q4_K_M';
  const depths = !isDeep || options.quick ? '0' : shape === LARGE ? '0,4096' : '0,4096,16384';
  const request = { pp: 512, tg: 64, depth: depths };
  if (shape === SMALL && isDeep) request.sequences = '8,32';
  const file = await measure.model(tools, shape, type);
  const result = await measure.hearthBench(tools, file, request);
  noteMachine(result);
  addEngineRows(shape, type, result);
  addTogetherRows(shape, type, result);
  const peers = [];
  for (const peer of options.peer) peers.push(await measure.peerBench(tools, peer, file, result.threads));
  if (peers.length) addPeerRows(shape, type, result, peers);
  if (shape === LARGE && isDeep) await measureCold(file);
  if (shape === LARGE && !options.keep) measure.remove(file);
}

async function measureServer() {
  const file = await measure.model(tools, SMALL, 'Q4_K_M');
  const id = path.basename(file, '.gguf');
  const server = await measure.serve(tools, file, ['--parallel', '16', '--ctx', '2048']);
  const one = [];
  const sixteen = [];
  try {
    for (let i = 0; i < 3; i++) {
      one.push(await measure.clientsRate(server.url, id, 1, 2, 64));
      sixteen.push(await measure.clientsRate(server.url, id, 16, 2, 64));
    }
  } finally {
    await server.stop();
  }
  add('server, 16 clients / one', `${NAMES[SMALL]} Q4_K_M`, 5, measure.median(sixteen) / measure.median(one),
    `${fixed(measure.median(sixteen))} and ${fixed(measure.median(one))} tokens/s`);
}

async function measureStart() {
  const model = `${NAMES[SMALL]} Q4_K_M`;
  const file = await measure.model(tools, SMALL, 'Q4_K_M');
  const ready = [];
  const first = [];
  for (let i = 0; i < tools.reps; i++) {
    const server = await measure.serve(tools, file);
    ready.push(server.readyMs);
    first.push(await measure.firstToken(server.url, path.basename(file, '.gguf'), 512));
    await server.stop();
  }
  const bench = await measure.hearthBench(tools, file, { pp: 512, tg: 0 });
  noteMachine(bench);
  const bare = (bench.prefill_tokens * 1000) / bench.prefill_tok_s;
  add('start: ready, seconds', model, 0.35, measure.median(ready) / 1000, 'warm page cache', true);
  add('start: first token / bare prefill', model, 1.15, measure.median(first) / bare,
    `${fixed(measure.median(first))} and ${fixed(bare)} ms`, true);
}

async function measureCold(file) {
  const cold = await measure.coldStart(tools, file);
  add('start from a cold disk / reading the file', `${NAMES[LARGE]} Q4_K_M`, 1.2, cold.readyS / cold.readS,
    `${fixed(cold.readyS)} s, the disk gives ${fixed(cold.bytes / cold.readS / 1e9, 2)} GB/s`, true);
}

// ---- output ----

function print() {
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ machine, rows }, null, 2)}\n`);
    return;
  }
  process.stdout.write(`${machine.cpu}, ${machine.threads} threads, ${machine.level}\n\n`);
  for (const row of rows) {
    const target = `${row.most ? '<=' : '>='} ${row.target}`;
    process.stdout.write(`${row.model.padEnd(12)} ${row.name.padEnd(44)} ${target.padEnd(8)} ` +
      `${row.figure.toPrecision(3).padStart(6)}  ${(row.ok ? 'ok' : 'below').padEnd(6)} ${row.note}\n`);
  }
}

const baselineFile = () =>
  path.join(root, 'bench/baseline',
    `${`${machine.cpu} ${machine.level} ${machine.threads}`.toLowerCase().replace(/[^a-z0-9]+/g, '-')}.json`);

const keyOf = (row) => `${row.model}: ${row.name}`;

function save() {
  const figures = Object.fromEntries(rows.map((row) => [keyOf(row), Number(row.figure.toPrecision(4))]));
  mkdirSync(path.dirname(baselineFile()), { recursive: true });
  writeFileSync(baselineFile(), `${JSON.stringify({ machine, figures }, null, 2)}\n`);
  tools.say(`wrote ${path.relative(root, baselineFile())}`);
}

// False when a row is more than 10 % worse than the baseline of this class of machine.
function check() {
  if (!existsSync(baselineFile())) {
    tools.say(`no baseline for this machine (${path.relative(root, baselineFile())}): --save writes one`);
    return false;
  }
  const { figures } = JSON.parse(readFileSync(baselineFile(), 'utf8'));
  const isWorse = (row, before) => (row.most ? row.figure * TOLERANCE > before : row.figure < before * TOLERANCE);
  const worse = rows.filter((row) => keyOf(row) in figures && isWorse(row, figures[keyOf(row)]));
  for (const row of worse) {
    tools.say(`worse: ${keyOf(row)}: ${row.figure.toPrecision(3)}, was ${figures[keyOf(row)]}`);
  }
  return worse.length === 0;
}

// ---- main ----

const shapes = options.quick ? [SMALL, MIDDLE] : [SMALL, MIDDLE, LARGE];
for (const shape of shapes) {
  for (const type of options.quick ? ['Q4_K_M', 'Q8_0'] : TYPES) {
    if (wants(`${NAMES[shape]} ${type}`)) await measureEngine(shape, type);
  }
}
if (wants('server')) await measureServer();
if (wants('start')) await measureStart();
if (rows.length === 0) {
  tools.say(`no row or model has "${options.only}" in its name`);
  process.exit(2);
}
print();
if (options.save) save();
if (options.check && !check()) process.exitCode = 1;
