// An application on express-session with connect-redis moves to the server, and
// back, while its users go on.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { RedisStore } from 'connect-redis';
import express from 'express';
import session from 'express-session';
import { createClient } from 'redis';
import { backToExpressSession, fromExpressSession, load } from '../src/adopt.js';
import { sojournStore } from '../src/express-session.js';
import { sessions } from '../src/express.js';
import { Browser, counted, listen, startServer } from './harness.js';

const secret = ['the newer secret', 'the older secret'];

// Starts a Redis with a client. Both end with the test.
async function startRedis(t) {
  const dir = await mkdtemp(join(tmpdir(), 'sojourn-redis-'));
  const path = join(dir, 'socket');
  const server = spawn('redis-server', ['--port', '0', '--unixsocket', path, '--save', '', '--dir', dir], { stdio: 'ignore' });
  const redis = createClient({ socket: { path, reconnectStrategy: 50 }, disableOfflineQueue: false });
  redis.on('error', () => {}); // until it listens, and after it has ended
  await redis.connect();
  t.after(async () => {
    redis.destroy();
    server.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  });
  return { redis, stop: () => server.kill('SIGSTOP'), go: () => server.kill('SIGCONT') };
}

// The application before it moves.
function oldApp(store, before = (req, res, next) => next()) {
  const app = express();
  app.set('env', 'production');
  app.use(before);
  app.use(session({ store, secret, resave: false, saveUninitialized: false, cookie: { maxAge: 3_600_000 } }));
  app.get('/who', (req, res) => res.json({ user: req.session.user ?? null, cart: req.session.cart ?? [] }));
  app.post('/login', (req, res, next) => {
    const { cart } = req.session;
    req.session.regenerate((error) => {
      if (error) return next(error);
      Object.assign(req.session, { user: req.query.user, cart });
      res.end();
    });
  });
  app.post('/add', (req, res) => { (req.session.cart ??= []).push(req.query.sku); res.end(); });
  app.post('/logout', (req, res, next) => req.session.destroy((error) => (error ? next(error) : res.end())));
  return app;
}

// The same application on the server.
function newApp(client, adopt) {
  const app = express();
  app.set('env', 'production');
  app.use(sessions(client, { adopt }));
  app.get('/who', async (req, res) => res.json({ user: (await req.session.subject()) ?? null, cart: (await req.session.get('cart')) ?? [] }));
  app.post('/login', async (req, res) => { await req.session.login(req.query.user); res.end(); });
  app.post('/add', async (req, res) => { await req.session.update('cart', (cart = []) => [...cart, req.query.sku]); res.end(); });
  app.post('/logout', async (req, res) => { await req.session.logout(); res.end(); });
  app.post('/set', async (req, res) => { await req.session.set('seen', 1); res.end(); });
  app.use((error, req, res, next) => res.status(error.status ?? 500).send(error.code));
  return app;
}

const kept = { subject: (old) => old.user, values: (old) => (old.cart ? { cart: old.cart } : {}), login: () => ({ remember: true, amr: ['pwd'] }) };
const put = (old, { subject, values }) => { old.user = subject || undefined; old.cart = values.cart; };

