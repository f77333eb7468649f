// The log: what happened, and how it is shown

// The log keeps this many entries, and bytes of their messages, so that a flood does not end the tab.
const MAX_ENTRIES = 1000;
const MAX_KEPT_BYTES = 2 ** 25;
// A message is folded to this many lines.
const FOLDED_LINES = 10;
// An opened message is shown up to here; the copy button and the export have all of it.
const MAX_SHOWN_CHARACTERS = 2 ** 18;
const MAX_SHOWN_BYTES = 2 ** 15;
// The filter looks at this many bytes of a binary message.
const MAX_SEARCHED_BYTES = 2 ** 12;

// In their order; those that came since the last frame have no element yet.
const entries = [];
let stale = [];
let kept = 0;
let counts = { sent: 0, received: 0, dropped: 0, unseen: 0, held: 0 };
let paused = false;
let filter = { words: null, direction: "" };
// Whether the end of the log is in view, and is to stay there.
let following = true;
// Where the log was scrolled to when that was looked at last.
let lastTop = 0;
let frame = null;
// Until when the page rests from showing entries, so that most of the time is for taking them in.
let rest = 0;
// The one button of an entry that the Tab key reaches; the arrow keys reach the others.
let tabStop = null;

function add(kind, text) {
  push({ kind, text, size: 0 });
}

function addMessage(kind, data, name = "") {
  counts[kind] += 1;
  push({ kind, data, name, size: typeof data === "string" ? encoder.encode(data).length : data.byteLength });
}

function push(entry) {
  entries.push({ ...entry, time: new Date(), element: null, open: false });
  kept += entry.size;
  if (paused) counts.held += 1;
  while (entries.length > MAX_ENTRIES || (kept > MAX_KEPT_BYTES && entries.length > 1)) {
    const oldest = entries.shift();
    kept -= oldest.size;
    counts.dropped += 1;
    if (oldest.element) stale.push(oldest.element);
  }
  frame ??= setTimeout(() => requestAnimationFrame(show), rest - performance.now());
}

// However many came, the page changes once; and not at all while it is hidden.
function show() {
  const began = performance.now();
  frame = null;
  if (!paused) showFresh();
  showCounts();
  rest = 3 * performance.now() - 2 * began;
}

function showFresh() {
  const hadFocus = at("entries").contains(document.activeElement);
  for (const element of stale) element.remove();
  stale = [];
  const fresh = entries.filter((entry) => !entry.element);
  for (const entry of fresh) render(entry);
  at("entries").append(...fresh.map((entry) => entry.element));
  const keepsFocus = at("entries").contains(document.activeElement);
  if (hadFocus && !keepsFocus) at("log").focus({ preventScroll: true });
  if (!keepsFocus) moveTabStop(entryButtons().pop());
  if (following) scrollToEnd();
  else counts.unseen += fresh.filter((entry) => !entry.element.hidden).length;
}

function render(entry) {
  const element = entry.element = at("template").content.firstElementChild.cloneNode(true);
  const part = (name) => element.querySelector(name);
  element.classList.add(...entry.kind.split(" "));
  part(".kind").textContent = kindOf(entry);
  part("time").dateTime = entry.time.toISOString();
  part("time").textContent = timeOfDay(entry.time);
  element.hidden = !matches(entry);
  if (entry.data === undefined) {
    part(".text").textContent = entry.text;
    for (const name of [".name", ".size", ".fold", ".copy"]) part(name).remove();
    return;
  }
  element.classList.add("message");
  part(".size").textContent = plural(entry.size, "byte");
  if (entry.name) part(".name").textContent = entry.name;
  else part(".name").remove();
  if (typeof entry.data !== "string") {
    element.classList.add("binary");
    part(".text").dir = "ltr";
    part(".size").textContent += "\nbinary";
  }
  fill(entry);
}

const kindOf = ({ kind }) => kind.split(" ")[0];

