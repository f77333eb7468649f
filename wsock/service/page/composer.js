// What is sent

// A file is one message, and is in memory as a whole.
const MAX_FILE_BYTES = 2 ** 26;
// The next file waits until no more than this is unsent.
const MAX_UNSENT_BYTES = 2 ** 16;

// Where in what was sent before the field is; at its end: nowhere.
let place = 0;
let watching = false;

// The state knows of the other side's farewell only once the connection has ended.
const isOpen = (one) => one !== null && one === socket && one.readyState === WebSocket.OPEN;

function send() {
  const text = at("message").value;
  const binary = at("binary").checked;
  if (!isOpen(socket)) {
    add("error", "Not connected: nothing was sent.");
    return;
  }
  const data = binary ? fromHex(text) : text;
  if (data === null) {
    add("error", "Nothing was sent: a binary message is written in hex, such as 48 65 6c 6c 6f");
    return;
  }
  socket.send(data);
  addMessage("sent", data);
  watchUnsent();
  remember({ text, binary });
  at("message").value = "";
}

function fromHex(text) {
  const digits = text.replace(/\s/g, "");
  if (digits.length % 2 || /[^\da-f]/i.test(digits)) return null;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16)).buffer;
}

function remember(message) {
  const last = sentBefore.at(-1);
  if (message.text && (message.text !== last?.text || message.binary !== last.binary)) sentBefore.push(message);
  if (sentBefore.length > MAX_HISTORY) sentBefore.shift();
  place = sentBefore.length;
  saveSoon();
}

// The arrows recall messages in a field that is empty, or as it was recalled; else they move the caret.
function recall(step) {
  const field = at("message");
  if (field.value !== "" && field.value !== sentBefore[place]?.text) return false;
  // Within lines they move too, but where the recall left it.
  if (field.value.includes("\n") && field.selectionEnd !== field.value.length) return false;
  if (field.value === "") place = sentBefore.length;
  const next = place + step;
  if (next < 0 || next > sentBefore.length) return true;
  place = next;
  const message = sentBefore[place] ?? { text: "", binary: at("binary").checked };
  field.value = message.text;
  at("binary").checked = message.binary;
  return true;
}

// Files

let filesBefore = Promise.resolve();

// One after the other, each as a binary message, and not faster than the connection takes them.
function sendFiles(files) {
  const one = socket;
  for (const file of files) filesBefore = filesBefore.then(() => sendFile(one, file));
}

async function sendFile(one, file) {
  try {
    if (file.size > MAX_FILE_BYTES) throw new Problem("it is too large: at most 64 MiB are sent");
    const data = await readFile(file);
    watchUnsent();
    while (isOpen(one) && one.bufferedAmount > MAX_UNSENT_BYTES) await pollUnsent();
    if (!isOpen(one)) throw new Problem("not connected");
    one.send(data);
    addMessage("sent", data, file.name);
    watchUnsent();
  } catch (error) {
    complain(`send ${file.name}`, error);
  }
}

async function readFile(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    throw new Problem("it can’t be read (a folder, perhaps)");
  }
}

const pollUnsent = () => new Promise((done) => { setTimeout(done, 50); });

// Shows what the connection has not taken yet, while it takes its time.
async function watchUnsent() {
  if (watching) return;
  watching = true;
  for (await pollUnsent(); isOpen(socket) && socket.bufferedAmount; await pollUnsent()) {
    at("unsent").textContent = `${plural(socket.bufferedAmount, "byte")} unsent`;
  }
  at("unsent").textContent = "";
  watching = false;
}
