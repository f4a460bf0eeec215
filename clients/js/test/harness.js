// What the tests share: a sojournd of their own, browsers that keep cookies, and
// web servers.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Sojourn } from '../src/index.js';

// The program is built by the Go test that runs these. By hand:
// go build -o /tmp/sojournd ./sojournd && SOJOURND=/tmp/sojournd npm test
export const program = process.env.SOJOURND ?? 'sojournd';

// Starts a server with one application, shop. It ends with the test.
export async function startServer(t, { policy = '' } = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'sojourn-js-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const keys = await promisify(execFile)(program, ['keys', 'new']);
  const key = /sojourn_[\w-]+/.exec(keys.stdout)[0];
  const hash = /sha256:[0-9a-f]+/.exec(keys.stdout)[0];
  const config = join(dir, 'sojourn.yaml');
  await writeFile(config, `store: "sqlite:${join(dir, 'sessions.db')}"\napplications:\n  - name: shop\n    keys: [{name: test, hash: "${hash}"}]\n${policy}`);
  const server = { key };
  server.start = async (port = 0) => {
    const run = spawn(program, ['serve', '--config', config, '--api-listen', `127.0.0.1:${port}`, '--internal-listen', '127.0.0.1:0', '--log-level', 'debug'], { stdio: ['ignore', 'pipe', 'pipe'] });
    server.process = run;
    server.output = '';
    const began = new Promise((resolve, reject) => {
      const note = (text) => {
        server.output += text;
        const found = /API +(http:\S+)[^]*Ctrl-C/.exec(server.output);
        if (!found) return;
        server.internal = /internal +(http:\S+)/.exec(server.output)?.[1];
        resolve(found[1]);
      };
      run.stdout.setEncoding('utf8').on('data', note);
      run.stderr.setEncoding('utf8').on('data', note);
      run.on('exit', () => reject(new Error(`sojournd ended:\n${server.output}`)));
    });
    server.url = await began;
  };
  server.stop = async (signal = 'SIGKILL') => {
    if (server.process.exitCode !== null || server.process.signalCode) return;
    const ended = once(server.process, 'exit');
    server.process.kill(signal);
    await ended;
  };
  t.after(() => server.stop());
  await server.start();
  server.client = new Sojourn({ url: server.url, key, timeout: 60_000 });
  return server;
}

// Counts the calls of a client by name, and lets them through.
export function counted(client) {
  const calls = {};
  const counting = new Proxy(client, {
    get: (target, name) => (...args) => {
      calls[name] = (calls[name] ?? 0) + 1;
      return target[name](...args);
    },
  });
  return { client: counting, calls };
}

// A browser keeps the cookies of one site.
export class Browser {
  constructor(site) {
    this.site = site;
    this.cookies = new Map();
  }

  // A tab begins with a copy of the cookies.
  tab() {
    const tab = new Browser(this.site);
    tab.cookies = new Map(this.cookies);
    return tab;
  }

  async send(method, path, { headers = {}, body } = {}) {
    const cookie = [...this.cookies].map((pair) => pair.join('=')).join('; ');
    const response = await fetch(this.site + path, {
      method, body, redirect: 'manual', headers: { ...(cookie && { Cookie: cookie }), 'User-Agent': 'test browser', ...headers },
    });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (/; Max-Age=0/i.test(line) || /Expires=Thu, 01 Jan 1970/i.test(line)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) };
  }

  get(path, options) { return this.send('GET', path, options); }
  post(path, options) { return this.send('POST', path, options); }
  async ok(method, path, options) {
    const answer = await this.send(method, path, options);
    assert.equal(answer.status, 200, `${method} ${path}: ${answer.status} ${answer.text}`);
    return answer;
  }
}

// Listens with a server of node:http, or what has its methods, and returns the
// site's address.
export async function listen(t, server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections?.();
  });
  return `http://127.0.0.1:${server.address().port}`;
}