test('a hundred signed-in users move, and move back', async (t) => {
  const { client } = await startServer(t);
  const { redis } = await startRedis(t);
  const store = new RedisStore({ client: redis });
  const before = await listen(t, createServer(oldApp(store)));
  const after = await listen(t, createServer(newApp(client, fromExpressSession({ store, secret, ...kept }))));
  const back = await listen(t, createServer(oldApp(store, backToExpressSession(client, { store, secret, put, cookie: { maxAge: 3_600_000 } }))));

  const users = Array.from({ length: 100 }, (_, i) => ({ name: `user-${i}`, browser: new Browser(before), cart: [] }));
  let n = 0;
  const each = (f) => Promise.all(users.map(f));
  const add = async (user) => {
    const sku = `sku-${n++}`;
    await user.browser.ok('POST', `/add?sku=${sku}`);
    user.cart.push(sku);
  };
  // Three requests that read at once, and one that writes.
  const check = async (user) => {
    const tabs = [user.browser, user.browser.tab(), user.browser.tab()];
    for (const answer of await Promise.all(tabs.map((tab) => tab.ok('GET', '/who')))) assert.deepEqual(answer.json(), { user: user.name, cart: user.cart });
    await add(user);
  };
  await each(async (user) => { await add(user); await user.browser.ok('POST', `/login?user=${user.name}`); await check(user); });

  // The deployment comes while each browser is somewhere in its requests.
  for (const site of [after, back, after]) {
    await each(async (user, i) => {
      for (let round = 0; round < 2; round++) {
        if (round === i % 2) user.browser.site = site;
        await check(user);
      }
    });
    const names = new Set(users.flatMap((user) => [...user.browser.cookies.keys()]));
    assert.deepEqual([...names], [site === after ? '__Host-shop-session' : 'connect.sid']);
  }
  assert.equal((await client.list({ limit: 1000 })).sessions.length, 100);
  assert.equal((await client.list({ subject: 'user-7' })).sessions[0].remembered, true);

  // A logout is final, on either side.
  const [first, second] = users;
  const replay = first.browser.tab();
  await first.browser.ok('POST', '/logout');
  assert.equal((await replay.ok('GET', '/who')).json().user, null);
  replay.site = back;
  assert.equal((await replay.ok('GET', '/who')).json().user, null);
  const stolen = second.browser.tab();
  stolen.site = second.browser.site = back;
  await second.browser.ok('GET', '/who');
  await second.browser.ok('POST', '/logout');
  assert.equal((await stolen.ok('GET', '/who')).json().user, null);
});

test('a session goes back to a browser that has an invalid cookie of express-session', async (t) => {
  const { client } = await startServer(t);
  const store = new session.MemoryStore();
  const back = await listen(t, createServer(oldApp(store, backToExpressSession(client, { store, secret, put }))));
  const { token } = await client.login({ cookie: '', subject: 'ada' });
  const browser = new Browser(back);
  browser.cookies.set('connect.sid', 's%3Aof-another-secret.AAAA').set('__Host-shop-session', token);
  await browser.ok('POST', '/add?sku=tent');
  assert.deepEqual((await browser.ok('GET', '/who')).json(), { user: 'ada', cart: ['tent'] });
});

test('what an adoption takes, and what it refuses', async (t) => {
  const server = await startServer(t);
  const { client, calls } = counted(server.client);
  const { redis, stop, go } = await startRedis(t);
  const store = new RedisStore({ client: redis });
  const before = await listen(t, createServer(oldApp(store)));
  const ended = [];
  const after = await listen(t, createServer(newApp(client, fromExpressSession({ store, secret, ...kept, end: (sid) => { ended.push(sid); throw new Error('ignored'); } }))));
  const signedIn = async (user) => {
    const b = new Browser(before);
    await b.ok('POST', '/add?sku=tent');
    await b.ok('POST', `/login?user=${user}`);
    return b;
  };
  const who = async (b, site = after) => { b.site = site; return (await b.ok('GET', '/who')).json(); };

  // A first request that writes keeps what there was; so does a login.
  const writes = await signedIn('ada');
  writes.site = after;
  await writes.ok('POST', '/set');
  assert.deepEqual(await who(writes), { user: 'ada', cart: ['tent'] });
  assert.equal(ended.length, 1);
  const visitor = new Browser(before);
  await visitor.ok('POST', '/add?sku=lamp');
  visitor.site = after;
  await visitor.ok('POST', '/login?user=ben');
  assert.deepEqual(await who(visitor), { user: 'ben', cart: ['lamp'] });

  // Many requests at once, on two nodes, with the older secret.
  const node = await listen(t, createServer(newApp(client, fromExpressSession({ store, secret: secret.toReversed(), ...kept }))));
  const many = await signedIn('eve');
  const old = many.tab();
  await Promise.all(Array.from({ length: 24 }, (_, i) => who(many.tab(), i % 2 ? after : node).then((answer) => assert.equal(answer.user, 'eve'))));
  assert.equal((await client.list({ subject: 'eve' })).sessions.length, 1);
  await who(many);
  assert.deepEqual([...many.cookies.keys()], ['__Host-shop-session']);
  many.site = after;
  await many.ok('POST', '/logout');
  assert.deepEqual(await who(old), { user: null, cart: [] });
  assert.equal(old.cookies.size, 0);

  // A browser that comes with a logout is logged out.
  const leaving = await signedIn('joe');
  const left = leaving.tab();
  leaving.site = after;
  await leaving.ok('POST', '/logout');
  assert.equal((await who(left)).user, null);

  // Forged, truncated, of an ended session, of another name.
  const good = (await signedIn('kim')).cookies.get('connect.sid');
  const dead = await signedIn('lea');
  const gone = dead.cookies.get('connect.sid');
  await dead.ok('POST', '/logout');
  for (const name in calls) delete calls[name];
  for (const [name, value] of [['connect.sid', good.slice(0, -2)], ['connect.sid', good.replace('s%3A', '')], ['connect.sid', good.replace(/.\./, (end) => (end[0] === 'x' ? 'y.' : 'x.'))], ['connect.sid', '%'],
    ['connect.sid', 's%3Aguessed-guessed-guessed.'], ['connect.sid', ''], ['connect.sid', gone], ['other.sid', good]]) {
    const b = new Browser(after);
    b.cookies.set(name, value);
    assert.equal((await who(b)).user, null, value);
  }
  assert.deepEqual(calls, { resolve: 8 });

  // The old store is away: that is nobody's sign-out.
  const waits = await signedIn('max');
  waits.site = after;
  stop();
  const answer = await waits.get('/who');
  assert.deepEqual([answer.status, answer.text], [503, 'unavailable']);
  go();
  assert.equal((await who(waits)).user, 'max');
});

