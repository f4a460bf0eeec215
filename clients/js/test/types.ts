// An application in each framework, for tsc. Each "ts-expect-error" is a mistake
// that tsc must find.
import { createServer } from 'node:http';
import express from 'express';
import expressSession from 'express-session';
import fastify from 'fastify';
import { Hono } from 'hono';
import { Problem, Session, Sojourn } from '@sojourn-go/client';
import { sessions as forExpress } from '@sojourn-go/client/express';
import { sessions as forFastify } from '@sojourn-go/client/fastify';
import { sessions as forHono } from '@sojourn-go/client/hono';
import { sojournStore } from '@sojourn-go/client/express-session';
import { withSession } from '@sojourn-go/client/node';

const client = new Sojourn({ key: 'sojourn_x' });
// @ts-expect-error: a key is needed
new Sojourn({});

interface Cart { items: string[] }

async function use(session: Session) {
  const cart: Cart | undefined = await session.get<Cart>('cart');
  await session.update<Cart>('cart', (cart = { items: [] }) => ({ items: [...cart.items, 'tent'] }));
  await session.update<number>('n', async (n) => (n ?? 0) + 1);
  // @ts-expect-error: not what the key holds
  await session.update<number>('n', () => 'one');
  await session.set({ a: 1, cart });
  await session.login('ada', { amr: ['pwd'], level: 2, remember: true });
  // @ts-expect-error: no such option
  await session.login('ada', { forever: true });
  await session.regenerate({ keep: ['cart'] });
  await session.require({ bound: true, level: 2, fresh: 600 });
  // @ts-expect-error: no such requirement
  await session.require({ admin: true });
  const found = await session.load();
  // @ts-expect-error: a visitor may have no session
  found.subject;
  return found?.values.cart;
}

express().use(forExpress(client, { origins: ['https://partner.example'] })).get('/', async (req, res) => { res.json(await use(req.session)); });

expressSession({ secret: 's', store: sojournStore(expressSession, client, { subject: (session) => session.passport?.user }) });

const app = fastify();
app.register(forFastify, { client, ip: (request) => request.ip });
app.get('/', async (request) => use(request.session));
// @ts-expect-error: the client is missing
app.register(forFastify, {});

new Hono().use(forHono(client)).get('/', async (c) => c.json(await use(c.var.session)));

createServer(withSession(client, async (req, res) => res.end(JSON.stringify(await use(req.session)))));

try {
  await client.get('id');
} catch (error) {
  if (error instanceof Problem && error.code === 'session_not_found') console.log(error.status satisfies number, error.why satisfies string | undefined);
}
