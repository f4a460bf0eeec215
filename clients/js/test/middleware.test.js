import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { connect } from 'node:http2';
import { test } from 'node:test';
import { Sojourn } from '../src/index.js';
import { withSession } from '../src/node.js';
import { frameworks, http2 } from './frameworks.js';
import { Browser, counted, listen, startServer } from './harness.js';

const session = '__Host-shop-session';
const visitor = '__Host-shop-visitor';

for (const [name, start] of Object.entries(frameworks)) {
  test(name, async (t) => {
    const server = await startServer(t);
    const { client, calls } = counted(server.client);
    const site = await start(t, client);
    const called = (want) => { assert.deepEqual(calls, want); for (const name in calls) delete calls[name]; };

    await t.test('strangers cost nothing', async () => {
      const b = new Browser(site);
      const page = await b.ok('GET', '/nothing');
      assert.equal(page.headers.get('vary'), null);
      const read = await b.ok('GET', '/show');
      assert.match(read.headers.get('vary'), /Cookie/);
      assert.deepEqual(read.json(), { why: null });
      called({});
      b.cookies.set('theme', 'dark');
      await b.ok('GET', '/nothing');
      await b.ok('GET', '/show');
      called({ resolve: 1 });
      assert.equal(b.cookies.size, 1);
    });

    await t.test('a cart, a login, a logout', async () => {
      const b = new Browser(site);
      assert.deepEqual((await b.ok('POST', '/add?sku=tent')).json(), ['tent']);
      called({ update: 1 });
      assert.deepEqual([...b.cookies.keys()], [visitor]);
      assert.deepEqual((await b.ok('GET', '/thrice')).json(), [['tent'], ['tent'], null]);
      called({ resolve: 1 });

      const stranger = b.tab();
      assert.deepEqual((await b.ok('POST', '/login?user=ada')).json(), ['tent']);
      called({ login: 1 });
      assert.deepEqual([...b.cookies.keys()], [session]);
      assert.deepEqual((await stranger.ok('GET', '/show')).json(), { why: 'superseded' });
      assert.equal((await b.ok('POST', '/elevate')).json(), 2);

      const shown = (await b.ok('GET', '/show', { headers: { 'X-Forwarded-For': '203.0.113.7' } })).json();
      assert.equal(shown.subject, 'ada');
      assert.equal(shown.client.user_agent, 'test browser');

      const before = b.tab();
      assert.equal((await b.ok('POST', '/logout')).json(), null);
      assert.equal(b.cookies.size, 0);
      assert.deepEqual((await before.ok('GET', '/show')).json(), { why: 'logout' });
      assert.equal((await before.post('/add?sku=late')).status, 409);
      assert.equal((await b.ok('POST', '/logout')).json(), null);
    });

    await t.test('the address of the browser', async () => {
      const b = new Browser(site);
      const headers = { 'X-Forwarded-For': '203.0.113.9' };
      await b.ok('POST', '/login?user=eve', { headers });
      const { client: seen } = (await b.ok('GET', '/show', { headers })).json();
      assert.equal(seen.ip, name === 'node:http' ? '127.0.0.1' : '203.0.113.9');
      // Some proxies add the port, and a visitor can send anything to those that add to the header.
      for (const [sent, want] of [['203.0.113.9:4711', '203.0.113.9'], ['[2001:db8::7]:4711', '2001:db8::7'], ['unknown', undefined]]) {
        const visitor = new Browser(site);
        await visitor.ok('POST', '/login?user=eve', { headers: { 'X-Forwarded-For': sent } });
        const { client } = (await visitor.ok('GET', '/show', { headers: { 'X-Forwarded-For': sent } })).json();
        assert.equal(client.ip, name === 'node:http' ? '127.0.0.1' : want);
      }
    });

    await t.test('values', async () => {
      const b = new Browser(site);
      await b.ok('POST', '/set?a=1&b=2&__proto__=3');
      await b.ok('POST', '/remove?key=a');
      assert.deepEqual(Object.entries((await b.ok('GET', '/show')).json().values).sort(), [['__proto__', '3'], ['b', '2']]);
      const other = new Browser(site);
      assert.deepEqual((await other.ok('POST', '/two')).json(), [1, 2]);
      assert.deepEqual((await other.ok('GET', '/show')).json().values, { a: 1, b: 2 });
      await new Browser(site).ok('POST', '/remove?key=a');
    });

    await t.test('a new session in place of the old one', async () => {
      const b = new Browser(site);
      await b.ok('POST', '/set?secret=1');
      await b.ok('POST', '/add?sku=tent');
      await b.ok('POST', '/login?user=ada');
      const before = b.tab();
      const { id } = (await b.ok('GET', '/show')).json();
      const fresh = (await b.ok('POST', '/again')).json();
      assert.notEqual(fresh.id, id);
      assert.equal(fresh.subject, '');
      assert.deepEqual(fresh.values, { cart: ['tent'], later: true });
      assert.deepEqual((await b.ok('GET', '/show')).json().values, { cart: ['tent'], later: true });
      assert.deepEqual([...b.cookies.keys()], [visitor]);
      assert.deepEqual((await before.ok('GET', '/show')).json(), { why: 'logout' });

      await b.ok('POST', '/login?user=ada');
      const ben = (await b.ok('POST', '/out-and-in')).json();
      assert.equal(ben.subject, 'ben');
      assert.deepEqual(ben.values, { seen: true });
      assert.equal((await b.ok('GET', '/show')).json().id, ben.id);
    });

    await t.test('beside the cookies of the application', async () => {
      for (const [query, cookies] of [['own', 3], ['flat', 3]]) {
        const b = new Browser(site);
        const answer = await b.ok('POST', `/add?sku=tent&${query}`);
        assert.deepEqual([...b.cookies.keys()].sort(), [visitor, 'lang', 'theme'], query);
        assert.equal(answer.headers.getSetCookie().length, cookies);
        assert.equal(answer.headers.get('cache-control'), 'no-store');
        assert.equal(answer.headers.get('expires'), null);
        assert.equal(answer.headers.get('cdn-cache-control'), null);
        assert.match(answer.headers.get('vary'), query === 'own' ? /Accept, Cookie/ : /Cookie/);
        assert.equal((await b.ok('GET', `/show?${query}`)).headers.get('cache-control'), query === 'own' ? 'public, max-age=60' : null);
      }
      const b = new Browser(site);
      await b.ok('POST', '/add?sku=tent');
      await b.ok('POST', '/login?user=ada');
      const out = await b.ok('POST', '/logout?own'); // of four lines, two clear one cookie
      assert.ok(out.headers.getSetCookie().length >= 4, out.headers.getSetCookie().join('\n'));
      assert.deepEqual([...b.cookies.keys()].sort(), ['lang', 'theme']);
    });

    await t.test('parallel requests lose nothing', async () => {
      const b = new Browser(site);
      await b.ok('POST', '/login?user=ada');
      await Promise.all(Array.from({ length: 64 }, () => b.tab().ok('POST', '/count')));
      assert.equal((await b.ok('GET', '/show')).json().values.count, 64);
      await Promise.all(Array.from({ length: 16 }, (_, i) => b.tab().ok('POST', `/set?key${i}=x`)));
      assert.equal(Object.keys((await b.ok('GET', '/show')).json().values).length, 17);
    });

    await t.test('an error keeps what was stored', async (t) => {
      t.mock.method(console, 'error', () => {});
      const b = new Browser(site);
      assert.equal((await b.post('/fail')).status, 500);
      assert.deepEqual((await b.ok('GET', '/thrice')).json()[0], ['kept']);
    });

    await t.test('other sites', async (t) => {
      const b = new Browser(site);
      const host = new URL(site).host;
      for (const [headers, status] of [
        [{ 'Sec-Fetch-Site': 'cross-site', Origin: 'https://elsewhere.example' }, 403],
        [{ 'Sec-Fetch-Site': 'same-site' }, 403],
        [{ Origin: 'https://elsewhere.example' }, 403],
        [{ Origin: 'null' }, 403],
        [{ Origin: `http://${host}` }, 200],
        [{ 'Sec-Fetch-Site': 'same-origin', Origin: 'https://proxied.example' }, 200],
        [{ 'Sec-Fetch-Site': 'none' }, 200],
      ]) {
        assert.equal((await b.post('/add?sku=tent', { headers })).status, status, JSON.stringify(headers));
        assert.equal((await b.get('/show', { headers })).status, 200);
      }
      const open = await start(t, client, { origins: ['https://partner.example'] });
      assert.equal((await new Browser(open).post('/add?sku=tent', { headers: { 'Sec-Fetch-Site': 'cross-site', Origin: 'https://partner.example' } })).status, 200);
      t.mock.method(console, 'error', () => {});
      const text = await start(t, client, { origins: 'https://partner.example.org' }); // would match parts of itself
      assert.equal((await new Browser(text).get('/show')).status, 500);
    });

    await t.test('after the first byte', async () => {
      assert.equal((await new Browser(site).ok('GET', '/late')).text, '"begun"\n"response_begun"');
    });

    await t.test('the server is away', async (t) => {
      t.mock.method(console, 'error', () => {});
      const b = new Browser(site);
      await b.ok('POST', '/login?user=ada');
      await server.stop();
      for (const [method, path] of [['GET', '/show'], ['GET', '/thrice'], ['POST', '/add?sku=x'], ['POST', '/login?user=ben'], ['POST', '/logout']]) {
        const answer = await b.send(method, path);
        assert.equal(answer.status, 503, path);
        assert.ok(!answer.text.includes(server.key) && !/sojourn_/.test(answer.text), answer.text);
      }
      await b.ok('GET', '/nothing');
      await new Browser(site).ok('GET', '/show'); // no cookie, no question
      await server.start(new URL(server.url).port);
      assert.equal((await b.ok('GET', '/show')).json().subject, 'ada');
    });
  });
}

