import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { Problem, Session, Sojourn } from '../src/index.js';
import { listen, startServer } from './harness.js';

const key = 'sojourn_a-secret-that-nobody-may-see';

// safe checks that nothing that a program may print of an error has the key.
function safe(error) {
  const printed = [inspect(error, { depth: 10, showHidden: true }), String(error), error.stack, JSON.stringify(error)].join();
  assert.ok(!printed.includes('secret-that-nobody'), printed);
  return true;
}

test('what can be no key or address', () => {
  for (const bad of [undefined, '', `${key}\n`, `${key} x`, `ключ`, 7, null]) {
    assert.throws(() => new Sojourn({ key: bad }), (error) => error instanceof TypeError && /key/.test(error.message) && safe(error));
  }
  assert.throws(() => new Sojourn(), TypeError);
  for (const url of ['127.0.0.1:7081', 'ftp://x', 'http://user:password@x', 'http://x/?key=1', '', 'http://']) {
    assert.throws(() => new Sojourn({ key, url }), (error) => error instanceof TypeError && !/password/.test(error.message), url);
  }
  safe(new Sojourn({ key }));
});

test('a server that fails', async (t) => {
  let answer, requests = 0;
  const url = await listen(t, createServer((req, res) => { requests++; answer(req, res); }));
  let client = new Sojourn({ key, url: url + '/', timeout: 200 });
  const rejects = (promise, code, status) => assert.rejects(promise, (error) => {
    assert.ok(error instanceof Problem, error.stack);
    assert.deepEqual([error.code, error.status, error.statusCode, error.getResponse().status], [code, status, status, status], error.stack);
    return safe(error);
  });
  const both = async (read, write = read, status = 503) => {
    await rejects(client.resolve({ token: 'x' }), read, status);
    await rejects(client.update({ token: 'x' }), write, status);
  };

  answer = () => {}; // slow
  await both('unavailable', 'outcome_unknown');
  answer = (req, res) => res.writeHead(200, { 'Content-Length': 100 }).write('{"session"'); // stops halfway
  await both('unavailable', 'outcome_unknown');
  client = new Sojourn({ key, url: url + '/', timeout: 60_000 });
  answer = (req, res) => res.end('<!doctype html>');
  await both('unavailable');
  for (const body of ['null', '{}', '[]', '7']) {
    answer = (req, res) => res.end(body);
    await rejects(new Session(client, { cookie: 'a=b' }).load(), 'unavailable', 503);
  }
  answer = (req, res) => res.writeHead(502).end('<h1>Bad gateway</h1>');
  await both('unavailable');
  answer = (req, res) => res.writeHead(302, { Location: 'http://elsewhere.invalid/' }).end();
  await both('unavailable', 'outcome_unknown');
  answer = (req, res) => res.writeHead(401, { 'Content-Type': 'application/problem+json' }).end(JSON.stringify({ code: 'unauthorized', status: 401, detail: 'No.' }));
  await both('unauthorized', 'unauthorized', 500);
  answer = (req, res) => res.writeHead(503).end(JSON.stringify({ code: 'store_full', status: 503, detail: 'The store is full.' }));
  await both('store_full');

  // A connection that breaks once, as when the server restarts.
  requests = 0;
  answer = (req, res) => (requests === 1 ? req.socket.destroy() : res.end('{"session": null, "why": "unknown"}'));
  assert.deepEqual(await client.resolve({ token: 'x' }), { session: null, why: 'unknown' });
  assert.equal(requests, 2);
  requests = 0;
  await rejects(client.update({ token: 'x' }), 'outcome_unknown', 503);
  assert.equal(requests, 1);

  const server = createServer();
  const gone = await listen(t, server); // and nobody listens there again
  server.close();
  const away = new Sojourn({ key, url: gone });
  await rejects(away.update({ token: 'x' }), 'unavailable', 503);
  await rejects(new Session(away, { cookie: 'a=b' }).set('k', 1), 'unavailable', 503);
  await assert.rejects(async () => { for await (const event of away.events()) assert.fail(event); }, { code: 'unavailable' });
});

test('a session asks once, even if that fails', async (t) => {
  let requests = 0;
  const url = await listen(t, createServer((req, res) => { requests++; res.writeHead(500).end(); }));
  const session = new Session(new Sojourn({ key, url }), { cookie: 'a=b' });
  await Promise.all([session.get('a'), session.subject(), session.load()].map((asked) => assert.rejects(asked, { code: 'unavailable' })));
  await assert.rejects(session.update('a', () => assert.fail('called')), { code: 'unavailable' });
  assert.equal(requests, 1);
});

test('values that JSON does not know', async () => {
  const session = new Session(new Sojourn({ key, url: 'http://127.0.0.1:1' }), {});
  for (const value of [undefined, () => {}, Symbol('x')]) await assert.rejects(session.set('k', value), /TypeError: sojourn: the value of k/);
  await assert.rejects(session.set('k', 10n), TypeError);
  await assert.rejects(session.set({ a: 1, b: undefined }), TypeError);
});

