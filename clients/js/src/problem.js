export class Problem extends Error {
  name = 'Problem';

  constructor(code, status, detail, { why, errors, headers, cause } = {}) {
    super(`sojourn: ${detail ?? code}`, cause && { cause });
    this.code = code;
    this.status = status; // Express and connect look here,
    this.statusCode = status; // and Fastify here
    if (why) this.why = why;
    if (errors) this.errors = errors;
    if (headers) this.headers = headers;
  }

  // Hono calls it.
  getResponse() { return new Response(text(this), { status: this.status, headers: { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store' } }); }
}

// text is what a visitor may read of a problem.
export function text({ code, why, status }) {
  if (code === 'unproven' || why === 'unproven') return 'Please load this page again.\n';
  if (status === 401) return 'Please sign in.\n';
  if (status === 403) return code === 'cross_origin' ? 'This request came from another site.\n' : 'You may not see this page.\n';
  if (status === 409) return 'This page is no longer up to date. Please load it again.\n';
  if (status === 413) return 'That is too much to remember.\n';
  return status === 503 || status === 429 ? 'Please try again in a moment.\n' : 'Something went wrong.\n';
}

const neverSent = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOENT', 'UND_ERR_CONNECT_TIMEOUT', 'ConnectionRefused']);

// unreachable returns the problem for an error of fetch. It quotes nothing of
// the error except a code, since headers hold the key.
export function unreachable(error, harmless) {
  const code = String(error?.cause?.code ?? error?.code ?? '');
  const why = error?.name === 'TimeoutError' ? 'does not answer in time' : `cannot be reached${/^\w+$/.test(code) ? ` (${code})` : ''}`;
  if (harmless || neverSent.has(code)) return new Problem('unavailable', 503, `the session server ${why}`);
  return new Problem('outcome_unknown', 503, `the session server ${why}: the change may have been saved, or not`);
}
