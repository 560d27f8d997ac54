// Random weights write under more than a hundred schemas; what they wrote must be JSON and valid by a
// validator that is not ours. constrain_bench (built with the unit tests) does the writing.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import Ajv from 'ajv';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { binary } from './hearth.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const writer = path.join(path.dirname(binary), 'src/constrain/constrain_bench');
const schemas = path.join(root, 'tests/data/constrain/schemas.json');
const TEXTS = 10;

// Draft 7 where the schema says so or has a list of items.
function validator(schema) {
  const old = Array.isArray(schema.items) || String(schema.$schema).includes('draft-07');
  const ajv = new (old ? Ajv.default ?? Ajv : Ajv2020.default ?? Ajv2020)({ strict: false });
  (addFormats.default ?? addFormats)(ajv);
  return ajv.compile(schema);
}

for (const vocabulary of ['bpe', 'spm']) {
  test(`what random weights write is valid (${vocabulary})`, { timeout: 300000 }, (t) => {
    if (!existsSync(writer)) return t.skip(`${writer} is not built`);
    const rows = JSON.parse(readFileSync(schemas, 'utf8'));
    const validators = rows.map((row) => validator(row.schema));
    const gguf = path.join(root, `tests/data/text/${vocabulary}.gguf`);
    const output = execFileSync(writer, [gguf, schemas, 'print', String(TEXTS)], {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
    const complete = new Set();
    let texts = 0;
    for (const line of output.trim().split('\n')) {
      const { schema, ended, text } = JSON.parse(line);
      if (!ended) continue; // cut at the largest number of tokens, as max_tokens would
      const value = JSON.parse(text);
      const ok = validators[schema](value);
      assert.ok(ok, `${rows[schema].name}: ${text}: ${JSON.stringify(validators[schema].errors)}`);
      complete.add(schema);
      texts++;
    }
    t.diagnostic(`${texts} texts under ${complete.size} of ${rows.length} schemas`);
    assert.ok(complete.size >= 100, `only ${complete.size} schemas were completed`);
  });
}
