import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { promisify } from 'node:util';
import express from 'express';
import session from 'express-session';
import { sojournStore } from '../src/express-session.js';
import { Browser, counted, listen, startServer } from './harness.js';

// A shop on express-session, as its users write one.
async function shop(t, client, options = {}) {
  const store = options.store ?? sojournStore(session, client, { subject: (s) => s.user });
  const app = express();
  app.set('env', 'production');
  app.set('trust proxy', 'loopback');
  app.use(session({ store, secret: ['new', 'old'], resave: false, saveUninitialized: false }));
  app.get('/show', (req, res) => res.json({ ...req.session, id: req.session.id }));
  app.post('/set', (req, res) => { Object.assign(req.session, req.query); res.end(); });
  app.post('/remove', (req, res) => { delete req.session[req.query.key]; res.end(); });
  app.post('/slow', async (req, res) => {
    req.session.slow = true;
    await app.locals.wait(req);
    req.session.save((error) => res.status(error?.status ?? 200).send(error?.code));
  });
  app.post('/login', (req, res, next) => {
    const { cart } = req.session;
    req.session.regenerate((error) => {
      if (error) return next(error);
      Object.assign(req.session, { user: req.query.user, cart });
      res.end();
    });
  });
  app.post('/logout', (req, res, next) => req.session.destroy((error) => (error ? next(error) : res.end())));
  app.post('/reload', (req, res, next) => { req.session.lost = 1; req.session.reload((error) => (error ? next(error) : res.json(req.session))); });
  app.use((error, req, res, next) => { if (!res.headersSent) res.status(error.status ?? 500).send(error.code); });
  app.locals.store = store;
  return { app, store, site: await listen(t, createServer(app)) };
}

test('an application on express-session', async (t) => {
  const server = await startServer(t);
  const { client, calls } = counted(server.client);
  const { app, site } = await shop(t, client);
  const called = (want) => { assert.deepEqual(calls, want); for (const name in calls) delete calls[name]; };

  const b = new Browser(site);
  await b.ok('GET', '/show');
  called({});
  await b.ok('POST', '/set?cart=tent&theme=dark');
  called({ keyedSet: 1 });
  const shown = (await b.ok('GET', '/show')).json();
  called({ keyedGet: 1, keyedTouch: 1 });
  assert.deepEqual([shown.cart, shown.theme], ['tent', 'dark']);

  // Parallel requests that change different members.
  await Promise.all(Array.from({ length: 16 }, (_, i) => b.tab().ok('POST', `/set?key${i}=${i}`)));
  await b.ok('POST', '/remove?key=theme');
  const all = (await b.ok('GET', '/show')).json();
  assert.equal(Object.keys(all).filter((key) => key.startsWith('key')).length, 16);
  assert.equal(all.theme, undefined);
  assert.equal((await b.ok('POST', '/reload')).json().lost, undefined);

  // A login gets another session, and operators know it.
  const before = b.tab();
  await b.ok('POST', '/login?user=ada', { headers: { 'X-Forwarded-For': '203.0.113.7' } });
  const ada = (await b.ok('GET', '/show', { headers: { 'X-Forwarded-For': '203.0.113.7' } })).json();
  assert.deepEqual([ada.user, ada.cart], ['ada', 'tent']);
  assert.notEqual(ada.id, all.id);
  assert.equal((await before.ok('GET', '/show')).json().cart, undefined);
  const { sessions } = await client.list({ subject: 'ada' });
  assert.equal(sessions.length, 1);
  assert.equal(sessions[0].client.ip, '203.0.113.7');
  await client.endSubject('ada');
  assert.equal((await b.ok('GET', '/show')).json().user, undefined);

  // A request that is under way when the session is destroyed does not bring it
  // back, and learns that.
  await b.ok('POST', '/login?user=ben');
  let go;
  const waiting = new Promise((arrived) => { app.locals.wait = () => new Promise((resume) => { go = resume; arrived(); }); });
  const slow = b.tab().post('/slow');
  await waiting;
  const late = b.tab();
  await b.ok('POST', '/logout');
  go();
  assert.deepEqual([(await slow).status, (await slow).text], [409, 'ended']);
  assert.equal((await late.ok('GET', '/show')).json().user, undefined);
  assert.deepEqual((await client.list({ subject: 'ben' })).sessions, []);

  await b.ok('POST', '/login?user=eve');
  await server.stop();
  const away = await b.get('/show');
  assert.deepEqual([away.status, away.text], [503, 'unavailable']);
});

