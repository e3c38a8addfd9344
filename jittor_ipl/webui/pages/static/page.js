// What the page does by itself: pieces that follow a job, cancelling, light and dark, pictures dropped anywhere.
"use strict";
(() => {
  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  const shown = () => document.visibilityState === "visible";

  // ---- light and dark ------------------------------------------------------------------------------------------
  const wanted = () => localStorage.getItem("theme") ||
    (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const applyTheme = () => {
    const dark = wanted() === "dark";
    if (document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
  };
  const switchTheme = () => {
    localStorage.setItem("theme", document.body.classList.contains("dark") ? "light" : "dark");
    applyTheme();
  };

  // ---- pieces that follow something on the server --------------------------------------------------------------
  const last = new Map();      // the last content of each panel, shown faintly until the next job has something

  // Make `old` like `fresh` without touching what is alike already: pictures stay loaded, focus stays where it is.
  function morph(old, fresh) {
    const news = [...fresh.childNodes];
    news.forEach((node, at) => {
      const there = old.childNodes[at];
      if (!there) old.append(node);
      else if (there.nodeType !== node.nodeType || there.nodeName !== node.nodeName ||
               there.dataset?.key !== node.dataset?.key) there.replaceWith(node);
      else if (node.nodeType === Node.ELEMENT_NODE) {
        if (there.isEqualNode(node)) return;
        for (const { name } of [...there.attributes]) if (!node.hasAttribute(name)) there.removeAttribute(name);
        for (const { name, value } of [...node.attributes])
          if (there.getAttribute(name) !== value) there.setAttribute(name, value);
        morph(there, node);
      } else if (there.nodeValue !== node.nodeValue) there.nodeValue = node.nodeValue;
    });
    while (old.childNodes.length > news.length) old.lastChild.remove();
  }

  function fill(element, html) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    if (element.classList.contains("stale") && !fresh.content.querySelector("figure, .problem, .empty")) {
      const status = fresh.content.querySelector(".status");      // old pictures stay until there are new ones
      const old = element.querySelector(".status, .notice");
      if (status && old) old.replaceWith(status); else if (status) element.prepend(status);
      return;
    }
    element.classList.remove("stale");
    morph(element, fresh.content);
    element.dispatchEvent(new CustomEvent("filled", { bubbles: true }));
  }

  async function follow(element, address) {
    const every = Number(element.dataset.every || 0);
    const wanted = () => element.isConnected && element.dataset.watch === address;
    let seen = "", failures = 0;
    while (wanted()) {
      if (!shown()) { await pause(300); continue; }
      try {
        const answer = await fetch(`${address}?seen=${seen}`, { headers: { Accept: "text/html" } });
        if (answer.status === 404 || answer.status === 401) return answer.status === 401 ? location.reload() : null;
        if (answer.status === 200) {
          const html = await answer.text();
          seen = answer.headers.get("X-Version") || "";
          if (!wanted()) return;
          fill(element, html);
          if (element.dataset.panel) last.set(element.dataset.panel, element.innerHTML);
          if (answer.headers.get("X-Over")) return;
        } else if (answer.status !== 204) throw new Error(answer.status);
        failures = 0;
        if (every) await pause(every);
      } catch (error) {
        await pause(Math.min(5000, 300 * 2 ** failures++));       // the server is away: ask again by and by
      }
    }
  }

  // Gradio keeps an element whose address alone is new, so both are looked at.
  function begin(element) {
    const address = element.dataset.watch;
    if (element.following === address) return;
    element.following = address;
    if (element.dataset.panel && last.has(element.dataset.panel) && !element.firstChild) {
      element.innerHTML = last.get(element.dataset.panel);
      element.classList.add("stale");
    }
    if (element.dataset.panel && element.dataset.panel !== "align" && navigator.userActivation?.isActive) {
      const { top } = element.getBoundingClientRect();        // on a phone it lies below the button
      if (top < 0 || top > innerHeight * 0.8) element.scrollIntoView({ block: "start", behavior: "smooth" });
    }
    follow(element, address);
  }

  // Gradio has some of its words in English alone (document.py): [its text, ours], "{label}" standing for a field's.
  const inOurWords = (text) => {
    for (const [theirs, ours] of window.gradioWords || []) {
      const [before, after] = theirs.split("{label}");
      if (after === undefined ? text.trim() === theirs : text.startsWith(before) && text.endsWith(after))
        return ours.replace("{label}", () => text.slice(before.length, text.length - (after || "").length));
    }
    return text;
  };

  // Gradio names some of its fields by a title alone, which screen readers may leave out, and ticks of a list by their
  // value, not by the text beside them.
  const TICKS = "label > input[type=checkbox][aria-label]:has(+ span)";
  const NAMES = ["aria-label", "title"];
  function named(element) {
    const beside = element.matches(TICKS) && element.nextElementSibling.textContent.trim();
    const given = element.matches("input, button") && element.title;
    for (const name of NAMES) {
      const text = element.getAttribute(name), ours = inOurWords(beside || text || given || "");
      if (ours && ours !== text) element.setAttribute(name, ours);
    }
    for (const node of element.childNodes)
      if (node.nodeType === Node.TEXT_NODE && node.nodeValue.trim()) {
        const ours = inOurWords(node.nodeValue);
        if (ours !== node.nodeValue) node.nodeValue = ours;
      }
  }

  // Its button for further files has another button inside, which alone had a name and did something: style.css hides
  // that one, and its name and its work are the outer one's.
  const ADDS_FILES = ".icon-button:has(input[type=file])";
  const oneButton = (element) => {
    element.ariaLabel = element.title = element.querySelector("button").ariaLabel;
    element.onclick = () => element.querySelector("input[type=file]").click();
  };

  // ---- the frame -----------------------------------------------------------------------------------------------
  function arrived(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    const all = (what) => [...(node.matches(what) ? [node] : []), ...node.querySelectorAll(what)];
    all("[data-watch]").forEach(begin);
    all("[aria-label], [title], [title] .wrap").forEach(named);
    all(ADDS_FILES).forEach(oneButton);
    all("[data-title]").forEach((element) => { document.title = element.dataset.title; });
    all("a[data-language]").forEach((element) => { element.search = location.search; });
  }

  async function send(method, url) {
    const answer = await fetch(url, { method });
    if (!answer.ok) console.warn(method, url, answer.status);
  }

  document.addEventListener("click", (event) => {
    const on = (what) => event.target.closest?.(what);
    let element;
    if ((element = on("[data-cancel]"))) send("DELETE", `/api/v1/jobs/${element.dataset.cancel}`);
    else if ((element = on("[data-forget]"))) send("DELETE", `/api/v1/jobs/${element.dataset.forget}?forget=true`);
    else if (on("[data-theme-switch]")) switchTheme();
    else if ((element = on("a[data-language]")))
      document.cookie = `jittor_ipl_language=${element.dataset.language}; Path=/; Max-Age=31536000; SameSite=Lax`;
  });

  // A PNG dropped anywhere goes to the field that reads settings, where the page has one.
  const field = () => document.querySelector("#read-settings input[type=file]");
  document.addEventListener("dragover", (event) => {
    if (field() && event.dataTransfer?.types.includes("Files")) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    const input = field(), files = event.dataTransfer?.files;
    if (!input || !files?.length || event.target.closest?.("#read-settings")) return;
    event.preventDefault();
    const one = new DataTransfer();
    one.items.add(files[0]);
    input.files = one.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });

  const start = () => {
    applyTheme();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
    new MutationObserver(applyTheme).observe(document.body, { attributeFilter: ["class"] });    // Gradio has a will too
    arrived(document.body);
    new MutationObserver((changes) => changes.forEach((change) =>
      change.type === "childList" ? change.addedNodes.forEach(arrived) :
        (NAMES.includes(change.attributeName) ? named : begin)(change.target)))
      .observe(document.body, { childList: true, subtree: true, attributeFilter: ["data-watch", ...NAMES] });
  };
  document.body ? start() : document.addEventListener("DOMContentLoaded", start);
})();
