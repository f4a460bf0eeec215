import { checkOrigin } from './origin.js';
import { Session } from './session.js';

export function sessions(client, { origins, adopt, ip = addressOf } = {}) {
  return async (c, next) => {
    const header = (name) => c.req.header(name);
    checkOrigin(c.req.method, (name) => (name === 'host' ? header('host') ?? new URL(c.req.url).host : header(name)), origins);
    let begun = false;
    const session = new Session(client, {
      cookie: header('cookie'), method: c.req.method, ip: ip(c), userAgent: header('user-agent'), begun: () => begun, adopt,
    });
    c.set('session', session);
    await next();
    begun = true;
    session.relay({
      keys: () => c.res.headers.keys(),
      get: (name) => c.res.headers.get(name),
      set: (name, value) => c.header(name, value),
      delete: (name) => c.header(name, undefined),
      append: (name, value) => c.header(name, value, { append: true }),
    });
  };
}

// addressOf knows @hono/node-server. Elsewhere the option ip tells the address.
function addressOf(c) { return c.env?.incoming?.socket?.remoteAddress; }
