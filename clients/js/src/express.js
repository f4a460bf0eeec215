import { attach } from './node.js';

export function sessions(client, { origins, ip = (req) => req.ip } = {}) {
  return (req, res, next) => {
    attach(req, res, client, { origins, ip });
    next();
  };
}
