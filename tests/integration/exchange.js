// The messages that a client sends to an echo: a page and node run the same. Each task returns what was agreed on.
"use strict";

const SIZES = [0, 1, 125, 126, 127, 255, 256, 257, 511, 512, 513, 4096, 65535, 65536, 65537, 1 << 20];

let state = 1;
const random = () => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) >>> 16;

// Text that gets half as long, and refers to nothing before it.
function hex(size) {
  let text = "";
  while (text.length < size) text += (random() & 0xfff).toString(16).padStart(3, "0");
  return text.slice(0, size);
}

const alike = (size) => "a".repeat(size % 3) + "\u20ac".repeat(size / 3);
const noise = (size) => new Uint8Array(size).map(() => random());
const pattern = (size) => new Uint8Array(size).map((_, index) => index % 251);

function same(sent, received) {
  if (typeof sent === "string" || typeof received === "string") return sent === received;
  const bytes = new Uint8Array(received);
  return bytes.length === sent.length && bytes.every((byte, index) => byte === sent[index]);
}

async function open(socket) {
  socket.binaryType = "arraybuffer";
  const seen = [];
  let wake = () => {};
  const ended = new Promise((resolve, reject) => {
    socket.onclose = (event) => reject(new Error("closed with " + event.code + " " + event.reason));
  });
  ended.catch(() => {});
  socket.onerror = () => {}; // what follows it tells as much
  socket.onmessage = (event) => { seen.push(event.data); wake(); };
  await Promise.race([new Promise((resolve) => { socket.onopen = resolve; }), ended]);
  const receive = async () => {
    while (!seen.length) await Promise.race([new Promise((resolve) => { wake = resolve; }), ended]);
    return seen.shift();
  };
  const echo = async (message) => {
    socket.send(message);
    if (!same(message, await receive())) throw new Error("another echo of " + message.length);
  };
  const close = () => new Promise((resolve, reject) => {
    socket.onclose = (event) => event.code === 1000 ? resolve() : reject(new Error("closed with " + event.code));
    socket.close(1000);
  });
  return { receive, echo, close };
}

const tasks = {
  async sizes(socket) {
    const { echo, close } = await open(socket);
    for (const size of SIZES) for (const make of [alike, hex, pattern, noise]) await echo(make(size));
    await close();
  },
  // As `probes` in deflating.py.
  async probes(socket) {
    const { echo, close } = await open(socket);
    const once = hex(200);
    for (let number = 0; number < 3; number++) await echo(once);
    for (const size of [600, 3000, 20000]) await echo(hex(size).repeat(2));
    for (const message of ["", new Uint8Array(70000)]) await echo(message);
    await close();
  },
  // As `numbered` in deflating.py; a hundred are under way.
  async many(socket, count) {
    const { receive, close } = await open(socket);
    const message = (number) => number % 2 ? `{"number": ${number}, "text": "${hex(number % 400)}"}` : noise(number % 300);
    const sent = [];
    for (let number = 0; number < count + 100; number++) {
      if (number < count) {
        sent.push(message(number));
        socket.send(sent[sent.length - 1]);
      }
      if (number >= 100 && !same(sent.shift(), await receive())) throw new Error("another echo of " + (number - 100));
    }
    await close();
  },
};

async function exchange(socket, task, argument) {
  await tasks[task](socket, argument);
  return socket.extensions;
}

if (typeof module !== "undefined") module.exports = { exchange };
