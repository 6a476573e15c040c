"use strict";
// The observer's page: asks the node every two seconds and draws what it answers. Everything that
// comes from the node is put in as text, never as HTML.

const EVERY_MS = 2000;
const HISTORY = 90;
const PAGE = 50;
const OPEN_DEPTH = 2; // how deep the tree is open at first

const $ = (id) => document.getElementById(id);
const view = {
  tab: "tree", paused: false, sort: "mailbox", offset: 0, search: "", total: 0,
  toggled: new Map(), // pid -> open, where it is not as at first
  all: null, // true: all open, false: all closed, null: as at first
  chosen: null, state: null, history: [], timer: 0, turn: 0,
};

function make(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") node.addEventListener("click", value);
    else if (name === "text") node.textContent = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

async function ask(path, params = {}) {
  const url = new URL("/observer/v1/" + path, location.href);
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== "") url.searchParams.set(name, value);
  }
  const answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(10000) });
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  return answer.json();
}

// -- numbers ---------------------------------------------------------------------------------------

function short(n) {
  if (n >= 1e9) return (n / 1e9).toFixed(1) + " G";
  if (n >= 1e6) return (n / 1e6).toFixed(1) + " M";
  if (n >= 1e4) return (n / 1e3).toFixed(1) + " k";
  return n >= 10 || Number.isInteger(n) ? Math.round(n).toLocaleString("en") : n.toFixed(1);
}