// Shows a message, folded or open.
function fill({ data, size, open, element }) {
  const isText = typeof data === "string";
  const whole = isText ? textView(data) : dump(new Uint8Array(data, 0, Math.min(data.byteLength, MAX_SHOWN_BYTES)));
  const end = endOfFold(whole);
  const folds = end < whole.length;
  const rest = isText ? whole.length - MAX_SHOWN_CHARACTERS : data.byteLength - MAX_SHOWN_BYTES;
  const unit = isText ? "character" : "byte";
  const text = element.querySelector(".text");
  text.classList.toggle("none", size === 0);
  if (size === 0) text.textContent = "empty";
  else if (folds && !open) text.textContent = beginning(whole, end);
  else text.textContent = beginning(whole, MAX_SHOWN_CHARACTERS, isText) + more(rest, unit);
  const button = element.querySelector(".fold");
  button.hidden = !folds;
  button.ariaExpanded = String(open);
  button.textContent = open ? "Show less" : `Show all ${plural(isText ? data.length : size, unit)}`;
}

// Not with half a character at the end.
function beginning(text, end, cuts = true) {
  return cuts && end < text.length ? text.slice(0, end).replace(/[\ud800-\udbff]$/, "") : text;
}

const more = (count, unit) => (count > 0 ? `\n… and ${plural(count, unit)} more: copy or export them` : "");

const isWide = () => matchMedia("(min-width: 52rem)").matches;

// Where a text ends when it is folded: after so many lines, about as they are shown.
function endOfFold(text) {
  const columns = isWide() ? 70 : 42;
  let start = 0;
  for (let lines = FOLDED_LINES; lines > 0;) {
    const newline = text.indexOf("\n", start);
    const end = newline === -1 ? text.length : newline;
    const takes = Math.max(1, Math.ceil((end - start) / columns));
    if (takes > lines) return start + lines * columns;
    if (newline === -1) return text.length;
    lines -= takes;
    start = newline + 1;
  }
  return start - 1;
}

