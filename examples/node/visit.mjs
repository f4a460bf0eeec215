// A visit is one request of a browser: its session, and the cookies that its answer must carry.
import { Problem } from './sojourn.mjs';

export class Visit {
  #cookies = new Map(); // for the answer, by name: of two of a name the browser keeps the later

  // names are the two cookies of the application in sojourn.yaml, the session's first.
  constructor(sojourn, names, request) {
    const cookies = parseCookies(request.headers.cookie ?? '');
    this.sojourn = sojourn;
    this.tokens = names.map((name) => cookies.get(name)).filter(Boolean);
    // Only the proxy reaches this server, and it replaces the browser's own header.
    this.client = { ip: (request.headers['x-forwarded-for'] ?? '').split(',').at(-1).trim() || undefined, user_agent: request.headers['user-agent'] };
  }

  // session returns the browser's session, or null. It throws if the store can't
  // answer: that is never "nobody".
  async session() {
    for (const token of this.tokens) {
      const answer = await this.sojourn.resolve({ token, client: this.client });
      if (answer.session) {
        this.token = token;
        this.#take(answer);
        return answer.session;
      }
    }
    return null;
  }

  // change sets a value to the result of f. If another request changes it at the same
  // time, f is called again.
  async change(key, f) {
    for (let attempt = 0; attempt < 20; attempt++) {
      const session = await this.session();
      if (!session) {
        return this.#take(await this.sojourn.create({ values: { [key]: f(undefined) }, client: this.client }));
      }
      try {
        return this.#take(await this.sojourn.update({ token: this.token, set: { [key]: f(session.values[key]) }, if_revision: session.revision }));
      } catch (problem) {
        if (problem.code !== 'revision_mismatch') throw problem;
      }
    }
    throw new Problem(409, { code: 'conflict', detail: 'others keep changing the same thing' });
  }

  // login makes the session the subject's. The cart stays.
  async login(subject) {
    await this.session();
    this.#take(await this.sojourn.login({ token: this.token ?? this.tokens[0], subject, amr: ['pwd'], client: this.client }));
  }

  async logout() {
    for (const token of this.tokens) this.#take(await this.sojourn.logout({ token }));
  }

  get setCookie() { return [...this.#cookies.values()]; }

  #take(answer) {
    for (const line of answer.set_cookie ?? []) this.#cookies.set(line.slice(0, line.indexOf('=')), line);
    return answer;
  }
}

function parseCookies(header) {
  const cookies = new Map();
  for (const pair of header.split(';')) {
    const at = pair.indexOf('=');
    const name = pair.slice(0, at).trim();
    if (at > 0 && !cookies.has(name)) cookies.set(name, pair.slice(at + 1).trim());
  }
  return cookies;
}