function bytes(n) {
  if (n === null) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
  return (at === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + " " + units[at];
}

function number(n, text = short(n), high = Infinity) {
  return make("td", { class: n === 0 ? "n zero" : n >= high ? "n high" : "n", text });
}

// -- the node as a whole ---------------------------------------------------------------------------

const FIGURES = [
  ["Processes", (f) => short(f.processes), (f) => `${short(f.spawned_total)} spawned`, (f) => f.processes],
  ["Messages/s", (f) => short(f.messages_per_s), (f) => `${short(f.messages_total)} in all`, (f) => f.messages_per_s],
  ["Run queue", (f) => short(f.run_queue), (f) => `${short(f.timers)} timers`, (f) => f.run_queue],
  ["Waiting messages", (f) => short(f.mailbox_total), (f) => `longest mailbox ${short(f.mailbox_max)}`, (f) => f.mailbox_total],
  ["Restarts", (f) => short(f.restarts_total), (f) => `${short(f.exited_total)} exits`, (f) => f.restarts_total],
  ["Memory", (f) => bytes(f.memory_bytes), () => "of the whole program", (f) => f.memory_bytes ?? 0],
  ["Processor", (f) => `${Math.round(f.cpu * 100)} %`, () => "of one core", (f) => f.cpu],
];

function remember(figures) {
  const last = view.history.at(-1);
  const passed_s = last ? (figures.time_ms - last.time_ms) / 1000 : 0;
  figures.cpu = passed_s > 0 ? Math.max(0, (figures.cpu_s - last.cpu_s) / passed_s) : 0;
  if (last && passed_s <= 0) return;
  view.history.push(figures);
  if (view.history.length > HISTORY) view.history.shift();
}

function sparkline(values) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${HISTORY - 1} 28`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const most = Math.max(...values), least = Math.min(0, ...values);
  const from = HISTORY - values.length;
  const points = values.map((value, i) => {
    const y = most === least ? 26 : 26 - ((value - least) / (most - least)) * 22;
    return `${from + i},${y.toFixed(1)}`;
  });
  const area = document.createElementNS(space, "polygon");
  area.setAttribute("points", `${from},28 ${points.join(" ")} ${HISTORY - 1},28`);
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", points.join(" "));
  svg.append(area, line);
  return svg;
}

function drawFigures() {
  const now = view.history.at(-1);
  if (!now) return;
  $("node").textContent = now.name;
  document.title = `${now.name} – Palaver observer`;
  $("figures").replaceChildren(...FIGURES.map(([title, value, more, plot]) =>
    make("div", { class: "figure" },
      make("h2", { text: title }),
      make("div", { class: "value", text: value(now) }),
      make("div", { class: "more", text: more(now) }),
      view.history.length > 1 ? sparkline(view.history.map(plot)) : null)));
}

// -- rows ------------------------------------------------------------------------------------------

function title(row) {
  return row.name ?? row.child_id ?? row.behaviour.split(".").at(-1);
}

function who(row, depth, toggle) {
  const cell = make("div", { class: `who d${Math.min(depth, 8)}` });
  if (toggle !== undefined) cell.append(toggle);
  cell.append(
    make("span", { class: row.supervisor ? "kind supervisor" : "kind", title: row.supervisor ? "supervisor" : "worker" }),
    make("button", { type: "button", class: "open", text: title(row), "data-key": "open" + row.pid, on: () => choose(row.pid) }),
    make("span", { class: "pid", text: row.pid }));
  return cell;
}

function cells(row) {
  return [
    make("td", { class: "wide", text: row.behaviour, title: row.behaviour }),
    make("td", { class: "st" }, make("span", { class: `status ${row.status}`, text: row.status })),
    number(row.mailbox, short(row.mailbox), 100),
    number(row.reductions_per_s),
  ];
}

function isOpen(pid, depth) {
  return view.toggled.get(pid) ?? view.all ?? depth < OPEN_DEPTH;
}

function treeRows(nodes, depth, into) {
  for (const node of nodes) {
    const row = node.row, parent = node.children.length + node.hidden > 0;
    const open = parent && isOpen(row.pid, depth);
    const toggle = parent
      ? make("button", {
          type: "button", class: "toggle", text: open ? "▾" : "▸", "data-key": "toggle" + row.pid,
          "aria-label": `${open ? "Close" : "Open"} ${title(row)}`,
          on: () => { view.toggled.set(row.pid, !open); drawTree(view.tree); },
        })
      : make("span", { class: "leaf", "aria-hidden": "true" });
    const first = who(row, depth, toggle);
    if (parent) first.append(make("span", { class: "count", text: short(node.below), title: "processes below" }));
    into.push(make("tr", {
      role: "row", "aria-level": depth + 1, "aria-expanded": parent ? String(open) : null,
      class: row.pid === view.chosen ? "chosen" : null,
    }, make("td", {}, first), ...cells(row), number(row.memory_bytes, bytes(row.memory_bytes))));
    if (open) {
      treeRows(node.children, depth + 1, into);
      if (node.hidden > 0) {
        into.push(make("tr", { class: "more-row" }, make("td", { colspan: "6" },
          make("div", { class: `who d${Math.min(depth + 1, 8)}` },
            make("span", { class: "leaf" }),
            make("span", { text: `and ${node.hidden.toLocaleString("en")} more: search them among the processes` })))));
      }
    }
  }
}

/** Replace the rows of a table; what had the focus has it again. */
function refill(body, rows) {
  const key = document.activeElement?.getAttribute("data-key");
  body.replaceChildren(...rows);
  if (key) body.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

function empty(columns, text) {
  return [make("tr", { class: "empty" }, make("td", { colspan: columns, text }))];
}

function drawTree(tree) {
  view.tree = tree;
  const rows = [];
  treeRows(tree, 0, rows);
  refill($("tree"), rows.length ? rows : empty("6", "The node has no processes."));
  const now = view.history.at(-1);
  if (now) $("tree-hint").textContent = `${short(now.processes)} processes`;
}

function drawList(page) {
  view.total = page.total;
  refill($("list"), page.rows.length
    ? page.rows.map((row) => make("tr", { class: row.pid === view.chosen ? "chosen" : null },
        make("td", {}, who(row, 0)), ...cells(row), number(row.reductions),
        number(row.memory_bytes, bytes(row.memory_bytes))))
    : empty("7", view.search ? "No process matches." : "The node has no processes."));
  const last = page.offset + page.rows.length;
  $("list-hint").textContent = page.rows.length
    ? `${page.offset + 1}–${last} of ${page.total.toLocaleString("en")}` : "";
  $("before").disabled = page.offset === 0;
  $("after").disabled = last >= page.total;
  for (const head of document.querySelectorAll("th[data-sort]")) {
    const sorted = head.dataset.sort === view.sort;
    if (sorted) head.setAttribute("aria-sort", view.sort === "pid" ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  }
}

// -- one process -----------------------------------------------------------------------------------

function pids(list) {
  return make("div", { class: "pids" }, ...list.map((pid) =>
    make("button", { type: "button", text: pid, "data-key": "link" + pid, on: () => choose(pid) })));
}

function facts(pairs) {
  const list = make("dl");
  for (const [name, value, kind] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(make("dt", { text: name }), make("dd", { class: kind, text: value }));
  }
  return list;
}

const NO_STATE = {
  hidden: "Its class shows nothing (format_status), and bare states are hidden here. See the setting observer_state, or palaver top on the machine itself.",
  busy: "It is busy: its handler has not come back within a second.",
  function: "It runs a plain function, which has no state to show.",
  gone: "It has exited.",
};

function stateBlock(pid) {
  const block = make("div", {}, make("h3", { text: "State" }));
  const state = view.state?.pid === pid ? view.state : null;
  if (state?.source in NO_STATE) block.append(make("p", { class: "note", text: NO_STATE[state.source] }));
  for (const [name, text] of state?.attributes ?? []) {
    block.append(make("pre", { text: name ? `${name}: ${text}` : text }));
  }
  if (state?.hidden) block.append(make("p", { class: "note", text: `and ${state.hidden} more attributes` }));
  block.append(make("p", {}, make("button", {
    type: "button", class: "ask", text: state ? "Ask again" : "Show its state", "data-key": "state",
    on: async () => {
      try { view.state = { ...await ask("state", { pid }), pid }; } catch { view.state = { pid, source: "busy", attributes: [] }; }
      await drawDetails();
    },
  })));
  return block;
}

async function choose(pid) {
  view.chosen = pid;
  view.state = null;
  mark();
  await drawDetails();
  $("details").focus({ preventScroll: true });
  refresh();
}

function closeDetails() {
  const pid = view.chosen;
  view.chosen = null;
  $("details").hidden = true;
  mark();
  refresh();
  document.querySelector(`[data-key="${CSS.escape("open" + pid)}"]`)?.focus();
}

async function drawDetails() {
  const pid = view.chosen, panel = $("details");
  if (pid === null) return;
  const p = await ask("process", { pid });
  if (view.chosen !== pid) return;
  panel.hidden = false;
  const close = make("button", { type: "button", class: "close", text: "Close", "data-key": "close", on: closeDetails });
  if (p === null) {
    refill(panel, [make("div", { class: "top" }, make("h2", { text: pid }), close),
      make("p", { class: "note", text: "This process has exited." })]);
    return;
  }
  const name = p.registered_names[0] ?? p.behaviour.split(".").at(-1);
  refill(panel, [
    make("div", { class: "top" }, make("h2", { text: name }), close),
    facts([
      ["pid", p.pid, "mono"],
      ["names", p.registered_names.join(", ")],
      ["behaviour", p.behaviour, "mono"],
      ["version", p.version],
      ["status", p.suspended ? "suspended by sys" : p.status],
      ["waits for", p.waits_for],
      ["handles", p.current_message, "mono"],
      ["mailbox", p.message_queue_len.toLocaleString("en") + (p.mailbox_limit ? ` of ${p.mailbox_limit}` : "")],
      ["reductions", p.reductions.toLocaleString("en")],
      ["memory", (p.memory_complete ? "about " : "more than ") + bytes(p.memory_bytes)],
      ["children", p.children],
      ["owes replies", p.promised_replies || null],
      ["traps exits", p.trap_exit ? "yes" : "no"],
      ["looked at by", p.debug.join(", ")],
    ]),
    ...[["Parent", p.parent ? [p.parent] : []], ["Links", p.links], ["Monitors", p.monitors], ["Monitored by", p.monitored_by]]
      .flatMap(([title, list]) => list.length ? [make("h3", { text: title }), pids(list)] : []),
    ...(p.current_stacktrace.length
      ? [make("h3", { text: "Parked in" }), make("pre", { text: p.current_stacktrace.join("\n") })] : []),
    stateBlock(p.pid),
  ]);
}

// -- the round -------------------------------------------------------------------------------------

function live(text, kind) {
  if ($("live").textContent !== text) $("live").textContent = text;
  $("live").className = kind;
}

async function refresh() {
  clearTimeout(view.timer);
  const turn = ++view.turn;
  try {
    const [figures, body] = await Promise.all([
      ask("node"),
      view.tab === "tree" ? ask("tree") : ask("processes", { sort: view.sort, offset: view.offset, limit: PAGE, search: view.search }),
    ]);
    if (turn !== view.turn) return; // a later one is on its way
    remember(figures);
    drawFigures();
    if (view.tab === "tree") drawTree(body); else drawList(body);
    if (view.chosen !== null) await drawDetails();
    live(view.paused ? "paused" : "live", view.paused ? "" : "on");
  } catch (error) {
    if (turn !== view.turn) return;
    live("no answer from the node", "off");
  }
  if (!view.paused && turn === view.turn) view.timer = setTimeout(refresh, EVERY_MS);
}

function show(tab) {
  view.tab = tab;
  for (const name of ["tree", "list"]) {
    $("tab-" + name).setAttribute("aria-selected", String(name === tab));
    $("tab-" + name).tabIndex = name === tab ? 0 : -1;
    $("view-" + name).hidden = name !== tab;
  }
  mark();
  refresh();
}

/** Keep what is shown in the address, so that it can be kept and sent to others. */
function mark() {
  const place = new URLSearchParams({ view: view.tab });
  if (view.chosen !== null) place.set("pid", view.chosen);
  history.replaceState(null, "", "#" + place);
}

for (const [tab, other] of [["tree", "list"], ["list", "tree"]]) {
  $("tab-" + tab).addEventListener("click", () => show(tab));
  $("tab-" + tab).addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") { show(other); $("tab-" + other).focus(); }
  });
}
$("pause").addEventListener("click", () => {
  view.paused = !view.paused;
  $("pause").setAttribute("aria-pressed", String(view.paused));
  $("pause").textContent = view.paused ? "Go on" : "Pause";
  refresh();
});
for (const [id, all] of [["expand", true], ["collapse", false]]) {
  $(id).addEventListener("click", () => { view.all = all; view.toggled.clear(); drawTree(view.tree ?? []); });
}
for (const head of document.querySelectorAll("th[data-sort]")) {
  head.firstElementChild.addEventListener("click", () => { view.sort = head.dataset.sort; view.offset = 0; refresh(); });
}
$("search").addEventListener("input", () => { view.search = $("search").value.trim(); view.offset = 0; refresh(); });
$("before").addEventListener("click", () => { view.offset = Math.max(0, view.offset - PAGE); refresh(); });
$("after").addEventListener("click", () => { view.offset += PAGE; refresh(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && view.chosen !== null) closeDetails();
});
const place = new URLSearchParams(location.hash.slice(1));
view.chosen = place.get("pid");
show(place.get("view") === "list" ? "list" : "tree");