// Offset, bytes in hex, and those that are printable ASCII.
function dump(bytes) {
  const columns = isWide() ? 16 : 8;
  const lines = [];
  for (let offset = 0; offset < bytes.length; offset += columns) {
    const line = [...bytes.subarray(offset, offset + columns)];
    const digits = spacedHex(line).padEnd(3 * columns - 1);
    const letters = line.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${hex(offset, 4)}  ${digits}  ${letters}`);
  }
  return lines.join("\n");
}

function textView(text) {
  return at("pretty").checked && text.length <= MAX_SHOWN_CHARACTERS && isJSON(text) ? indent(text) : text;
}

function isJSON(text) {
  if (!/^\s*[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

// By its tokens: JSON.parse would round long numbers, and lose all but the last of equal keys.
function indent(json) {
  const tokens = json.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{},:]|[^\s"[\]{},:]+/g);
  let depth = 0;
  const line = () => "\n" + "  ".repeat(Math.min(depth, 20));
  return tokens.map((token, index) => {
    if (token === ":") return ": ";
    if (token === ",") return "," + line();
    if ("[{".includes(token)) {
      depth += 1;
      return "]}".includes(tokens[index + 1]) ? token : token + line();
    }
    if (!"]}".includes(token)) return token;
    depth -= 1;
    return "[{".includes(tokens[index - 1]) ? token : line() + token;
  }).join("");
}

// Which entries are shown

function matches(entry) {
  const { words, direction } = filter;
  return (!direction || entry.kind === direction) && (!words || words.test(searched(entry)));
}

function searched(entry) {
  if (entry.data === undefined) return `${kindOf(entry)} ${entry.text}`;
  if (typeof entry.data === "string") return entry.data;
  const bytes = new Uint8Array(entry.data, 0, Math.min(entry.data.byteLength, MAX_SEARCHED_BYTES));
  return entry.searched ??= [entry.name, spacedHex(bytes), String.fromCharCode(...bytes)].join("\n");
}

function changeFilter() {
  const words = at("filter").value.trim();
  filter = {
    words: words ? new RegExp(words.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), "i") : null,
    direction: at("direction").value,
  };
  for (const entry of entries) if (entry.element) entry.element.hidden = !matches(entry);
  moveTabStop(entryButtons().pop());
  if (following) scrollToEnd();
  showCounts();
}

function refill() {
  for (const entry of entries) if (entry.element && entry.data !== undefined) fill(entry);
  if (following) scrollToEnd();
}

function showCounts() {
  const { sent, received, dropped, held } = counts;
  const filters = filter.words || filter.direction;
  const shown = filters ? at("entries").querySelectorAll(".entry:not([hidden])").length : 0;
  at("counts").textContent = `${number(sent)} sent, ${number(received)} received` +
    (dropped ? `, the oldest ${number(dropped)} entries dropped` : "") +
    (filters ? `, ${number(shown)} of ${number(entries.length)} shown` : "") +
    (paused ? `, paused: ${number(held)} held` : "");
  at("entries").classList.toggle("filtered", Boolean(filters) && shown === 0);
  showUnseen();
}

function showUnseen() {
  at("latest").hidden = following || counts.unseen === 0;
  at("latest").textContent = `${number(counts.unseen)} new ↓`;
}

function pause() {
  paused = !paused;
  counts.held = 0;
  at("pause").textContent = paused ? "Resume" : "Pause";
  show();
}

function clear() {
  entries.length = 0;
  stale = [];
  kept = 0;
  counts = { sent: 0, received: 0, dropped: 0, unseen: 0, held: 0 };
  tabStop = null;
  at("entries").replaceChildren();
  showCounts();
}

function scrollToEnd() {
  at("log").scrollTop = at("log").scrollHeight;
  lastTop = at("log").scrollTop;
}

function isAtEnd() {
  const { scrollHeight, scrollTop, clientHeight } = at("log");
  return scrollHeight - scrollTop - clientHeight < 16;
}

function scrolled() {
  const { scrollTop } = at("log");
  // A log that has become smaller is not at its end either, but nobody has scrolled up.
  follow(isAtEnd() || (following && scrollTop >= lastTop));
  lastTop = scrollTop;
}

function follow(follows) {
  following = follows;
  if (following) counts.unseen = 0;
  showUnseen();
}

// The buttons of an entry

const entryButtons = () =>
  [...at("entries").querySelectorAll(".entry:not([hidden]) :is(.fold:not([hidden]), .copy)")];
const entryOf = (button) => entries.find(({ element }) => element === button.closest("li"));

function moveTabStop(button) {
  if (tabStop) tabStop.tabIndex = -1;
  tabStop = button ?? null;
  if (tabStop) tabStop.tabIndex = 0;
}

function press(button) {
  const entry = entryOf(button);
  // Dropped, and gone with the next frame.
  if (!entry) return;
  if (button.matches(".copy")) copy(button, entry.data);
  else fold(entry);
}

function fold(entry) {
  entry.open = !entry.open;
  fill(entry);
  if (!entry.open) entry.element.scrollIntoView({ block: "nearest" });
  // What is read stays where it is, whatever comes.
  follow(isAtEnd());
}

async function copy(button, data) {
  const copied = await toClipboard(typeof data === "string" ? data : spacedHex(new Uint8Array(data)));
  button.dataset.copied = copied ? "yes" : "no";
  button.ariaLabel = button.title = copied ? "Copied" : "Could not be copied";
  setTimeout(() => {
    delete button.dataset.copied;
    button.ariaLabel = button.title = "Copy";
  }, 1500);
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

// Pages that did not come over TLS, but from another machine, have no navigator.clipboard.
function copyBySelection(text) {
  const focused = document.activeElement;
  const field = document.createElement("textarea");
  field.className = "quiet";
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused.focus({ preventScroll: true });
  return copied;
}
