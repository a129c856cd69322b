// Follows a file that grows.  Bytes come by offset, so nothing is shown twice and a lost connection loses nothing.
// Text enters the page through textContent only; colours of terminals become classes; what is not text is shown as signs.
(() => {
  "use strict";
  const LINES_MAX = 5000;
  const LINE_CHARS_MAX = 16384;
  const RETRY_MS = 1500;
  const ENDED_MS = 10000;
  const ESCAPE = /\x1b(?:\[([0-9;:?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])/g;

  class Screen {
    // Turns text into lines of spans.
    constructor(pre) {
      this.pre = pre;
      this.style = { ink: "", bold: false };
      this.rest = "";
      this.line = null;
      this.lines = 0;
      this.dropped = false;
    }

    write(text) {
      text = this.rest + text;
      this.rest = "";
      // A sequence or a pair of signs that is cut in two waits for its other half.
      const cut = text.match(/(?:\x1b(?:\[[0-9;:?]*)?|\r)$/);
      if (cut && cut[0].length < 64) {
        this.rest = cut[0];
        text = text.slice(0, -cut[0].length);
      }
      const all = text.split("\n");
      const page = document.createDocumentFragment();
      this.page = page;
      all.forEach((part, i) => {
        this.put(part.endsWith("\r") ? part.slice(0, -1) : part);
        if (i < all.length - 1) this.end();
      });
      this.pre.append(page);
      while (this.lines > LINES_MAX && this.pre.firstChild) {
        this.pre.firstChild.remove();
        this.lines -= 1;
        this.dropped = true;
      }
    }

    current() {
      if (!this.line) {
        this.line = document.createElement("span");
        this.line.className = "ln";
        this.page.append(this.line);
        this.lines += 1;
      }
      return this.line;
    }

    end() {
      this.current().append("\n");
      this.line = null;
    }

    put(part) {
      if (!part) return;
      // A carriage return begins the line anew: progress bars are one line, not thousands.
      const back = part.lastIndexOf("\r");
      if (back >= 0) {
        this.current().replaceChildren();
        part = part.slice(back + 1);
      }
      let from = 0;
      for (const match of part.matchAll(ESCAPE)) {
        this.span(part.slice(from, match.index));
        if (match[2] === "m") this.colour(match[1]);
        from = match.index + match[0].length;
      }
      this.span(part.slice(from));
    }

    span(text) {
      const line = this.current();
      if (!text || line.textContent.length > LINE_CHARS_MAX) return;
      if (line.textContent.length + text.length > LINE_CHARS_MAX) text = text.slice(0, LINE_CHARS_MAX - line.textContent.length) + " … (line cut here)";
      text = text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, (sign) => sign === "\x7f" ? "␡" : String.fromCharCode(0x2400 + sign.charCodeAt(0)));
      const names = [this.style.ink, this.style.bold ? "bold" : ""].filter(Boolean).join(" ");
      if (!names) { line.append(text); return; }
      const span = document.createElement("span");
      span.className = names;
      span.textContent = text;
      line.append(span);
    }

    colour(codes) {
      const numbers = (codes || "0").split(/[;:]/).map(Number);
      for (let i = 0; i < numbers.length; i++) {
        const n = numbers[i];
        if (n === 0) this.style = { ink: "", bold: false };
        else if (n === 1) this.style.bold = true;
        else if (n === 22) this.style.bold = false;
        else if (n === 39) this.style.ink = "";
        else if (n >= 30 && n <= 37) this.style.ink = "ink" + (n - 30);
        else if (n >= 90 && n <= 97) this.style.ink = "ink" + (n - 90);
        else if (n === 38 || n === 48) i += numbers[i + 1] === 5 ? 2 : 4;
      }
    }
  }

  class Tail {
    constructor(panel) {
      this.panel = panel;
      this.pre = panel.querySelector("pre");
      this.note = panel.querySelector(".log-note");
      this.earlier = panel.querySelector("[data-earlier]");
      this.follow = panel.querySelector("[data-follow]");
      this.download = panel.querySelector("[data-download]");
      this.tabs = [...panel.querySelectorAll("[role=tab]")];
      for (const tab of this.tabs) tab.addEventListener("click", () => this.open(tab));
      panel.querySelector("[role=tablist]").addEventListener("keydown", (event) => this.arrow(event));
      panel.querySelector("[data-wrap]").addEventListener("change", (event) => this.pre.classList.toggle("wrap", event.target.checked));
      this.follow.addEventListener("change", () => { if (this.follow.checked) this.bottom(); });
      this.earlier.addEventListener("click", () => this.before());
      this.pre.addEventListener("wheel", (event) => { if (event.deltaY < 0 && this.pre.scrollHeight > this.pre.clientHeight) this.follow.checked = false; }, { passive: true });
      document.addEventListener("visibilitychange", () => { if (!document.hidden && this.url) this.start(); else this.stop(); });
      this.open(this.tabs[0]);
    }

    arrow(event) {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = this.tabs[(this.tabs.indexOf(document.activeElement) + step + this.tabs.length) % this.tabs.length];
      next.focus();
      this.open(next);
    }

    open(tab) {
      for (const one of this.tabs) {
        one.setAttribute("aria-selected", String(one === tab));
        one.tabIndex = one === tab ? 0 : -1;
      }
      this.url = tab.dataset.url;
      this.pre.setAttribute("aria-label", tab.textContent.trim());
      this.download.href = tab.dataset.download;
      this.from(null);
    }

    from(offset) {
      this.stop();
      this.pre.replaceChildren();
      this.screen = new Screen(this.pre);
      this.decoder = new TextDecoder("utf-8", { fatal: false });
      this.first = offset;
      this.offset = offset;
      this.say("");
      this.earlier.hidden = true;
      this.start();
    }

    stop() {
      if (this.running) this.running.abort();
      this.running = null;
    }

    start() {
      this.stop();
      this.running = new AbortController();
      this.loop(this.running.signal);
    }

    async loop(signal) {
      while (!signal.aborted) {
        let wait = RETRY_MS;
        try {
          const query = this.offset === null ? "" : "?offset=" + this.offset;
          const answer = await fetch(this.url + query, { signal, cache: "no-store" });
          if (answer.ok) wait = await this.take(answer, signal);
          else this.say((await answer.json().catch(() => ({}))).error || "The server answered " + answer.status + ".");
        } catch (error) {
          if (signal.aborted) return;
          this.say("No connection; what follows is fetched when the server is back.");
        }
        if (wait) await new Promise((done) => setTimeout(done, wait));
      }
    }

    async take(answer, signal) {
      const data = new Uint8Array(await answer.arrayBuffer());
      if (signal.aborted) return 0;
      const begin = Number(answer.headers.get("X-Log-Offset"));
      const size = Number(answer.headers.get("X-Log-Size"));
      const ended = answer.headers.get("X-Log-Ended") === "1";
      if (this.offset !== null && size < this.offset) {
        // The file was begun anew.
        this.from(0);
        return 0;
      }
      if (this.offset === null) this.first = begin;
      this.offset = begin + data.length;
      if (data.length) this.screen.write(this.decoder.decode(data, { stream: true }));
      this.earlier.hidden = !(this.first > 0);
      this.panel.dataset.offset = this.offset;
      if (!size) this.say(ended ? "This task wrote nothing here." : "Nothing written yet.");
      else this.say(this.screen.dropped ? "Only the last " + LINES_MAX + " lines are kept here; the download has all." : "");
      if (this.follow.checked) this.bottom();
      return this.offset < size ? 0 : ended ? ENDED_MS : 50;
    }

    before() {
      // Earlier text changes what later colours mean, so it is read again from there as one piece.
      this.follow.checked = false;
      this.from(Math.max(0, this.first - 4 * 65536));
    }

    bottom() { this.pre.scrollTop = this.pre.scrollHeight; }

    say(sentence) {
      this.note.textContent = sentence;
      this.note.hidden = !sentence;
    }
  }

  for (const panel of document.querySelectorAll("[data-log]")) new Tail(panel);
})();
