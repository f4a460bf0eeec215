import { address } from './address.js';
import { ask, idOf, load } from './adopt.js';

// sojournStore returns a store for express-session. Its first argument has the
// class Store, so that this package has no dependency.
export function sojournStore({ Store }, client, { subject, old } = {}) {
  // What was last read or stored of each session: its sid, and each value as JSON.
  // Such a session is never created again, and only changed values are sent.
  const known = new WeakMap();
  const saving = new WeakMap(); // the last set of a session

  const moving = new Map(); // by sid: parallel requests move an old session once

  // move takes a session over from the old store, and ends it there. Otherwise it
  // would come back from there after its end here.
  async function move(sid) {
    const was = await load(old, sid);
    if (!was) return null;
    const body = { ...about(sid, was), values: parsed(asJSON(was)) };
    const user = subject?.(was);
    if (user) body.subject = idOf(user);
    await client.keyedSet(body);
    await endOld(sid);
    return (await client.keyedGet({ key: sid })).session;
  }

  const endOld = (sid) => ask((resolve, reject) => { old.destroy(sid, (error) => (error ? reject(error) : resolve())); });

  // save stores what a session was when set was called. Each set waits for the one
  // before, because it sends what has changed since then.
  async function save(sid, session, body, now) {
    const before = known.get(session)?.sid === sid ? known.get(session).values : undefined;
    if (before) {
      body.update = true;
      body.set = parsed([...now].filter(([key, json]) => before.get(key) !== json));
      body.delete = [...before.keys()].filter((key) => !now.has(key));
    } else {
      body.values = parsed(now);
    }
    await client.keyedSet(body);
    known.set(session, { sid, values: now });
  }

  class SojournStore extends Store {
    createSession(req, data) {
      const session = super.createSession(req, data);
      if (known.has(data)) known.set(session, known.get(data));
      return session;
    }

    get(sid, callback) {
      return done(callback, async () => {
        let { session, why } = await client.keyedGet({ key: sid });
        if (!session && !why && old) {
          if (!moving.has(sid)) moving.set(sid, move(sid).finally(() => moving.delete(sid)));
          session = structuredClone(await moving.get(sid));
        }
        if (!session?.values.cookie) return null;
        known.set(session.values, { sid, values: asJSON(session.values) });
        return revived(session);
      });
    }

    set(sid, session, callback) {
      return done(callback, async () => {
        const now = asJSON(session);
        const body = about(sid, session);
        const expired = session.cookie?.expires && new Date(session.cookie.expires) <= Date.now();
        const user = subject?.(session);
        if (user) body.subject = idOf(user);
        const saved = (saving.get(session) ?? Promise.resolve()).then(() => (expired ? client.keyedEnd({ key: sid }) : save(sid, session, body, now)));
        saving.set(session, saved.catch(() => {}));
        await saved;
      });
    }

    touch(sid, session, callback) {
      return done(callback, async () => {
        try {
          await client.keyedTouch(about(sid, session));
        } catch (error) {
          if (error.code !== 'session_not_found' && error.code !== 'ended') throw error; // it ended: there is nothing to touch
        }
      });
    }

    destroy(sid, callback) {
      return done(callback, async () => {
        await client.keyedEnd({ key: sid });
        if (old) await endOld(sid);
      });
    }

    all(callback) {
      return done(callback, async () => {
        const list = [];
        let page = {};
        do {
          page = await client.list({ values: true, limit: 1000, cursor: page.next_cursor });
          list.push(...page.sessions.filter((session) => session.values.cookie).map(revived));
        } while (page.next_cursor);
        return list;
      });
    }

    length(callback) { return done(callback, async () => (await client.stats()).sessions); }
    clear(callback) { return done(callback, async () => { await client.endAll(); }); }
  }
  return new SojournStore();
}

// revived returns a session as express-session wants it. Its cookie's expiry moves
// with each touch, while the stored one stays.
function revived({ values, idle_expires_at: expires }) {
  if (values.cookie.expires) values.cookie.expires = expires;
  return values;
}

// about says which session it is, who sent the request, and how long the session
// may be idle.
function about(sid, { cookie, req }) {
  const body = { key: sid };
  const ip = address(req?.ip ?? req?.socket?.remoteAddress);
  if (ip) body.client = { ip, user_agent: req.headers?.['user-agent'] };
  const age = cookie?.originalMaxAge;
  if (age > 0) body.idle = Math.min(Math.ceil(age / 1000), 34_560_000);
  return body;
}

function asJSON(session) {
  return new Map(Object.entries(session).map(([key, value]) => [key, JSON.stringify(value)]).filter(([, json]) => json !== undefined));
}

function parsed(entries) { return Object.fromEntries([...entries].map(([key, json]) => [key, JSON.parse(json)])); }

// done calls the callback with the result of an asynchronous function, or returns
// a promise if there is no callback. An error of the callback is its own.
function done(callback, f) {
  const result = f();
  if (!callback) return result;
  result.then((value) => queueMicrotask(() => callback(null, value)), (error) => queueMicrotask(() => callback(error)));
}
