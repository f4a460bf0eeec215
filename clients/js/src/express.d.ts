import type { Request, RequestHandler } from 'express';
import type { MiddlewareOptions, Session, Sojourn } from './index.js';

declare global {
  namespace Express {
    interface Request {
      session: Session;
    }
  }
}

/**
 * Middleware for Express 5: app.use(sessions(client)). req.session is the
 * browser's session. Behind a proxy set Express's "trust proxy", so that req.ip is
 * the browser's address.
 */
export function sessions(client: Sojourn, options?: MiddlewareOptions<Request>): RequestHandler;
