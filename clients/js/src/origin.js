import { Problem } from './problem.js';

// checkOrigin throws if a page of another origin sent an unsafe request, or
// opens a WebSocket. header returns a header's value.
export function checkOrigin(method, header, trusted = []) {
  if (!Array.isArray(trusted)) throw new TypeError('sojourn: origins must be a list: ["https://shop.example.com"]');
  const upgrade = method === 'GET' && header('upgrade');
  if (!upgrade && (method === 'GET' || method === 'HEAD' || method === 'OPTIONS')) return;
  const origin = header('origin');
  if (origin && trusted.includes(origin)) return;
  const site = header('sec-fetch-site');
  if (site ? site === 'same-origin' || site === 'none' : !origin || hostOf(origin) === header('host')) return;
  throw new Problem('cross_origin', 403, 'the request came from a page of another origin, which is not in origins');
}

function hostOf(origin) {
  try { return new URL(origin).host; } catch { return undefined; }
}
