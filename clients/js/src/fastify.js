import { attach } from './node.js';

export async function sessions(fastify, { client, origins, adopt, ip = (request) => request.ip }) {
  fastify.decorateRequest('session', null);
  fastify.addHook('onRequest', async (request, reply) => {
    request.session = attach(request.raw, reply.raw, client, { origins, adopt, ip: () => ip(request) });
  });
}

// The hook and the decorator are meant for the whole application.
sessions[Symbol.for('skip-override')] = true;
sessions[Symbol.for('fastify.display-name')] = '@sojourn-go/client';