test('a status message that node:http refuses', async (t) => {
  t.mock.method(console, 'error', () => {});
  const handler = (req, res) => { res.statusMessage = 'from\na visitor'; res.end(); };
  const site = await listen(t, createServer(withSession(new Sojourn({ key: 'k' }), handler)));
  const answer = await fetch(site);
  assert.deepEqual([answer.status, answer.statusText], [500, 'Internal Server Error']);
});

test('HTTP/2', async (t) => {
  const server = await startServer(t);
  const site = await http2(t, server.client);
  const connection = connect(site);
  const send = async (headers) => {
    const request = connection.request(headers);
    let answer, text = '';
    request.on('response', (h) => { answer = h; });
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    return { ...answer, text };
  };
  for (const path of ['/add?sku=tent', '/add?sku=tent&own', '/add?sku=tent&flat', '/add?sku=tent&noreason']) {
    const answer = await send({ ':method': 'POST', ':path': path });
    assert.equal(answer[':status'], 200, answer.text);
    assert.equal(answer['set-cookie'].length, path.includes('&') ? 3 : 1);
    assert.equal(answer['cache-control'], 'no-store');
  }
  assert.equal((await send({ ':method': 'POST', ':path': '/add', origin: site }))[':status'], 200);
  assert.equal((await send({ ':method': 'POST', ':path': '/add', origin: 'http://elsewhere' }))[':status'], 403);
  connection.destroy();
});

test('a key that the server refuses', async (t) => {
  const server = await startServer(t);
  const wrong = new Sojourn({ url: server.url, key: 'sojourn_wrong' });
  const site = await frameworks.express(t, wrong);
  const b = new Browser(site);
  b.cookies.set(session, 'x'.repeat(64));
  t.mock.method(console, 'error', () => {});
  const answer = await b.get('/show');
  assert.equal(answer.status, 500);
  assert.ok(!answer.text.includes('sojourn_wrong'));
});
