// The memory: what outlives a reload

// In this tab alone, until it is closed: messages and the queries of URLs may hold secrets. Passwords are not kept.
const SHELF = `wsock console ${location.pathname}`;
const MAX_HISTORY = 200;
const MAX_KEPT_CHARACTERS = 2 ** 18;
const MAX_FIELD = 2 ** 13;

let lastURL = "";
let lastSubprotocols = "";
const sentBefore = [];
let saving = null;

function save() {
  clearTimeout(saving);
  saving = null;
  const memory = {
    url: lastURL,
    subprotocols: lastSubprotocols,
    reconnect: at("reconnect").checked,
    pretty: at("pretty").checked,
    sent: newest(sentBefore),
  };
  try {
    sessionStorage.setItem(SHELF, JSON.stringify(memory));
  } catch {
    // Storage is denied or full: the page works without.
  }
}

function saveSoon() {
  saving ??= setTimeout(save, 500);
}

function newest(messages) {
  let left = MAX_KEPT_CHARACTERS;
  let first = messages.length;
  while (first > 0 && (left -= messages[first - 1].text.length) >= 0) first -= 1;
  return messages.slice(first);
}

function restore() {
  const memory = readMemory();
  const field = (name) => (typeof memory[name] === "string" ? memory[name].slice(0, MAX_FIELD) : "");
  lastURL = field("url");
  lastSubprotocols = at("subprotocols").value = field("subprotocols");
  at("reconnect").checked = memory.reconnect === true;
  at("pretty").checked = memory.pretty === true;
  const sent = Array.isArray(memory.sent) ? memory.sent.slice(-MAX_HISTORY) : [];
  for (const message of sent) {
    if (typeof message?.text === "string") sentBefore.push({ text: message.text, binary: message.binary === true });
  }
  place = sentBefore.length;
}

function readMemory() {
  try {
    return JSON.parse(sessionStorage.getItem(SHELF)) ?? {};
  } catch {
    return {};
  }
}
