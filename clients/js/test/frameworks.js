// The same application in each framework. A route is a function of the session,
// and of a few words that say what it should do to the response.
import { createServer } from 'node:http';
import { createServer as createHTTP2 } from 'node:http2';
import { serve } from '@hono/node-server';
import express from 'express';
import fastify from 'fastify';
import { Hono } from 'hono';
import { sessions as expressSessions } from '../src/express.js';
import { sessions as fastifySessions } from '../src/fastify.js';
import { sessions as honoSessions } from '../src/hono.js';
import { withSession } from '../src/node.js';
import { listen } from './harness.js';

// Each route returns JSON.
export const routes = {
  'GET /nothing': async () => 'nothing',
  'GET /show': async (s) => (await s.load()) ?? { why: (await s.why()) ?? null },
  'GET /thrice': async (s) => [await s.get('cart'), ...await Promise.all([s.get('cart'), s.subject()])],
  'POST /add': async (s, { query }) => s.update('cart', (cart = []) => [...cart, query.get('sku')]),
  'POST /count': async (s) => s.update('count', (n = 0) => n + 1),
  'POST /set': async (s, { query }) => { await s.set(Object.fromEntries(query)); return 'set'; },
  'POST /two': async (s) => { await Promise.all([s.set('a', 1), s.set('b', 2)]); return [await s.get('a'), await s.get('b')]; },
  'POST /remove': async (s, { query }) => { await s.delete(...query.getAll('key')); return 'removed'; },
  'POST /login': async (s, { query }) => { await s.login(query.get('user'), { amr: ['pwd'] }); return s.get('cart') ?? null; },
  'POST /login-and-add': async (s, { query }) => { await s.login(query.get('user')); return s.update('cart', (cart = []) => [...cart, query.get('sku')]); },
  'POST /elevate': async (s) => { await s.elevate(2, { amr: ['otp'] }); return (await s.load()).level; },
  'POST /logout': async (s) => { await s.logout(); return (await s.subject()) ?? null; },
  'POST /again': async (s) => { await s.regenerate({ keep: ['cart'] }); await s.set('later', true); return s.load(); },
  'POST /out-and-in': async (s) => { await s.logout(); await s.set('seen', true); await s.login('ben'); return s.load(); },
  'GET /vault': async (s) => { await s.require({ bound: true }); return s.subject(); },
  'GET /careful': async (s) => { await s.load(); await s.require({ level: 2, fresh: 600 }); return s.subject(); },
  'POST /fail': async (s) => { await s.set('cart', ['kept']); throw new Error('the handler failed'); },
  'GET /late': async (s) => s.set('cart', []), // after the first byte
};

// What each framework is asked besides: two cookies of the application's own,
// and headers for caches, set in the framework's way.
const own = ['theme=dark; Path=/', 'lang=de; Path=/'];
const cacheable = { 'Cache-Control': 'public, max-age=60', 'Expires': 'Thu, 01 Jan 2032 00:00:00 GMT', 'CDN-Cache-Control': 'max-age=60', 'Vary': 'Accept' };

function parse(method, url) {
  const parsed = new URL(url, 'http://x');
  return { run: routes[`${method} ${parsed.pathname}`], query: parsed.searchParams };
}

function handleNode(req, res) {
  const { run, query } = parse(req.method, req.url);
  if (!run) return res.writeHead(404).end();
  if (run === routes['GET /late']) {
    res.write('"begun"\n');
    return run(req.session).then(() => res.end('"late"'), (error) => res.end(JSON.stringify(error.code)));
  }
  return run(req.session, { query }).then((result) => {
    if (query.has('flat')) res.writeHead(200, ['Set-Cookie', own[0], 'Set-Cookie', own[1], 'Content-Type', 'application/json']);
    else if (query.has('noreason')) res.writeHead(200, undefined, { 'Set-Cookie': own, 'Content-Type': 'application/json' });
    else if (query.has('own')) res.writeHead(200, 'Fine', { ...cacheable, 'Set-Cookie': own, 'Content-Type': 'application/json' });
    else res.setHeader('Content-Type', 'application/json');
    res.end(JSON.stringify(result));
  });
}

export const frameworks = {
  'node:http': (t, client, options) => listen(t, createServer(withSession(client, handleNode, options))),

  async express(t, client, options = {}) {
    const app = express();
    app.set('trust proxy', 'loopback');
    app.set('env', 'production'); // errors don't show their stacks
    app.use(expressSessions(client, options));
    app.use(async (req, res) => {
      const { run, query } = parse(req.method, req.url);
      if (run === routes['GET /late']) return handleNode(req, res);
      const result = await run(req.session, { query });
      if (query.has('own')) res.set(cacheable).append('Set-Cookie', own);
      if (query.has('flat')) for (const line of own) res.append('Set-Cookie', line);
      res.json(result);
    });
    app.use((error, req, res, next) => (error.message === 'the handler failed' ? res.sendStatus(500) : next(error)));
    return listen(t, createServer(app));
  },

  async fastify(t, client, options = {}) {
    const app = fastify({ trustProxy: true, forceCloseConnections: true });
    app.register(fastifySessions, { client, ...options });
    app.register(async (inner) => inner.all('/*', async (request, reply) => {
      const { run, query } = parse(request.method, request.url);
      if (run === routes['GET /late']) {
        reply.hijack();
        return handleNode(Object.assign(request.raw, { session: request.session }), reply.raw);
      }
      const result = await run(request.session, { query });
      if (query.has('own')) reply.headers(cacheable).header('Set-Cookie', own);
      if (query.has('flat')) for (const line of own) reply.header('Set-Cookie', line);
      reply.type('application/json');
      return JSON.stringify(result);
    }));
    t.after(() => app.close());
    return app.listen({ port: 0, host: '127.0.0.1' });
  },

  async hono(t, client, options = {}) {
    const app = new Hono();
    app.use(honoSessions(client, { ...options, ip: (c) => c.req.header('x-forwarded-for') }));
    app.all('/*', async (c) => {
      const { run, query } = parse(c.req.method, c.req.url);
      if (run === routes['GET /late']) {
        return new Response(new ReadableStream({
          async start(controller) {
            const text = new TextEncoder();
            controller.enqueue(text.encode('"begun"\n'));
            await new Promise((wake) => setTimeout(wake, 50)); // until the middleware has returned
            await run(c.var.session).catch((error) => controller.enqueue(text.encode(JSON.stringify(error.code))));
            controller.close();
          },
        }));
      }
      const result = await run(c.var.session, { query });
      if (query.has('own')) for (const [name, value] of Object.entries(cacheable)) c.header(name, value);
      if (query.has('own') || query.has('flat')) for (const line of own) c.header('Set-Cookie', line, { append: true });
      return c.json(result);
    });
    let server;
    const port = await new Promise((resolve) => { server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, (info) => resolve(info.port)); });
    t.after(() => { server.close(); server.closeAllConnections(); });
    return `http://127.0.0.1:${port}`;
  },
};

// HTTP/2 through node:http's compatibility interface.
export async function http2(t, client) {
  const server = createHTTP2(withSession(client, handleNode));
  const sessions = new Set();
  server.on('session', (session) => sessions.add(session));
  t.after(() => sessions.forEach((session) => session.destroy()));
  return listen(t, server);
}
