// What the client adds to a call: a session's resolve beside a bare fetch that
// reads the same bytes from the same server, taking turns in one process. The
// server is a process of its own.
//
//	node bench/resolve.js [ROUNDS] [CALLS]
import { fork } from 'node:child_process';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { Session, Sojourn } from '../src/index.js';

const answer = JSON.stringify({
  session: {
    id: '019ab4e2-7c1d-7e3a-9b52-8d1f0c6a4e21', subject: 'u-1815', created_at: '2026-11-24T09:30:00Z', authenticated_at: '2026-11-24T09:31:00Z',
    last_seen_at: '2026-11-24T09:40:00Z', idle_expires_at: '2026-11-25T09:40:00Z', expires_at: '2026-12-24T09:31:00Z', amr: ['pwd'], level: 1,
    remembered: false, until_browser_closes: false, client: { ip: '203.0.113.7', user_agent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', name: 'Firefox on Linux' },
    revision: 3, values: { cart: { items: [{ sku: 'tent', quantity: 1 }, { sku: 'lamp', quantity: 2 }] }, theme: 'dark' },
  },
});

if (process.send) { // the server
  const server = createServer((req, res) => {
    req.resume().on('end', () => res.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', 'Content-Length': answer.length }).end(answer));
  });
  server.listen(0, '127.0.0.1', () => process.send(server.address().port));
} else {
  await compare(Number(process.argv[2] ?? 200), Number(process.argv[3] ?? 50));
}

async function compare(rounds, calls) {
  const child = fork(new URL(import.meta.url));
  const [port] = await once(child, 'message');
  const url = `http://127.0.0.1:${port}`;
  const client = new Sojourn({ url, key: 'sojourn_bench' });
  const request = { cookie: `__Host-shop-session=${'A'.repeat(64)}`, method: 'GET', ip: '203.0.113.7', userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0' };
  const body = JSON.stringify({ cookie: request.cookie, safe: true, age: 0, client: { ip: request.ip, user_agent: request.userAgent } });
  const headers = { 'Authorization': 'Bearer sojourn_bench', 'Content-Type': 'application/json' };
  const arms = {
    fetch: async () => (await (await fetch(`${url}/v1/sessions/resolve`, { method: 'POST', headers, body })).text()).length,
    resolve: async () => (await new Session(client, request).load()).revision,
  };
  const times = { fetch: [], resolve: [] };
  for (let round = -5; round < rounds; round++) { // the first ones warm up
    const order = round % 2 ? ['fetch', 'resolve'] : ['resolve', 'fetch'];
    for (const arm of order) {
      const began = process.hrtime.bigint();
      for (let i = 0; i < calls; i++) await arms[arm]();
      if (round >= 0) times[arm].push(Number(process.hrtime.bigint() - began) / calls / 1000);
    }
  }
  child.kill();
  const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
  const ratio = median(times.resolve.map((time, i) => time / times.fetch[i]));
  console.log(`Node.js ${process.versions.node}: ${rounds} rounds of ${calls} calls, ${answer.length} bytes, medians`);
  console.log(`fetch    ${median(times.fetch).toFixed(1)} µs`);
  console.log(`resolve  ${median(times.resolve).toFixed(1)} µs`);
  console.log(`ratio    ${ratio.toFixed(2)} (at most 1.3)`);
  if (ratio > 1.3) process.exitCode = 1;
}
