// Compression as node's `ws` and `undici` have it: node deflate.js WS UNDICI, the folders of both, "" for none.
//
// A server of `ws`: it prints its port first. The request's query has the options of perMessageDeflate; an echo comes
// whole, or at /pieces in fragments with a Ping among them.
//
// And clients: for each line of JSON, {client, url, options, task, argument}, one of what became of it.
"use strict";
const [, , ws, undici] = process.argv;
const { exchange } = require("./exchange.js");
const { WebSocket, WebSocketServer } = require(ws);
// Ours refuse a larger one, which must not be theirs to refuse.
const LARGE = { maxPayload: 1 << 24 };

const server = require("http").createServer();
server.on("upgrade", (request, stream, head) => {
  const url = new URL(request.url, "ws://localhost");
  const perMessageDeflate = JSON.parse(url.searchParams.get("options"));
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate, ...LARGE });
  sockets.handleUpgrade(request, stream, head, (socket) => {
    socket.on("error", () => {});
    socket.on("message", (data, binary) => {
      if (url.pathname !== "/pieces" || data.length < 3) return socket.send(data, { binary });
      const third = Math.floor(data.length / 3);
      socket.send(data.subarray(0, third), { binary, fin: false });
      socket.ping("between");
      socket.send(data.subarray(third, 2 * third), { binary, fin: false });
      socket.send(data.subarray(2 * third), { binary, fin: true });
    });
  });
});

async function run({ client, url, options, task, argument }) {
  if (client === "undici") return { extensions: await exchange(new (require(undici).WebSocket)(url), task, argument) };
  const socket = new WebSocket(url, [], { perMessageDeflate: options, ...LARGE });
  let answer;
  let pings = 0;
  socket.on("upgrade", (response) => { answer = response.headers["sec-websocket-extensions"] || ""; });
  socket.on("ping", () => { pings++; });
  if (task === "pieces") return { extensions: await pieces(socket), answer, pings };
  return { extensions: await exchange(socket, task, argument), answer, pings };
}

// Fragments, with Pings among them: no page can send these.
async function pieces(socket) {
  const received = [];
  const parts = [Buffer.from("frag".repeat(100)), Buffer.from("men".repeat(100)), Buffer.alloc(0), Buffer.alloc(70000, "ts")];
  await new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("close", (code) => reject(new Error("closed with " + code)));
    socket.on("open", () => {
      for (const binary of [false, true]) {
        parts.forEach((part, number) => {
          socket.send(part, { binary, fin: number === parts.length - 1 });
          socket.ping("after " + number);
        });
      }
    });
    const take = (one) => { if (received.push(one) === 2 * (parts.length + 1)) resolve(); };
    socket.on("pong", (data) => take("pong " + data));
    socket.on("message", (data, binary) => take({ binary, same: data.equals(Buffer.concat(parts)) }));
  });
  const closed = new Promise((resolve) => socket.on("close", resolve));
  socket.close();
  await closed;
  return received;
}

server.listen(0, "127.0.0.1", () => console.log(JSON.stringify(server.address().port)));
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  run(JSON.parse(line)).then(
    (result) => console.log(JSON.stringify(result)),
    (error) => console.log(JSON.stringify({ error: String(error.stack) })),
  );
}).on("close", () => process.exit()); // It ends when whoever started it does.
