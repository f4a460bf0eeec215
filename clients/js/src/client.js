import { Problem, unreachable } from './problem.js';

export class Sojourn {
  #url;
  #timeout;
  #headers;

  constructor({ url = 'http://127.0.0.1:7081', key, timeout = 5000 } = {}) {
    // fetch would quote a wrong header, and so the key, in its error.
    if (typeof key !== 'string' || !/^[\x21-\x7e]+$/.test(key)) throw new TypeError('sojourn: key must be an API key, which "sojournd keys new" prints');
    let parsed;
    try { parsed = new URL(url); } catch { /* below */ }
    if (!/^https?:$/.test(parsed?.protocol) || parsed.username || parsed.password || parsed.search || parsed.hash) {
      throw new TypeError('sojourn: url must be the address of the API, like http://127.0.0.1:7081');
    }
    this.#url = parsed.href.replace(/\/+$/, '');
    this.#timeout = timeout;
    this.#headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
  }

  create(body, { idempotencyKey } = {}) { return this.#call('POST', '/v1/sessions', body, idempotencyKey && { 'Idempotency-Key': idempotencyKey }); }
  resolve(body) { return this.#call('POST', '/v1/sessions/resolve', body, undefined, true); }
  update(body) { return this.#call('POST', '/v1/sessions/update', body); }
  login(body) { return this.#call('POST', '/v1/sessions/login', body); }
  elevate(body) { return this.#call('POST', '/v1/sessions/elevate', body); }
  rotate(body) { return this.#call('POST', '/v1/sessions/rotate', body); }
  regenerate(body) { return this.#call('POST', '/v1/sessions/regenerate', body); }
  logout(body) { return this.#call('POST', '/v1/sessions/logout', body); }

  list(query) { return this.#call('GET', '/v1/sessions' + search(query)); }
  search(query) { return this.#call('GET', '/v1/sessions/search' + search(query)); }
  get(id) { return this.#call('GET', path(id)); }
  touch(id) { return this.#call('POST', path(id, '/touch')); }
  end(id) { return this.#call('DELETE', path(id)); }
  async endSubject(subject, { except } = {}) {
    if (typeof subject !== 'string') throw new TypeError('sojourn: endSubject needs the subject, a string');
    return this.#call('DELETE', '/v1/sessions' + search({ subject, except }));
  }
  endAll() { return this.#call('DELETE', '/v1/sessions?all=true'); }
  patchValues(id, patch, revision) { return this.#call('PATCH', path(id, '/values'), patch, match(revision)); }
  replaceValues(id, values, revision) { return this.#call('PUT', path(id, '/values'), values, match(revision)); }
  setValue(id, key, value, revision) { return this.#call('PUT', path(id, `/values/${encodeURIComponent(key)}`), value, match(revision)); }
  stats() { return this.#call('GET', '/v1/stats'); }

  keyedGet(body) { return this.#call('POST', '/v1/keyed/get', body, undefined, true); }
  keyedSet(body) { return this.#call('POST', '/v1/keyed/set', body); }
  keyedTouch(body) { return this.#call('POST', '/v1/keyed/touch', body, undefined, true); }
  keyedEnd(body) { return this.#call('POST', '/v1/keyed/end', body, undefined, true); }

  // The events are server-sent: lines of "data: JSON", and an empty line.
  async *events({ signal, lastEventId, ...query } = {}) {
    let rest = '';
    try {
      const response = await this.#fetch('GET', '/v1/events' + search(query), undefined, lastEventId && { 'Last-Event-ID': lastEventId }, signal ?? null);
      if (!response.ok) throw await problem(response);
      for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop();
        for (const line of lines) if (line.startsWith('data:')) yield JSON.parse(line.slice(5));
      }
    } catch (error) {
      if (signal?.aborted) return;
      throw error instanceof Problem ? error : unreachable(error, true);
    }
  }

  async #call(method, path, body, headers, repeatable = method === 'GET') {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    let response, text;
    for (let again = repeatable; ; again = false) {
      try {
        response = await this.#fetch(method, path, sent, headers);
        text = await response.text();
        break;
      } catch (error) {
        // A server that restarts closes idle connections, perhaps under the request.
        if (!again || error.name === 'TimeoutError') throw unreachable(error, repeatable);
      }
    }
    if (!response.ok) throw await problem(response, text);
    if (!text) return undefined;
    let answer;
    try { answer = JSON.parse(text); } catch { /* below */ }
    if (typeof answer !== 'object' || answer === null) throw new Problem('unavailable', 503, 'something that is no session server answers at its address');
    return answer;
  }

  #fetch(method, path, body, headers, signal = AbortSignal.timeout(this.#timeout)) {
    return fetch(this.#url + path, {
      method,
      headers: headers ? { ...this.#headers, ...headers } : this.#headers,
      body,
      redirect: 'error', // the key goes to this server and nowhere else
      signal,
    });
  }
}

async function problem(response, text) {
  let body;
  try { body = JSON.parse(text ?? await response.text()); } catch { /* not from the server */ }
  if (typeof body?.code !== 'string') return new Problem('unavailable', 503, `something that is no session server answered ${response.status}`);
  // The browser must not take a wrong API key for a missing sign-in.
  const status = response.status === 401 ? 500 : body.why === 'unproven' ? 401 : response.status;
  return new Problem(body.code, status, body.detail, { why: body.why, errors: body.errors, headers: body.headers });
}

function path(id, rest = '') { return `/v1/sessions/${encodeURIComponent(id)}${rest}`; }

function search(query = {}) {
  const list = Object.entries(query).filter(([, value]) => value !== undefined);
  return list.length ? '?' + new URLSearchParams(list) : '';
}

function match(revision) { return { 'If-Match': revision === undefined ? '*' : `"${revision}"` }; }
