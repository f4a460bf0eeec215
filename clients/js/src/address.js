import { isIP } from 'node:net';

// address returns the IP address in what a framework takes for the browser's:
// some proxies add the port in X-Forwarded-For, and visitors can send anything to
// a proxy that only appends to it. It returns undefined if there is no address.
export function address(text = '') {
  const [, inner] = /^\[(.*)\](?::\d+)?$/.exec(text) ?? /^([\d.]+):\d+$/.exec(text) ?? [text, text];
  return isIP(inner) ? inner : undefined;
}
