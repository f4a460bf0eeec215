import { address } from './address.js';
import { Problem } from './problem.js';

const attempts = 50; // of an update, while other requests change the session

// What a session may lack, and the status for the browser.
const unmet = {
  anonymous: [401, 'nobody is signed in'],
  unproven: [401, 'the session is bound to a browser, of which the request has no proof'],
  level: [403, 'that takes a further factor'],
  not_fresh: [403, 'the user has to authenticate again'],
  unbound: [403, 'the session is not bound to its browser'],
};

export class Session {
  #client;
  #request; // of the browser: cookie, safe, client
  #proofs; // cookies of the browser that prove a bound session
  #began = performance.now();
  #begun; // reports whether the response has begun
  #token; // issued in this request
  #signedOff = false; // the session ended in this request
  #passive = false;
  #old; // the session of another library that the browser has
  #moved = false; // it was adopted in this request

  #found; // the session as last read; null: none; undefined: not asked yet
  #why;
  #unmet; // what the session lacked when it was last read
  #failed; // why it could not be read
  #turn = Promise.resolve(); // calls of one request come one after another

  #asked = false;
  #lines = []; // for Set-Cookie
  #headers = {}; // further ones for the browser

  constructor(client, { cookie = '', method = 'GET', ip, userAgent, begun = () => false, adopt }) {
    this.#client = client;
    const from = {};
    const known = address(ip);
    if (known) from.ip = known;
    if (userAgent) from.user_agent = userAgent;
    this.#request = { cookie, safe: method === 'GET' || method === 'HEAD', client: from };
    this.#proofs = [...cookie.matchAll(/-bound-[0-9a-f]{8}=([\w-]{43})(?=;|$)/g)].slice(0, 8).map(([, proof]) => proof);
    this.#begun = begun;
    this.#old = adopt?.present(cookie);
  }

  async load() {
    this.#asked = true;
    if (this.#found !== undefined) return this.#found;
    return this.#inTurn(() => this.#read());
  }

  async get(key) { return valueOf(await this.load(), key); }
  async subject() { return (await this.load())?.subject || undefined; }
  async id() { return (await this.load())?.id; }

  async why() {
    await this.load();
    return this.#why;
  }

  async require({ level, fresh, bound } = {}) {
    return this.#inTurn(async () => {
      this.#asked = true;
      if (this.#found) this.#passive = true; // the request has counted
      const session = await this.#read({ again: true, require: { level, fresh, bound } });
      const lacks = this.#unmet ?? (session?.subject ? undefined : 'anonymous');
      if (lacks) throw new Problem(lacks, ...unmet[lacks]);
    });
  }

  passive() {
    this.#passive = true;
    return this;
  }

  async set(key, value) {
    const set = typeof key === 'object' ? { ...key } : { [key]: value };
    for (const name of Object.keys(set)) {
      if (JSON.stringify(set[name]) === undefined) throw new TypeError(`sojourn: the value of ${name} is ${typeof set[name]}, which JSON does not know: to remove a value, call delete`);
    }
    return this.#inTurn(() => this.#update({ set }));
  }

