// The connection

// How long a server may take to say by HTTP why it refused a connection, in milliseconds; and how much of it is read.
const MAX_ASKING = 5000;
const MAX_ANSWER_CHARACTERS = 300;
// The longest wait before the page reconnects, in seconds.
const MAX_WAIT = 30;

let socket = null;
let state = "disconnected";
// Whether to connect again once the present connection is closed.
let again = false;
// What ends the question why, while it is asked.
let asking = null;
let retry = { wait: 0, due: 0, timer: null };
// The URL and the subprotocols that it is made with, again where it reconnects.
let target = null;
// When it was open, by performance.now(); 0 before.
let opened = 0;

function enter(next) {
  state = next;
  const [status, action] = STATES[state];
  at("status").dataset.state = state;
  at("state").textContent = status;
  at("countdown").textContent = "";
  at("toggle").textContent = action;
  at("toggle").classList.toggle("primary", state === "disconnected");
  // Not `disabled`, which would take the focus away from who is on it.
  at("send").ariaDisabled = String(state !== "connected");
}

function complain(action, error) {
  if (!(error instanceof Problem)) throw error;
  add("error", `Can’t ${action}: ${error.message}`);
}

// As the user asks: now, and to what the fields say now.
function connect() {
  if (socket) {
    again = true;
    if (state === "connecting") cancel();
    else if (state === "connected") disconnect();
    return;
  }
  clearTimeout(retry.timer);
  retry.wait = 0;
  try {
    target = readTarget();
    open();
  } catch (error) {
    enter("disconnected");
    complain("connect", error);
  }
}

function readTarget() {
  const typed = at("url").value.trim();
  const url = readURL(typed);
  const offers = withToken(readSubprotocols(at("subprotocols").value), at("token").value);
  if (looksLikeHost(typed)) at("url").value = url.href;
  lastURL = withoutPassword(url);
  lastSubprotocols = at("subprotocols").value;
  forgetLink();
  saveSoon();
  return { url, offers };
}

function open() {
  socket = makeSocket(target);
  socket.binaryType = "arraybuffer";
  listen(socket, target.url);
  add("connecting", `to ${withoutPassword(target.url)}`);
  enter("connecting");
}

function makeSocket({ url, offers }) {
  try {
    return new WebSocket(url.href, offers);
  } catch (error) {
    throw new Problem(error.name === "SecurityError"
      ? "this page came over https, and so it may connect to wss:// only"
      : "the browser does not take this URL");
  }
}

function listen(one, url) {
  opened = 0;
  // One that was given up has no say any more.
  const on = (name, react) => one.addEventListener(name, (event) => one === socket && react(event));
  on("open", () => {
    opened = performance.now();
    add("open", [
      one.protocol ? `subprotocol ${one.protocol}` : "no subprotocol",
      one.extensions ? `extensions ${one.extensions}` : "no extensions",
    ].join(", "));
    enter("connected");
  });
  on("message", (event) => addMessage("received", event.data));
  on("close", async (event) => {
    const refusal = opened || state === "closing" || !isOurs(url) ? null : await ask(url);
    if (one !== socket) return;
    if (refusal) add("refused broken", refusal);
    else add(event.wasClean ? "closed" : "closed broken", describe(event, url));
    ended();
  });
}

function ended() {
  // In this state the user has asked for it.
  const asked = state === "closing";
  socket = null;
  if (again) {
    again = false;
    connect();
  } else if (at("reconnect").checked && !asked) wait();
  else enter("disconnected");
}

function describe({ code, reason, wasClean }, url) {
  const why = code === 1006 ? `: ${guess(url)}` : wasClean ? "" : ", without a whole closing handshake";
  return codeInWords(code, reason) + why;
}

// Browsers keep from pages why a connection failed.
function guess(url) {
  if (opened) return "the connection was lost without a closing handshake";
  if (state === "closing") return "cancelled before it was open";
  if (isOurs(url)) return "the server can’t be reached, or does not say why";
  return "the server can’t be reached, or refused this page, which is of another host. " +
    `A wsock server lets it in by --allowed-origin ${location.origin} (in Python: allowedOrigins).`;
}

