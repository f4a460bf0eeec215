// Bound sessions: the package passes proofs on, and tells the browser what the
// server wants of it.
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { test } from 'node:test';
import { frameworks } from './frameworks.js';
import { Browser, counted, startServer } from './harness.js';

const session = '__Host-shop-session';
const base64 = (text) => Buffer.from(text).toString('base64url');

// A browser with Device Bound Session Credentials. It asks the server's internal
// listener for the pages of the site, as a proxy does.
class Keeper extends Browser {
  constructor(site, internal) {
    super(site);
    this.internal = internal;
    this.key = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  }

  jwt(challenge, header = {}) {
    const signed = `${base64(JSON.stringify({ alg: 'ES256', typ: 'dbsc+jwt', ...header }))}.${base64(JSON.stringify({ jti: challenge }))}`;
    return `${signed}.${sign('sha256', Buffer.from(signed), { key: this.key.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  }

  // Sends what the browser itself sends, and no script: fetch would say so.
  async ask(path, headers) {
    const cookie = [...this.cookies].map((pair) => pair.join('=')).join('; ');
    const sent = request(this.internal + path.replace('/session/', '/pages/shop/'), { method: 'POST', headers: { Cookie: cookie, 'Sec-Fetch-Site': 'same-origin', 'Sec-Fetch-Mode': 'no-cors', ...headers } });
    sent.end();
    const [answer] = await once(sent, 'response');
    let text = '';
    for await (const chunk of answer.setEncoding('utf8')) text += chunk;
    for (const line of answer.headers['set-cookie'] ?? []) this.cookies.set(...line.split(';', 1)[0].split('='));
    return { status: answer.statusCode, headers: new Headers(Object.entries(answer.headers).map(([name, value]) => [name, String(value)])), text, json: () => JSON.parse(text) };
  }

  async register(answer) {
    const [, path, challenge] = /path="([^"]+)";challenge="([^"]+)"/.exec(answer.headers.get('secure-session-registration'));
    const { kty, crv, x, y } = this.key.publicKey.export({ format: 'jwk' });
    const registered = await this.ask(path, { 'Secure-Session-Response': this.jwt(challenge, { jwk: { kty, crv, x, y } }) });
    assert.equal(registered.status, 200, registered.text);
    this.instructions = registered.json();
  }

  async refresh(answer) {
    const headers = { 'Sec-Secure-Session-Id': this.instructions.session_identifier };
    answer ??= await this.ask(this.instructions.refresh_url, headers);
    const [, challenge] = /^"([^"]+)"/.exec(answer.headers.get('secure-session-challenge'));
    const refreshed = await this.ask(this.instructions.refresh_url, { ...headers, 'Secure-Session-Response': this.jwt(challenge) });
    assert.equal(refreshed.status, 200, refreshed.text);
    assert.equal(this.cookies.get(this.proof).length, 43);
  }

  get proof() { return this.instructions.credentials[0].name; }

  // The cookies without the proof, as a thief has them after a while.
  thief() {
    const thief = this.tab();
    thief.cookies.delete(this.proof);
    return thief;
  }
}

for (const [name, start] of Object.entries(frameworks)) {
  test(name, async (t) => {
    const server = await startServer(t, { policy: '    pages: {path: /session/}\n    bound: {grace: 1s}\n' });
    const { client, calls } = counted(server.client);
    const site = await start(t, client);
    const b = new Keeper(site, server.internal);

    assert.equal((await b.get('/vault')).status, 401);
    const login = await b.ok('POST', '/login?user=ada');
    assert.match(login.headers.get('cache-control'), /^no-store$/);
    assert.deepEqual([...b.cookies.keys()], [session]);
    let answer = await b.get('/vault');
    assert.deepEqual([answer.status, answer.headers.get('location')], [403, null]);
    assert.equal((await b.ok('GET', '/show')).json().bound, false);
    assert.equal((await b.get('/careful')).status, 403);

    await b.register(login);
    await b.refresh();
    assert.equal((await b.ok('GET', '/vault')).json(), 'ada');
    assert.equal((await b.ok('GET', '/show')).json().bound, true);
    assert.deepEqual((await b.ok('POST', '/add?sku=tent')).json(), ['tent']);

    // In one request a new token, and a change by it.
    assert.equal((await b.ok('POST', '/elevate')).json(), 2);
    for (const name in calls) delete calls[name];
    assert.equal((await b.ok('GET', '/careful')).json(), 'ada');
    assert.deepEqual(calls, { resolve: 2 });
    assert.deepEqual((await b.ok('POST', '/login-and-add?user=ada&sku=lamp')).json(), ['tent', 'lamp']);
    assert.equal((await b.ok('GET', '/vault')).json(), 'ada');

    // Without a proof a request is a visitor's, once the grace is over.
    const thief = b.thief();
    for (;;) {
      answer = await thief.ok('GET', '/show');
      if (!answer.json().id) break;
    }
    assert.deepEqual(answer.json(), { why: 'unproven' });
    const challenged = (answer) => {
      assert.match(answer.headers.get('secure-session-challenge'), /^"[\w-]+";id="[0-9a-f-]{36}"$/);
      assert.equal(answer.headers.get('cache-control'), 'no-store');
      return answer;
    };
    challenged(answer);
    assert.equal(challenged(await thief.get('/vault')).status, 401);
    for (const path of ['/add?sku=stolen', '/elevate', '/again', '/set?a=b']) {
      answer = challenged(await thief.post(path));
      assert.equal(answer.status, 401, `${path}: ${answer.text}`);
      assert.doesNotMatch(answer.text, /another site|no longer/);
    }
    assert.deepEqual([...thief.cookies.keys()], [session]);
    await b.refresh(challenged(await thief.get('/show')));
    assert.deepEqual((await b.ok('GET', '/show')).json().values, { cart: ['tent', 'lamp'] });

    // A proof of another browser, many of them, and garbage.
    for (const value of ['x', '', 'A'.repeat(43), createHash('sha256').update('x').digest('base64url')]) {
      thief.cookies.set(b.proof, value);
      assert.deepEqual((await thief.ok('GET', '/show')).json(), { why: 'unproven' });
    }
    for (let i = 0; i < 20; i++) thief.cookies.set(`__Host-shop-session-bound-${String(i).padStart(8, '0')}`, 'A'.repeat(43));
    assert.deepEqual((await thief.ok('GET', '/show')).json(), { why: 'unproven' });

    // A sign-out needs no proof, and takes the browser's with it.
    await b.ok('POST', '/logout');
    assert.equal(b.cookies.size, 0);
  });
}
