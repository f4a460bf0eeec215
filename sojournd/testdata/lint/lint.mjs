// Checks a description against the recommended rules of Redocly and Spectral,
// and prints what breaks one: node lint.mjs openapi.json. Exit code 1 if
// anything does.
import { readFile } from 'node:fs/promises';
import { createConfig, lint } from '@redocly/openapi-core';
import spectralCore from '@stoplight/spectral-core';
import parsers from '@stoplight/spectral-parsers';
import rulesets from '@stoplight/spectral-rulesets';

const file = process.argv[2];
const found = [];

for (const problem of await lint({ ref: file, config: await createConfig({ extends: ['recommended'] }) })) {
	found.push(`redocly ${problem.ruleId}: ${problem.location[0]?.pointer}: ${problem.message}`);
}

const spectral = new spectralCore.Spectral();
spectral.setRuleset({ extends: [[rulesets.oas, 'recommended']] });
const text = await readFile(file, 'utf8');
for (const problem of await spectral.run(new spectralCore.Document(text, parsers.Json, file))) {
	found.push(`spectral ${problem.code}: ${problem.path.join('/')}: ${problem.message}`);
}

for (const line of found) console.log(line);
process.exitCode = found.length > 0 ? 1 : 0;