// Why it was refused

// Asks for the same path by HTTP. Returns the answer in words, null where there is none.
async function ask(url) {
  const abort = asking = new AbortController();
  const timer = setTimeout(() => abort.abort(), MAX_ASKING);
  try {
    const answer = await fetch(location.origin + url.pathname + url.search, {
      cache: "no-store",
      redirect: "manual",
      signal: abort.signal,
    });
    return inWords(answer, await textOf(answer));
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
    if (asking === abort) asking = null;
  }
}

function inWords({ type, status, statusText }, text) {
  const phrase = [status, statusText].filter(Boolean).join(" ");
  if (type === "opaqueredirect") return "the path redirects, and a WebSocket follows no redirect";
  if (status === 426) return `a WebSocket may be there, but not for this page (a plain request gets ${phrase})`;
  if (status < 400) return `no WebSocket is there, or not for this page (a plain request gets ${phrase})`;
  // A server of wsock begins its text with the phrase.
  const why = text.startsWith(`${statusText}: `) ? text.slice(statusText.length + 2) : text;
  return `a plain request for the path gets ${phrase}` + (why && why !== statusText ? `: ${why}` : "");
}

// The beginning of a plain text, in one line.
async function textOf(answer) {
  if (!/^text\/plain\b/i.test(answer.headers.get("content-type") ?? "") || !answer.body) return "";
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  try {
    while (text.length < MAX_ANSWER_CHARACTERS) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
    await reader.cancel();
  } catch {
    // It came too slowly: its beginning will do.
  }
  const line = text.replace(/[\s\p{Cc}]+/gu, " ").trim();
  return line.length > MAX_ANSWER_CHARACTERS ? `${beginning(line, MAX_ANSWER_CHARACTERS)}…` : line;
}

// How it ends

function disconnect() {
  const code = at("code").value.trim();
  const reason = at("reason").value;
  try {
    checkClose(code, reason);
  } catch (error) {
    again = false;
    complain("disconnect", error);
    return;
  }
  if (code) socket.close(Number(code), reason);
  else socket.close();
  add("closing", code ? `with ${codeInWords(Number(code), reason)}` : "without a code");
  enter("closing");
}

function checkClose(code, reason) {
  const length = encoder.encode(reason).length;
  if (!/^\d*$/.test(code)) throw new Problem(`the close code is a number, not ${code}`);
  if (!code && reason) throw new Problem("a close reason needs a close code");
  if (code && Number(code) !== 1000 && !(code >= 3000 && code <= 4999)) {
    throw new Problem(`a page may close with 1000, or 3000 to 4999, but not with ${code}`);
  }
  if (length > 123) throw new Problem(`the close reason has ${length} bytes of UTF-8, and 123 fit`);
}

function cancel() {
  // It is closed already where the page asks why.
  if (asking) asking.abort();
  else socket.close();
  enter("closing");
}

function giveUp() {
  add("closed broken", "given up: the server did not answer");
  ended();
}

function toggle() {
  const actions = {
    disconnected: connect,
    connecting: cancel,
    connected: disconnect,
    closing: giveUp,
    waiting: stopWaiting,
  };
  actions[state]();
}

// Reconnecting: after 1, 2, 4 ... seconds

function wait() {
  const lasted = opened ? (performance.now() - opened) / 1000 : 0;
  // Who loses a connection that lasted begins with a second again.
  const last = lasted > retry.wait ? 0 : retry.wait;
  retry.wait = Math.min(2 * last || 1, MAX_WAIT);
  retry.due = performance.now() + 1000 * retry.wait;
  enter("waiting");
  countDown();
}

function countDown() {
  const left = retry.due - performance.now();
  if (left <= 0) {
    open();
    return;
  }
  at("countdown").textContent = ` in ${Math.ceil(left / 1000)} s`;
  retry.timer = setTimeout(countDown, left % 1000 || 1000);
}

function stopWaiting() {
  clearTimeout(retry.timer);
  enter("disconnected");
}