test('a session without a framework', async (t) => {
  const { client } = await startServer(t);
  const { token } = await client.create({ values: { n: 1 } });
  const cookie = `__Host-shop-visitor=${token}`;
  const session = () => new Session(client, { cookie });

  // The function gets a copy, and runs again after a conflict.
  const a = session();
  const list = [];
  assert.equal(await a.update('n', async (n) => {
    list.push(n);
    if (n === 1) await session().set('n', 10);
    return n + 1;
  }), 11);
  assert.deepEqual(list, [1, 10]);
  await session().set('o', { deep: [1] });
  const b = session();
  await assert.rejects(b.update('o', (o) => { o.deep.push(2); throw new Error('no'); }), /no/);
  assert.deepEqual(await b.get('o'), { deep: [1] });
  assert.equal(await b.update('o', () => undefined), undefined);
  assert.equal(await session().get('o'), undefined);
  assert.equal(await session().get('constructor'), undefined);
  await assert.rejects(session().update('n', (n) => session().set('n', n + 1)), { code: 'conflict', status: 409 });

  await assert.rejects(session().elevate(2), { code: 'anonymous', status: 409 });
  await assert.rejects(session().set('big', 'x'.repeat(70_000)), { code: 'too_large', status: 413 });
  await assert.rejects(session().login(''), { code: 'invalid_request' });

  // A session that ended while the request went on stays ended.
  const late = new Session(client, { cookie, method: 'POST' });
  await late.load();
  await session().logout();
  await assert.rejects(late.set('n', 5), { code: 'ended', status: 409 });
  await assert.rejects(late.update('n', () => 5), { code: 'ended' });
  assert.equal(await session().load(), null);
  assert.equal(await session().why(), 'logout');
});

test('an update beside other calls of its request', async (t) => {
  const { client } = await startServer(t);
  const visitor = new Session(client, { method: 'POST' });
  await Promise.all(Array.from({ length: 5 }, () => visitor.update('n', (n = 0) => n + 1)));
  assert.equal(await visitor.get('n'), 5);

  // What belonged to a session that has ended doesn't come into the next one.
  for (const end of ['logout', 'regenerate']) {
    const { token } = await client.create({ subject: 'ada', values: { list: ['of ada'] } });
    const s = new Session(client, { cookie: `__Host-shop-session=${token}`, method: 'POST' });
    const got = [];
    await s.update('list', async (list = []) => {
      got.push(list);
      if (got.length === 1) await s[end]();
      return [...list, 'new'];
    });
    assert.deepEqual([got, await s.get('list')], [[['of ada'], []], ['new']], end);
  }
});

test('the calls of operators', async (t) => {
  const { client } = await startServer(t);
  const { session } = await client.create({ subject: 'ada', values: { a: 1 } });
  await client.create({ subject: 'ada' });
  await client.create({}, { idempotencyKey: 'one' });
  await client.create({}, { idempotencyKey: 'one' });
  assert.deepEqual(await client.stats(), { sessions: 3, logged_in: 2, anonymous: 1 });
  const first = await client.list({ subject: 'ada', limit: 1 });
  const second = await client.list({ subject: 'ada', limit: 1, cursor: first.next_cursor });
  assert.notEqual(first.sessions[0].id, second.sessions[0].id);
  const found = await client.search({ subject_prefix: 'ad', logged_in: true });
  assert.equal(found.sessions.length, 2);
  assert.equal(found.share, 1);
  assert.deepEqual((await client.get(session.id)).values, { a: 1 });
  assert.deepEqual((await client.patchValues(session.id, { b: 2, a: null }, 1)).values, { b: 2 });
  await assert.rejects(client.patchValues(session.id, { b: 3 }, 1), { code: 'revision_mismatch', status: 412 });
  assert.deepEqual((await client.patchValues(session.id, { b: 4 })).values, { b: 4 });
  assert.deepEqual((await client.replaceValues(session.id, { c: { d: null } })).values, { c: { d: null } });
  assert.deepEqual((await client.setValue(session.id, 'a b', 0)).values, { 'a b': 0, c: { d: null } });
  assert.equal((await client.touch(session.id)).values, undefined);
  assert.equal((await client.list({ values: true, subject: 'ada' })).sessions[0].values['a b'], 0);
  assert.deepEqual(await client.endSubject('ada', { except: session.id }), { ended: 1 });
  assert.equal((await client.list({ subject: 'ada', ended: true })).ended[0].reason, 'revoked');
  for (const nobody of [undefined, null, 42]) await assert.rejects(client.endSubject(nobody), TypeError);
  assert.equal(await client.end(session.id), undefined);
  await assert.rejects(client.get(session.id), { code: 'session_not_found', status: 404 });
  await assert.rejects(client.get('../stats'), { code: 'session_not_found' });
  await client.endAll();

  const kinds = [];
  for await (const event of client.events({ last: 100, follow: false })) kinds.push(event.kind);
  assert.ok(kinds.includes('created') && kinds.includes('ended_all'), kinds.join());
  const stop = new AbortController();
  const live = [];
  for await (const event of client.events({ signal: stop.signal, last: 1 })) {
    live.push(event.kind);
    if (event.kind === 'ended_all') await client.create({});
    if (event.kind === 'created') stop.abort();
  }
  assert.deepEqual(live, ['ended_all', 'created']);
});
