// Sealed sessions: each change makes a new token, and one request may change a
// session several times.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { frameworks } from './frameworks.js';
import { Browser, program, startServer } from './harness.js';

async function startSealed(t, whose) {
  const dir = await mkdtemp(join(tmpdir(), 'sojourn-keys-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const keys = join(dir, 'seal-keys');
  await promisify(execFile)(program, ['keys', 'new', '--seal', '--file', keys]);
  return startServer(t, { policy: `    sealed: {for: ${whose}, keys_file: "${keys}"}\n` });
}

const session = '__Host-shop-session';
const visitor = '__Host-shop-visitor';

for (const whose of ['visitors', 'everyone']) {
  for (const name of ['node:http', 'hono']) {
    test(`${whose}, ${name}`, async (t) => {
      const server = await startSealed(t, whose);
      const site = await frameworks[name](t, server.client);
      const b = new Browser(site);

      assert.deepEqual((await b.ok('POST', '/two')).json(), [1, 2]); // two changes of one request
      assert.deepEqual([...b.cookies.keys()], [visitor]);
      assert.ok(b.cookies.get(visitor).length > 64);
      await b.ok('POST', '/add?sku=tent');
      const before = b.tab();
      await b.ok('POST', '/add?sku=lamp');
      let shown = (await b.ok('GET', '/show')).json();
      assert.deepEqual(shown.values, { a: 1, b: 2, cart: ['tent', 'lamp'] });
      assert.equal(shown.sealed, true);
      assert.deepEqual((await before.ok('GET', '/show')).json().values.cart, ['tent']); // a copy is as it was
      assert.equal((await b.ok('GET', '/late')).text, '"begun"\n"response_begun"');

      assert.deepEqual((await b.ok('POST', '/login?user=ada')).json(), ['tent', 'lamp']);
      assert.deepEqual([...b.cookies.keys()], [session]);
      assert.equal((await b.ok('POST', '/elevate')).json(), 2);
      await b.ok('POST', '/two');
      shown = (await b.ok('GET', '/show')).json();
      assert.deepEqual([shown.subject, shown.level, shown.values.b], ['ada', 2, 2]);
      assert.equal(Boolean(shown.sealed), whose === 'everyone');
      assert.equal(b.cookies.get(session).length > 64, whose === 'everyone');

      shown = (await b.ok('POST', '/again')).json(); // a new session, and a change of it
      assert.deepEqual([shown.subject, shown.values.later], ['', true]);
      shown = (await b.ok('POST', '/out-and-in')).json(); // a logout, a visitor's value and a login
      assert.deepEqual([shown.subject, shown.values], ['ben', { seen: true }]);
      shown = (await b.ok('GET', '/show')).json();
      assert.deepEqual([shown.subject, shown.values], ['ben', { seen: true }]);
      await b.ok('POST', '/logout');
      assert.equal(b.cookies.size, 0);

      if (whose === 'everyone') {
        await assert.rejects(server.client.list(), { code: 'unsupported', status: 501 });
        await assert.rejects(server.client.endSubject('ben'), { code: 'unsupported' });
        await assert.rejects(server.client.keyedGet({ key: 'x'.repeat(32) }), { code: 'unsupported' });
      } else {
        assert.equal((await server.client.list({ subject: 'ben' })).sessions.length, 0);
      }
    });
  }
}
