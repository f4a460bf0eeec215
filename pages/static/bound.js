// The script that binds logins to browsers without Device Bound Session
// Credentials (W3C). The server takes out the comments and the indentation
// (internal/script). So a comment has a line of its own, and no string or
// expression goes over the end of a line.
//
// It makes a key that no script can read, registers it for the session, and signs
// the server's challenges with it, at the same addresses and in the same form as a
// browser that does so by itself. The server answers each time with a proof, a
// cookie that lives for minutes. Where the browser has registered by itself, the
// script finds the session bound and does nothing.
//
// It keeps one item in IndexedDB, under the path of the endpoints, because each
// application on the host has its own:
//
//	{key, session, from, challenge}
//
// session is its ID, from is when the last proof was asked for (0: none came yet),
// and challenge is what to sign next, if the server has told.
(() => {
	// life is how long a proof lives, in milliseconds.
	const { life } = DECLARED;
	const path = new URL(".", document.currentScript.src).pathname;
	const name = "sojourn:" + path;
	const quote = String.fromCharCode(34);
	const on = addEventListener;
	const send = fetch.bind(window);
	const subtle = crypto.subtle;
	const pause = (ms) => new Promise((done) => setTimeout(done, ms));
	const attempt = (f) => { try { return f(); } catch (e) {} };
	const ecdsa = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
	// state is the item as this page saw it last. loaded resolves when it has seen it.
	// tried is when this page began its last attempt that failed.
	let state, tried = 0;

	// store reads or changes the item. A change is on the disk when it resolves:
	// cookies outlive a crash, so the key must.
	const store = (mode, f) => new Promise((done, fail) => {
		const opening = indexedDB.open("sojourn", 1);
		opening.onupgradeneeded = () => opening.result.createObjectStore("bound");
		opening.onerror = fail;
		opening.onsuccess = () => {
			try {
				const work = opening.result.transaction("bound", mode, { durability: "strict" });
				const request = f(work.objectStore("bound"));
				work.oncomplete = () => done(request.result);
				work.onabort = fail;
			} catch (e) { fail(e); }
			opening.result.close();
		};
	});
	const read = async () => state = await store("readonly", (s) => s.get(path));
	const drop = async () => state = await store("readwrite", (s) => s.delete(path));
	const save = async (next) => {
		await store("readwrite", (s) => s.put(next, path));
		return state = next;
	};

	// within reports whether the last proof is younger than a part of its life. A
	// clock that was set back doesn't make it younger.
	const within = (part) => Math.abs(Date.now() - state.from) < part * life;
	const due = () => state && !within(.75);
	const expired = () => state && !within(.98);

	const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
	const encode = (value) => base64(new TextEncoder().encode(JSON.stringify(value)));

	// proof signs a challenge (JWT, RFC 7519). A registration carries the public key.
	const proof = async (key, challenge, jwk) => {
		const text = encode({ alg: "ES256", typ: "dbsc+jwt", jwk }) + "." + encode({ jti: challenge });
		return text + "." + base64(await subtle.sign(ecdsa, key, new TextEncoder().encode(text)));
	};

	// post sends what is signed, if anything is. It returns the next challenge, the
	// session for which that is, and whether the server wants it signed now. Where the
	// server is out of order it throws: then all stays as it is.
	const post = async (what, signed) => {
		const response = await send(path + what, {
			method: "POST", mode: "same-origin", redirect: "error", signal: AbortSignal.timeout(2e4),
			headers: signed ? { "Secure-Session-Response": signed } : {},
		});
		if (response.status > 499 || response.status === 429) throw response;
		const [, challenge, , session] = (response.headers.get("Secure-Session-Challenge") || "").split(quote);
		return { ok: response.ok, asks: response.status === 403 && challenge, challenge, session };
	};

	// renew gets the next proof, and reports whether it did. It forgets a key that the
	// server doesn't accept: the session is over, or another one is there.
	const renew = async () => {
		let { key, session, challenge } = state;
		for (let i = 0; i < 3; i++) {
			const from = Date.now(), answer = await post("refresh", challenge && await proof(key, challenge));
			challenge = answer.challenge;
			if (answer.ok) return save({ key, session, from, challenge });
			if (!answer.asks) break;
		}
		return drop();
	};

	// register makes a key for a session that is not bound. The key is stored first, so
	// that a registration whose answer is lost can be used. A browser that may register
	// by itself gets the time to do so.
	const register = async (waited) => {
		const { asks, challenge, session } = await post("register");
		if (!asks || state && state.session === session) return;
		if (!waited && navigator.userAgentData && location.protocol === "https:") {
			await pause(5e3);
			return register(true);
		}
		const { privateKey: key, publicKey } = await subtle.generateKey(ecdsa, false, ["sign"]);
		const { kty, crv, x, y } = await subtle.exportKey("jwk", publicKey);
		await save({ key, session, from: 0 });
		const answer = await post("register", await proof(key, challenge, { kty, crv, x, y }));
		if (!answer.ok) return drop();
		await save({ key, session, from: 0, challenge: answer.challenge });
		await renew();
	};

	// sync does what is due, once for all tabs. Asked, it also looks whether there is a
	// session to bind. After a failure it waits, unless asked.
	const sync = (asked) => {
		const run = async () => {
			await read();
			if (!asked && (!due() || failed())) return;
			tried = Date.now();
			if (!due() || !await renew()) await register();
			tried = 0;
		};
		return (navigator.locks ? navigator.locks.request(name, run) : run()).catch(() => {});
	};
	// failed reports whether the last attempt failed a moment ago.
	const failed = () => Math.abs(Date.now() - tried) < 15e3;
	// ready waits for a proof where it has expired, but not for ever.
	const ready = () => expired() && Promise.race([sync(), pause(2e4)]);
	const wake = () => due() && !document.hidden && sync();
	const tick = () => {
		wake();
		setTimeout(tick, 15e3);
	};

	if (!subtle || !attempt(() => indexedDB)) return;
	const loaded = Promise.race([read().catch(() => {}), pause(2e3)]);

	// Requests of the page's scripts to this site wait until the proof is good.
	window.fetch = (...of) => {
		const own = attempt(() => new URL(of[0].url || of[0], document.baseURI).origin === origin);
		return own ? loaded.then(ready).then(() => send(...of)) : send(...of);
	};
	// So does a form. Other listeners hear of it when it is really sent.
	on("submit", (e) => {
		if (e.target.method !== "post" || !expired() || failed()) return;
		e.preventDefault();
		e.stopImmediatePropagation();
		ready().then(() => e.target.requestSubmit(e.submitter));
	}, true);

	// Somebody may have signed in if this tab has sent a form, if it is new, or if it
	// comes back from another site.
	const came = attempt(() => sessionStorage[name]);
	const leave = (how) => attempt(() => sessionStorage[name] = how);
	leave("page");
	on("submit", (e) => e.target.method === "post" && leave("form"));
	const arrived = !came || !document.referrer.startsWith(origin + "/");
	loaded.then(async () => {
		const late = expired();
		await sync(came === "form" || !state && arrived);
		// The server has not recognised the session when it made this page.
		if (late && state && !expired() && document.dispatchEvent(new Event("sojourn:proven", { cancelable: true }))) location.reload();
		tick();
	});
	on("pageshow", (e) => e.persisted && wake());
	for (const event of ["visibilitychange", "focus", "online"]) on(event, wake);
	document.addEventListener("sojourn:signin", () => sync(true));
	document.addEventListener("sojourn:signout", () => state && sync(true));
	window.sojourn = { ...window.sojourn, bound: { sync: () => sync(true) } };
})();
