// Keeps a page live: hears that something changed, lets htmx fetch the panels anew, says when nobody answers.
//
// Not htmx's own extension for server-sent events, for two reasons.  A browser opens six connections to one
// server, so a stream of every open tab would stop the seventh tab: ours is closed while the tab is hidden.
// And the page must tell a server that restarts from one that no longer knows its viewer.
(() => {
  "use strict";
  const RETRY_MS = 1500;
  const AGAIN_MS = 1000;
  const SLOW_MS = 3000;
  const pulse = document.getElementById("pulse");
  const banner = document.getElementById("banner");
  const slow = new WeakMap();
  let source = null;
  let retry = 0;
  let latest = "";
  let lostAt = 0;

  function show(state, word) {
    if (pulse.dataset.state !== state) {
      pulse.dataset.state = state;
      pulse.lastElementChild.textContent = word;
    }
  }

  function say(sentence) {
    if (banner.textContent !== sentence) banner.textContent = sentence;
    banner.hidden = !sentence;
  }

  function refresh() {
    const now = Date.now();
    for (const panel of document.querySelectorAll("[data-panel]")) {
      // Panels that ask an agent are not fetched at every change.
      if ("slow" in panel.dataset) {
        if (now - (slow.get(panel) || 0) < SLOW_MS) continue;
        slow.set(panel, now);
      }
      htmx.trigger(panel, "refresh");
    }
    document.dispatchEvent(new Event("pages:refresh"));
  }

  function connect() {
    clearTimeout(retry);
    if (source || document.hidden) return;
    source = new EventSource(document.body.dataset.stream);
    source.addEventListener("open", () => {
      lostAt = 0;
      show("live", "live");
      say("");
    });
    source.addEventListener("changed", (event) => {
      latest = event.data;
      const shown = document.querySelector("#live, #absent");
      if (!shown || shown.dataset.mark !== latest) refresh();
    });
    source.addEventListener("tick", refresh);
    source.addEventListener("error", lost);
  }

  async function lost() {
    disconnect();
    lostAt = lostAt || Date.now();
    show("lost", "offline");
    const seconds = Math.round((Date.now() - lostAt) / 1000);
    say("The server does not answer" + (seconds > 2 ? " since " + seconds + " s" : "") +
      ". This page shows what it last knew and goes on when the server is back.");
    retry = setTimeout(connect, RETRY_MS);
    try {
      const answer = await fetch(document.body.dataset.stream, { method: "HEAD", cache: "no-store" });
      if (answer.status === 401) {
        say("The server no longer knows this browser: open the login link again. `altiplano up` printed it, `altiplano login` shows it.");
      }
    } catch {
      // Nobody there: the banner says so already.
    }
  }

  function disconnect() {
    if (source) source.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(retry);
      disconnect();
    } else {
      connect();
    }
  });
  // A page that comes back from the browser's cache has no stream any more.
  window.addEventListener("pageshow", (event) => { if (event.persisted) { disconnect(); connect(); } });
  window.addEventListener("pagehide", disconnect);

  document.addEventListener("htmx:afterSettle", (event) => {
    const shown = document.querySelector("#live, #absent");
    if (event.target === shown && latest && shown.dataset.mark !== latest) {
      setTimeout(() => { if (shown.dataset.mark !== latest) htmx.trigger(shown, "refresh"); }, AGAIN_MS);
    }
  });
  document.addEventListener("htmx:responseError", (event) => {
    const text = new DOMParser().parseFromString(event.detail.xhr.responseText || "", "text/html");
    const words = text.querySelector(".blank p");
    if (event.detail.xhr.status !== 401) say(words ? words.textContent : "The server answered " + event.detail.xhr.status + ".");
  });
  document.addEventListener("htmx:afterOnLoad", (event) => { if (!lostAt && event.detail.successful) say(""); });

  // "/" goes to the filter, as in many pages.
  document.addEventListener("keydown", (event) => {
    const field = document.querySelector(".filter input[type=search]");
    if (event.key === "/" && field && !event.target.closest("input, textarea, select, [contenteditable]")) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  });

  show("waiting", "connecting");
  connect();
})();
