/* The live part of the status pages. Without it everything is there that does not move.
   One file is asked for again and again, status/now.json; when its `revision` changes, the page
   itself is fetched anew and what changed in it is put in place. All text from files goes into the
   page as text, never as markup. */
"use strict";
(() => {
  const root = document.documentElement.dataset.root;
  const page = document.documentElement.dataset.page;
  const home = root + "status/";
  const $ = (id) => document.getElementById(id);
  const PHASES = ["root", "BuildRequires", "%prep", "%build", "%install", "%check", "packaging"];
  const MOVING = ["running", "queued"]; // what no step is whose run has stopped
  const STATES = ["running", "queued", "built", "kept", "failed", "skipped"];
  const BUSY = 2, IDLE = 15, GRACE = 12; // seconds between questions; patience with a silent run

  let now = null;       // the last now.json
  let skew = 0;         // this clock less the server's, in seconds
  let away = 0;         // since when the server does not answer (this clock, seconds)
  let revision = "";    // of the pages, as far as this one has followed
  let failures = 0;
  let answeredAt = 0;   // the last time that the server answered (this clock)
  let saidAnew = 0;     // since when now.json says what it says (this clock)
  let moves = false;    // whether it was seen to change: then no clocks need to agree
  let apart = false;    // whether the farm's clock and the server's are found to be far apart

  const make = (tag, attributes = {}, ...inside) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...inside.filter((each) => each !== null && each !== undefined));
    return element;
  };
  const seconds = () => Date.now() / 1000;
  const there = () => seconds() - skew; // the server's time
  const lasting = (s) => {
    s = Math.max(0, Math.round(s));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
    return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  };
  const ago = (at) => {
    const s = there() - at;
    if (s < 45) return "just now";
    if (s < 3600) return `${Math.round(s / 60)} min ago`;
    if (s < 36 * 3600) return `${Math.round(s / 3600)} h ago`;
    return `${Math.round(s / 86400)} days ago`;
  };
  const packagePage = (name) => `${home}packages/${encodeURIComponent(name)}.html`;
  const architecture = (chroot) => chroot.slice(chroot.lastIndexOf("-") + 1);
  const WORDS = { kept: "kept", never: "never built", excluded: "not for it" };
  const SIGNS = { kept: "built" }; // of those that have none of their own
  const sign = (state) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", `icon ${SIGNS[state] || state}`);
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `#s-${SIGNS[state] || state}`);
    svg.append(use);
    return svg;
  };
  const chip = (state) =>
    make("span", { class: `chip ${SIGNS[state] || state}` }, sign(state),
      make("span", {}, WORDS[state] || state));

  // What a screen reader is told: seldom, and only what somebody would call across a room.
  let saidAt = 0;
  const say = (text) => {
    if (seconds() - saidAt < 5) return;
    saidAt = seconds();
    $("said").textContent = text;
  };
  const warn = (text, quiet = false) => {
    const place = $("alert");
    if (text && place.hidden) say(text); // what changes in it later is not worth a word
    if (place.textContent !== text) place.textContent = text;
    place.classList.toggle("quiet", quiet);
    place.hidden = !text;
  };

  /* Asking */

  let heardOnce;
  const asked = new Promise((resume) => { heardOnce = resume; }); // kept after the first answer
  const ask = async () => {
    let wait = IDLE;
    try {
      const answer = await fetch(`${home}now.json`, { cache: "no-cache", credentials: "same-origin" });
      if (answer.status === 404) {
        answered();
        now = null;
        $("now") && ($("now").hidden = true);
        heardOnce();
        return schedule(IDLE);
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const date = Date.parse(answer.headers.get("Date") || "");
      const told = await answer.json();
      const before = now;
      now = told;
      answered();
      synchronize(before, date / 1000);
      heard(before);
      wait = going() && !stale() ? BUSY : IDLE;
      if (revision !== now.revision) {
        await renew();
        revision = now.revision;
      }
    } catch (error) {
      failures += 1;
      if (!away) away = seconds();
      wait = Math.min(60, BUSY * 2 ** Math.min(failures, 5));
      if (location.protocol === "file:") {
        warn("This is a copy on a disk: what runs just now is not known here.", true);
        wait = 3600;
      } else if (failures > 1) {
        warn(`The server does not answer since ${clock(away)}. What you see is from before; this page keeps asking.`);
      } else {
        wait = 1;
      }
    }
    heardOnce();
    schedule(wait);
  };
  // Times are the farm's. Its clock is taken to be the server's, unless it is seen to be another.
  const synchronize = (before, date) => {
    const changed = Boolean(before) && before.at !== now.at;
    if (!before || changed) saidAnew = seconds();
    moves ||= changed;
    if (date && !apart) skew = seconds() - date;
    if (changed && now.every && Math.abs(there() - now.at) > now.every + GRACE) {
      apart = true;
      skew = seconds() - now.at;
    }
  };
  const answered = () => {
    answeredAt = seconds();
    if (failures > 1) say("The server answers again.");
    failures = 0;
    away = 0;
  };
  const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  let timer = 0;
  const schedule = (wait) => {
    clearTimeout(timer);
    timer = setTimeout(ask, wait * 1000);
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer); // while nobody looks nothing is asked
    if (document.hidden) return;
    saidAnew = seconds(); // what it says may be old by now, and is asked for
    ask();
  });

  const going = () => Boolean(now && now.every);
  const stale = () => {
    if (!going() || failures) return false; // of a server that is away nothing is known
    const patience = now.every + GRACE;
    return seconds() - saidAnew > patience || (!moves && there() - now.at > patience);
  };

  /* Showing what runs */

  const heard = (before) => {
    const ended = new Set((before ? before.recent || [] : []).map((each) => each.step + each.at));
    if (before) {
      const failed = (now.recent || []).filter((e) => e.state === "failed" && !ended.has(e.step + e.at));
      if (failed.length) say(`${failed.map((e) => `${e.package} on ${architecture(e.chroot)}`).join(", ")} failed.`);
      else if (before.every && !now.every) say(`The ${now.verb} has ended.`);
    }
    show();
  };
  const show = () => {
    if (!now) return;
    if (stale()) {
      warn(`Nothing was heard of the ${now.verb || "run"} since ${clock(now.at + skew)}${there() - now.at > 90 ? ` (${ago(now.at)})` : ""}: it was probably stopped (the same command goes on where it was), or this is a copy from then.`);
    } else if (!failures) {
      warn("");
    }
    if (page === "overview") showNow();
    showSteps();
  };
  const total = () => {
    const sums = Object.fromEntries(STATES.map((state) => [state, 0]));
    for (const counts of Object.values(now.counts || {})) {
      for (const [state, count] of Object.entries(counts)) sums[state] = (sums[state] || 0) + count;
    }
    return sums;
  };
  const showNow = () => {
    const box = $("now"), sums = total();
    const all = STATES.reduce((sum, state) => sum + sums[state], 0);
    box.hidden = !now.begun;
    const verbs = { build: ["Building", "The last build"], publish: ["Publishing", "The last publication"] };
    const [doing, done] = verbs[now.verb] || [`Running ${now.verb}`, `The last ${now.verb}`];
    const lost = stale();
    $("now-title").textContent = now.every && !lost ? `${doing} ${now.release || ""}` : `${done}${now.release ? ` of ${now.release}` : ""}`;
    const endings = { error: "stopped by an error", interrupted: "interrupted", done: "ended" };
    let when = `${endings[now.outcome] || "ended"} ${ago(now.ended)}, after ${lasting(now.ended - now.begun)}`;
    if (now.every) {
      when = lost ? `last heard of ${ago(now.at)}` : `for ${lasting(there() - now.begun)}`;
      if (!lost && now.left >= 1) when += `, about ${lasting(now.left)} left`;
    }
    text($("now-when"), when);
    const bar = $("now-bar");
    bar.hidden = !all;
    const order = ["built", "kept", "running", "skipped", "failed", "queued"];
    const kind = (state) => (lost && MOVING.includes(state) ? "stopped" : state);
    const shape = order.map((state) => `${state}${sums[state]}`).join() + lost;
    if (bar.dataset.shape !== shape) {
      bar.dataset.shape = shape;
      bar.replaceChildren(...order.filter((state) => sums[state]).map((state) => {
        const part = make("span", { class: kind(state) });
        part.style.flexGrow = sums[state];
        return part;
      }));
      $("now-counts").replaceChildren(...["running", "queued", "built", "kept", "failed", "skipped"]
        .filter((state) => sums[state])
        .map((state) => make("span", {}, sign(kind(state)), " ", make("b", {}, String(sums[state])),
          ` ${kind(state) === state ? "" : sums[state] === 1 ? "was " : "were "}${state}`)));
    }
    const list = $("now-running");
    jobs(list, lost ? [] : now.running || [], "li");
    const waiting = now.waiting || [];
    $("now-waiting").replaceChildren(...(waiting.length && !lost ? ["Next: ", ...waiting.slice(0, 6).flatMap((step, n) => [
      n ? ", " : "", link(step),
    ]), sums.queued > Math.min(6, waiting.length) ? ` and ${sums.queued - Math.min(6, waiting.length)} more` : ""] : []));
    if (!waiting.length && !sums.running && now.every && !lost) text($("now-waiting"), now.note || "preparing");
    const recent = now.recent || [];
    $("now-recent").hidden = !recent.length;
    const stamp = recent.map((e) => e.step + e.at).join();
    const ended = $("now-recent").querySelector("ul");
    if (ended.dataset.stamp !== stamp) {
      ended.dataset.stamp = stamp;
      ended.replaceChildren(...recent.map((e) => make("li", {}, chip(e.state), " ", link(e.step),
        make("span", { class: "muted" }, e.seconds && e.state !== "kept" ? ` in ${lasting(e.seconds)}` : "", e.text ? `: ${e.text}` : ""))));
    }
  };
  const link = (step) => {
    const [name, chroot] = step.split("@");
    return make("a", { href: packagePage(name.replace(/~bootstrap$/, "")) }, `${name} ${architecture(chroot)}`);
  };
  const text = (element, value) => {
    if (element.textContent !== value) element.textContent = value;
  };

  // Cards of running attempts are kept as long as the attempt runs, so that focus stays in them.
  const jobs = (list, running, tag) => {
    const kept = new Map([...list.children].map((each) => [each.dataset.job, each]));
    const wanted = running.map((job) => {
      const key = `${job.step} ${job.attempt || ""}`;
      const card = kept.get(key) || newJob(job, key, tag);
      kept.delete(key);
      fillJob(card, job);
      return card;
    });
    for (const gone of kept.values()) gone.remove();
    wanted.forEach((card, n) => {
      if (list.children[n] !== card) list.insertBefore(card, list.children[n] || null);
    });
  };
  const newJob = (job, key, tag) => {
    const [name] = job.step.split("@");
    return make(tag, { class: "job", "data-job": key },
      make("div", { class: "title" },
        make("a", { href: packagePage(job.package) }, make("b", {}, name.replace("~bootstrap", " (bootstrap)"))),
        make("span", { class: "muted" }, `${architecture(job.chroot)}${job.urgent ? ", urgent" : ""}`),
        make("span", { class: "place" })),
      make("progress", { max: "1", value: "0", "aria-label": `${name} on ${architecture(job.chroot)}, time against expectation` }),
      make("div", { class: "times" }),
      make("ol", { class: "phases", "aria-label": "Phases" }));
  };
  const fillJob = (card, job) => {
    const place = card.querySelector(".place");
    if (job.log && !place.firstChild) {
      const path = `${job.package}/${job.chroot}/${job.attempt}`;
      place.className = "place log";
      place.append(make("a", { href: `${home}log.html#${path.split("/").map(encodeURIComponent).join("/")}` }, "live log", make("span", { class: "sr" }, ` of ${job.step}`)));
    }
    const waits = !job.started; // for its turn after a mishap, or in a cluster's queue
    const spent = waits ? 0 : there() - job.started;
    const bar = card.querySelector("progress");
    bar.hidden = waits || !job.expected;
    if (job.expected) bar.value = Math.min(0.97, spent / job.expected); // full is what has ended
    let times = waits ? `has waited for ${lasting(there() - job.since)}` : lasting(spent);
    if (job.expected) times += `${waits ? ", then" : " of"} about ${lasting(job.expected)}`;
    if (job.expected && spent > job.expected * 1.2) times += ", longer than expected";
    if (job.place) times += `, on ${job.place}`;
    text(card.querySelector(".times"), times);
    const phases = card.querySelector(".phases");
    const phase = job.phase && job.phase !== "start" ? job.phase : "waiting to start";
    if (phases.dataset.phase !== phase) {
      phases.dataset.phase = phase;
      const at = PHASES.indexOf(phase === "unpack" ? "%prep" : phase);
      phases.replaceChildren(...(at < 0 ? [make("li", { "aria-current": "step" }, phase)] : PHASES.map((name, n) =>
        make("li", n === at ? { "aria-current": "step" } : n < at ? { class: "done" } : {}, name))));
    }
  };

  // States in tables, cards and the picture that the page itself does not know of yet.
  const showSteps = () => {
    const states = new Map(), lost = stale();
    for (const e of [...(now.recent || [])].reverse()) {
      const excluded = e.state === "skipped" && /^(ExclusiveArch|ExcludeArch)/.test(e.text || "");
      states.set(e.step, excluded ? "excluded" : e.state === "kept" ? "built" : e.state);
    }
    if (!lost) {
      takeBack();
      for (const step of now.waiting || []) states.set(step, "queued");
      for (const job of now.running || []) states.set(job.step, "running");
    }
    for (const [step, state] of states) {
      for (const place of document.querySelectorAll(`[data-step="${CSS.escape(step)}"]`)) {
        if (place.dataset.state === state) continue;
        place.dataset.state = state;
        if (place.tagName === "use") {
          place.setAttribute("href", `#s-${state}`);
          place.setAttribute("class", `icon ${state}`);
          if (state === "running" || state === "failed") place.closest(".node").classList.add(state);
          if (state !== "running") place.closest(".node").classList.remove("running");
        } else {
          (place.querySelector("[data-chip]") || place).replaceChildren(chip(state));
        }
      }
    }
    for (const place of document.querySelectorAll("[data-live-step]")) {
      jobs(place, lost ? [] : (now.running || []).filter((job) => job.step === place.dataset.liveStep), "div");
    }
    if (lost) silence();
  };

  // Of a run that fell silent nothing may be called running or queued. Should it be heard of again,
  // `takenBack` brings back what was there.
  let takenBack = [];
  const takeBack = () => {
    for (const undo of takenBack.reverse()) undo();
    if (takenBack.length) filter();
    takenBack = [];
  };
  const silence = () => {
    const static_ = $("static");
    if (!static_) return;
    const every = (pattern) => MOVING.flatMap((state) =>
      [...static_.querySelectorAll(pattern.replaceAll("STATE", state))].map((each) => [each, state]));
    const swap = (each, other) => { each.replaceWith(other); takenBack.push(() => other.replaceWith(each)); };
    const turn = (each, name, value) => {
      const was = each.getAttribute(name);
      each.setAttribute(name, value);
      takenBack.push(() => each.setAttribute(name, was));
    };
    for (const legend of static_.querySelectorAll(".tally .legend:not(.silent)")) {
      const counts = { built: 0 }; // anew: some may have ended since the page was written
      for (const each of static_.querySelectorAll(`td[data-step$="@${CSS.escape(legend.dataset.chroot)}"] .chip`)) {
        const state = MOVING.includes(each.classList[1]) ? "stopped" : each.classList[1];
        counts[state] = (counts[state] || 0) + 1;
      }
      if (!counts.stopped) continue;
      swap(legend, make("ul", { class: "legend silent" }, ...["built", "stopped", "failed", "skipped", "never", "excluded"]
        .filter((state) => state in counts)
        .map((state) => make("li", {}, sign(state), " ", make("b", {}, String(counts[state])), ` ${state === "stopped" ? "stopped without a word" : WORDS[state] || state}`))));
    }
    for (const [each] of every(".chip.STATE")) swap(each, chip("stopped"));
    for (const [each] of every("use[href='#s-STATE']")) turn(each, "href", "#s-stopped");
    for (const [each, state] of every("rect.STATE, .icon.STATE, .node.STATE")) {
      each.classList.replace(state, "stopped");
      takenBack.push(() => each.classList.replace("stopped", state));
    }
    for (const each of static_.querySelectorAll(".related .sr, .node title")) {
      const was = each.textContent; // "name: running on x86_64, built on aarch64", " (queued)"
      text(each, was.replace(/\b(running|queued)(?= on |\)$)/g, "stopped"));
      if (each.textContent !== was) takenBack.push(() => text(each, was));
    }
    const meaning = $("means-stopped");
    if (meaning && meaning.hidden) {
      meaning.hidden = false;
      takenBack.push(() => { meaning.hidden = true; });
    }
    let rows = 0;
    for (const [each, state] of every("tr[data-states~='STATE']")) {
      rows += 1;
      turn(each, "data-states", each.dataset.states.replaceAll(state, "stopped"));
    }
    if (rows) filter();
  };

  /* The page anew */

  const renew = async () => {
    const mine = $("static");
    if (!mine || page === "log") return;
    const answer = await fetch(location.pathname, { cache: "no-cache", credentials: "same-origin" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("static");
    if (!fresh || fresh.innerHTML === before) return;
    before = fresh.innerHTML;
    const focused = document.activeElement;
    const path = mine.contains(focused) ? focused.getAttribute("href") || focused.id : "";
    const opened = [...mine.querySelectorAll("details[open] > summary")].map((each) => each.textContent);
    const filters = [...mine.querySelectorAll("[data-filter]")].map((each) => each.value);
    const scrolled = [mine.scrollLeft, mine.scrollTop];
    mine.replaceChildren(...fresh.childNodes);
    for (const each of mine.querySelectorAll("details > summary")) {
      if (opened.includes(each.textContent)) each.parentElement.open = true;
    }
    [...mine.querySelectorAll("[data-filter]")].forEach((each, n) => { each.value = filters[n] || ""; });
    [mine.scrollLeft, mine.scrollTop] = scrolled;
    dress();
    show(); // what runs is put into it as well, and may have had the focus
    if (path) {
      const again = [...mine.querySelectorAll("a, button, select, pre")]
        .find((each) => (each.getAttribute("href") || each.id) === path);
      if (again) again.focus({ preventScroll: true });
    }
  };
  let before = $("static") ? $("static").innerHTML : "";

  // Everything that this script adds to what the page brought: times, links to logs, filters.
  const dress = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const at = Date.parse(time.dateTime) / 1000;
      if (!time.title) time.title = time.textContent;
      if (there() - at < 7 * 86400) text(time, ago(at));
    }
    for (const each of document.querySelectorAll("a[data-log]")) {
      each.href = `${home}log.html#${each.dataset.log.split("/").map(encodeURIComponent).join("/")}`;
    }
    for (const each of document.querySelectorAll(".filter")) each.hidden = false;
    filter();
  };

  /* Search and filters */

  let names = null; // of status/search.json: [name, state, version, group]
  const field = $("search"), hits = $("hits");
  const filter = () => {
    const wanted = page === "overview" ? field.value.trim().toLowerCase() : "";
    for (const table of document.querySelectorAll("table.packages")) {
      const select = document.querySelector(`[data-filter="${table.id}"]`);
      const state = select ? select.value : "";
      let left = 0;
      for (const row of table.tBodies[0].rows) {
        const fits = row.dataset.name.toLowerCase().includes(wanted) &&
          (!state || row.dataset.states.split(" ").includes(state));
        row.hidden = !fits;
        left += fits;
      }
      table.nextElementSibling.hidden = left > 0;
    }
  };
  const find = async () => {
    if (!names) {
      try {
        names = await (await fetch(`${home}search.json`, { cache: "no-cache" })).json();
      } catch {
        names = null;
      }
    }
    const wanted = field.value.trim().toLowerCase();
    const found = wanted && names ? names.filter(([name]) => name.toLowerCase().includes(wanted)) : [];
    found.sort(([a], [b]) => b.toLowerCase().startsWith(wanted) - a.toLowerCase().startsWith(wanted) || (a < b ? -1 : 1));
    hits.replaceChildren(...found.slice(0, 10).map(([name, state, version], n) => {
      const hit = make("li", { role: "option", id: `hit-${n}`, "aria-selected": "false" },
        sign(stale() && MOVING.includes(state) ? "stopped" : state), make("span", {}, name),
        make("span", { class: "muted" }, version || WORDS[state] || state));
      hit.addEventListener("mousedown", (event) => { event.preventDefault(); location.href = packagePage(name); });
      hit.dataset.name = name;
      return hit;
    }));
    if (wanted && !found.length && names) {
      hits.replaceChildren(make("li", { class: "muted", role: "option", "aria-disabled": "true" }, "No package is called so."));
    }
    hits.hidden = !wanted || document.activeElement !== field;
    field.setAttribute("aria-expanded", String(!hits.hidden));
    choose(-1);
    filter();
  };
  let chosen = -1;
  const choose = (n) => {
    const all = [...hits.children].filter((each) => each.dataset.name);
    chosen = all.length ? (n + all.length) % all.length : -1;
    if (n < 0) chosen = -1;
    all.forEach((each, i) => each.setAttribute("aria-selected", String(i === chosen)));
    if (chosen >= 0) field.setAttribute("aria-activedescendant", `hit-${chosen}`);
    else field.removeAttribute("aria-activedescendant");
  };
  document.querySelector(".search").hidden = false;
  field.addEventListener("input", find);
  field.addEventListener("focus", find);
  field.addEventListener("blur", () => { hits.hidden = true; field.setAttribute("aria-expanded", "false"); });
  field.addEventListener("keydown", (event) => {
    const all = hits.querySelectorAll("[data-name]");
    if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(chosen <= 0 ? all.length - 1 : chosen - 1);
    else if (event.key === "Enter" && all.length) location.href = packagePage(all[Math.max(0, chosen)].dataset.name);
    else if (event.key === "Escape") { field.value = ""; find(); field.blur(); }
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-filter]")) filter();
  });

  /* The picture */

  if (page === "graph") {
    const picture = $("static");
    const near = (name, from, to) => { // everything that `name` leads to, along one direction
      const found = new Set([name]);
      for (const each of found) {
        for (const path of picture.querySelectorAll(`.edges [data-${from}="${CSS.escape(each)}"]`)) {
          path.classList.add("near");
          found.add(path.dataset[to]);
        }
      }
      return found;
    };
    const point = (node) => {
      const graph = picture.querySelector(".graph");
      if (!graph) return;
      for (const each of graph.querySelectorAll(".near")) each.classList.remove("near");
      graph.classList.toggle("chosen", Boolean(node));
      if (!node) return;
      const name = node.dataset.name;
      for (const each of new Set([...near(name, "from", "to"), ...near(name, "to", "from")])) {
        document.getElementById(`n-${each}`)?.classList.add("near");
      }
    };
    for (const [event, on] of [["mouseover", true], ["focusin", true], ["mouseout", false], ["focusout", false]]) {
      picture.addEventListener(event, (e) => point(on ? e.target.closest(".node") : null));
    }
    document.querySelector(".zoom").hidden = false;
    for (const button of document.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => picture.classList.toggle("fit", button.dataset.zoom === "fit"));
    }
    const aim = () => {
      const node = document.getElementById(decodeURIComponent(location.hash.slice(1)));
      const first = picture.querySelector(".node rect"); // of the leftmost column
      if (first && !location.hash) picture.scrollTop = first.y.baseVal.value - 40;
      if (node && node.matches(".node")) { node.scrollIntoView({ block: "center", inline: "center" }); point(node); }
    };
    addEventListener("hashchange", aim);
    aim();
  }

  /* A log: the compressed one of an attempt that has ended, or the growing one of a running one */

  const readLog = () => {
    const CHUNK = 1000, SHOWN = 20; // lines in a piece, pieces in the page before more are asked for
    const LONG = 10000; // characters of a line that are shown
    // What a terminal would do, and not show; and what would not be seen, or turn the rest around.
    const UNSEEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
    const EVERY_UNSEEN = new RegExp(UNSEEN, "g");
    const SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]+[0-~]|[0-~])/g;
    const TELLING = /\b(error:|fatal error|FAILED|undefined reference|RPM build errors|No such file)/;
    const box = $("log"), state = $("log-state"), file = $("log-file"), follow = $("log-follow"), earlier = $("log-earlier");
    const match = /^#([^/]+)\/([^/]+)\/([0-9]{8}-[0-9]{6}-[0-9a-f]+(?:\.root)?)$/.exec(location.hash);
    const parts = match ? match.slice(1).map(decodeURIComponent) : [];
    if (!match || parts.some((part) => part.startsWith(".") || part.includes("/"))) {
      text(state, "Which log? The pages of the packages have links to theirs.");
      return;
    }
    const [name, chroot, attempt] = parts;
    const path = `${home}logs/${parts.map(encodeURIComponent).join("/")}.log`;
    text($("log-title"), `${name} on ${architecture(chroot)}${attempt.endsWith(".root") ? ": its build root" : ""}`);
    const back = $("log-package");
    back.href = packagePage(name);
    text(back, name);
    document.title = `${name} on ${architecture(chroot)}: log`;
    file.hidden = false;

    let pieces = [];   // texts of CHUNK lines each; the last one grows
    let first = 0;     // the first piece that is in the page
    let lines = 0, rest = "", open = null;
    let left = 0;      // characters of the line in `rest` that are not kept
    const tail = make("pre"); // what is shown of that line
    const clear = () => {
      pieces = []; first = lines = left = 0; rest = ""; open = null;
      tail.textContent = "";
      box.replaceChildren(tail);
    };
    const struck = (line) => { // a backspace takes back what was before it
      const kept = [];
      for (const each of line) each === "\b" ? kept.pop() : kept.push(each);
      return kept.join("");
    };
    const named = (each) => {
      const code = each.codePointAt(0);
      if (code < 32 || code === 127) return `^${String.fromCharCode(code ^ 64)}`;
      return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
    };
    const clean = (line, over) => {
      if (UNSEEN.test(line)) line = line.replace(SEQUENCE, "").replace(/\r+$/, "").replace(/[^]*\r/, "");
      if (line.length > LONG) {
        over += line.length - LONG;
        line = line.slice(0, LONG);
      }
      if (line.includes("\b")) line = struck(line);
      if (UNSEEN.test(line)) line = line.replace(EVERY_UNSEEN, named);
      return over ? `${line} … and ${over.toLocaleString("en")} more characters` : line;
    };
    const element = (piece) => {
      const pre = make("pre");
      let plain = [];
      for (const line of piece) {
        if (TELLING.test(line)) {
          pre.append(plain.join(""), make("span", { class: "telling" }, line));
          plain = [];
        } else plain.push(line);
      }
      pre.append(plain.join(""));
      return pre;
    };
    const add = (more) => {
      const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
      const whole = (rest + more).split("\n");
      rest = whole.pop();
      const whose = left; // of the first line, which is whole now, or else of the rest
      if (whole.length) left = 0;
      let fresh = [];
      const put = () => {
        if (!fresh.length) return;
        if (!open || pieces[pieces.length - 1].length === fresh.length) { open = element(fresh); tail.before(open); }
        else open.append(...element(fresh).childNodes);
        fresh = [];
      };
      for (const [n, line] of whole.entries()) {
        if (!pieces.length || pieces[pieces.length - 1].length >= CHUNK) { put(); open = null; pieces.push([]); }
        const told = `${clean(line, n ? 0 : whose)}\n`;
        pieces[pieces.length - 1].push(told);
        fresh.push(told);
        lines += 1;
      }
      put();
      if (rest.length > LONG) rest = rest.slice(rest.lastIndexOf("\r", rest.length - 2) + 1);
      if (rest.length > LONG) {
        left += rest.length - LONG;
        rest = rest.slice(0, LONG);
      }
      text(tail, rest && clean(rest, left));
      while (box.childElementCount - 1 > SHOWN && !expanded) { box.firstElementChild.remove(); first += 1; }
      offer();
      if (follow.querySelector("input").checked && (atEnd || !live)) box.scrollTop = box.scrollHeight;
    };
    let expanded = false, live = false;
    const offer = () => {
      earlier.hidden = first === 0;
      text(earlier, `Show ${Math.min(first, SHOWN) * CHUNK} of ${first * CHUNK} earlier lines`);
    };
    earlier.onclick = () => {
      const height = box.scrollHeight;
      const from = Math.max(0, first - SHOWN);
      box.prepend(...pieces.slice(from, first).map(element));
      first = from;
      expanded = true;
      offer();
      box.scrollTop += box.scrollHeight - height;
    };
    const pause = (s) => new Promise((resume) => { setTimeout(resume, s * 1000); });
    const silent = () => `nothing was heard of the ${now.verb} since ${clock(now.at + skew)}`;
    const told = () => (lines === 1 ? "1 line" : `${lines.toLocaleString()} lines`);

    const ended = async () => { // true when there was one
      file.href = `${path}.gz`;
      const answer = await fetch(`${path}.gz`, { cache: "no-cache" });
      if (!answer.ok) return false;
      follow.hidden = true;
      live = false;
      clear();
      const [peek, body] = answer.body.tee();
      const reader = peek.getReader();
      const { value } = await reader.read();
      reader.cancel();
      // Some servers unpack what ends in .gz on the way.
      const packed = value && value[0] === 0x1f && value[1] === 0x8b;
      if (packed && typeof DecompressionStream === "undefined") {
        text(state, "This browser cannot unpack it; the file itself can be loaded.");
        return true;
      }
      let stream = body;
      if (packed) stream = stream.pipeThrough(new DecompressionStream("gzip"));
      const texts = stream.pipeThrough(new TextDecoderStream()).getReader();
      let pending = "", painted = performance.now();
      for (;;) {
        const { value: more, done } = await texts.read();
        if (more) pending += more;
        if (done || pending.length > 1 << 19 || performance.now() - painted > 120) {
          add(pending);
          pending = "";
          text(state, done ? told() : `${told()}, reading`);
          await pause(0); // let the page breathe between two helpings
          painted = performance.now();
        }
        if (done) break;
      }
      if (rest) add("\n");
      text(state, told());
      box.scrollTop = box.scrollHeight;
      return true;
    };
    // Whether the attempt runs is asked of now.json, so that no file is asked for in vain.
    const job = () => now && now.every ? (now.running || []).find((each) => each.attempt === attempt) : undefined;
    const growing = async () => { // true when there was one
      let offset = 0, seen = false;
      const decoder = new TextDecoder();
      for (;;) {
        if (document.hidden || (seen && seconds() - answeredAt > 3 * BUSY)) { // what is known is old
          await pause(0.5);
          continue;
        }
        if (!job()) return seen && finished();
        if (!job().log) {
          if (!seen) text(state, stale() ? `Nothing was written; ${silent()}` : "Nothing was written yet; it begins here when the build does.");
          await pause(0.5);
          continue;
        }
        file.href = path;
        // From the last byte on that is known: a range that begins at the end would be refused.
        const headers = offset ? { Range: `bytes=${offset - 1}-` } : {};
        const answer = await fetch(path, { cache: "no-store", headers });
        if (answer.status === 404) {
          await answer.text();
          return seen && finished();
        }
        if (answer.ok) {
          let bytes = new Uint8Array(await answer.arrayBuffer());
          if (offset) bytes = bytes.slice(answer.status === 206 ? 1 : offset); // else without ranges
          offset += bytes.length;
          seen = live = true;
          follow.hidden = stale();
          for (let at = 0; at < bytes.length; at += 1 << 19) {
            add(decoder.decode(bytes.subarray(at, at + (1 << 19)), { stream: true }));
            if (bytes.length > 1 << 19) await pause(0);
          }
          text(state, `${told()}${stale() ? `; ${silent()}` : ", still being written"}`);
        } else await answer.arrayBuffer();
        await pause(stale() ? IDLE : 1);
      }
    };
    // The log of an attempt that was cut short with its run is packed by the next one.
    const cut = () => now && (now.outcome === "interrupted" || now.outcome === "error") &&
      !(now.recent || []).some((each) => each.package === name && each.chroot === chroot);
    const finished = async () => {
      if (cut()) {
        text(state, `${told()}; it was cut short when the ${now.verb} was stopped`);
        return true;
      }
      for (let n = 0; n < 10; n += 1) {
        if (await ended()) return true;
        await pause(1);
      }
      text(state, `${told()}; the attempt has ended`);
      return true;
    };
    const read = async () => {
      clear();
      text(state, "reading");
      await Promise.race([asked, pause(10)]);
      for (let n = 0; ; n += 1) {
        try {
          if (await growing() || await ended()) return;
          text(state, "There is no such log any more, or none yet.");
          if (n > 5) return;
          await pause(2);
        } catch (error) {
          text(state, `The server does not answer since ${clock(seconds())}; ${told()} so far.`);
          await pause(5);
          clear();
        }
      }
    };
    read();
  };
  if (page === "log") {
    readLog();
    addEventListener("hashchange", () => location.reload());
  }
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address of a log ends in which log it is
    $("main").focus();
  });

  dress();
  ask();
  setInterval(() => { if (now && !document.hidden) show(); }, 1000);
  setInterval(dress, 30000);
})();
