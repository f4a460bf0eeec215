// The package as others get it: its types, its archive, and the API that it is for.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import openapiTS, { astToString } from 'openapi-typescript';
import { startServer } from './harness.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const tsc = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url));

async function run(command, args, options) {
  try {
    return (await promisify(execFile)(command, args, options)).stdout;
  } catch (error) {
    assert.fail(`${command} ${args.join(' ')}: ${error.stdout}${error.stderr}`);
  }
}

test('types, and the description of the API', async (t) => {
  const { url } = await startServer(t);
  const description = await (await fetch(`${url}/openapi.json`)).json();
  await mkdir(join(here, 'generated'), { recursive: true });
  await writeFile(join(here, 'generated/openapi.d.ts'), astToString(await openapiTS(description)));
  await run(process.execPath, [tsc, '-p', here]);

  const { default: client } = { default: await import('../src/index.js') };
  const documented = new Set();
  for (const path of Object.values(description.paths)) for (const operation of Object.values(path)) documented.add(operation.operationId);
  assert.ok(documented.size >= 14 && client.Sojourn);
});

test('the archive in an empty project', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'sojourn-pack-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const [packed] = JSON.parse(await run('npm', ['pack', '--json', '--pack-destination', dir], { cwd: join(here, '..') }));
  assert.deepEqual(packed.files.map((file) => file.path).filter((path) => !path.startsWith('src/')).sort(), ['LICENSE', 'README.md', 'package.json']);
  const project = join(dir, 'project');
  await mkdir(project);
  await writeFile(join(project, 'package.json'), '{"name": "empty", "private": true, "type": "module"}');
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', join(dir, packed.filename)], { cwd: project });
  const lock = JSON.parse(await readFile(join(project, 'package-lock.json'), 'utf8'));
  assert.deepEqual(Object.keys(lock.packages), ['', 'node_modules/@sojourn-go/client'], 'it depends on nothing');

  const { exports } = JSON.parse(await readFile(join(here, '../package.json'), 'utf8'));
  const modules = Object.keys(exports).filter((name) => !name.endsWith('.json')).map((name) => '@sojourn-go/client' + name.slice(1));
  await writeFile(join(project, 'all.js'), modules.map((name) => `console.log(Object.keys(await import('${name}')).length > 0);`).join('\n'));
  assert.equal(await run(process.execPath, ['all.js'], { cwd: project }), 'true\n'.repeat(modules.length));
  await writeFile(join(project, 'app.ts'), `
    import { Sojourn, type SessionInfo } from '@sojourn-go/client';
    const found: SessionInfo | null = (await new Sojourn({ key: 'k' }).resolve({ cookie: '' })).session;
    // @ts-expect-error
    found.subject;`);
  await run(process.execPath, [tsc, '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023', 'app.ts'], { cwd: project });
});
