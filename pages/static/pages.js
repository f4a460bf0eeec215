// Keeps the list of devices up to date while the page can be seen. Without this
// script the page shows the list as it was when it was loaded.
"use strict";
(() => {
  const list = document.getElementById("list");
  const notice = document.getElementById("notice");
  const over = document.getElementById("signed-out");
  const every = 5000; // milliseconds
  let tag = "", timer = 0, busy = false;

  const say = (text) => {
    notice.textContent = text;
    notice.hidden = !text;
  };
  const sessions = () => [...list.querySelectorAll("[data-session]")].map((e) => e.dataset.session).join();

  // exact shows times of the visitor's own time zone when a pointer rests on them.
  const exact = () => {
    for (const e of list.querySelectorAll("time")) e.title = new Date(e.dateTime).toLocaleString(document.documentElement.lang);
  };

  const show = (html) => {
    const before = sessions(), focused = document.activeElement && list.contains(document.activeElement) ? document.activeElement.id : "";
    list.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
    exact();
    if (focused) (document.getElementById(focused) || document.getElementById("main")).focus();
    if (before !== sessions()) say(list.dataset.changed);
    else if (notice.textContent === list.dataset.offline) say("");
  };

  // signedOut shows that the session is over, and why, if the server says. The
  // mirror's script tells the other tabs, if the site has one.
  const signedOut = (why) => {
    clearTimeout(timer);
    timer = -1;
    say("");
    list.hidden = true;
    over.firstElementChild.textContent = why.reason ? why.detail : list.dataset.signedOut;
    over.hidden = false;
    window.sojourn?.mirror?.sync();
  };

  const look = async () => {
    clearTimeout(timer);
    if (busy || timer === -1 || document.visibilityState !== "visible") return;
    busy = true;
    try {
      const answer = await fetch(list.dataset.live + location.search, {
        headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store", redirect: "error",
      });
      if (answer.status === 401) return signedOut(await answer.json());
      if (answer.status === 200) {
        tag = answer.headers.get("ETag") || "";
        show(await answer.text());
      } else if (answer.status !== 304) {
        throw new Error(answer.status);
      }
    } catch {
      say(list.dataset.offline);
    } finally {
      busy = false;
    }
    timer = setTimeout(look, every);
  };

  exact();
  timer = setTimeout(look, every);
  document.addEventListener("visibilitychange", look);
  addEventListener("focus", look);
  addEventListener("online", look);
  document.addEventListener("sojourn:signout", look); // of the mirror's script
  addEventListener("pageshow", (e) => { if (e.persisted) look(); });
})();
