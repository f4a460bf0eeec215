import type { IncomingMessage, ServerResponse } from 'node:http';
import type { MiddlewareOptions, Session, Sojourn } from './index.js';

declare module 'node:http' {
  interface IncomingMessage {
    session: Session;
  }
}

/**
 * Returns a handler for createServer of node:http, or of node:http2 with
 * allowHTTP1. In handler, req.session is the browser's session. If handler throws,
 * the answer is an error: 503 if the session server is away.
 */
export function withSession(
  client: Sojourn,
  handler: (req: IncomingMessage, res: ServerResponse) => unknown,
  options?: MiddlewareOptions<IncomingMessage>,
): (req: IncomingMessage, res: ServerResponse) => Promise<void>;
