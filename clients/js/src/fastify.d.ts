import type { FastifyPluginAsync, FastifyRequest } from 'fastify';
import type { MiddlewareOptions, Session, Sojourn } from './index.js';

declare module 'fastify' {
  interface FastifyRequest {
    session: Session;
  }
}

/**
 * Plugin for Fastify 5: fastify.register(sessions, { client }). request.session is
 * the browser's session, in the whole application. Behind a proxy set Fastify's
 * trustProxy.
 */
export const sessions: FastifyPluginAsync<MiddlewareOptions<FastifyRequest> & { client: Sojourn }>;
