import type { Context, MiddlewareHandler } from 'hono';
import type { MiddlewareOptions, Session, Sojourn } from './index.js';

declare module 'hono' {
  interface ContextVariableMap {
    session: Session;
  }
}

/**
 * Middleware for Hono 4: app.use(sessions(client)). c.var.session is the browser's
 * session. The browser's address is known on @hono/node-server; elsewhere give the
 * option ip.
 */
export function sessions(client: Sojourn, options?: MiddlewareOptions<Context>): MiddlewareHandler;
