// What a client of node's sees, with its own default options: node clients.js FOLDER CLIENT URL TASK [ARGUMENT]
"use strict";
const [, , folder, client, url, task, argument] = process.argv;
const WebSocket = client === "ws" ? require(folder) : require(folder).WebSocket;

const equal = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0;

function connect(protocols) {
  const socket = new WebSocket(url, protocols);
  socket.binaryType = "arraybuffer";
  const seen = [];
  let wake = () => {};
  socket.onmessage = (event) => { seen.push(event.data); wake(); };
  const closed = new Promise((resolve) => {
    socket.onclose = (event) => resolve({ code: event.code, reason: event.reason, wasClean: event.wasClean });
  });
  const failed = new Promise((resolve) => { socket.onerror = (event) => resolve(String(event.message || event.error)); });
  const opened = new Promise((resolve, reject) => {
    socket.onopen = resolve;
    closed.then((close) => reject(new Error("never open, closed with " + close.code)));
  });
  opened.catch(() => {});
  const receive = async () => {
    while (!seen.length) await new Promise((resolve) => { wake = resolve; });
    return seen.shift();
  };
  return { socket, opened, closed, failed, receive };
}

const tasks = {
  async echo() {
    const { socket, opened, closed, receive } = connect(["chat", "other"]);
    await opened;
    const binary = Buffer.alloc(1 << 20).map((_, index) => index % 251);
    for (const size of [0, 1, 125, 126, 65535, 65536, 1 << 20]) {
      socket.send(binary.subarray(0, size));
      if (!equal(await receive(), binary.subarray(0, size))) throw new Error("binary " + size);
      const text = "\u20ac".repeat(size / 3);
      socket.send(text);
      if ((await receive()) !== text) throw new Error("text " + size);
    }
    for (let number = 0; number < 500; number++) socket.send("message " + number);
    for (let number = 0; number < 500; number++) {
      if ((await receive()) !== "message " + number) throw new Error("order at " + number);
    }
    const { protocol, extensions } = socket;
    socket.close(3000, "goodbye");
    return { protocol, extensions, close: await closed };
  },
  // A server that fails the connection in the midst of what it is sent.
  async tooBig() {
    const closes = [];
    for (let number = 0; number < 20; number++) {
      const { socket, opened, closed } = connect();
      await opened;
      socket.send(Buffer.alloc(Number(argument)));
      closes.push((await closed).code);
    }
    return closes;
  },
  async refused() {
    const { failed, closed } = connect();
    return { error: await failed, close: await closed };
  },
  // Says that it is open, and then how it was closed.
  async wait() {
    const { opened, closed } = connect();
    await opened;
    console.log("open");
    return await closed;
  },
};

tasks[task]().then(
  (result) => { console.log(JSON.stringify(result)); process.exit(0); },
  (error) => { console.error(error); process.exit(1); },
);