  async delete(...keys) {
    return this.#inTurn(async () => {
      if (await this.#read()) await this.#update({ delete: keys });
    });
  }

  async update(key, change) {
    this.#asked = true;
    let unlock;
    try {
      for (let attempt = 0; attempt < attempts; attempt++) {
        const session = this.#found ?? await this.#inTurn(() => this.#read());
        const value = await change(structuredClone(valueOf(session, key)));
        const gone = JSON.stringify(value) === undefined;
        if (gone && !session) return undefined;
        const body = gone ? { delete: [key] } : { set: { [key]: value } };
        if (session) body.if_revision = session.revision;
        try {
          // Another call of this request may have begun a session, or ended it.
          const same = await this.#inTurn(async () => {
            if (this.#found !== undefined && this.#found?.id !== session?.id) return false;
            await this.#update(body);
            return true;
          });
          if (!same) continue;
          return value;
        } catch (error) {
          if (error.code !== 'revision_mismatch') throw error;
        }
        // The updates that met a conflict take turns, so each process sends one.
        unlock ??= await lock(session.id);
        if (attempt > 0) await new Promise((wake) => setTimeout(wake, Math.random() * Math.min(2 ** attempt, 100)));
        this.#passive = true; // the request has counted
        await this.#inTurn(() => this.#read({ again: true }));
      }
    } finally {
      unlock?.();
    }
    throw new Problem('conflict', 409, `other requests keep changing ${key}: nothing was changed`);
  }

  async login(subject, options = {}) {
    return this.#inTurn(async () => {
      this.#needsCookie();
      if (this.#old) await this.#read();
      this.#issued(await this.#client.login({ ...this.#presented(), ...options, subject }));
    });
  }

  async elevate(level, options = {}) {
    return this.#inTurn(async () => {
      this.#needsCookie();
      if (this.#old) await this.#read();
      this.#issued(await this.#client.elevate({ ...this.#presented(), ...options, level }));
    });
  }

  async logout() { return this.#inTurn(() => this.#end()); }
  async destroy() { return this.logout(); }

  async regenerate({ keep = [] } = {}) {
    return this.#inTurn(async () => {
      this.#needsCookie();
      const session = await this.#read();
      if (!session) return;
      this.#issued(await this.#client.regenerate({ ...this.#presented(), keep: keep === true ? Object.keys(session.values) : keep }));
    });
  }

  // What follows is called in turn.

  async #read({ again = false, require } = {}) {
    if (this.#failed) throw this.#failed;
    if (this.#found !== undefined && !again) return this.#found;
    this.#unmet = undefined;
    const { cookie } = this.#request;
    if (!this.#token && (!cookie || this.#signedOff)) return this.#found = null;
    const body = this.#presented();
    if (this.#passive) body.passive = true;
    if (require) body.require = require;
    try {
      const answer = this.#old && !this.#token ? await this.#adopt(body) : await this.#client.resolve(body);
      if (answer.session === undefined) throw new Problem('unavailable', 503, 'something that is no session server answers at its address');
      this.#take(answer);
      this.#follow(answer);
      this.#why = answer.why;
      this.#unmet = answer.unmet;
      return this.#found = answer.session;
    } catch (error) {
      this.#found = undefined;
      throw this.#failed = error;
    }
  }

  // Resolves a browser that has an old session too. Values are kept only if that
  // session is adopted before anything changes.
  async #adopt(body) {
    const old = this.#old;
    body.old = old.token;
    let answer = await this.#client.resolve(body);
    const news = answer.why === 'adopt';
    if (news) {
      const adopt = await old.read();
      answer = adopt ? await this.#client.resolve({ ...body, adopt }) : { session: null };
    }
    if (answer.token) this.#token = answer.token;
    if (!old.keep && answer.why !== 'throttled') this.#take({ set_cookie: [old.clear] });
    this.#moved = news && Boolean(answer.session);
    if (!old.keep && this.#moved) await old.end();
    return answer;
  }

  async #update(body) {
    this.#asked = true;
    if (this.#old) await this.#read();
    if (this.#begun()) {
      const session = await this.#read();
      if (session ? session.sealed : body.set) this.#needsCookie();
    }
    if (this.#signedOff && !this.#token) return this.#issued(await this.#client.create({ values: body.set, client: this.#request.client }));
    const answer = await this.#client.update({ ...this.#presented(), ...body });
    this.#take(answer);
    if (answer.token && answer.session.revision === 1) this.#token = answer.token; // of a new session
    this.#follow(answer);
    this.#found = answer.session;
  }

  async #end() {
    this.#asked = true;
    if (this.#old) await this.#read();
    const beside = this.#old && this.#found && !this.#moved;
    if (this.#token || this.#request.cookie && !this.#signedOff) this.#take(await this.#client.logout(this.#presented()));
    this.#headers = {};
    this.#token = undefined;
    this.#signedOff = true;
    this.#found = null;
    this.#failed = undefined;
    const old = this.#old;
    this.#old = undefined;
    if (old?.keep) this.#take({ set_cookie: [old.clear] });
    if (beside) await this.#drop(old);
    if (old?.keep) await old.end();
  }

  // Makes an old session worthless that the browser had beside its session: the
  // server remembers what was adopted.
  async #drop(old) {
    const { client } = this.#request;
    const body = { cookie: '', old: old.token, client };
    let answer = await this.#client.resolve(body);
    const adopt = answer.why === 'adopt' && await old.read();
    if (adopt) answer = await this.#client.resolve({ ...body, adopt });
    if (answer.token) await this.#client.logout({ token: answer.token, client });
    if (adopt && !old.keep) await old.end();
  }

  #presented() {
    const { cookie, safe, client } = this.#request;
    const age = Math.min(Math.ceil(performance.now() - this.#began), 86_400_000);
    if (this.#token) return { token: this.#token, ...this.#proofs.length && { proofs: this.#proofs }, age, client };
    return this.#signedOff ? { age, client } : { cookie, safe, age, client };
  }

  #issued(answer) {
    this.#asked = true;
    this.#headers = {};
    this.#take(answer);
    this.#token = answer.token;
    this.#found = answer.session;
    this.#failed = undefined;
  }

  // Of cookies with the same name the browser keeps the last, so a later answer
  // replaces the lines of an earlier one.
  #take({ set_cookie: lines = [], headers }) {
    Object.assign(this.#headers, headers);
    const names = new Set(lines.map(nameOf));
    this.#lines = [...this.#lines.filter((line) => !names.has(nameOf(line))), ...lines];
  }

  // A sealed session is in its token, so each change makes a new one, and the next
  // call of this request presents that. The token of a stored session may have been
  // rotated; then the browser's cookie stays good, and the next request confirms.
  #follow({ session, token }) {
    if (token && session?.sealed) this.#token = token;
  }

  #needsCookie() {
    if (this.#begun()) throw new Problem('response_begun', 500, 'the response has begun, and can no longer carry a cookie: call this before the first byte');
  }

  #inTurn(call) {
    const result = this.#turn.then(call).catch((error) => {
      this.#asked = true;
      if (error instanceof Problem) this.#take(error); // what the browser has to do
      throw error;
    });
    this.#turn = result.then(() => {}, () => {});
    return result;
  }

  relay(headers) {
    if (!this.#asked) return;
    const vary = String(headers.get('Vary') ?? '');
    if (!/(^|,)\s*(\*|cookie)\s*(,|$)/i.test(vary)) headers.set('Vary', vary ? `${vary}, Cookie` : 'Cookie');
    const more = Object.entries(this.#headers);
    if (this.#lines.length + more.length === 0) return;
    for (const name of [...headers.keys()]) {
      if (/(^|-)cache-control$|^(expires|surrogate-control|edge-control|x-accel-expires)$/i.test(name)) headers.delete(name);
    }
    headers.set('Cache-Control', 'no-store');
    for (const line of this.#lines) headers.append('Set-Cookie', line);
    for (const [name, value] of more) headers.set(name, value);
  }
}

function nameOf(line) { return line.slice(0, line.indexOf('=')); }

function valueOf(session, key) { return session && Object.hasOwn(session.values, key) ? session.values[key] : undefined; }

const locks = new Map(); // by session: the last in line

// lock waits until the earlier holders of a session's lock have called what it
// returns.
async function lock(id) {
  const before = locks.get(id);
  let unlock;
  const mine = new Promise((done) => { unlock = done; });
  locks.set(id, mine);
  await before;
  return () => {
    if (locks.get(id) === mine) locks.delete(id);
    unlock();
  };
}
