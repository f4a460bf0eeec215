// A small shop in JavaScript whose sessions sojournd keeps: a cart that survives the
// login, a login, a page for signed-in users, and a logout. It stands behind Caddy
// (Caddyfile), which asks sojournd who sent each request. README.md says how to run all
// three.
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Sojourn } from '@sojourn-go/client';
import { withSession } from '@sojourn-go/client/node';

const key = process.env.SOJOURN_KEY_FILE ? readFileSync(process.env.SOJOURN_KEY_FILE, 'utf8').trim() : process.env.SOJOURN_KEY;
if (!key) {
  console.error('Set SOJOURN_KEY, or SOJOURN_KEY_FILE, to the API key that "sojournd keys new" has printed.');
  process.exit(1);
}
const sojourn = new Sojourn({ url: process.env.SOJOURN_URL ?? 'http://127.0.0.1:7081', key });

// Accounts to try. A real shop keeps hashes made by scrypt or Argon2.
const accounts = new Map([['ada', 'difference-engine'], ['ben', 'kite-and-lightning']]);
const wares = new Map([['tent', 'A tent'], ['lamp', 'A lantern'], ['mug', 'A camp mug']]);

const pages = {
  'GET /': front,
  'POST /cart': addToCart,
  'GET /login': loginPage,
  'POST /login': login,
  'GET /account': account,
  'POST /logout': logout,
};

async function front(session) {
  const cart = await session.get('cart') ?? {};
  const user = await session.subject();
  const who = user ? `You are ${escape(user)}. ${button('/logout', 'Sign out')}` : '<a href="/login">Sign in</a>';
  const shelf = [...wares].map(([sku, name]) => `<li>${name} ${button('/cart', 'Add', { sku })}</li>`).join('');
  const lines = Object.entries(cart).map(([sku, n]) => `<li>${n} × ${escape(wares.get(sku) ?? sku)}</li>`).join('');
  return page('The shop', `<p>${who} <a href="/account">Your account</a></p><ul>${shelf}</ul><h2>Your cart</h2><ul id="cart">${lines || '<li>nothing yet</li>'}</ul>`);
}

async function addToCart(session, request) {
  const sku = request.form.get('sku');
  if (!wares.has(sku)) return refusal(404, 'There is no such thing here.');
  await session.update('cart', (cart = {}) => ({ ...cart, [sku]: (cart[sku] ?? 0) + 1 }));
  return redirect('/');
}

async function loginPage(session, request, mistake = '') {
  const back = localPath(request.url.searchParams.get('return_to') ?? request.form?.get('return_to'));
  return page('Sign in', `<p>${mistake}</p><form method="post" action="/login"><input type="hidden" name="return_to" value="${escape(back)}">
    <label>Name <input name="user" autocomplete="username" required></label>
    <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
    <button>Sign in</button></form>`, mistake ? 422 : 200);
}

async function login(session, request) {
  const user = request.form.get('user') ?? '';
  if (!accounts.has(user) || !same(accounts.get(user), request.form.get('password') ?? '')) {
    return loginPage(session, request, 'No such name, or another password.');
  }
  await session.login(user, { amr: ['pwd'] });
  return redirect(localPath(request.form.get('return_to')));
}

// Caddy lets only signed-in users through to account. It checks again.
async function account(session, request) {
  const subject = decodeURIComponent(request.headers['sojourn-subject'] ?? '');
  if (!subject) return refusal(401, 'Sign in first.');
  return page('Your account', `<p>This is the account of <b>${escape(subject)}</b>, in session ${escape(request.headers['sojourn-session'])}.</p><p><a href="/">The shop</a></p>`);
}

async function logout(session) {
  await session.logout();
  return redirect('/');
}

const server = createServer(withSession(sojourn, async (message, response) => {
  const answer = await handle(message).catch(sorry);
  response.writeHead(answer.status, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store', ...answer.headers });
  response.end(message.method === 'HEAD' ? undefined : answer.body);
}, { ip: browserAddress }));

// Only the proxy reaches this server, and it replaces the browser's own header.
function browserAddress(message) {
  return (message.headers['x-forwarded-for'] ?? '').split(',').at(-1).trim() || undefined;
}

async function handle(message) {
  if (!message.url.startsWith('/')) return refusal(400, 'That is no address.');
  const request = { headers: message.headers, url: new URL('http://shop.invalid' + message.url) };
  const method = message.method === 'HEAD' ? 'GET' : message.method;
  const show = pages[`${method} ${request.url.pathname}`];
  if (!show) return refusal(404, 'There is no such page.');
  if (method === 'POST') request.form = new URLSearchParams(await read(message));
  return show(message.session, request);
}

// sorry answers in place of a page that failed. It tells visitors about mistakes that
// they can correct.
function sorry(error) {
  if ([409, 413, 429].includes(error.status)) return refusal(error.status, escape(error.message));
  console.error(error.code ? error.message : error);
  return refusal(503, 'Try again in a moment.');
}

async function read(message) {
  const chunks = [];
  let size = 0;
  for await (const chunk of message) {
    if ((size += chunk.length) > 10_000) throw Object.assign(new Error('That form is too long.'), { status: 413 });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

// localPath returns a path of this site. A sign-in page that redirects to any address
// would help phishing.
function localPath(path) {
  const site = 'http://shop.invalid';
  try {
    const url = new URL(path ?? '/', site);
    if (url.origin === site && !url.pathname.startsWith('//')) return url.pathname + url.search;
  } catch { /* no URL at all */ }
  return '/';
}

function same(a, b) {
  const digest = (text) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function page(title, body, status = 200) {
  return { status, body: `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${body}` };
}

function refusal(status, text) { return page(text, '<p><a href="/">The shop</a></p>', status); }

function redirect(to) { return { status: 303, headers: { Location: to }, body: '' }; }

function button(action, text, fields = {}) {
  const hidden = Object.entries(fields).map(([name, value]) => `<input type="hidden" name="${name}" value="${escape(value)}">`).join('');
  return `<form method="post" action="${action}">${hidden}<button>${text}</button></form>`;
}

function escape(text) { return String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`); }

server.listen(Number(process.env.PORT ?? 8000), '127.0.0.1', () => console.log(`The shop listens on port ${server.address().port}, for Caddy.`));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
