import { checkOrigin } from './origin.js';
import { Problem, text } from './problem.js';
import { Session } from './session.js';

export function withSession(client, handler, options) {
  return async (req, res) => {
    try {
      attach(req, res, client, options);
      await handler(req, res);
    } catch (error) {
      if (!(error instanceof Problem)) console.error(error);
      else if (error.status >= 500) console.error(error.message);
      if (res.headersSent) return void res.destroy(error);
      const status = error instanceof Problem ? error.status : 500;
      const body = text(error instanceof Problem ? error : { status });
      delete res.statusMessage; // a text that writeHead refuses would end the process
      for (const name of res.getHeaderNames()) if (name !== 'vary') res.removeHeader(name);
      res.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store' });
      res.end(body);
    }
  };
}

// attach returns the session of a request of node:http, and sees to its cookies.
export function attach(req, res, client, { origins, adopt, ip = (req) => req.socket.remoteAddress } = {}) {
  checkOrigin(req.method, (name) => req.headers[name] ?? (name === 'host' ? req.headers[':authority'] : undefined), origins);
  const session = new Session(client, {
    cookie: req.headers.cookie, method: req.method, ip: ip(req), userAgent: req.headers['user-agent'], begun: () => res.headersSent, adopt,
  });
  req.session = session;
  const writeHead = res.writeHead;
  res.writeHead = function (status, reason, headers) {
    if (typeof reason !== 'string') [reason, headers] = [undefined, headers ?? reason];
    if (!res.headersSent) {
      for (const [name, value] of pairs(headers)) res.setHeader(name, value);
      session.relay(headersOf(res));
      headers = undefined;
    }
    res.writeHead = writeHead;
    return writeHead.call(res, status, ...[reason, headers].filter((arg) => arg !== undefined));
  };
  return session;
}

// pairs returns the headers that writeHead was given: an object, a flat list,
// or a list of pairs. A list may name a header several times.
function pairs(headers = {}) {
  if (!Array.isArray(headers)) return Object.entries(headers).filter(([, value]) => value !== undefined);
  const list = Array.isArray(headers[0]) ? headers : headers.flatMap((name, i) => (i % 2 ? [] : [[name, headers[i + 1]]]));
  const byName = new Map();
  for (const [name, value] of list) {
    const key = name.toLowerCase();
    byName.set(key, byName.has(key) ? [name, [byName.get(key)[1], value].flat()] : [name, value]);
  }
  return byName.values();
}

function headersOf(res) {
  return {
    keys: () => res.getHeaderNames(),
    get: (name) => res.getHeader(name),
    set: (name, value) => res.setHeader(name, value),
    delete: (name) => res.removeHeader(name),
    append: (name, value) => res.setHeader(name, [...[res.getHeader(name) ?? []].flat(), value]),
  };
}
