import { attach } from './node.js';

export function sessions(client, { origins, adopt, ip = (req) => req.ip } = {}) {
  return (req, res, next) => {
    attach(req, res, client, { origins, adopt, ip });
    next();
  };
}
