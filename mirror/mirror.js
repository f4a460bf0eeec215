// The script of the mirror. The server puts the declaration of the keys into it,
// and takes out the comments and the indentation (script.go). So a comment has a
// line of its own, and no string or expression goes over the end of a line.
//
// It keeps one item in local storage. The item has the endpoint's path in its name,
// because each application on the host has its own:
//
//	{user, synced, values: {theme: {value: "dark", time, changed}}}
//
// user marks who is signed in (empty: nobody), and synced is when the server
// answered last. A value's time is when it was changed, by the server's clock
// (0: unknown). changed is when this browser changed it, by its own clock, until
// the server has answered to that (then 0).
(() => {
	"use strict";
	const declared = DECLARED;
	const { parse, stringify } = JSON;
	const root = document.documentElement;
	const tag = document.currentScript;
	const endpoint = new URL(tag.dataset.endpoint || new URL("mirror", tag.src), document.baseURI);
	const name = "sojourn:" + endpoint.pathname;
	// original has the attributes that the page came with. Those of a page that the
	// server has made may be the values themselves, and don't come back.
	const original = {};
	// state is what this page shows. If it could not be stored, unsaved is true.
	// changer is true if this page has changed something.
	let state, unsaved, changer, queue = Promise.resolve();

	// Storage that is forbidden throws.
	const attempt = (f) => { try { return f(); } catch (e) {} };
	const number = (n) => typeof n === "number" ? n : 0;
	const on = addEventListener;

	const said = attempt(() => parse(tag.dataset.state));

	// clean reads a state, and leaves out what doesn't have the declared form: any
	// script of the site can write to the storage. The value null removes a value.
	const clean = (text) => {
		const from = Object(attempt(() => parse(text)));
		const to = { user: typeof from.user === "string" ? from.user : "", synced: number(from.synced), values: {} };
		let room = 1024;
		for (const key in declared) {
			const d = declared[key], v = Object(Object(from.values)[key]), value = v.value;
			if (value === undefined) continue;
			if (value !== null && (d.values || d.attribute)) {
				if (typeof value === "object" || !(d.values ? d.values.includes("" + value) : /^[\w.-]{1,64}$/.test(value))) continue;
			}
			const size = key.length + stringify(value).length;
			if (size > room) continue;
			room -= size;
			to.values[key] = { value, time: number(v.time), changed: number(v.changed) };
		}
		return to;
	};
	const load = () => clean(unsaved ? stringify(state) : attempt(() => localStorage[name]));
	const save = (next) => {
		const text = stringify(next);
		unsaved = !attempt(() => localStorage[name] = text);
		show(clean(text));
	};

	const tell = (event, detail) => document.dispatchEvent(new CustomEvent("sojourn:" + event, { detail }));
	const get = (key, from = state) => Object(from.values[key]).value ?? null;

	// show makes the page show a state.
	const show = (next) => {
		const before = state;
		state = next;
		for (const key in declared) {
			const attribute = declared[key].attribute, value = get(key);
			if (attribute && value !== null) {
				if (!(attribute in original)) original[attribute] = said ? null : root.getAttribute(attribute);
				root.setAttribute(attribute, value);
			} else if (original[attribute]) root.setAttribute(attribute, original[attribute]);
			else if (attribute in original) root.removeAttribute(attribute);
			if (before && stringify(get(key, before)) !== stringify(value)) tell("change", { key, value });
		}
		if (before && before.user !== next.user) {
			if (before.user) tell("signout");
			if (next.user) tell("signin");
		}
	};

	// receive takes what the server says: in answer to the state sent, or without
	// one in the page itself.
	const receive = (answer, sent) => {
		const next = load();
		for (const key in declared) {
			const mine = next.values[key], theirs = answer.values[key];
			if (mine) {
				if (sent && mine.changed === Object(sent.values[key]).changed) {
					mine.changed = 0;
					if (answer.refused.includes(key)) delete next.values[key];
				}
				if (next.user !== answer.user) {
					mine.time = 0;
					if (next.user && declared[key].personal) delete next.values[key];
				}
			}
			if (theirs && !(mine && (mine.changed || !sent && mine.time > theirs.time))) next.values[key] = theirs;
		}
		next.user = answer.user;
		if (sent) next.synced = Date.now();
		save(next);
	};

	// exchange sends the values, with the age of those that were changed. The
	// server answers with its own.
	const exchange = async () => {
		const sent = load(), values = {};
		for (const key in sent.values) {
			const { value, changed } = sent.values[key];
			values[key] = { value, age: changed ? Date.now() - changed : undefined };
		}
		const response = await fetch(endpoint, {
			method: "POST", mode: "same-origin", keepalive: true, signal: AbortSignal.timeout(2e4),
			headers: { "Content-Type": "application/json" }, body: stringify({ user: sent.user, values }),
		});
		if (response.ok) receive(await response.json(), sent);
	};

	// sync makes an exchange, after those that any tab has begun. Unless asked, it
	// makes none if no change is left to be sent. A failure leaves the changes for
	// a later exchange.
	const sync = (asked) => {
		const run = async () => { if (asked || Object.values(load().values).some((v) => v.changed)) await exchange().catch(() => {}); };
		return queue = queue.then(() => navigator.locks ? navigator.locks.request(name, run).catch(run) : run());
	};

	// wake takes what other tabs have stored while this one didn't listen.
	const wake = () => {
		show(load());
		sync(state.user && Math.abs(Date.now() - state.synced) > 3e5);
	};

	show(load());
	const same = said && said.user === state.user;
	if (same) receive(said);

	// Somebody may have signed in or out if the page says so, or if this tab has
	// sent a form, or comes back from another site.
	const came = attempt(() => sessionStorage[name]);
	const leave = (how) => attempt(() => sessionStorage[name] = how);
	leave("page");
	on("submit", (e) => e.target.method === "post" && leave("form"));
	const asked = came === "form" || (said ? !same : came && !document.referrer.startsWith(location.origin + "/"));
	on("load", () => asked ? sync(true) : wake());

	on("pageshow", (e) => e.persisted && wake());
	on("visibilitychange", () => document.hidden || wake());
	// The tab that has changed something is the first to send it. What it has stored
	// afterwards reaches the others in the meantime.
	on("online", () => setTimeout(wake, changer ? 0 : 5e3));
	on("storage", (e) => {
		if (e.key && e.key !== name) return;
		unsaved = false;
		show(load());
	});

	const set = (key, value = null) => {
		const next = load(), old = Object(next.values[key]);
		next.values[key] = { value, time: old.time, changed: Math.max(Date.now(), (old.changed || 0) + 1) };
		const usable = clean(stringify(next));
		if (!Object.hasOwn(declared, key) || Object.keys(usable.values).length < Object.keys(next.values).length) throw new RangeError("sojourn.mirror: " + key);
		changer = true;
		save(usable);
		return sync();
	};
	window.sojourn = { ...window.sojourn, mirror: { get, set, sync: () => sync(true), get signedIn() { return !!state.user; } } };
})();
