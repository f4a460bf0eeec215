import { createHmac, timingSafeEqual } from 'node:crypto';
import { Problem } from './problem.js';

const patience = 5000; // milliseconds, for the old store

// fromExpressSession returns the option adopt of the middleware.
export function fromExpressSession({ store, secret, name = 'connect.sid', path = '/', domain, subject, values = () => ({}), login = () => ({}), keep = false, end = () => {} }) {
  const secrets = [secret].flat();
  if (secrets.length === 0 || secrets.some((secret) => typeof secret !== 'string' || !secret)) throw new TypeError('sojourn: secret must be that of express-session, or the list of them');
  if (typeof store?.get !== 'function' || typeof subject !== 'function') throw new TypeError('sojourn: store and subject are missing');
  const clear = `${name}=; Path=${path}${domain ? `; Domain=${domain}` : ''}; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly${name.startsWith('__') ? '; Secure' : ''}`;
  return {
    // present returns the old session of a request: its token, and how to read it.
    present(header) {
      const sid = verified(header, name, secrets);
      if (!sid) return undefined;
      return {
        token: sid,
        keep,
        clear,
        async read() {
          const session = await load(store, sid);
          if (!session) return undefined;
          const user = await subject(session);
          const adopt = { values: await values(session) };
          if (user !== undefined && user !== null && user !== '') Object.assign(adopt, { subject: idOf(user) }, await login(session));
          return adopt;
        },
        end: async () => { try { await ask((resolve) => { resolve(end(sid)); }); } catch { /* the server remembers that it was adopted */ } },
      };
    },
  };
}

// idOf returns a user's ID as a text. An object without a text of its own, as
// Passport stores with some serializeUser, would make all users the same one.
export function idOf(user) {
  const id = String(user);
  if (id.startsWith('[object ')) throw new TypeError("sojourn: subject must return the user's ID: a string or a number");
  return id;
}

// verified returns the signed value of a cookie, as cookie-signature signs it:
// s:VALUE.HMAC, with SHA-256 in base64 without padding.
function verified(header, name, secrets) {
  for (const pair of header.split(';')) {
    const at = pair.indexOf('=');
    if (at < 0 || pair.slice(0, at).trim() !== name) continue;
    let value = pair.slice(at + 1).trim();
    try { value = decodeURIComponent(value); } catch { continue; }
    const dot = value.lastIndexOf('.');
    if (!value.startsWith('s:') || dot < 0) continue;
    const sid = value.slice(2, dot);
    const signature = Buffer.from(value.slice(dot + 1));
    if (sid.length >= 16 && secrets.some((secret) => same(signature, Buffer.from(sign(secret, sid))))) return sid;
  }
  return undefined;
}

function sign(secret, text) { return createHmac('sha256', secret).update(text).digest('base64').replace(/=+$/, ''); }

function same(a, b) { return a.length === b.length && timingSafeEqual(a, b); }

// load reads a session from a store of express-session.
export async function load(store, sid) {
  return ask((resolve, reject) => { // don't check its cookie.expires, which is as old as the last save
    store.get(sid, (error, session) => (error && error.code !== 'ENOENT' ? reject(error) : resolve(error ? undefined : session)));
  });
}

// ask waits for a call of the old store. A store that cannot answer is a 503,
// never an anonymous visitor.
export async function ask(call) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(reject, patience, new Error('too late')); });
  try {
    return await Promise.race([new Promise(call), late]);
  } catch (error) {
    throw away(error);
  } finally {
    clearTimeout(timer);
  }
}

// away is the problem of an old store. Its cause has the text of the store's
// error alone: other members of it may hold a password (ioredis).
function away(error) {
  return new Problem('unavailable', 503, 'the store of the old sessions cannot answer', { cause: new Error(String(error?.message ?? error)) });
}

// backToExpressSession returns middleware for the old application, before
// session(…). It gives a browser that has a session of the server, and none of
// express-session, a session of express-session with what put keeps.
export function backToExpressSession(client, { store, secret, name = 'connect.sid', cookie = {}, put }) {
  const secrets = [secret].flat();
  if (typeof store?.set !== 'function' || typeof put !== 'function' || !secrets[0]) throw new TypeError('sojourn: store, secret and put are missing');
  const moving = new Map(); // by sid: parallel requests of a browser move it once
  const sidOf = (id) => createHmac('sha256', secrets[0]).update(`sojourn ${id}`).digest('base64url');

  async function move(sid, session) {
    if (await load(store, sid)) return;
    const { path = '/', httpOnly = true, maxAge: originalMaxAge = null, ...rest } = cookie;
    const old = { cookie: { path, httpOnly, originalMaxAge, expires: originalMaxAge && new Date(Date.now() + originalMaxAge), ...rest } };
    await put(old, session);
    await ask((resolve, reject) => { store.set(sid, old, (error) => (error ? reject(error) : resolve())); });
  }

  // find returns the sid for a request's session of the server, and the lines
  // that clear its cookies.
  async function find(header) {
    const { session, why } = await client.resolve({ cookie: header });
    if (!session && why !== 'logout') return {};
    let sid;
    if (session) {
      sid = sidOf(session.id);
      if (!moving.has(sid)) moving.set(sid, move(sid, session).finally(() => moving.delete(sid)));
      await moving.get(sid);
    }
    // If another request ended the session after this logout arrived, the answer
    // clears no cookie, for it could be that of a later login. Then ask again.
    let lines = [];
    for (let tries = 0; tries < 10 && !lines.length; tries++) lines = (await client.logout({ cookie: header })).set_cookie;
    if (!session) {
      // Another request has just moved it. why is "logout" only if the token was good.
      const names = lines.map((line) => line.slice(0, line.indexOf('=')));
      const token = header.split(';').map((pair) => pair.trim().split('=')).find(([name]) => names.includes(name))?.[1] ?? '';
      const id = Buffer.from(token, 'base64url').subarray(0, 16).toString('hex').replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
      sid = sidOf(id);
      if (!await load(store, sid)) sid = undefined;
    }
    return { sid, lines };
  }

  return async (req, res, next) => {
    try {
      const header = req.headers.cookie;
      if (!header || verified(header, name, secrets)) return next();
      const { sid, lines } = await find(header);
      if (sid) {
        const value = encodeURIComponent(`s:${sid}.${sign(secrets[0], sid)}`);
        req.headers.cookie = `${name}=${value}; ${header}`; // express-session takes the first one
        const { path = '/', httpOnly = true, domain, maxAge, secure, sameSite } = cookie;
        const attributes = [`Path=${path}`, domain && `Domain=${domain}`, maxAge && `Max-Age=${Math.floor(maxAge / 1000)}`, httpOnly && 'HttpOnly',
          (secure === true || secure === 'auto' && req.secure) && 'Secure', sameSite && sameSite !== 'auto' && `SameSite=${sameSite === true ? 'Strict' : sameSite}`];
        for (const line of [[`${name}=${value}`, ...attributes.filter(Boolean)].join('; '), ...lines]) {
          res.setHeader('Set-Cookie', [...[res.getHeader('Set-Cookie') ?? []].flat(), line]);
        }
        res.setHeader('Cache-Control', 'no-store');
      }
    } catch (error) {
      return next(error);
    }
    next();
  };
}