test('the problem of an old store tells why, in its cause', async () => {
  const refused = Object.assign(new Error('NOAUTH Authentication required.'), { command: { args: ['the password'] } });
  await assert.rejects(load({ get: (sid, done) => done(refused) }, 'sid'), (problem) => {
    assert.equal(problem.status, 503);
    assert.ok(!problem.stack.includes('NOAUTH')); // Express shows the stack in development, and Fastify the message
    assert.equal(problem.cause.message, refused.message);
    assert.ok(!inspect(problem).includes('the password'));
    return true;
  });
});

test('an object is no subject', async (t) => {
  const { client } = await startServer(t);
  const was = { cookie: {}, passport: { user: { id: 7 } } };
  const subject = ({ passport }) => passport.user;
  const sid = 'sixteen-bytes-or-more';
  const signature = createHmac('sha256', 's').update(sid).digest('base64').replace(/=+$/, '');
  const old = fromExpressSession({ store: { get: (_, done) => done(null, was) }, secret: 's', subject }).present(`connect.sid=s:${sid}.${signature}`);
  await assert.rejects(old.read(), /subject must return/);
  await assert.rejects(sojournStore(session, client, { subject }).set(sid, was), /subject must return/);
  assert.equal((await client.list()).sessions.length, 0);
});

test('a logout is final for an old cookie beside a session of the server', async (t) => {
  const { client } = await startServer(t);
  const store = new session.MemoryStore();
  const before = await listen(t, createServer(oldApp(store)));
  for (const keep of [false, true]) {
    const after = await listen(t, createServer(newApp(client, fromExpressSession({ store, secret, ...kept, keep }))));
    const b = new Browser(after);
    await b.ok('POST', '/login?user=ada');
    b.site = before; // an instance that has not moved yet
    await b.ok('POST', '/login?user=ada');
    b.site = after;
    const tab = b.tab();
    tab.cookies.delete('__Host-shop-session');
    await b.ok('POST', '/logout');
    assert.equal(b.cookies.size, 0);
    assert.equal((await tab.ok('GET', '/who')).json().user, null, `keep: ${keep}`);
    assert.equal((await client.list()).sessions.length, 0);
  }
});

test('the old cookie is kept until the logout', async (t) => {
  const { client } = await startServer(t);
  const { redis } = await startRedis(t);
  const store = new RedisStore({ client: redis });
  const before = await listen(t, createServer(oldApp(store)));
  const after = await listen(t, createServer(newApp(client, fromExpressSession({ store, secret, ...kept, keep: true, end: (sid) => redis.del(`sess:${sid}`) }))));
  const b = new Browser(before);
  await b.ok('POST', '/login?user=ada');
  for (const site of [after, before, after]) {
    b.site = site;
    assert.equal((await b.ok('GET', '/who')).json().user, 'ada');
    assert.ok(b.cookies.has('connect.sid'));
  }
  const tab = b.tab();
  await b.ok('POST', '/logout');
  assert.equal(b.cookies.size, 0);
  for (const site of [after, before]) {
    tab.site = site;
    assert.equal((await tab.ok('GET', '/who')).json().user, null);
  }
});
