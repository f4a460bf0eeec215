// A client of sojournd's API that needs only Node.js. The server's /openapi.json
// describes the whole API.

// A Problem is the server's answer without success (RFC 9457). Its code stays the same
// from version to version.
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? `the session server answered ${status}`);
    this.status = status;
    this.code = body.code ?? 'unavailable';
  }
}

export class Sojourn {
  #url;
  #key;

  // url is the API's listener, http://127.0.0.1:7081; key is the application's API key,
  // a secret.
  constructor(url, key) {
    this.#url = url;
    this.#key = key;
  }

  // /openapi.json describes what each of these takes and returns. token is the value of
  // the browser's cookie. set_cookie in an answer is a list of Set-Cookie headers for
  // that browser.
  create(body) { return this.#post('', body); }
  resolve(body) { return this.#post('/resolve', body); }
  update(body) { return this.#post('/update', body); }
  login(body) { return this.#post('/login', body); }
  logout(body) { return this.#post('/logout', body); }

  async #post(call, body) {
    let answer;
    try {
      answer = await fetch(`${this.#url}/v1/sessions${call}`, {
        method: 'POST',
        headers: { 'Authorization': `Bearer ${this.#key}`, 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(5000),
      });
    } catch {
      throw new Problem(503, { code: 'unavailable', detail: 'the session server cannot be reached' });
    }
    const result = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Problem(answer.status, result);
    return result;
  }
}