test('the store alone', async (t) => {
  const { client } = await startServer(t);
  const store = sojournStore(session, client);
  const call = (name, ...args) => promisify(store[name]).apply(store, args);
  const sid = 'a session of the application 1';
  const data = { cookie: { originalMaxAge: null, expires: null }, list: [1, { two: null }], empty: '' };
  assert.equal(await call('get', sid), null);
  await call('set', sid, data);
  assert.deepEqual(await call('get', sid), data);
  assert.deepEqual(await store.get(sid), data, 'without a callback');
  await call('set', sid, { cookie: data.cookie, other: 1 });
  assert.deepEqual(await call('get', sid), { cookie: data.cookie, other: 1 });

  // Two that read, and change different members.
  const [one, two] = [await call('get', sid), await call('get', sid)];
  one.a = 1;
  two.b = 2;
  delete two.other;
  await call('set', sid, one);
  await call('set', sid, two);
  assert.deepEqual(await call('get', sid), { cookie: data.cookie, a: 1, b: 2 });
  one.a = 3;
  await call('set', sid, one);
  assert.deepEqual(await call('get', sid), { cookie: data.cookie, a: 3, b: 2 });

  await client.create({ values: { not: 'of this store' } });
  await call('set', `${sid}0`, data);
  assert.deepEqual((await call('all')).length, 2);
  assert.equal(await call('length'), 3);
  await call('destroy', sid);
  await call('destroy', sid);
  assert.equal(await call('get', sid), null);
  await call('touch', sid, one);
  for (const late of [one, { cookie: data.cookie }]) await assert.rejects(call('set', sid, late), { code: 'ended', status: 409 });
  assert.equal(await call('get', sid), null);
  await call('clear');
  assert.deepEqual(await call('all'), []);
  await assert.rejects(call('set', 'short', data), { code: 'invalid_request' });

  // The cookie's maxAge is the session's idle limit.
  const left = async (key) => new Date((await client.keyedGet({ key })).session.idle_expires_at) - Date.now();
  const near = (ms, want) => assert.ok(ms <= want && ms > want - 60_000, `${ms} ms, want ${want}`);
  await new Promise((wake) => setTimeout(wake, 5)); // clear ended what was created in its millisecond
  const short = { cookie: { originalMaxAge: 600_000, expires: new Date(Date.now() + 600_000) } };
  await call('set', `${sid}1`, short);
  near(await left(`${sid}1`), 600_000);
  await call('touch', `${sid}1`, { cookie: { originalMaxAge: 1_200_000 } });
  near(await left(`${sid}1`), 1_200_000);
  near(new Date((await call('get', `${sid}1`)).cookie.expires) - Date.now(), 1_200_000);
  await call('set', `${sid}1`, { cookie: { originalMaxAge: 1, expires: new Date(Date.now() - 1000) } });
  assert.equal(await call('get', `${sid}1`), null);
});

test('a save that does not wait for the one before', async (t) => {
  const { client } = await startServer(t);
  const store = sojournStore(session, client);
  const sid = 'a session of the application 1';
  await store.set(sid, { cookie: {}, busy: false });
  const one = await store.get(sid);
  const saves = [true, false].map((busy) => store.set(sid, Object.assign(one, { busy })));
  await Promise.all(saves);
  assert.equal((await store.get(sid)).busy, false);
});

test('sessions of the store before', async (t) => {
  const { client } = await startServer(t);
  const before = new session.MemoryStore();
  const first = await shop(t, client, { store: before });
  const b = new Browser(first.site);
  await b.ok('POST', '/login?user=ada');
  await b.ok('POST', '/set?cart=tent');
  const tabs = Array.from({ length: 8 }, () => b.tab());

  const { site } = await shop(t, client, { store: sojournStore(session, client, { subject: (s) => s.user, old: before }) });
  for (const tab of [b, ...tabs]) tab.site = site;
  await Promise.all(tabs.map((tab, i) => tab.ok('POST', `/set?key${i}=x`)));
  const { user, cart, ...rest } = (await b.ok('GET', '/show')).json();
  assert.deepEqual([user, cart], ['ada', 'tent']);
  assert.equal(Object.keys(rest).filter((key) => key.startsWith('key')).length, 8);
  assert.equal((await client.list({ subject: 'ada' })).sessions.length, 1);
  await b.ok('POST', '/logout');
  assert.equal((await tabs[0].ok('GET', '/show')).json().user, undefined);

  // A store that never answers.
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const silent = sojournStore(session, client, { old: { get: (sid, callback) => callback(), destroy: () => setImmediate(() => t.mock.timers.tick(5000)) } });
  await silent.set('a session that is destroyed', { cookie: {} });
  await assert.rejects(silent.destroy('a session that is destroyed'), { code: 'unavailable', status: 503 });
  t.mock.timers.reset();

  const broken = { get: (sid, callback) => callback(new Error('down')), destroy: (sid, callback) => callback() };
  const down = await shop(t, client, { store: sojournStore(session, client, { old: broken }) });
  const other = new Browser(first.site);
  await other.ok('POST', '/login?user=eve');
  other.site = down.site;
  assert.equal((await other.get('/show')).status, 503);
});
